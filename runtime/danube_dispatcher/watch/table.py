"""Lines as a table that fits the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from textual.content import Content

from danube_statemachines import RELIABLE_SHARED, Declaration

from ..diagrams import Drawing, Way
from ..diagrams.paint import plain
from .lines import Line, Which

NONE = "-"
GAP = "  "
NAME = 24
"""Characters of a name that are shown at most."""
INKS: dict[Way, str] = {"normal": "ansi_cyan", "leaves": "ansi_yellow", "beyond": "ansi_magenta", "quiet": "dim"}
"""The colours of the diagrams, as near as the sixteen of a terminal come to them: it knows what can be read on its ground."""
ALARM = "ansi_red bold"

Part = tuple[str, str]
"""A piece of text, with its style."""


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    text: Callable[[Line], str]
    rank: int = 0
    """Those of rank 0 are always there; where there is room, others come in this order."""
    widest: int = NAME
    right: bool = False
    least: int = 0
    """Characters that it has in any case, so that columns do not come and go with what happens."""


def in_flight(line: Line) -> str:
    offset, attempt = line.status.get("in_flight"), line.status.get("attempt")
    if not isinstance(offset, int):
        return NONE
    return f"{offset}" if attempt == 1 else f"{offset} ×{attempt}"


def a_second(rate: float | None) -> str:
    if rate is None:
        return NONE
    return f"{rate:,.0f}" if rate >= 10 or rate == 0 else f"{rate:.1f}"


def _consumers(line: Line) -> str:
    names = line.status.get("consumers")
    return " ".join(map(str, names)) if isinstance(names, list) and names else NONE  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


COLUMNS = (
    Column("TOPIC", lambda line: line.topic, 2),
    Column("SUBSCRIPTION", lambda line: line.name),
    Column("TYPE", lambda line: line.type, 6),
    Column("STATE", lambda line: line.state, least=max(map(len, RELIABLE_SHARED.states))),
    Column("ACTIVE", lambda line: str(line.status.get("active") or NONE), 3, 16),
    Column("CONSUMERS", _consumers, 5),
    Column("IN FLIGHT", in_flight, right=True),
    Column("CURSOR", lambda line: f"{line.cursor:,}", 1, right=True),
    Column("LAG", lambda line: f"{'' if line.told['lag']['exact'] else '≤'}{line.lag:,}", right=True),
    Column("OUT/S", lambda line: a_second(line.rate.delivered), 4, right=True),
    Column("SETTLED/S", lambda line: a_second(line.rate.settled), right=True),
    Column("OWNER", lambda line: line.owner or NONE, 7),
)


def written(*parts: Part) -> Content:
    """The pieces in a row. What others have written must not move the cursor of a terminal."""
    return Content.assemble(*((plain(text), style) for text, style in parts))


def clipped(text: str, width: int) -> str:
    """Names that begin the same differ at their ends."""
    tail = (width - 1) // 2
    return text if len(text) <= width else f"{text[: width - 1 - tail]}…{text[-tail:]}"


@cache
def drawn(machine: Declaration[Any]) -> Drawing:
    return Drawing(machine)


def ink(drawing: Drawing, state: str) -> str:
    return INKS[drawing.way_of(state)] if state in drawing.states else "dim"


class Table:
    """Of these lines, in a terminal that is `width` columns wide."""

    def __init__(self, lines: Sequence[Line], width: int) -> None:
        self._lines = lines
        self._width = width
        cells = {column: [clipped(column.text(line), column.widest) for line in lines] for column in COLUMNS}
        widths = {column: max(column.least, *map(len, [column.title, *texts])) for column, texts in cells.items()}
        room = width - sum(len(GAP) + widths[column] for column in COLUMNS if not column.rank)
        for column in sorted((column for column in COLUMNS if column.rank), key=lambda column: column.rank):
            room -= len(GAP) + widths[column]
            if room < 0:
                room += len(GAP) + widths.pop(column)
        self._widths = widths
        self._cells = cells

    def heading(self) -> Content:
        return written((GAP + GAP.join(self._aligned(column, column.title) for column in self._widths), "bold"))

    def row(self, nth: int, *, chosen: bool) -> Content:
        line = self._lines[nth]
        stuck = line.urgency == "stuck"
        texts = [(column, self._aligned(column, self._cells[column][nth])) for column in self._widths]
        mark = "! " if stuck else "· " if line.urgency == "waits" else GAP
        if chosen:  # in one colour: several would be a patchwork of grounds
            return written(((mark + GAP.join(text for _, text in texts)).ljust(self._width), "reverse"))
        drawing = drawn(line.machine)
        parts: list[Part] = [(mark, ALARM if stuck else "")]
        for column, text in texts:
            style = ink(drawing, line.state) if column.title == "STATE" else ALARM if column.title == "LAG" and stuck else ""
            parts += [(text, style), (GAP, "")]
        return written(*parts[:-1])

    def _aligned(self, column: Column, text: str) -> str:
        return text.rjust(self._widths[column]) if column.right else text.ljust(self._widths[column])


SORTS: dict[str, Callable[[Line], tuple[float, Which]]] = {
    "name": lambda line: (0, line.key),
    "stuck first": lambda line: ({"stuck": 0, "waits": 1, "well": 2}[line.urgency], line.key),
    "lag": lambda line: (-line.lag, line.key),
    "rate": lambda line: (-(line.rate.settled or 0.0), line.key),
}
