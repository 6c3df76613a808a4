"""One ownership of a subscription, from the taking of its lease to the next: which message is next, who has it, and what may settle it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..clock import LEASE
from ..virtual_time import SECOND
from .rules import Broken
from .seats import Seats

MILLISECOND = 1_000_000
"""Nanoseconds."""


class Terms(NamedTuple):
    """Of an opening. Milliseconds; messages in 1000 s; -1: none."""

    type: str
    ack_timeout: int
    max_redeliveries: int
    poison_policy: str
    max_hold: int
    flush_interval: int
    rate: int
    burst: int


NO_TERMS = Terms("shared", -1, 0, "block", -1, -1, -1, -1)


@dataclass
class Taken:
    """The delivery that was taken last."""

    number: int
    """Of the consumer."""
    offset: int
    attempt: int
    sent_at: int | None
    """Where it is known, in nanoseconds."""
    deadline: int | None
    answer: str = ""
    """ "acking", "nacking", "refused" when that returned False; "" while nobody has answered."""
    excused: bool = False
    """Its consumer left without blame,"""
    doubtful: bool = False
    """though perhaps too late."""

    def excuse(self, now: int) -> None:
        if not self.answer:
            self.excused = self.deadline is not None and now < self.deadline
            self.doubtful = not self.excused and (self.deadline is None or now == self.deadline)


@dataclass
class Tenure:
    subject: str
    terms: Terms
    epoch: int
    process: str
    next: int
    """The first offset that is not settled."""
    renewed_at: int
    charges: int = 0
    """To the next message, for certain."""
    doubts: int = 0
    """Failures that may have been charged to it, too."""
    attempt: int = 0
    """Of the next message, the last one."""
    returning: int = -1
    """The offset of a message that was in hand before: no new intake."""
    paused: bool = False
    grace: bool = False
    """One message may have been sent before the pause and taken after it."""
    seats: Seats = field(init=False)
    taken: Taken | None = None
    answers: dict[tuple[int, int, int, str], Taken] = field(default_factory=dict[tuple[int, int, int, str], Taken])
    """Those given to the open delivery, in time and by an attached consumer, that have not returned: (consumer, offset, attempt, what)."""
    newest: int = -1
    """The highest offset taken."""
    undurable: dict[int, int] = field(default_factory=dict[int, int])
    """Accepted acks that are not durable: offset, and when."""
    judged: bool = False
    """Its end was looked at."""
    tokens: float = field(init=False)
    refilled_at: int = field(init=False)

    def __post_init__(self) -> None:
        self.seats = Seats(self.subject, self.terms.type)
        self.tokens = self._burst
        self.refilled_at = self.renewed_at

    @property
    def _burst(self) -> float:
        """One more than was agreed on: a first delivery may be taken a little after it was sent, and the next one at once."""
        return 1 + (max(1.0, self.terms.rate / 1000) if self.terms.burst < 0 else self.terms.burst / 1000)

    @property
    def blame(self) -> int:
        """Failures that may have been charged to the next message by now."""
        taken = self.taken
        return self.charges + self.doubts + (taken is not None and taken.offset == self.next and taken.answer != "acking" and not taken.excused)

    @property
    def exhausted(self) -> bool:
        return self.blame > self.terms.max_redeliveries

    def settle(self) -> None:
        """The next message is done with."""
        self.next += 1
        self.charges = self.doubts = self.attempt = 0
        self.taken = None

    def matching(self, number: int, offset: int, attempt: int) -> Taken | None:
        """What was taken last, if it is this."""
        taken = self.taken
        return taken if taken is not None and (taken.number, taken.offset, taken.attempt) == (number, offset, attempt) else None

    def take(self, number: int, offset: int, attempt: int, line: int, now: int) -> None:
        """A delivery of the next message is taken."""
        waited = self.seats.take(number, line, now, offset)
        before = self.taken
        if before is not None:
            self._follow(before, now)
        if attempt <= self.attempt:
            raise Broken("attempts grow", f"attempt {attempt} follows {self.attempt}", self.subject, offset)
        if offset > self.newest:
            self._take_in(offset, attempt, now, waited)
        self.newest = max(self.newest, offset)
        self.attempt = attempt
        self.taken = Taken(number, offset, attempt, now if waited else None, now + self.terms.ack_timeout * MILLISECOND if waited else None)

    def _follow(self, before: Taken, now: int) -> None:
        """The same message again."""
        if before.answer == "acking":
            raise Broken("settled once", "it was acknowledged and is delivered again", self.subject, before.offset)
        if not before.answer and before.number in self.seats and before.deadline is not None and now < before.deadline:
            raise Broken("single in flight", f"attempt {before.attempt} is still open with consumer {before.number}", self.subject, before.offset)
        if before.doubtful:
            self.doubts += 1
        elif not before.excused:
            self.charges += 1

    def _take_in(self, offset: int, attempt: int, now: int, waited: bool) -> None:
        """A message comes for the first time."""
        if offset == self.returning:
            return  # it may have been in hand, blocked, since this began
        if waited and attempt == self.attempt + 1 and now > self.renewed_at + LEASE * SECOND:
            raise Broken("lapsed lease", f"its lease was renewed {(now - self.renewed_at) / SECOND:.3f} s ago", self.subject, offset)
        if self.paused:
            if not self.grace:
                raise Broken("pause", "it was taken in while paused", self.subject, offset)
            self.grace = False
        if self.terms.rate >= 0 and attempt == 1:
            self.tokens = min(self._burst, self.tokens + (now - self.refilled_at) / SECOND * self.terms.rate / 1000) - 1
            self.refilled_at = now
            if self.tokens < -0.01:  # the limit stands in the history in whole thousandths
                raise Broken("rate limit", f"more than {self.terms.rate / 1000:g} messages a second", self.subject, offset)
