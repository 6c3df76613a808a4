"""The last transitions of a dispatcher, kept for somebody who watches it from another process, and how they are told there.

Nothing is kept until somebody asks. What is kept is bounded, and given up when nobody has asked for a lease's time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from .clock import LEASE
from .errors import NotSupported

KEPT = 64
"""Transitions that are kept at most: more than a screen shows. Of those between two looks that are too many, the watcher hears how many there were."""


class Transition(NamedTuple):
    """A row was taken: `danube_statemachines.VARIANTS[machine].table[row]`."""

    at: float
    """Unix seconds."""
    source: str
    trigger: str
    dest: str
    row: int


class Glance(NamedTuple):
    """What an owner answers somebody who watches."""

    at: float
    """Unix seconds, by the owner's clock."""
    taken: int
    """Transitions since it began to keep them."""
    transitions: list[Transition]
    """Those since the watcher's last look, at most KEPT, oldest first."""
    report: dict[str, Any]
    """What `Dispatcher.report` says now."""

    def encode(self) -> str:
        import json

        return json.dumps(self._asdict())

    @classmethod
    def decode(cls, text: str) -> Glance:
        """Raises NotSupported when the owner speaks another language."""
        import json

        try:
            told = json.loads(text)
            transitions = [Transition(float(at), str(source), str(trigger), str(dest), int(row)) for at, source, trigger, dest, row in told["transitions"]]
            return cls(float(told["at"]), int(told["taken"]), transitions, dict(told["report"]))
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
            raise NotSupported(f"the owner is of another version: its answer is not understood ({error})") from error


class Recent:
    """An observer. `now` is the wall clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._kept: deque[Transition] = deque(maxlen=KEPT)
        self._asked_at = now()
        self._taken = 0

    def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
        self._taken += 1
        self._kept.append(Transition(self._now(), source, trigger, dest, row))

    def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
        """Payloads are nobody's business, and transitions say enough."""

    @property
    def wanted(self) -> bool:
        """Whether somebody has asked within a lease's time."""
        return abs(self._now() - self._asked_at) < LEASE  # a wall clock may be set back

    def since(self, seen: str, report: dict[str, Any]) -> Glance:
        """For a watcher that has seen so many; one that has seen another owner's, or nothing, gets all that is kept."""
        self._asked_at = self._now()
        known = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 20 else 0
        new = self._taken - known if known <= self._taken else self._taken
        kept = list(self._kept)
        return Glance(self._asked_at, self._taken, kept[-new:] if new else [], report)
