"""One reliable subscription over all its owners: what is durable of it, and what each of its lines may say."""

from __future__ import annotations

from collections import Counter

from ..clock import HEARTBEAT, LEASE
from ..virtual_time import SECOND
from .rules import Broken
from .tenure import MILLISECOND, NO_TERMS, Taken, Tenure, Terms

REMEMBERED = 6
"""Ownerships that are over and may still say something."""
SLACK = 200 * MILLISECOND
"""For what takes a few turns of a loop."""
MOST_DUPLICATES = 10_000
"""Messages that a crash may repeat."""


class Ledger:
    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.cursor = -1
        self.paused = 0
        self.held = (-1, 0, 0, 0)
        """Offset, attempt, failures and mark of the message with a history."""
        self.buried: set[int] = set()
        """Offsets of which a dead letter was written."""
        self.owner: Tenure | None = None
        self.free_at: int | None = 0
        """When the lease was let go; None while it is held."""
        self._waiters: dict[str, int] = {}
        """Processes that wait for it, and since when."""
        self._terms: dict[str, Terms] = {}
        """On which each process is opening it."""
        self._tenures: dict[int, Tenure] = {}
        self._latest: dict[str, Tenure] = {}
        """By process."""
        self._permits: Counter[str] = Counter()
        """Releases that were asked for, and may be carried out."""
        self._retried: dict[int, int] = {}
        """Messages whose failures, so many, are forgiven, though the disk does not say so yet."""
        self._deaths: Counter[int] = Counter()
        """Crashes by the message that caused them."""
        self._most = 0
        """The largest max_redeliveries of any opening."""

    def broken(self, rule: str, problem: str, offset: int = -1) -> Broken:
        return Broken(rule, problem, self.subject, offset)

    def of(self, process: str) -> Tenure:
        """The last ownership of a process."""
        return self._latest[process]

    # ownership

    def owns(self, now: int, process: str, epoch: int, unclean: int, created: int, cursor: int, troubled_until: dict[str, int], *, skewed: bool) -> None:
        before = self.owner
        if before is not None and self.free_at is None and not before.judged:
            self._repeats(before, now, troubled_until.get(before.process, 0))
        if created:
            self.cursor, self.paused, self.held = cursor, 0, (-1, 0, 0, 0)
        elif before is not None and self.free_at is None and now < before.renewed_at + LEASE * SECOND and not skewed:
            raise self.broken("stolen lease", f"{before.process} had renewed it {(now - before.renewed_at) / SECOND:.3f} s before")
        offset, attempt, failures, mark = self.held
        terms = self._terms.get(process, NO_TERMS)  # without an opening it is taken to release what is blocked, and so it may be between two openings
        tenure = Tenure(self.subject, terms, epoch, process, self.cursor + 1, now, paused=bool(self.paused))
        if offset == tenure.next:
            tenure.charges, tenure.doubts, tenure.attempt = failures, unclean and mark, attempt  # the loss of a process is charged unless it had a verdict
            tenure.returning = offset if attempt - (0 if unclean else mark) or failures else -1
        self._waiters.pop(process, None)
        self.owner, self.free_at = tenure, None
        self._tenures[epoch] = self._latest[process] = tenure
        for old in list(self._tenures)[:-REMEMBERED]:
            gone = self._tenures.pop(old)
            if self._latest.get(gone.process) is gone:
                del self._latest[gone.process]

    def late(self, now: int, troubled_until: dict[str, int], *, skewed: bool) -> None:
        """Whether somebody who waited undisturbed has waited for too long by now."""
        if self.owner is None:
            return
        free = self.owner.renewed_at + LEASE * SECOND if self.free_at is None else self.free_at
        bound = round((HEARTBEAT + (LEASE + HEARTBEAT if skewed else 0)) * SECOND) + SLACK
        for waiter, since in self._waiters.items():
            start = max(free, since)
            if troubled_until.get(waiter, 0) < start and now > start + bound:
                raise self.broken("takeover", f"{waiter} has waited {(now - start) / SECOND:.3f} s since the lease was free")

    def renewed(self, now: int, epoch: int, milliseconds: int) -> None:
        tenure = self._tenures[epoch]
        tenure.renewed_at = now + milliseconds * MILLISECOND - round(LEASE * SECOND)

    def let_go(self, now: int, epoch: int) -> None:
        self.free_at = now
        undurable = self._tenures[epoch].undurable
        if undurable:
            raise self.broken("clean close", "its accepted ack is not durable", min(undurable))

    def removed(self, now: int) -> None:
        """Nobody has it, and nothing of it is left; others may be about to open it."""
        self.cursor, self.paused, self.held = -1, 0, (-1, 0, 0, 0)
        self.owner, self.free_at = None, now

    def opening(self, now: int, process: str, terms: Terms, wait: int) -> None:
        self._most = max(self._most, terms.max_redeliveries)
        self._terms[process] = terms
        if wait:
            self._waiters[process] = now

    def unopened(self, process: str) -> None:
        self._waiters.pop(process, None)
        self._terms.pop(process, None)

    def crashed(self, now: int, process: str, calm_since: int) -> None:
        """`calm_since`: since when the process had no trouble with its store."""
        self.unopened(process)
        if self.owner is not None and self.owner.process == process and self.free_at is None:
            self._repeats(self.owner, now, calm_since)
            self.owner.judged = True

    def _repeats(self, tenure: Tenure, now: int, calm_since: int) -> None:
        """An ownership has come to an end that was not clean: accepted acks that are not durable will be repeated."""
        if len(tenure.undurable) > MOST_DUPLICATES:
            raise self.broken("debounce", f"{len(tenure.undurable)} accepted acks are lost")
        for offset, acked_at in tenure.undurable.items():
            if acked_at > calm_since and now - acked_at > tenure.terms.flush_interval * MILLISECOND + SLACK:
                raise self.broken("debounce", f"its ack, accepted {(now - acked_at) / SECOND:.3f} s before, is lost", offset)

    def killed(self, offset: int) -> None:
        """A message has crashed its process."""
        self._deaths[offset] += 1
        if self._deaths[offset] > self._most + 2:
            raise self.broken("crash loop", f"it has killed {self._deaths[offset]} processes", offset)

    # progress

    def durable(self, now: int, epoch: int, cursor: int, paused: int, offset: int, attempt: int, failures: int, mark: int) -> None:
        if self.owner is None or epoch != self.owner.epoch:
            raise self.broken("fencing", f"epoch {epoch} has written cursor {cursor}")
        if cursor < self.cursor:
            raise self.broken("cursor grows", f"{cursor} follows {self.cursor}")
        tenure = self.owner
        while tenure.next <= cursor:
            self._pass(tenure)
        before, charged = self.held[0], self.held[2]
        if before > cursor and charged > (failures if offset == before else 0):
            if before in self._retried:
                del self._retried[before]
            elif not self._forgiven(tenure, failures if offset == before else 0):
                raise self.broken("blame", f"{charged} failures are forgotten", before)
            elif tenure.taken is not None:
                tenure.taken.doubtful = True  # its failure may be one of those that were forgiven
        if offset == tenure.next and failures > max(tenure.blame, self._retried.get(offset, 0)):
            raise self.broken("blame", f"{failures} failures were charged of {tenure.blame} that happened", offset)
        for settled in [each for each in tenure.undurable if each <= cursor]:
            del tenure.undurable[settled]
        for settled in range(self.cursor + 1, cursor + 1):
            self._deaths.pop(settled, None)
            self.buried.discard(settled)
        self.cursor, self.paused, self.held = cursor, paused, (offset, attempt, failures, mark)

    def bury(self, process: str, offset: int) -> None:
        tenure = self.of(process)
        by_policy = tenure.exhausted and tenure.terms.poison_policy == "dead_letter"
        if offset == tenure.next and not by_policy and not self._permits["dead_letter"]:
            raise self.broken("dead letter", f"it has {tenure.blame} failures", offset)
        self.buried.add(offset)

    def _pass(self, tenure: Tenure) -> None:
        """The next message is behind the cursor: why?"""
        offset, taken = tenure.next, tenure.taken
        acknowledged = taken is not None and taken.offset == offset and taken.answer == "acking"
        dropped = tenure.exhausted and tenure.terms.poison_policy == "drop"
        if not acknowledged and not dropped and offset not in self.buried:
            if not self._permits["drop"]:
                raise self.broken("at least once", f"it was passed over with {tenure.blame} failures, and nobody had acknowledged it", offset)
            self._permits["drop"] -= 1
        tenure.settle()

    def _forgiven(self, tenure: Tenure, failures: int) -> bool:
        """Whether a release has set its failures back."""
        if not self._permits["retry"]:
            return False
        self._permits["retry"] -= 1
        tenure.charges, tenure.doubts = failures, 0
        self._deaths.pop(tenure.next, None)
        return True

    # deliveries and answers

    def delivered(self, now: int, line: int, process: str, number: int, epoch: int, offset: int, attempt: int) -> None:
        tenure = self._tenures.get(epoch)
        if tenure is None or tenure.process != process:
            raise self.broken("fencing", f"{process} does not own it under epoch {epoch}", offset)
        while tenure.next < offset:
            self._pass(tenure)
        if offset < tenure.next:
            raise self.broken("settled once", f"it was settled under this ownership, which is at {tenure.next}", offset)
        tenure.take(number, offset, attempt, line, now)
        charges = tenure.charges
        if charges > tenure.terms.max_redeliveries:
            if not self._forgiven(tenure, 0):
                raise self.broken("verdict", f"it was given out after {charges} failures, {tenure.terms.max_redeliveries} are allowed", offset)
            self._retried[offset] = charges  # until the next write is carried out

    def answering(self, now: int, number: int, epoch: int, offset: int, attempt: int, what: str) -> None:
        taken = self._matching(number, epoch, offset, attempt)
        if taken is not None and not taken.answer and number in self._tenures[epoch].seats and (taken.deadline is None or now <= taken.deadline):
            taken.answer = what
            self._tenures[epoch].answers[number, offset, attempt, what] = taken

    def answered(self, now: int, number: int, epoch: int, offset: int, attempt: int, what: str, accepted: int) -> None:
        tenure = self._tenures.get(epoch)
        taken = None if tenure is None else tenure.answers.pop((number, offset, attempt, what), None)
        if not accepted:
            if taken is not None:
                taken.answer = "refused"
            return
        if tenure is None or taken is None:
            problem = f"{what} attempt {attempt} under epoch {epoch} by consumer {number} counted, and was not the first answer to the open delivery in time"
            raise self.broken("stale answer", problem, offset)
        if what != "acking":
            return
        if tenure.next == offset:
            tenure.settle()
        if offset > self.cursor:
            if tenure.terms.flush_interval == 0:
                raise self.broken("durable ack", f"the cursor is {self.cursor}", offset)
            tenure.undurable[offset] = now

    def extended(self, now: int, number: int, epoch: int, offset: int, attempt: int, milliseconds: int) -> None:
        taken = self._matching(number, epoch, offset, attempt)
        if taken is None or taken.answer:
            raise self.broken("stale answer", f"attempt {attempt} was extended, but it is not the open one", offset)
        taken.deadline = now + milliseconds * MILLISECOND
        terms = self._tenures[epoch].terms
        if terms.max_hold >= 0:  # from its send, which may lie before it was taken
            taken.deadline = None if taken.sent_at is None else min(taken.deadline, taken.sent_at + terms.max_hold * MILLISECOND)

    def _matching(self, number: int, epoch: int, offset: int, attempt: int) -> Taken | None:
        tenure = self._tenures.get(epoch)
        return None if tenure is None else tenure.matching(number, offset, attempt)

    # operation

    def leaves(self, now: int, process: str, number: int, *, blame: bool) -> None:
        tenure = self._latest.get(process)
        if tenure is None or number not in tenure.seats:
            return
        tenure.seats.leave(number)
        if tenure.taken is not None and tenure.taken.number == number and not blame:
            tenure.taken.excuse(now)

    def disconnected(self, now: int, process: str) -> None:
        tenure = self.of(process)
        if tenure.taken is not None and tenure.taken.number in tenure.seats:
            tenure.taken.excuse(now)
        tenure.seats.clear()

    def permit(self, action: str, times: int) -> None:
        self._permits[action] = max(0, self._permits[action] + times)

    def pause(self, process: str, *, paused: bool) -> None:
        tenure = self.of(process)
        tenure.paused = tenure.grace = paused

    def round_ends(self) -> None:
        """Everything is settled: what was asked for is over."""
        self._permits.clear()
        self._retried.clear()
        self._deaths.clear()
