"""Colours, by day and by night, and text that means nothing else to the languages of the pictures."""

from __future__ import annotations

import html
import re
import textwrap
from typing import Literal, NamedTuple

Way = Literal["normal", "leaves", "beyond", "quiet"]


class Paint(NamedTuple):
    """Colours of lines and letters, and of areas, on a light page and on a dark one. Letters have a contrast of 4.5 or more on their area."""

    ink: str
    area: str
    dark_ink: str
    dark_area: str


PAINT: dict[Way, Paint] = {
    "normal": Paint("#14717f", "#e6f4f5", "#7fcfdc", "#12343b"),
    "leaves": Paint("#b34d0c", "#fdefe4", "#f0a972", "#402919"),
    "beyond": Paint("#7350b8", "#f2edfb", "#c0abf0", "#2d2548"),
    "quiet": Paint("#5b6470", "#ffffff", "#9aa5b1", "#161b22"),
}
TEXT = Paint("#24292f", "#eef1f4", "#dde3ea", "#222a33")
"""What is read rather than looked at, and the bands it stands under."""
NEVER = Paint("#fffefe", "#c0243f", "#2b0a10", "#ff8b9a")
"""What a run has not fired."""
HEAT = (
    Paint("#12344f", "#e4eef8", "#cfe4f8", "#15293d"),
    Paint("#12344e", "#bcd6ee", "#d6e9fb", "#1b4268"),
    Paint("#0e2c44", "#86b6de", "#e8f3fd", "#245c92"),
    Paint("#fefeff", "#2f78b7", "#0a1b2a", "#5fa5dd"),
    Paint("#fdfeff", "#1b5690", "#0a1c2a", "#8fc3ee"),
    Paint("#fcfeff", "#0d3560", "#0a1d2a", "#c4e1f9"),
)
"""What it has fired from 1, 10, 100 … times on."""
LINES = (("#a9c3dc", "#3b5a78"), ("#86acd1", "#4373a1"), ("#5d90c2", "#5590c6"), *((paint.area, paint.dark_area) for paint in HEAT[3:]))
"""The same as lines, by day and by night: an area may be paler."""

USUAL, SMALL = 11, 10
"""Points of a label, and of what is written below it."""
FONT = "DejaVu Sans,Verdana,sans-serif"
"""Two of the same widths: a label fits its place where the picture is made and where it is looked at."""


def dark_style() -> str:
    """Rules of CSS that turn each colour into its counterpart where the reader's system is dark."""
    pairs = {light: dark for paint in (*PAINT.values(), TEXT, NEVER, *HEAT) for light, dark in ((paint.ink, paint.dark_ink), (paint.area, paint.dark_area))}
    rules = " ".join(f'[{what}="{light}"]{{{what}:{dark}}}' for light, dark in (pairs | dict(LINES)).items() for what in ("fill", "stroke"))
    return f"<style>@media (prefers-color-scheme: dark) {{ {rules} }}</style>"


def words(name: str) -> str:
    return printable(name.replace("_", " "))


def plain(text: str) -> str:
    """The text with a sign for whatever cannot be shown."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def printable(text: str) -> str:
    """The same, also for a name that is empty: Graphviz has no place for nothing."""
    return plain(text) or "\ufffd"


def markup(text: str) -> str:
    """The text where Graphviz expects a kind of HTML."""
    return html.escape(printable(text))


def quoted(text: str) -> str:
    return '"' + printable(text).replace("\\", "/").replace('"', "'") + '"'


def entities(text: str) -> str:
    """The text with Mermaid's own escapes for whatever could mean something to it."""
    return re.sub(r"[^\w ,.:/()\[\]…–-]|_", lambda found: f"#{ord(found[0])};", text)


def wrapped(text: str, width: int) -> list[str]:
    """A sentence in lines of about so many characters; a word is not broken."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def broken(text: str, width: int) -> list[str]:
    """A list in lines of about so many characters, broken behind commas alone."""
    first, *rest = text.split(", ")
    lines = [first]
    for each in rest:
        if len(lines[-1]) + len(each) + 2 <= width:
            lines[-1] += f", {each}"
        else:
            lines[-1] += ","
            lines.append(each)
    return lines


def left(lines: list[str], *, size: int = USUAL, color: str = "") -> str:
    """Lines in a cell of Graphviz's."""
    look = (f' point-size="{size}"' if size != USUAL else "") + (f' color="{color}"' if color else "")
    return "".join((f"<font{look}>{markup(line)}</font>" if look else markup(line)) + '<br align="left"/>' for line in lines)
