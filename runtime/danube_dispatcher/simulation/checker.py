"""Reads a history and says whether it may be. It knows what anyone outside the code could know, and nothing of the code.

Lines are (nanoseconds, process, what, …). The disk writes, at the moment at which it is so:

    appended TOPIC OFFSET ID                  a message is in a topic
    buried TOPIC OFFSET ID SUBSCRIPTION OF    so is the dead letter of message OF of a subscription
    owns SUBSCRIPTION EPOCH UNCLEAN NEW CURSOR  the process has taken the lease
    renewed MILLISECONDS EPOCH …              it has renewed its leases
    let_go SUBSCRIPTION EPOCH                 it has ended the lease
    durable SUBSCRIPTION EPOCH CURSOR PAUSED OFFSET ATTEMPT FAILURES MARK
    removed SUBSCRIPTION EPOCH
    fault KIND CALL                           a call of the store goes wrong

The processes write what they see at the public face: publishing and published; opening (with its terms), opened, unopened, closing and closed;
joining, joined, waits, delivered, leaving, ended and refused of a consumer; acking, acked, nacking, nacked and extended of a delivery; pausing, paused,
resuming; releasing, released; disconnecting; unsubscribing. What befalls them: started, crash, stall, resume, outage, clock, deaf. The world writes:
calm, still, settled.

**The bound on liveness.** When faults stop, every reliable subscription is settled within

    takeover          2 × (LEASE + HEARTBEAT): a process that dozed may hold it, and clocks that differed are right only now
  + coming back       WATCH until a process notices that it has lost it, NAP until some process tries to open it, AWAY until a consumer joins
  + what is held      HOLD: no silence of a consumer and no deadline is longer
  + one delay         MAX_DELAY: consumers acknowledge now, so a message is redelivered once more at most
  + the store         2 × RETRY_MOST: a cursor or a dead letter that failed last just before, and SLOWEST for a slow call
  + release           2 × CARE: what is blocked or paused is let go by an operator
  + the backlog       a first delivery takes a token of the smallest rate limit, and each message WORK seconds in one of five cases
  + FLUSH_INTERVAL    until the last position is durable

A pair of topics that are each other's dead-letter topic adds nothing: consumers acknowledge, so nothing moves any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from danube_statemachines import FLUSH_INTERVAL

from ..clock import HEARTBEAT, LEASE
from ..virtual_time import SECOND
from .history import Line
from .ledger import Ledger
from .rules import Broken
from .scenario import AWAY, CARE, HOLD, MAX_DELAY, NAP, RATE_LIMIT, SLOWEST, WATCH, WORK
from .seats import Seats
from .tenure import MILLISECOND, Terms

ENDLESS = 10**9 * SECOND
RETRY_MOST = 5.0
"""Seconds until a storage call that keeps failing is tried again at most."""


def bound(backlog: int) -> float:
    """Seconds in which so many messages of a subscription are settled once faults have stopped (see above)."""
    waiting = 2 * (LEASE + HEARTBEAT) + WATCH + NAP + AWAY + HOLD + MAX_DELAY + 2 * RETRY_MOST + SLOWEST + 2 * CARE + FLUSH_INTERVAL
    return waiting + backlog * (1 / RATE_LIMIT[0] + WORK / 5)


class Live:
    """A non-reliable subscription, from one opening in one process to the next."""

    def __init__(self, subject: str, type: str, first: int) -> None:
        self.subject = subject
        self.first = first
        self.seats = Seats(subject, type, fair=False)  # a burst fills the boxes before anybody takes
        self.seen: set[int] = set()

    def delivered(self, now: int, line: int, number: int, offset: int) -> None:
        self.seats.take(number, line, now, offset)
        if offset in self.seen:
            raise Broken("at most once", "it was delivered twice", self.subject, offset)
        if offset < self.first:
            raise Broken("at most once", f"it was opened at {self.first}", self.subject, offset)
        self.seen.add(offset)


class Checker:
    """Give it the lines in order; `problem` is the first rule that was broken, and `on_problem` is told of it."""

    def __init__(self, on_problem: Callable[[], object]) -> None:
        self.problem: Broken | None = None
        self.deliveries = 0
        self._tell = on_problem
        self._handlers: dict[str, Callable[..., None]] = {name.removeprefix("_on_"): getattr(self, name) for name in dir(self) if name.startswith("_on_")}
        self._line = 0
        self._topics: dict[str, dict[int, str]] = {}
        """What is in each topic, by offset."""
        self._heads: dict[str, int] = {}
        self._unconfirmed: set[int] = set()
        """Messages in a topic whose publisher has not heard so."""
        self._ledgers: dict[str, Ledger] = {}
        self._by_epoch: dict[int, Ledger] = {}
        self._live: dict[tuple[str, str], Live] = {}
        self._troubled_until: dict[str, int] = {}
        self._after_stall: dict[str, int] = {}
        """The same of processes that are stalled, for when they run again."""
        self._blind_until: dict[str, int] = {}
        self._skews: dict[str, int] = {}
        self._skewed_until = 0
        self._calm_at = 0
        self._backlog = 0

    def read(self, line: Line) -> None:
        if self.problem is not None:
            return
        self._line += 1
        handle = self._handlers.get(line[2])
        if handle is not None:
            try:
                handle(line[0], line[1], *line[3:])
            except Broken as problem:
                self.problem = problem
                self._tell()

    def _ledger(self, subject: str) -> Ledger:
        if subject not in self._ledgers:
            self._ledgers[subject] = Ledger(subject)
        return self._ledgers[subject]

    # topics

    def _on_appended(self, now: int, process: str, topic: str, offset: int, payload: str) -> None:
        if offset != self._heads.get(topic, 0):
            raise Broken("contents", f"the head was {self._heads.get(topic, 0)}", topic, offset)
        self._topics.setdefault(topic, {})[offset] = payload
        self._heads[topic] = offset + 1
        self._unconfirmed.add(int(payload))

    def _on_buried(self, now: int, process: str, topic: str, offset: int, payload: str, subject: str, original: int) -> None:
        self._on_appended(now, process, topic, offset, payload)
        source = self._topics[subject.rpartition(":")[0]]
        if source.get(original, payload) != payload:
            raise Broken("contents", f"its dead letter carries {payload}", subject, original)
        self._ledgers[subject].bury(process, original)

    def _on_published(self, now: int, process: str, topic: str, first: int, count: int) -> None:
        for message in range(first, first + count):
            if message not in self._unconfirmed:
                raise Broken("published is durable", f"{message} is not in it", topic)
            self._unconfirmed.discard(message)

    # ownership

    def _on_owns(self, now: int, process: str, subject: str, epoch: int, unclean: int, created: int, cursor: int) -> None:
        ledger = self._ledger(subject)
        skewed = now < self._skewed_until or any(self._skews.values())
        ledger.late(now, self._troubled_until, skewed=skewed)
        ledger.owns(now, process, epoch, unclean, created, cursor, self._troubled_until, skewed=skewed)
        self._by_epoch[epoch] = ledger

    def _on_renewed(self, now: int, process: str, milliseconds: int, *epochs: int) -> None:
        for epoch in epochs:
            self._by_epoch[epoch].renewed(now, epoch, milliseconds)

    def _on_let_go(self, now: int, process: str, subject: str, epoch: int) -> None:
        self._ledgers[subject].let_go(now, epoch)

    def _on_durable(self, now: int, process: str, subject: str, epoch: int, *progress: int) -> None:
        self._ledgers[subject].durable(now, epoch, *progress)

    def _on_removed(self, now: int, process: str, subject: str, epoch: int) -> None:
        self._ledgers[subject].removed(now)

    def _on_opening(self, now: int, process: str, subject: str, type: str, wait: int, *terms: Any) -> None:
        if terms:
            self._ledger(subject).opening(now, process, Terms(type, *terms), wait)
        else:
            blind = now < self._blind_until.get(process, 0)  # it cannot know what others have published
            self._live[process, subject] = Live(subject, type, 0 if blind else self._heads.get(subject.rpartition(":")[0], 0))

    def _on_unopened(self, now: int, process: str, subject: str, why: str) -> None:
        if subject in self._ledgers:
            self._ledgers[subject].unopened(process)

    # what befalls processes

    def _trouble(self, process: str, until: int) -> None:
        book = self._after_stall if process in self._after_stall else self._troubled_until
        book[process] = max(until, book.get(process, 0))

    def _on_fault(self, now: int, process: str, kind: str, call: str) -> None:
        self._trouble(process, now + round(SLOWEST * SECOND))

    def _on_outage(self, now: int, process: str, milliseconds: int) -> None:
        self._trouble(process, now + milliseconds * MILLISECOND)
        self._on_deaf(now, process, milliseconds)

    def _on_deaf(self, now: int, process: str, milliseconds: int) -> None:
        self._blind_until[process] = max(now + milliseconds * MILLISECOND, self._blind_until.get(process, 0))

    def _on_stall(self, now: int, process: str) -> None:
        self._after_stall[process] = self._troubled_until.get(process, 0)
        self._troubled_until[process] = now + ENDLESS

    def _on_resume(self, now: int, process: str) -> None:
        self._troubled_until[process] = max(now, self._after_stall.pop(process))

    def _on_clock(self, now: int, process: str, milliseconds: int) -> None:
        self._skews[process] = milliseconds
        self._skewed_until = now + round(3 * LEASE * SECOND)

    def _on_crash(self, now: int, process: str, cause: str) -> None:
        subject, _, offset = cause.partition("@")
        for ledger in self._ledgers.values():
            ledger.crashed(now, process, self._troubled_until.get(process, 0))
        if offset:
            self._ledgers[subject].killed(int(offset))
        if self._skews.pop(process, 0):
            self._skewed_until = now + round(3 * LEASE * SECOND)
        self._troubled_until.pop(process, None)
        self._after_stall.pop(process, None)
        self._blind_until.pop(process, None)
        for key in [key for key in self._live if key[0] == process]:
            del self._live[key]

    # consumers

    def _on_joining(self, now: int, process: str, subject: str, number: int, name: str) -> None:
        live = self._live.get((process, subject))
        (live.seats if live is not None else self._ledgers[subject].of(process).seats).join(number, name)

    def _on_waits(self, now: int, process: str, subject: str, number: int) -> None:
        live = self._live.get((process, subject))
        (live.seats if live is not None else self._ledgers[subject].of(process).seats).wait(number, self._line, now)

    def _on_leaving(self, now: int, process: str, subject: str, number: int, blame: int) -> None:
        live = self._live.get((process, subject))
        if live is not None:
            live.seats.leave(number)
        elif subject in self._ledgers:
            self._ledgers[subject].leaves(now, process, number, blame=bool(blame))

    def _on_ended(self, now: int, process: str, subject: str, number: int, why: str) -> None:
        self._on_leaving(now, process, subject, number, 1)

    def _on_delivered(self, now: int, process: str, subject: str, number: int, epoch: int, offset: int, attempt: int, payload: str) -> None:
        self.deliveries += 1
        found = self._topics[subject.rpartition(":")[0]].get(offset)
        if found is not None and found != payload:
            raise Broken("contents", f"{payload} was delivered, {found} was published", subject, offset)
        live = self._live.get((process, subject))
        if live is not None:
            live.delivered(now, self._line, number, offset)
        else:
            self._ledgers[subject].delivered(now, self._line, process, number, epoch, offset, attempt)

    def _on_acking(self, now: int, process: str, subject: str, number: int, epoch: int, offset: int, attempt: int) -> None:
        self._ledgers[subject].answering(now, number, epoch, offset, attempt, "acking")

    def _on_acked(self, now: int, process: str, subject: str, number: int, epoch: int, offset: int, attempt: int, accepted: int) -> None:
        self._ledgers[subject].answered(now, number, epoch, offset, attempt, "acking", accepted)

    def _on_nacking(self, now: int, process: str, subject: str, number: int, epoch: int, offset: int, attempt: int) -> None:
        self._ledgers[subject].answering(now, number, epoch, offset, attempt, "nacking")

    def _on_nacked(self, now: int, process: str, subject: str, number: int, epoch: int, offset: int, attempt: int, accepted: int) -> None:
        self._ledgers[subject].answered(now, number, epoch, offset, attempt, "nacking", accepted)

    def _on_extended(self, now: int, process: str, subject: str, number: int, epoch: int, offset: int, attempt: int, milliseconds: int, accepted: int) -> None:
        if accepted:
            self._ledgers[subject].extended(now, number, epoch, offset, attempt, milliseconds)

    # operation

    def _on_disconnecting(self, now: int, process: str, subject: str) -> None:
        self._ledgers[subject].disconnected(now, process)

    def _on_paused(self, now: int, process: str, subject: str) -> None:
        self._ledgers[subject].pause(process, paused=True)

    def _on_resuming(self, now: int, process: str, subject: str) -> None:
        self._ledgers[subject].pause(process, paused=False)

    def _on_releasing(self, now: int, process: str, subject: str, action: str) -> None:
        self._ledgers[subject].permit(action, 1)

    # the end of a round

    def _on_calm(self, now: int, process: str) -> None:
        self._calm_at = now
        self._backlog = max((self._heads.get(subject.rpartition(":")[0], 0) - 1 - ledger.cursor for subject, ledger in self._ledgers.items()), default=0)

    def _on_still(self, now: int, process: str) -> None:
        if now - self._calm_at > bound(self._backlog) * SECOND:
            for subject, ledger in self._ledgers.items():
                head = self._heads.get(subject.rpartition(":")[0], 0)
                if ledger.cursor < head - 1:
                    problem = f"{(now - self._calm_at) / SECOND:.0f} s after the last fault it is at {ledger.cursor} of {head}"
                    raise Broken("liveness", problem, subject, ledger.cursor + 1)

    def _on_settled(self, now: int, process: str) -> None:
        for subject, ledger in self._ledgers.items():
            head = self._heads.get(subject.rpartition(":")[0], 0)
            if ledger.cursor != head - 1:
                raise Broken("liveness", f"it is at {ledger.cursor} of {head}", subject, ledger.cursor + 1)
            ledger.round_ends()
        self._unconfirmed.clear()
        for messages in self._topics.values():
            messages.clear()
        for live in self._live.values():
            live.seen.clear()
