"""What the parent shows: a block that is drawn anew on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .corpus import ROLES
from .reports import Snapshot

LINE_EVERY = 1.0
"""Seconds between two lines where there is no terminal."""
LEAST_COLUMNS, LEAST_ROWS = 80, 16
"""What the block needs."""
HEADINGS = ("", "state", "consumer", "in flight", "lag", "delivered", "redelivered", "dropped")
WIDTHS = (-10, -12, -10, 9, 4, 9, 11, 7)
"""Of the columns; negative: aligned to the left."""
STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
STATES = {"AwaitingAck": "green", "Redelivering": "yellow", "Failover": "yellow", "Blocked": "red", "DeadLettering": "red"}


@dataclass(slots=True)
class View:
    """All that there is to see."""

    files: int
    published: int = 0
    dispatchers: dict[str, Snapshot] = field(default_factory=dict[str, Snapshot])
    phase: str = ""
    waiting: str = ""
    """Why the reliable ones are not open yet."""
    lease: float = 0.0
    """Seconds for which a dead owner's lease still holds."""
    cursors: dict[str, int] = field(default_factory=lambda: {role: -1 for role, kind in ROLES.items() if kind.reliable})
    """Of the reliable ones; while they are not open, the last that was heard."""

    @property
    def processed(self) -> int:
        """Messages that both reliable subscriptions have settled, as far as known."""
        return min(self.cursors.values()) + 1


def table(headings: Sequence[str], widths: Sequence[int], rows: Sequence[Sequence[object]]) -> list[str]:
    """Aligned columns, one blank apart."""

    def line(cells: Sequence[object]) -> str:
        return " ".join(f"{cell!s:{'<' if width < 0 else '>'}{abs(width)}}" for cell, width in zip(cells, widths, strict=True)).rstrip()

    return [line(headings), *map(line, rows)]


class Screen:
    def __init__(self) -> None:
        size = shutil.get_terminal_size()
        roomy = size.columns >= LEAST_COLUMNS and size.lines >= LEAST_ROWS
        self._block = roomy and sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._drawn = 0
        self._began = time.monotonic()
        self._next_line = 0.0
        self._phase = ""
        try:
            "█▓░–…─".encode(sys.stdout.encoding or "ascii")
            self._bar, self._none, self._cut, self._rule = "█▓░", "–", "…", "─"
        except UnicodeEncodeError:
            self._bar, self._none, self._cut, self._rule = "#=.", "-", "~", "-"

    def say(self, text: str = "", style: str = "", *, indent: int = 0) -> None:
        """Text that stays; on a terminal, wrapped between words."""
        self.clear()
        width = shutil.get_terminal_size().columns if self._block else sys.maxsize
        for part in text.splitlines() or [""]:
            for line in textwrap.wrap(part, width, subsequent_indent=" " * indent) or [""]:
                print(self.styled(line, style), flush=True)

    def event(self, text: str, style: str = "") -> None:
        """The same, with the time."""
        self.say(f"{self._time()}  {text}", style, indent=len(self._time()) + 2)

    def _time(self) -> str:
        return f"{time.monotonic() - self._began:5.1f} s"

    def styled(self, text: str, style: str) -> str:
        codes = ";".join(STYLES[name] for name in style.split())
        return f"\x1b[{codes}m{text}\x1b[0m" if self._block and codes else text

    def clear(self) -> None:
        """Take the block away."""
        if self._drawn:
            print(f"\x1b[{self._drawn}A\x1b[J", end="", flush=True)
            self._drawn = 0

    def draw(self, view: View) -> None:
        if self._block:
            columns = shutil.get_terminal_size().columns
            lines = [self.styled(text if len(text) <= columns else text[: columns - 1] + self._cut, style) for text, style in self._lines(view, columns)]
            up = f"\x1b[{self._drawn}A" if self._drawn else ""
            print(up + "".join(f"\x1b[K{line}\n" for line in lines) + "\x1b[J", end="", flush=True)
            self._drawn = len(lines)
            return
        if view.phase != self._phase:
            self._phase = view.phase
            self.event(view.phase)
        if time.monotonic() >= self._next_line and view.dispatchers:
            self._next_line = time.monotonic() + LINE_EVERY
            lease = [f"lease {view.lease:.0f} s"] if view.lease else []
            self.event(" | ".join([f"{view.published}/{view.files} published", *lease, *(self._told(role, view.dispatchers) for role in ROLES)]))

    def _lines(self, view: View, columns: int) -> list[tuple[str, str]]:
        numbers = f"  {view.processed} processed, {view.published} published, {view.files} files"
        phase = f"{view.phase} ({view.lease:.0f} s)" if view.lease else view.phase
        width = max(10, columns - len(numbers) - 1)
        done, out = (width * count // view.files for count in (view.processed, view.published))
        full, half, empty = tuple(self._bar)
        bar = full * done + half * max(0, out - done) + empty * (width - max(done, out))
        heading, *rows = table(HEADINGS, WIDTHS, [self._row(role, view.dispatchers.get(role)) for role in ROLES])
        lines = [(self._rule * min(columns, 80), "dim"), (bar + numbers, "cyan"), (f"{self._time()}  {phase}", "bold"), (heading, "dim")]
        for role, row in zip(ROLES, rows, strict=True):
            snapshot = view.dispatchers.get(role)
            lines.append((row, "" if snapshot is None else STATES.get(snapshot.state, "")))
            if ROLES[role].reliable:
                lines.append((f"{'':11}{view.waiting if snapshot is None else snapshot.why}", "dim"))
        return lines

    def _row(self, role: str, snapshot: Snapshot | None) -> tuple[object, ...]:
        if snapshot is None:
            return (role, "not open", *[self._none] * 6)
        cells = (snapshot.consumer, snapshot.in_flight, snapshot.lag)
        known = [self._none if cell is None else cell for cell in cells]
        return (role, snapshot.state, *known, snapshot.delivered, snapshot.redelivered, snapshot.dropped)

    @staticmethod
    def _told(role: str, dispatchers: Mapping[str, Snapshot]) -> str:
        snapshot = dispatchers.get(role)
        if snapshot is None:
            return f"{role} not open"
        return f"{role} {snapshot.delivered} {snapshot.state}" + (f", {snapshot.dropped} dropped" if snapshot.dropped else "")
