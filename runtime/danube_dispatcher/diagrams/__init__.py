"""Machines as pictures, read off their declarations: the four of `danube_statemachines.VARIANTS`, or one of your own.

`dot` and `mermaid` give text that is the same for the same declaration, with nothing but the standard library; `render` makes a picture of it.
There are two styles. `flow` shows the rows that change the state, `stays` those that do not, with their reasons. With `fired`, how often a run has
fired each row (see `read_fired`), either is a heat map.

drawing.py    what stands in the pictures of a declaration
paint.py      colours, by day and by night, and text that means nothing else
flow.py       the rows that change the state, in Graphviz's language
stays.py      the rows that stay, in Graphviz's language
flowchart.py  both in Mermaid's
heat.py       how often a run has fired each row
rendering.py  from Graphviz's language to a picture
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from danube_statemachines import Declaration
from danube_statemachines.checks import choice

from . import flow, flowchart, rendering, stays
from .drawing import Drawing
from .heat import Heat, read_fired
from .paint import PAINT, Way

__all__ = ["FORMATS", "PAINT", "STYLES", "Drawing", "Way", "dot", "mermaid", "read_fired", "render"]

Draw = Callable[[Drawing, Heat | None], Iterator[str]]


class Style(NamedTuple):
    """One way to look at a machine: what it shows, and how it is told in the languages of the pictures."""

    shows: str
    dot: Draw
    mermaid: Draw


FORMATS = ("dot", "mermaid", "png", "svg")
"""What `render` makes. Text needs no more than the standard library, pictures the extra `diagrams`."""
STYLES = {
    "flow": Style("the rows that change the state", flow.dot, flowchart.flow),
    "stays": Style("the rows that stay in their state, with their reasons", stays.dot, flowchart.stays),
}
"""What may be drawn, each with what it shows."""

Fired = Mapping[tuple[str, int, str], int]
"""How often a row was fired in a state: (machine, row, state) → times, as in `danube_statemachines.coverage`."""


def dot(declaration: Declaration[Any], *, style: str = "flow", fired: Fired | None = None) -> str:
    """The machine in Graphviz's language. Raises InvalidArgument.

    In a picture made of a flow a state has its identifier as `id`, an arrow and its label have `FROM-TO` as `class`.
    """
    return _text(_style(style).dot, declaration, fired)


def mermaid(declaration: Declaration[Any], *, style: str = "flow", fired: Fired | None = None) -> str:
    """The machine in Mermaid's language. Raises InvalidArgument."""
    return _text(_style(style).mermaid, declaration, fired)


def _style(name: str) -> Style:
    return STYLES[choice("style", name, STYLES)]


def _text(draw: Draw, declaration: Declaration[Any], fired: Fired | None) -> str:
    return "\n".join(draw(Drawing(declaration), None if fired is None else Heat(declaration, fired))) + "\n"


def render(declaration: Declaration[Any], format: str, *, style: str = "flow", fired: Fired | None = None) -> bytes:
    """The machine as "svg" or "png" (or the text of `dot` or `mermaid`). An SVG is dark where the reader's system is.

    Uses `dot` where it is installed, else the Graphviz that the wheels of pygraphviz carry. Raises InvalidArgument, and UsageError when the extra
    `diagrams` is not installed.
    """
    choice("format", format, FORMATS)
    if format == "mermaid":
        return mermaid(declaration, style=style, fired=fired).encode()
    text = dot(declaration, style=style, fired=fired)
    if format == "dot":
        return text.encode()
    return rendering.picture(text, format, f"{declaration.title}: {STYLES[style].shows}", Drawing(declaration).in_words())
