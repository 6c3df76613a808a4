"""What a correct reliable subscription may do, kept beside a real one: an observer that knows nothing of the code it watches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from danube_dispatcher import FailurePolicy
from danube_statemachines import DeliveryId, Held, Progress
from delivering import now
from turns import Turns

TIMEOUT = 12.25
"""Of an ack. Time is advanced by whole seconds, so that nothing is ever due at the very instant at which a step ends."""
SLACK = 1e-6
"""Seconds and tokens that rounding may cost."""


@dataclass
class Open:
    """The delivery whose answers count."""

    id: DeliveryId
    sent_at: float
    deadline: float
    taken: bool = False


class Ledger:
    """What must hold of each effect, given what was done so far. Complaints are kept: what an observer raises is only logged."""

    def __init__(self, policy: FailurePolicy, *, exclusive: bool, rate: float | None, burst: float | None) -> None:
        self.policy = policy
        self.exclusive = exclusive
        self.rate = rate
        self.burst = 0.0 if rate is None else max(1.0, rate if burst is None else burst)
        self.complaints: list[str] = []
        self.settled: dict[int, str] = {}
        self.settled_at: dict[int, float] = {}
        self.published = 0
        # of the first unsettled message
        self.open: Open | None = None
        self.failures = 0
        self.attempt = 0
        self.due: float | None = None
        """When its delay ends."""
        # what the test does at this moment
        self.acking: DeliveryId | None = None
        self.nacking: float | None = None
        """The delay that is asked for."""
        self.releasing: str | None = None
        self.paused = False
        self.charges = 0
        """Failures that were charged, ever,"""
        self.charged = 0
        """and that should have been."""
        self.reopened()

    def reopened(self, *, careful: int = 0) -> None:
        """A new run begins, with nobody attached; one that follows an unclean end is careful for so many messages."""
        self.open = None
        self.turns = Turns(self.exclusive)
        self.active: int | None = None
        self.careful = careful
        self.tokens, self.refilled_at = self.burst, now()

    def crashed(self, progress: Progress, epoch: float) -> set[int]:
        """All but what was durable is lost; times in it count from `epoch`. Return what was settled in vain."""
        lost = {offset for offset in self.settled if offset > progress.cursor}
        for offset in lost:
            del self.settled[offset], self.settled_at[offset]
        held = progress.held
        if held is None or held.offset != self.next:
            held = Held(self.next)
        died = held.sent and not self.policy.exhausted(held.failures)  # whoever was given it may have died of it
        self.failures = held.failures + died
        self.attempt = held.attempt
        self.due = None if held.due_at is None or died or self.exhausted else held.due_at - epoch
        return lost

    @property
    def next(self) -> int:
        """The first unsettled offset."""
        return len(self.settled)

    @property
    def exhausted(self) -> bool:
        return self.failures > self.policy.max_redeliveries

    @property
    def returning(self) -> bool:
        """Whether the first unsettled message was given out before: no pause and no limit holds it back."""
        return self.attempt > 0 or self.failures > 0

    def tokens_now(self) -> float:
        assert self.rate is not None
        return min(self.burst, self.tokens + (now() - self.refilled_at) * self.rate)

    @property
    def sendable(self) -> bool:
        """Whether nothing but the store can hold the next message back."""
        waits = self.due is not None and now() < self.due + SLACK
        held_back = not self.returning and (self.paused or (self.rate is not None and self.tokens_now() < 1 + SLACK))
        return self.next < self.published and bool(self.turns.order) and not self.exhausted and not waits and not held_back

    def must(self, holds: bool, what: str) -> None:
        if not holds:
            self.complaints.append(what)

    # consumers

    def lose(self, session: int, *, blame: bool, new: int | None = None) -> None:
        """A consumer goes, or is replaced. What it held is charged to it if it is to blame and had taken it."""
        held = self.open is not None and self.open.id[1] == session
        if self.open is not None and held:
            if blame and self.open.taken:
                self.charged += 1
            else:
                self.open = None
        if new is None:
            self.turns.go(session)
        else:
            self.turns.swap(session, new, first=held)

    # an observer

    def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
        if trigger == "polled":
            self.must(not self.paused, f"{self.next} was taken in while paused")
            if self.rate is not None:
                self.tokens, self.refilled_at = self.tokens_now() - 1, now()
                self.must(self.tokens > -SLACK, f"{self.next} was taken in with {self.tokens + 1} tokens (S10)")

    def effect(self, machine: str, name: str, arguments: tuple[Any, ...]) -> None:
        handle = getattr(self, f"on_{name}", None)
        if handle is not None:
            handle(*arguments)

    def on_active_changed(self, session: int | None) -> None:
        self.active = session

    def on_send(self, delivery: DeliveryId) -> None:
        _, session, offset, attempt = delivery
        self.must(self.open is None, f"{delivery} was sent while {self.open} is open (S1)")
        self.must(offset == self.next, f"{offset} was sent, but the first unsettled message is {self.next} (S2, S7)")
        self.must(offset < self.published, f"{offset} was sent and never published")
        self.must(attempt > self.attempt, f"attempt {attempt} follows {self.attempt}")
        self.must(not self.exhausted, f"{offset} was sent after {self.failures} failures (S13)")
        self.must(self.due is None or now() > self.due - SLACK, f"{offset} was sent before {self.due}")
        self.must(not self.exclusive or session == self.active, f"sent to {session}, but {self.active} was announced as active (S5)")
        self.must(session in self.turns.order[:1], f"sent to {session}, but it is the turn of {self.turns.order[:1]} (S5, S6)")
        self.turns.served(session)
        self.attempt = attempt
        self.due = None
        self.open = Open(delivery, now(), now() + TIMEOUT)

    def on_withdraw(self, delivery: DeliveryId) -> None:
        self.must(self.open is not None and self.open.id == delivery and now() >= self.open.deadline, f"{delivery} was withdrawn from {self.open}")
        if self.open is not None and self.open.taken:
            self.charged += 1
        else:
            self.open = None  # nobody had looked at it

    def on_save_failure(self, held: Held) -> None:
        if self.releasing == "retry":
            self.failures = 0
        else:
            self.must(self.open is not None and self.open.taken, f"a failure was charged, but {self.open} was nobody's (S13)")
            self.failures += 1
            self.charges += 1
            if self.nacking is not None or (self.open is not None and now() >= self.open.deadline):
                self.due = now() + self.policy.delay(self.next, self.failures, self.nacking or 0.0)
            self.open = self.nacking = None
        self.must((held.offset, held.failures) == (self.next, self.failures), f"{held} was saved after {self.failures} failures of {self.next} (S13)")
        self.must(held.due_at == self.due, f"{held} was saved, but is due at {self.due}")
        if self.exhausted:
            self.due = None

    def on_settle(self, offset: int, outcome: str) -> None:
        self.must(offset == self.next, f"{offset} was settled, but {self.next} is the first that is not (S2)")
        if outcome == "acked":
            earned = self.open is not None and self.acking == self.open.id
        elif outcome == "dropped":
            earned = self.releasing == "drop" or (self.exhausted and self.policy.poison_policy == "drop")
        else:
            earned = self.exhausted
        self.must(earned, f"{offset} was {outcome} by {self.acking or self.releasing} after {self.failures} failures (S3, S8)")
        self.settled[offset] = outcome
        self.settled_at[offset] = now()
        self.careful = max(0, self.careful - 1)
        self.open = self.due = None
        self.failures = self.attempt = 0
