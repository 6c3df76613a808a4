"""What a sequence diagram consists of, from above to below, whoever draws it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from danube_statemachines import VARIANTS

from ..diagrams.drawing import Drawing
from ..diagrams.paint import Way

MACHINE, ENGINE, STORE, LETTERS, PUBLISHER, OPERATOR, CLOCK = "machine", "engine and log", "store", "dead letters", "publisher", "operator", "clock"
ORDER = (PUBLISHER, MACHINE, ENGINE, STORE, LETTERS, OPERATOR, CLOCK)
"""From left to right, where nobody says otherwise. Consumers stand before them."""


class Arrow(NamedTuple):
    source: str
    target: str
    text: str
    way: Way = "quiet"
    answer: bool = False
    """It says what came of an arrow the other way."""
    at: float | None = None
    """Seconds; here as below: told where time has passed since what stands above."""


class Note(NamedTuple):
    over: tuple[str, ...]
    """Nobody: it is about all."""
    text: str
    at: float | None = None


class State(NamedTuple):
    """Where a machine stands now."""

    over: str | None
    """None: all machines together."""
    path: tuple[str, ...]
    """The states that it has passed since it was told last."""
    at: float | None = None

    @property
    def text(self) -> str:
        return " → ".join(self.path)


class End(NamedTuple):
    """Some are no more. Who appears again below has been started anew."""

    over: tuple[str, ...]
    text: str
    at: float | None = None


Element = Arrow | Note | State | End


def involved(element: Element) -> tuple[str, ...]:
    """The participants of an element."""
    if isinstance(element, Arrow):
        return (element.source, element.target)
    if isinstance(element, State):
        return () if element.over is None else (element.over,)
    return element.over


def participants(elements: Iterable[Element], order: Sequence[str]) -> list[str]:
    """All of them from left to right: those of `order` first, in that order."""
    found = dict.fromkeys(name for element in elements for name in involved(element))
    return sorted(found or [MACHINE], key=lambda name: _place(name, order))


def _place(name: str, order: Sequence[str]) -> tuple[int, int, str]:
    if name in order:
        return (0, order.index(name), "")
    if found := re.fullmatch(r"consumer (-?[0-9]{1,18})( .*)?", name, re.DOTALL):
        return (1, int(found[1]), found[2] or "")
    return (2, ORDER.index(name if name in ORDER else MACHINE), name)


@cache
def _ways() -> dict[str, Way]:
    drawings = [Drawing(declaration) for declaration in VARIANTS.values()]
    return {state: drawing.way_of(state) for drawing in drawings for state in drawing.states}


def way_of(state: str) -> Way:
    """On which way of the four machines a state lies; that of another machine is on none."""
    return _ways().get(state, "quiet")
