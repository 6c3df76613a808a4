"""Where everything stands in the picture of a sequence: shapes with their places and looks. Lengths are those of the picture, y grows downwards.

Each element has a band of its own across the picture, so that no text can come to lie on another one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from .elements import Arrow, Element, End, Note, State, involved, participants, way_of

WIDTH = 820
"""Of the picture, unless it has too many lifelines: a page shows it at this size or nearly so."""
MARGIN, GUTTER = 18, 50
"""Around everything; and for the times, on the left."""
SIZE, SMALL, TITLE = 14, 13, 18
"""Of letters."""
LINE = 17
"""From one line of text to the next."""
GAP = 9
"""Between two bands."""
PAUSE = 8
"""More of it where time passes."""
NEAREST, FAR = 118, 200
"""Between two lifelines; and for the sake of a text alone."""
PADDING = 9
"""Between a text and its box."""
NOTE = 290
"""Width of a note's text at most."""
BEND = 30
"""Of an arrow that returns to where it came from."""
CLEAR = 5
"""Between the text of an arrow and the lifelines at its ends."""

NARROW, MIDDLE, WIDE, WIDEST = "ijlIJ'|", " ,.:;/\\!()[]ft-r’·", "ABCDGHKNOQRUVXZwT&", "mMW%@+<>=→…"
WIDTHS = {**dict.fromkeys(NARROW, 31), **dict.fromkeys(MIDDLE, 41), **dict.fromkeys(WIDE, 80), **dict.fromkeys(WIDEST, 100)}
"""Of letters, in hundredths of their size; others are 64. Those of DejaVu Sans, as in `FONT` of the machines' pictures, rounded up."""
BOLD = 110
"""Hundredths of the width."""
TOGETHER = re.compile(" (?!-?[0-9]+\\b|s\\b)")
"""Where a line may be broken: not between a word and its number, nor before a unit."""


class Text(NamedTuple):
    """One line. `x` is its middle, or its left end where it is `left`; `y` its base line."""

    x: float
    y: float
    words: str
    look: str
    size: int = SIZE
    left: bool = False

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        broad = measure(self.words, self.size, bold="bold" in self.look)
        left = self.x if self.left else self.x - broad / 2
        return (left, self.y - 0.8 * self.size, left + broad, self.y + 0.25 * self.size)


class Box(NamedTuple):
    x: float
    y: float
    width: float
    height: float
    look: str
    round: float = 5


class Path(NamedTuple):
    d: str
    look: str


Shape = Text | Box | Path


class Layout(NamedTuple):
    width: float
    height: float
    shapes: list[Shape]


def measure(words: str, size: int = SIZE, *, bold: bool = False) -> int:
    """How broad a text is at most. Whole numbers: they are the same everywhere."""
    return sum(WIDTHS.get(letter, 64 if letter < "\u2e80" else 100) for letter in words) * size * (BOLD if bold else 100) // 10_000 + 1


def wrapped(words: str, width: float, *, size: int = SIZE, bold: bool = False) -> list[str]:
    """In lines of at most that width. A word that is longer is cut."""
    lines: list[str] = []
    for paragraph in words.split("\n"):
        line = ""
        for word in re.split(TOGETHER, paragraph):
            longer = f"{line} {word}" if line else word
            if measure(longer, size, bold=bold) <= width:
                line = longer
                continue
            if line:
                lines.append(line)
            while measure(word, size, bold=bold) > width and len(word) > 1:
                fits = next(count for count in range(1, len(word)) if measure(word[: count + 1], size, bold=bold) > width)
                lines.append(word[:fits])
                word = word[fits:]
            line = word
        lines.append(line)
    return lines


def layout(title: str, elements: Sequence[Element], order: Sequence[str]) -> Layout:
    return _Page(title, elements, participants(elements, order)).layout


class _Page:
    def __init__(self, title: str, elements: Sequence[Element], names: list[str]) -> None:
        self.left = MARGIN + (GUTTER if any(each.at is not None for each in elements) else 0)
        self.machines = {each.over for each in elements if isinstance(each, State)}
        heads = [_head_width(name) for name in names]
        gaps = self._gaps(elements, names, heads)
        first = self.left + heads[0] / 2 if gaps else (self.left + WIDTH - MARGIN) / 2
        self.places = dict(zip(names, accumulate(gaps, initial=first), strict=True))
        self.right = max(WIDTH - MARGIN, self.places[names[-1]] + heads[-1] / 2)
        self.y: float = MARGIN
        self.shapes: list[Shape] = []
        for line in wrapped(title, WIDTH - 2 * MARGIN, size=TITLE, bold=True) if title else ():
            self.y += TITLE + 5
            self.shapes.append(Text(MARGIN, self.y - 5, line, "bold", TITLE, left=True))
        self.y += GAP if title else 0
        self.y += self._heads()
        self.alive: dict[str, float] = dict.fromkeys(names, self.y)
        self.lines: list[Shape] = []
        self.timed = False
        for each in elements:
            self._band(each)
        self.y += GAP
        for name in [*self.alive]:
            self._lifeline(name, self.y)
        self.y += self._heads()
        self.layout = Layout(self.right + MARGIN, self.y + MARGIN, [*self.lines, *self.shapes])

    # from left to right

    def _gaps(self, elements: Sequence[Element], names: list[str], heads: list[int]) -> list[int]:
        """Between neighbours: more where they say more to each other. What is left over goes to all alike."""
        least = [max(NEAREST, (one + other) // 2 + GAP) for one, other in pairwise(heads)]
        wanted = list(least)
        for each in elements:
            source, target = (names.index(name) for name in involved(each)) if isinstance(each, Arrow) else (0, 0)
            if abs(source - target) == 1:
                nth = min(source, target)
                wanted[nth] = max(wanted[nth], min(max(map(measure, each.text.split("\n"))), FAR) + 2 * CLEAR)
        spare = max(0, WIDTH - MARGIN - self.left - (heads[0] + heads[-1]) // 2 - sum(least))
        more = [want - need for want, need in zip(wanted, least, strict=True)]
        share = min(1.0, spare / sum(more)) if sum(more) else 0.0
        rest = max(0, spare - sum(more)) / max(1, len(more))
        return [int(need + share * extra + rest) for need, extra in zip(least, more, strict=True)]

    # from above to below

    def _heads(self) -> float:
        for name, x in self.places.items():
            broad, look = _head_width(name), "normal" if name in self.machines else "plain"
            self.shapes.append(Box(x - broad / 2, self.y, broad, 30, look))
            self.shapes.append(Text(x, self.y + 20, name, f"bold {look}"))
        return 30

    def _band(self, element: Element) -> None:
        self.y += GAP
        if element.at is not None:
            self._time(element.at)
        for name in involved(element):
            self.alive.setdefault(name, self.y)
        if isinstance(element, Arrow):
            self._arrow(element)
        elif isinstance(element, State):
            self._boxed(element.text, () if element.over is None else (element.over,), f"bold {way_of(element.path[-1])}", round=12)
        elif isinstance(element, Note):
            self._boxed(element.text, element.over, "note")
        else:
            self._end(element)

    def _time(self, at: float) -> None:
        if self.timed:
            self.y += PAUSE
            self.lines.append(Path(f"M{self.left - 8:g} {self.y - GAP / 2:g}H{self.right:g}", "passes"))
        self.timed = True
        self.shapes.append(Text(MARGIN, self.y + SMALL, f"{at:g} s", "time bold", SMALL, left=True))

    def _arrow(self, arrow: Arrow) -> None:
        start, end = self.places[arrow.source], self.places[arrow.target]
        look = f"{arrow.way}{' answer' if arrow.answer else ''}"
        if start == end:
            self._bend(arrow.text, start, look)
            return
        lines = wrapped(arrow.text, abs(end - start) - 2 * CLEAR)
        self._lines(lines, (start + end) / 2, "label")
        self.y += 7
        toward = 1 if end > start else -1
        self.shapes.append(Path(f"M{start:g} {self.y:g}H{end - toward * (2 if arrow.answer else 8):g}", f"line {look}"))
        self.shapes.append(_tip(end, self.y, toward, look, hollow=arrow.answer))
        self.y += 3

    def _bend(self, text: str, x: float, look: str) -> None:
        right = min((place for place in self.places.values() if place > x), default=self.right)
        left = max((place for place in self.places.values() if place < x), default=self.left)
        toward = 1 if right - x >= x - left or x + NEAREST < right else -1
        room = (right - x if toward > 0 else x - left) - BEND - 2 * PADDING
        lines = wrapped(text, max(room, 40))
        broad = max(map(measure, lines))
        top = self.y + 4
        self._lines(lines, x + toward * (BEND + PADDING + broad / 2), "label")
        self.y = max(self.y, top + 16)
        self.shapes.append(Path(f"M{x:g} {top:g}h{toward * BEND}V{self.y:g}H{x + toward * 8:g}", f"line {look}"))
        self.shapes.append(_tip(x, self.y, -toward, look, hollow=False))
        self.y += 3

    def _boxed(self, text: str, over: Sequence[str], look: str, *, round: float = 5) -> None:
        """A text in a box on the lifeline of the one it is about, or across those of several."""
        bold = "bold" in look
        if len(over) == 1:
            middle = self.places[over[0]]
            lines = wrapped(text, NOTE, bold=bold)
            broad: float = max(measure(line, bold=bold) for line in lines) + 2 * PADDING
        else:
            across = [self.places[name] for name in over or self.places]
            middle = (min(across) + max(across)) / 2
            broad = max(max(across) - min(across) + NEAREST * 0.8, NEAREST)
            lines = wrapped(text, min(broad, self.right - self.left) - 2 * PADDING, bold=bold)
        broad = min(broad, self.right - self.left)
        middle = min(max(middle, self.left + broad / 2), self.right - broad / 2)
        height = len(lines) * LINE + PADDING
        self.shapes.append(Box(middle - broad / 2, self.y, broad, height, look.replace("bold ", ""), round))
        bottom = self.y + height
        self.y += PADDING / 2
        self._lines(lines, middle, look)
        self.y = bottom

    def _end(self, end: End) -> None:
        self._boxed(end.text, end.over, "leaves")
        self.y += GAP
        for name in end.over or [*self.places]:
            x = self.places[name]
            self._lifeline(name, self.y)
            self.shapes.append(Path(f"M{x - 6:g} {self.y - 6:g}l12 12m0 -12l-12 12", "line leaves cross"))
        self.y += 6

    def _lifeline(self, name: str, bottom: float) -> None:
        x = self.places[name]
        self.lines.append(Path(f"M{x:g} {self.alive.pop(name):g}V{bottom:g}", "life"))

    def _lines(self, lines: Sequence[str], middle: float, look: str) -> None:
        for line in lines:
            self.y += LINE
            self.shapes.append(Text(middle, self.y - 4, line, look))


def _head_width(name: str) -> int:
    return max(84, measure(name, bold=True) + 2 * PADDING)


def _tip(x: float, y: float, toward: int, look: str, *, hollow: bool) -> Path:
    back = x - toward * 9
    d = f"M{back:g} {y - 4.5:g}L{x - toward * 1.5:g} {y:g}L{back:g} {y + 4.5:g}"
    return Path(d if hollow else f"{d}z", f"{'line' if hollow else 'tip'} {look.removesuffix(' answer')}")
