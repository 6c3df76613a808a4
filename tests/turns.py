"""Who is attached and whose turn it is, as users think of it: one number a consumer, and the lowest is next.

Whoever was served (shared) gets a new highest one. Written without a look at the machines' selection.
"""

from __future__ import annotations

from itertools import count
from typing import Any

Announcement = list[tuple[Any, ...]]
"""The effect that tells another active consumer, if there is another."""


class Turns:
    def __init__(self, exclusive: bool) -> None:
        self.exclusive = exclusive
        self.numbers = count()
        self.announced: int | None = None
        self._turns: dict[int, float] = {}

    @property
    def order(self) -> list[int]:
        """The attached sessions, the next one first."""
        return sorted(self._turns, key=self._turns.__getitem__)

    def come(self, session: int) -> Announcement:
        self._turns[session] = next(self.numbers)
        return self._announce()

    def go(self, session: int) -> Announcement:
        del self._turns[session]
        return self._announce()

    def swap(self, session: int, new: int, *, first: bool) -> Announcement:
        """`new` takes over; `first`: with the message in hand, so that it is next."""
        turn = self._turns.pop(session)
        self._turns[new] = min(self._turns.values(), default=0) - 1 if first else turn
        return self._announce()

    def served(self, session: int) -> None:
        if not self.exclusive and session in self._turns:
            self._turns[session] = next(self.numbers)

    def _announce(self) -> Announcement:
        active = self.order[0] if self.exclusive and self._turns else None
        if active == self.announced:
            return []
        self.announced = active
        return [("active_changed", active)]
