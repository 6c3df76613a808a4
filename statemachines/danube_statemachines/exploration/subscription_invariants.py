"""What must hold in every step of a machine, its engine and its disk together: one function for each invariant, by its number.

Each yields what is wrong. What a step does within the machine alone is held by reliable_invariants.py; here is what only shows with a log, a disk and
another process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from ..policy import FailurePolicy
from ..progress import Held, Progress
from ..reliable import IDLE, REDELIVERING
from .search import title
from .subscription import FLUSH, SubscriptionWorld
from .worlds import EARLY, Step


class Case:
    """A step, and what of it the invariants speak about."""

    def __init__(self, step: Step[SubscriptionWorld], policy: FailurePolicy, flush_interval: float, throttled: bool) -> None:
        self.step = step
        self.policy = policy
        self.throttled = throttled
        self.before, self.after = step.before, step.after
        self.disk, self.disk_after = step.before.disk.progress, step.after.disk.progress
        self.sends = [effect[1] for effect in step.effects if effect[0] == "send"]
        self.saved: list[Held] = [effect[1] for effect in step.effects if effect[0] == "save_failure"]
        self.settled = {effect[1]: effect[2] for effect in step.effects if effect[0] == "settle"}
        self.old, self.new = step.before.process(step.where), step.after.process(step.where)
        """The process of the step, before and after it, if it is at work."""
        self.opens = step.where != "" and self.old is None
        self.owns = self.new is not None and self.new.epoch == step.before.disk.epoch
        """Whether nobody has taken the lease from it."""
        careful = self.old.its("careful") > 0 if self.old is not None else False
        self.careful = self.owns and careful
        self.strict = self.owns and (careful or flush_interval == 0)
        self.took = self._took()
        """The offset of the message that it took in hand in this step."""
        history = None if self.old is None else self.old.held
        self.history = history if history is not None and history.offset == self.took else None
        """What the core knew of that message."""

    def coming(self, wanted: Callable[[Progress], bool]) -> bool:
        """Whether something is durable, or will be as soon as the disk can write."""
        if self.new is None or not self.owns or wanted(self.disk_after) or (self.new.writing is not None and wanted(self.new.writing)):
            return True
        due: float | None = self.new.its("write_due")
        return due is not None and (due <= EARLY or self.new.its("write_failures") > 0)

    def _took(self) -> int | None:
        if self.new is None or self.new.machine is None:
            return None
        before = self.old.machine.offset if self.old is not None and self.old.machine is not None else None
        return None if self.new.machine.offset == before and not self.settled else self.new.machine.offset


def s2_at_least_once(c: Case) -> Iterator[str]:
    skipped = set(range(c.disk_after.cursor + 1)) - c.after.settled
    if skipped:
        yield f"the durable cursor has passed {sorted(skipped)}, which nobody has settled"
    if c.new is not None and set(range(c.new.its("cursor") + 1)) - c.after.settled:
        yield "the cursor of a process has passed what nobody has settled"


def s3_settlement_is_earned(c: Case) -> Iterator[str]:
    for offset, outcome in c.settled.items():
        if outcome == "acked" and (c.step.event != "ack" or c.step.argument[2] != offset):
            yield "acknowledged without an acknowledgement"
        if outcome == "dead_lettered" and offset not in c.before.disk.letters:
            yield "dead-lettered, and no dead letter is durable"


def s4_monotonic_cursor(c: Case) -> Iterator[str]:
    if c.disk_after.cursor < c.disk.cursor:
        yield "the durable cursor goes back"
    if c.old is not None and c.new is not None and c.new.its("cursor") < c.old.its("cursor"):
        yield "the cursor of a process goes back"


def s7_order(c: Case) -> Iterator[str]:
    if c.took is None or c.new is None:
        return
    if c.took != c.new.its("cursor") + 1:
        yield "another message is taken in hand than the first that is not settled"
    if c.owns and c.took <= c.disk.cursor:
        yield "a message is taken in hand that is durably settled"


def s13_blame_is_just(c: Case) -> Iterator[str]:
    if c.opens and c.new is not None and c.disk.held is not None:
        begun, saved = c.new.held, c.disk.held
        killed = saved.sent and not saved.exhausted and c.new.unclean
        if begun is None or begun.failures != saved.failures + killed:
            yield "a process begins with other failures than the durable ones, and one more if the message was marked as sent and its owner has not let go"
    if c.history is not None and c.new is not None and c.new.machine is not None:
        if c.new.machine.failures != c.history.failures:
            yield "a message is taken in hand with other failures than it has"
        if c.new.machine.attempt - len(c.sends) != c.history.attempt - c.history.sent:
            yield "the attempts of a message do not go on from where they were"


def s14_bounded_repetition(c: Case) -> Iterator[str]:
    if c.new is None or not c.owns:
        return
    repeated = c.new.its("cursor") - c.disk_after.cursor
    if repeated > FLUSH:
        yield f"a crash would have {repeated} settled messages delivered again, and {FLUSH} is the bound"
    if c.strict and c.took is not None and repeated:
        yield "a message is taken in hand while the one before it is not durably settled"


def s15_crash_loops_end(c: Case) -> Iterator[str]:
    crash = c.after.crash
    if c.owns and crash.times >= c.policy.max_redeliveries + 2 and any(sent[2] == crash.offset for sent in c.sends):
        yield f"a message is given out again that was in hand at {crash.times} unclean ends, one after the other"
    for _, _, offset, attempt in c.sends if c.careful else ():
        mark = c.disk.held
        if mark is None or not mark.sent or mark.offset != offset or (c.took is not None and mark.attempt != attempt):
            yield "a careful engine gives a message out that is not durably marked"


def s16_no_intake_without_a_lease(c: Case) -> Iterator[str]:
    if c.took is not None and not c.owns:
        yield "a message is taken in hand by a process whose lease another one has taken"
    if c.took is not None and c.after.disk.lapsed:
        yield "a message is taken in hand by a process whose lease has run out"


def promises(c: Case) -> Iterator[str]:
    """Sentences of the documentation that none of the invariants says."""
    if any(not c.coming(partial(_tells, failure)) for failure in c.saved):
        yield "a charged failure is made durable at once"
    yield from _begins_with(c)
    yield from _closes_with(c)
    yield from _takes_in(c)


def _tells(failure: Held, progress: Progress) -> bool:
    return progress.cursor >= failure.offset or (progress.held is not None and progress.held[:5] == failure[:5])


def _begins_with(c: Case) -> Iterator[str]:
    """What a process makes of what is durable."""
    if c.new is None or c.new.machine is None:
        return
    machine, held = c.new.machine, c.new.held
    if c.opens and held is not None and c.disk.held is not None and held.due_at not in (c.disk.held.due_at, None):
        yield "a process begins with another delay than the durable one"
    history = c.history
    delayed = history is not None and history.due_at is not None and not c.policy.exhausted(history.failures)
    if history is not None and delayed and (machine.state, machine.due_at) != (REDELIVERING, history.due_at):
        yield "a running delay goes on after a restart"
    if machine.state == IDLE and held is not None and c.policy.exhausted(held.failures) and c.new.its("refused") is None:
        yield "an exhausted message of an earlier run meets its verdict with nobody attached, too"
    if c.opens and c.new.its("paused") != c.disk.paused:
        yield "a pause outlives its process"


def _closes_with(c: Case) -> Iterator[str]:
    closing = c.after.closing(c.step.where)
    if closing is None or c.old is None or c.old.machine is None:
        return
    machine = c.old.machine
    due_at = None if machine.delivery else machine.due_at  # a deadline dies with its delivery
    kept = closing.held is not None and closing.held[:5] == (*machine[2:6], due_at)
    if machine.offset is not None and not kept and (machine.attempt or machine.failures):
        yield "a close keeps the history of the message in hand"
    if closing.cursor != c.old.its("cursor"):
        yield "a close keeps the position"
    if closing.paused != c.old.its("paused"):
        yield "a close keeps a pause"


def _takes_in(c: Case) -> Iterator[str]:
    """What a pause and a rate limit hold back."""
    if c.new is None or c.new.machine is None or c.old is None:
        return
    paused: bool = c.new.its("paused")
    taken_in = c.took is not None and not _given_before(c.history)
    if paused != c.old.its("paused") and not c.coming(lambda progress: progress.paused == paused):
        yield "a pause is made durable at once"
    if paused and taken_in:
        yield "a message is taken in while it is paused"
    if c.new.machine.state == IDLE and c.new.its("refused") == "paused" and _given_before(c.new.held):
        yield "what was in hand before is given out, paused or not"
    if c.throttled and c.step.where and c.old.its("tokens") - c.new.its("tokens") != taken_in:
        yield "a message that is taken in costs one token, and nothing else does"


def _given_before(held: Held | None) -> bool:
    return held is not None and (held.attempt - held.sent > 0 or held.failures > 0)


INVARIANTS: tuple[Callable[[Case], Iterator[str]], ...] = (
    *(s2_at_least_once, s3_settlement_is_earned, s4_monotonic_cursor, s7_order, s13_blame_is_just),
    *(s14_bounded_repetition, s15_crash_loops_end, s16_no_intake_without_a_lease, promises),
)


def judge(step: Step[SubscriptionWorld], policy: FailurePolicy, flush_interval: float, throttled: bool) -> Iterator[tuple[str, str]]:
    """(invariant, what is wrong) for all that the step breaks."""
    case = Case(step, policy, flush_interval, throttled)
    for invariant in INVARIANTS:
        for problem in invariant(case):
            yield title(invariant), problem
