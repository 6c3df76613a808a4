"""What is known of one subscription from the records alone, and what the documents promise of it.

Where a kill leaves open whether a call took effect, both are allowed; everything else is a finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from crash.workload import FLUSH_MESSAGES, Profile

LEASE, HEARTBEAT = 10.0, 0.5
"""Seconds, as the documents say."""
SLACK = 0.01
"""Seconds of the virtual clock."""
UNSEEN = 2
"""Messages that may have met their verdict since the last one that was taken."""


@dataclass
class Tally:
    """What was seen."""

    records: int = 0
    published: int = 0
    taken: int = 0
    acked: int = 0
    redelivered: int = 0
    """Taken with an attempt beyond the first."""
    duplicates: int = 0
    """Taken though an ack was accepted before."""
    worst: dict[str, int] = field(default_factory=dict[str, int])
    """By subscription, the most duplicates after one kill."""
    takeovers: int = 0
    worst_takeover: float = 0.0
    """Virtual seconds from the last renewal that a dead owner began until its successor owned."""
    dead_letters: int = 0
    dead_letter_copies: int = 0
    dropped: int = 0
    released: int = 0
    deadly: int = 0
    """Payloads that killed their process."""
    deadly_crashes: int = 0
    worst_crashes: int = 0
    """Crashes by one payload beyond its policy's limit."""
    rows: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])

    def add(self, other: Tally) -> None:
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(value, set):
                mine |= value
            elif isinstance(value, dict):
                self.worst = {key: max(mine.get(key, 0), value.get(key, 0)) for key in {**mine, **value}}
            else:
                setattr(self, name, max(mine, value) if name.startswith("worst") else mine + value)


class Book:
    """What is known of one subscription."""

    def __init__(self, profile: Profile, tally: Tally, complain: Callable[[str, str], None]) -> None:
        self.profile = profile
        self.tally = tally
        self.complain = complain
        self.end = "none"
        """How its last tenure ended: none, clean, unclean (the next owner must be careful), kept (clean, but the next owner goes on being careful), or
        unknown."""
        self.left = 0
        """For how many messages it surely goes on, if the end was not unclean."""
        self.lease_until = -1.0
        """When the lease of the last owner ends at the latest."""
        self.acked: dict[int, float] = {}
        """Acks that were accepted, and when."""
        self.asked: set[int] = set()
        """Acks that may have been."""
        self.releases: dict[int, set[str]] = {}
        self.charges: Counter[int] = Counter()
        """Failures that may have been charged."""
        self.certain: Counter[int] = Counter()
        """Those that must have been, since the last retry."""
        self.floor = -1
        """Everything up to here is settled and durable, as promised or as read."""
        self.front = 0
        """The first message that cannot have been settled."""
        self.fates: dict[int, str] = {}
        """Of those that were passed without an ack: the word of the policy or of the release."""
        self.attempts: dict[int, int] = {}
        """The last one that is durable."""
        self.crashes: Counter[int] = Counter()
        """By a deadly message, since the last retry."""
        self._begin(careful=0, plain=True)

    def _begin(self, *, careful: int, plain: bool) -> None:
        self.careful = careful
        """For how many more messages the owner is surely careful."""
        self.plain = plain
        """Whether it surely is not."""
        self.first = self.floor + 1
        """Where this tenure may have begun to settle."""
        self.last: tuple[int, int] | None = None
        """Offset and attempt of the last one taken."""
        self.answered = False
        self.refused = False
        """Whether a nack is under way that will be charged."""
        self.tenure: list[tuple[float, int]] = []
        """Acks accepted in this tenure."""
        self.asked_now: set[int] = set()
        """Acks that may have been accepted in this tenure."""
        self.again: set[int] = set()
        self.flushing = -1
        self.taken_away: set[int] = set()
        self.closing = False

    def must(self, holds: bool, what: str) -> None:
        if not holds:
            self.complain(f"{self.profile.name}: {what}", self.profile.name)

    # the subscription

    def on_subscribe(self, at: float) -> None:
        self.opened_as, self.asked_at, self.dead_until = self.end, at, self.lease_until
        self.end = "unclean" if self.end == "unclean" else "unknown"

    def on_acquire(self, at: float) -> None:
        """It tries: killed now, it may or may not have got the lease."""
        self.lease_until = at + LEASE

    def on_owned(self, at: float) -> None:
        unclean = self.opened_as == "unclean"
        if unclean:
            took = at - max(self.dead_until - LEASE, self.asked_at - LEASE - HEARTBEAT)
            if self.asked_at < self.dead_until:
                self.tally.takeovers += 1
                self.tally.worst_takeover = max(self.tally.worst_takeover, took)
            self.must(took <= LEASE + HEARTBEAT + SLACK, f"taken over {took:.2f} s after the last renewal of its dead owner began (L4)")
        self.end = "unclean"
        self._begin(careful=FLUSH_MESSAGES if unclean else self.left, plain=self.opened_as == "clean")

    def on_closing(self, at: float) -> None:
        self.end = "unknown"
        self.closing = True
        self._keep()

    def _keep(self) -> None:
        """A close passes on the care that has not come to its end; one that is not done leaves more of it."""
        self.left = max(0, self.careful - UNSEEN)

    def on_closed(self, at: float) -> None:
        self.end = "clean" if self.plain or len(self.tenure) >= FLUSH_MESSAGES else "kept"
        self.lease_until = at
        if self.tenure:
            self.floor = max(self.floor, self.tenure[-1][1])
        if self.last is not None and self.last[0] not in self.asked:
            self.attempts[self.last[0]] = self.last[1]
        self._begin(careful=0, plain=True)

    def row(self, cursor: int, owner: str) -> None:
        """What the store says, read by a later process."""
        self.must(cursor >= self.floor, f"the stored cursor is {cursor}, but everything up to {self.floor} was durable")
        self.pass_to(cursor + 1, "the stored cursor is behind it")
        self.must(owner == "" or self.end not in ("clean", "kept"), f"it was closed, and yet {owner} owns it")
        self.floor = max(self.floor, cursor)

    def died(self, at: float) -> None:
        """The process is gone; the last record was written then."""
        if self.end not in ("unclean", "unknown"):
            return
        if not self.closing:
            for when, offset in self.tenure:
                if when + self.profile.flush_interval < at - SLACK:
                    self.floor = max(self.floor, offset)
        last = None if self.last is None else self.last[0]
        if not self.plain:
            top = last if last is not None else max([*self.asked, *self.fates, self.floor])
            while self.verdict(top + 1):  # it met its verdict as soon as the next was asked for
                top += 1
            self.charges.update(range(self.floor + 1, top + 2))
        if self.careful and last is not None and not self.closing and not self.answered:
            self.certain[last] += 1
        self._begin(careful=0, plain=True)

    # deliveries

    def settled(self, offset: int) -> bool:
        """Whether it may be."""
        return offset in self.asked or self.verdict(offset)

    def verdict(self, offset: int) -> bool:
        """Whether it may be, by policy or by a release."""
        return bool(self.releases.get(offset, set()) & {"drop", "dead_letter"}) or self.exhausted(offset)

    def exhausted(self, offset: int) -> bool:
        return self.profile.policy.poison_policy != "block" and self.charges[offset] > self.profile.policy.max_redeliveries

    def pass_to(self, offset: int, why: str) -> None:
        """Everything before `offset` must have been settled by now."""
        while self.front < offset:
            passed = self.front
            self.must(self.settled(passed), f"message {passed} was never settled ({self.charges[passed]} possible failures), and {why} (S2)")
            if passed not in self.asked:
                released = self.releases.get(passed, set())
                self.fates[passed] = "drop" if "drop" in released else "dead_letter" if released else self.profile.policy.poison_policy
            self.front += 1

    def on_took(self, at: float, consumer: str, offset: int, attempt: int, *_: str) -> None:
        tally = self.tally
        tally.taken += 1
        tally.redelivered += attempt > 1
        self.pass_to(offset, f"{offset} was given out")
        self.must(offset > self.floor, f"{offset} came again, though everything up to {self.floor} was durable")
        limit = self.profile.policy.max_redeliveries
        self.must(self.certain[offset] <= limit, f"{offset} was given out after {self.certain[offset]} failures, and its limit is {limit} (S13)")
        if self.last is not None:
            before, number = self.last
            self.must(offset >= before, f"{offset} was given out after {before} (S7)")
            if offset == before:
                self.must(attempt > number, f"attempt {attempt} of {offset} follows attempt {number}")
                self.must(not any(each == offset for _, each in self.tenure[-1:]), f"{offset} was given out again after its ack was accepted (S3)")
            for passed in range(before, offset):
                settled = passed in self.asked_now or self.verdict(passed)
                self.must(settled, f"{offset} was given out while {passed} was not settled (S1, S2)")
        # what met its verdict counts in careful mode like what was acked
        since = self.first if self.last is None else self.last[0]
        self.careful = max(0, self.careful - sum(passed not in self.asked_now for passed in range(since, offset)))
        known = self.attempts.get(offset, 0)
        self.must(attempt > known, f"attempt {attempt} of {offset} came again: {known} was durable")
        if offset in self.acked and offset not in self.again:
            self.again.add(offset)
            tally.duplicates += 1
            tally.worst[self.profile.name] = max(tally.worst.get(self.profile.name, 0), len(self.again))
        if self.careful:
            self.floor = max(self.floor, offset - 1)
            if self.last is None or self.last[0] != offset:
                self.attempts[offset] = known + 1  # of its first send, which may have waited in another's box in vain
        self.last = (offset, attempt)
        self.answered = False

    def on_ack(self, at: float, offset: int, attempt: int, kind: str) -> None:
        if kind == "prompt":
            self.answered = True
            self.asked.add(offset)
            self.asked_now.add(offset)
            self.strict = self.profile.flush_interval == 0 or self.careful > 0
            self.careful = max(0, self.careful - 1)
            if self.closing:
                self._keep()

    def on_acked(self, at: float, offset: int, attempt: int, kind: str, counted: bool) -> None:
        if not self.may_fail(offset) or (counted and kind == "late"):
            self.must(counted == (kind == "prompt"), f"a {kind} ack of {offset} was answered {counted} (S3)")
        if not counted:
            return
        self.tally.acked += 1
        self.acked[offset] = at
        self.tenure.append((at, offset))
        if self.strict:
            self.floor = max(self.floor, offset)
        if len(self.tenure) > FLUSH_MESSAGES:
            self.floor = max(self.floor, self.tenure[-FLUSH_MESSAGES - 1][1])

    def on_nack(self, at: float, offset: int, attempt: int) -> None:
        self.charges[offset] += 1
        self.answered = self.refused = True

    def on_nacked(self, at: float, offset: int, attempt: int, counted: bool) -> None:
        self.must(counted or self.may_fail(offset), f"a nack of {offset} was answered False")
        if counted:
            self.certain[offset] += self.refused
            self.floor = max(self.floor, offset - 1)
            self.attempts[offset] = attempt

    def on_stall(self, at: float, offset: int) -> None:
        self.charges[offset] += 1
        self.answered = True

    on_leave = on_replace = on_stall

    def on_intrude(self, at: float) -> None:
        """Another consumer takes over from one that may have the message."""
        if self.last is not None:
            self.taken_away.add(self.last[0])
            self.charges[self.last[0]] += 1

    def may_fail(self, offset: int) -> bool:
        """Whether an answer in time may count for nothing."""
        return self.closing or offset in self.taken_away

    def on_extended(self, at: float, offset: int, counted: bool) -> None:
        self.must(counted or self.may_fail(offset), f"an extension of {offset} was answered False")

    def on_repeated(self, at: float, offset: int, *counted: bool) -> None:
        self.must(not any(counted), f"{offset} was acked, and then a nack and an extension were answered {counted} (S3)")

    def on_flush(self, at: float) -> None:
        self.flushing = self.tenure[-1][1] if self.tenure else -1

    def on_flushed(self, at: float, done: bool) -> None:
        if done:
            self.floor = max(self.floor, self.flushing)

    def on_release(self, at: float, offset: int, action: str) -> None:
        self.releases.setdefault(offset, set()).add(action)
        if action == "retry":
            self.certain[offset] = 0
            self.refused = False  # a nack that is not answered yet was forgiven, too
            self.crashes.pop(offset, None)
            self.last = (offset, self.attempts.get(offset, 0))  # what comes is no first send

    def on_released(self, at: float, offset: int, action: str) -> None:
        self.tally.released += 1
        if action != "retry":
            self.floor = max(self.floor, offset)

    def on_deadly(self) -> None:
        """The message just taken kills the process."""
        assert self.last is not None
        offset, limit = self.last[0], self.profile.policy.max_redeliveries
        self.crashes[offset] += 1
        crashes = self.crashes[offset]
        self.tally.deadly += crashes == 1
        self.tally.deadly_crashes += 1
        self.tally.worst_crashes = max(self.tally.worst_crashes, crashes - limit)
        self.must(crashes <= limit + 2, f"{offset} has killed its process {crashes} times, and its limit is {limit}")
