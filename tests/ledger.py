"""What a correct reliable subscription may do, kept beside a real one: an observer that knows nothing of the code it watches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from danube_dispatcher import FailurePolicy
from danube_statemachines import DeliveryId, Held
from delivering import now

TIMEOUT = 12.25
"""Of an ack. Time is advanced by whole seconds, so that nothing is ever due at the very instant at which a step ends."""


@dataclass
class Open:
    """The delivery whose answers count."""

    id: DeliveryId
    deadline: float
    taken: bool = False


class Ledger:
    """What must hold of each effect, given what was done so far. Complaints are kept: what an observer raises is only logged."""

    def __init__(self, policy: FailurePolicy, exclusive: bool) -> None:
        self.policy = policy
        self.exclusive = exclusive
        self.complaints: list[str] = []
        self.settled: dict[int, str] = {}
        self.published = 0
        self.open: Open | None = None
        self.failures = 0
        """Charged to the first unsettled message."""
        self.attempt = 0
        self.charges = 0
        """All that were made, ever."""
        self.paused = False
        self.active: int | None = None
        self.acking: DeliveryId | None = None
        self.releasing: str | None = None

    @property
    def next(self) -> int:
        """The first unsettled offset."""
        return len(self.settled)

    @property
    def exhausted(self) -> bool:
        return self.failures > self.policy.max_redeliveries

    def must(self, holds: bool, what: str) -> None:
        if not holds:
            self.complaints.append(what)

    def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
        pass

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
        self.must(not self.exclusive or session == self.active, f"sent to {session}, but {self.active} was announced as active (S5)")
        self.must(not self.paused or attempt > 1, f"{offset} was taken in while paused")
        self.attempt = attempt
        self.open = Open(delivery, now() + TIMEOUT)

    def on_withdraw(self, delivery: DeliveryId) -> None:
        self.must(self.open is not None and self.open.id == delivery and now() >= self.open.deadline, f"{delivery} was withdrawn from {self.open}")
        if self.open is not None and not self.open.taken:
            self.open = None  # nobody had looked at it; a failure is still to be charged for one that was taken

    def on_save_failure(self, held: Held) -> None:
        if self.releasing == "retry":
            self.failures = 0
        else:
            self.must(self.open is not None and self.open.taken, f"a failure was charged, but {self.open} was nobody's (S13)")
            self.failures += 1
            self.charges += 1
            self.open = None
        self.must((held.offset, held.failures) == (self.next, self.failures), f"{held} was saved after {self.failures} failures of {self.next} (S13)")

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
        self.open = None
        self.failures = self.attempt = 0
