"""What must hold in every step of a reliable machine: one function for each invariant, by its number.

Each yields what is wrong. S4 and S10 are the engine's, S9 is the non-reliable machines'. `promises` holds what the documentation says beyond the
numbered invariants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..policy import FailurePolicy
from ..progress import Held
from ..reliable import AWAITING_ACK, BLOCKED, CLOSED, DEAD_LETTERING, DISPATCHING, FAILOVER, IDLE, REDELIVERING
from ..selection import Selection
from .reliable import ReliableWorld
from .roster_invariants import misplaced, unfair, wrongly_announced
from .search import title
from .worlds import Step

ORDER = ("withdraw", "save_failure", "active_changed", "settle", "send", "poll", "dead_letter")
LAST = ("send", "poll", "dead_letter")
GONE = ("consumer_lost", "consumer_replaced")


class Case:
    """A step, and what of it the invariants speak about."""

    def __init__(self, step: Step[ReliableWorld], policy: FailurePolicy, selection: Selection) -> None:
        self.step = step
        self.policy = policy
        self.selection = selection
        self.event, self.argument, self.now, self.effects = step.event, step.argument, step.now, step.effects
        self.world, self.world_after = step.before, step.after
        self.before, self.after = step.before.machine, step.after.machine
        self.names = [effect[0] for effect in step.effects]
        self.settled = [effect for effect in step.effects if effect[0] == "settle"]
        self.sends = [effect[1] for effect in step.effects if effect[0] == "send"]
        self.saved = [effect[1] for effect in step.effects if effect[0] == "save_failure"]

        before, event, argument = self.before, step.event, step.argument
        self.deaf = before.state == CLOSED
        self.answered = self._answered()
        self.holder_gone = event in GONE and before.delivery is not None and before.delivery[1] == argument.session
        self.timed_out = event == "tick" and before.state == AWAITING_ACK and step.now >= (before.due_at or 0.0)
        self.failed = (event == "nack" and self.answered) or (step.before.taken and (self.timed_out or self.holder_gone))
        """Whether somebody is to blame."""
        brought = Held(argument) if event == "polled" else argument if event == "resumed" else None
        if brought is None or self.deaf:
            self.offset, self.attempt, failures = before.offset, before.attempt, before.failures
        else:
            self.offset, self.attempt, failures = brought[:3]
        self.failures = 0 if event == "release_retry" else failures + self.failed
        self.exhausted = policy.exhausted(self.failures)
        """The message in hand, and its history as it should be after the step."""

    def _answered(self) -> bool:
        """Whether it is an answer to the open delivery."""
        named = self.argument if self.event == "ack" else self.argument.delivery if self.event in ("nack", "extend") else None
        return named is not None and named == self.before.delivery


def s1_single_in_flight(c: Case) -> Iterator[str]:
    if len(c.sends) > 1:
        yield "two deliveries are opened"
    for sent in c.sends:
        if sent != c.after.delivery:
            yield "what was sent is not what is open"
        if sent[0] != c.world.epoch or sent[3] != c.attempt + 1 or c.after.attempt != sent[3]:
            yield "a delivery is not numbered by its epoch and the next attempt"
    if not c.sends and c.after.delivery not in (None, c.before.delivery):
        yield "a delivery is open that was not sent"


def s2_at_least_once(c: Case) -> Iterator[str]:
    if "poll" in c.names and c.after.offset is not None:
        yield "more is asked for while a message is unsettled"
    if any(effect[1] != c.offset for effect in c.settled) or len(c.settled) > 1:
        yield "another message is settled, or one twice"
    if c.after.state != CLOSED:
        if (c.after.offset is None) != (c.offset is None or bool(c.settled)):
            yield "a message is forgotten though nobody settled it, or kept though it is settled"
        if c.after.offset not in (None, c.offset):
            yield "another message is in hand"


def s3_settlement_is_earned(c: Case) -> Iterator[str]:
    outcome = c.settled[0][2] if c.settled else None
    if (outcome == "acked") != (c.event == "ack" and c.answered):
        yield "acknowledged if and only if the open delivery's acknowledgement came"
    if (outcome == "dead_lettered") != (c.event == "dead_lettered" and not c.deaf):
        yield "dead-lettered if and only if the dead letter is durable"
    by_policy = c.exhausted and c.policy.poison_policy == "drop" and (c.failed or c.event == "resumed")
    if (outcome == "dropped") != (c.event == "release_drop" or (by_policy and not c.deaf)):
        yield "dropped if and only if the policy or a release says so"
    if c.event in ("ack", "nack", "extend") and not c.answered:
        if c.after != c.before:
            yield "an answer that names no open delivery changed something"
        if c.effects != (("stale", c.event),):
            yield "an answer that names no open delivery is counted as stale, and nothing else"
    elif "stale" in c.names:
        yield "nothing about this is stale"


def s5_one_active_consumer(c: Case) -> Iterator[str]:
    if c.after.delivery is not None and c.after.delivery[1] not in c.after.roster:
        yield "a delivery is open with nobody attached"
    if c.after.state != CLOSED:
        yield from wrongly_announced(c.step, c.selection, [sent[1] for sent in c.sends])


def s6_fair_rotation(c: Case) -> Iterator[str]:
    for sent in c.sends:
        yield from unfair(c.world.turns, sent[1], c.after.roster)


def s7_order(c: Case) -> Iterator[str]:
    if any(sent[2] != c.offset for sent in c.sends):
        yield "something else goes out before the message in hand"
    ranks = [ORDER.index(name) for name in c.names if name != "stale"]
    if ranks != sorted(ranks) or sum(name in LAST for name in c.names) > 1:
        yield "the effects are out of their order"


def s8_removed_is_not_acknowledged(c: Case) -> Iterator[str]:
    bystander = (c.event in GONE and not c.holder_gone) or (c.event == "consumer_added" and c.before.state not in (IDLE, FAILOVER))
    if bystander and (c.after[2:] != c.before[2:] or c.after.state != c.before.state or set(c.names) - {"active_changed"}):
        yield "whoever holds nothing comes and goes unnoticed"
    if c.holder_gone and not c.exhausted and (c.settled or c.after.offset is None):
        yield "what the lost consumer held is settled"


def s11_bounded(c: Case) -> Iterator[str]:
    if not c.deaf:
        yield from misplaced(c.step, c.selection, [sent[1] for sent in c.sends], first=c.holder_gone)


def s12_state_is_meaning(c: Case) -> Iterator[str]:
    after, world = c.after, c.world_after
    if (after.delivery is not None) != (after.state == AWAITING_ACK):
        yield "a delivery is open iff AwaitingAck"
    if (after.sent_at is not None) != (after.state == AWAITING_ACK):
        yield "a delivery was sent at some time iff AwaitingAck"
    if (after.offset is None) != (after.state in (IDLE, DISPATCHING, CLOSED)):
        yield "a message is in hand iff the state says so"
    if after.offset is None and (after.attempt, after.failures, after.reason) != (0, 0, ""):
        yield "no message is in hand, but its history is"
    if world.polls != (after.state == DISPATCHING):
        yield "a poll is out, and only one, iff Dispatching"
    if world.letters != (after.state == DEAD_LETTERING and after.due_at is None):
        yield "a dead letter is being written, and only one, iff DeadLettering waits for no time"
    if after.due_at is not None and after.state not in (AWAITING_ACK, REDELIVERING, DEAD_LETTERING):
        yield "a time is set where time ends no wait"
    if after.state == CLOSED and c.event != "close" and not c.deaf:
        yield "only a close closes"
    if c.deaf and (after != c.before or set(c.names) - {"stale"}):
        yield "Closed does nothing"


def s13_blame_is_just(c: Case) -> Iterator[str]:
    forgiven = c.event == "release_retry"
    if len(c.saved) != (c.failed or forgiven):
        yield "a failure is made durable iff somebody is to blame, or was forgiven"
    if c.after.offset is not None and c.after.failures != c.failures:
        yield "failures grow by one with each charged failure, and by nothing else"
    if c.failed:
        reason = {"nack": "no", "tick": "ack timeout"}.get(c.event, "consumer lost")
        asked = {"nack": c.argument.delay if c.event == "nack" else 0.0, "tick": 0.0}.get(c.event)
        due_at = None if asked is None or c.offset is None else c.now + c.policy.delay(c.offset, c.failures, asked)
        if c.saved != [Held(c.offset or 0, c.attempt, c.failures, reason, due_at, exhausted=c.exhausted)]:
            yield "what is made durable is not what happened"
    if forgiven and c.saved != [Held(c.before.offset or 0, c.before.attempt, 0, c.before.reason)]:
        yield "what is made durable is not the forgiveness"
    if c.sends and c.exhausted:
        yield "an exhausted message is given to a consumer"
    if (c.failed or c.event == "resumed") and c.exhausted and not c.deaf:
        verdict = {"block": BLOCKED, "dead_letter": DEAD_LETTERING, "drop": DISPATCHING}[c.policy.poison_policy]
        if c.after.state != verdict:
            yield "an exhausted message does not meet its verdict in the same step"
    if c.after.state in (BLOCKED, DEAD_LETTERING) and not c.exhausted:
        yield "the verdict is on a message that is not exhausted"


def l2_every_wait_has_an_end(c: Case) -> Iterator[str]:
    after = c.after
    if after.state in (AWAITING_ACK, REDELIVERING) and after.due_at is None:
        yield "no time ends the wait"
    if after.state == FAILOVER and after.roster:
        yield "a message waits for a consumer, and there is one"
    if after.state == IDLE and after.roster and c.before.state != IDLE and c.event != "poll_empty":
        yield "there are consumers, and nobody asks for a message"
    if c.before.state == IDLE and (c.event in ("recover", "consumer_added") or (c.event == "wake" and after.roster)) and after.state != DISPATCHING:
        yield "news or a newcomer is not heard"


def promises(c: Case) -> Iterator[str]:
    """Sentences of the documentation that none of the invariants says."""
    before, after, event, policy = c.before, c.after, c.event, c.policy
    if c.deaf:
        return
    if c.sends and (after.sent_at != c.now or after.due_at != c.now + policy.ack_timeout):
        yield "the deadline runs from the send"
    if c.failed and not c.exhausted:
        if event in GONE and after.state not in (AWAITING_ACK, FAILOVER):
            yield "a lost consumer's message goes on at once"
        if event not in GONE and (after.state != REDELIVERING or after.due_at != c.saved[0].due_at):
            yield "after a nack or a timeout the message waits out its delay"
    if c.timed_out:
        if c.effects[:1] != (("withdraw", before.delivery),):
            yield "a redelivery's predecessor is withdrawn first"
        if not c.failed and not c.sends:
            yield "a message that nobody took is sent again at once"
    elif "withdraw" in c.names:
        yield "nothing is to be withdrawn"
    if event == "tick" and c.now < (before.due_at or c.now + 1) and (after != before or c.effects):
        yield "an early tick changes nothing"
    if event == "tick" and before.state == REDELIVERING and c.now >= (before.due_at or 0.0) and after.state not in (AWAITING_ACK, FAILOVER):
        yield "after its delay a message is given out"
    if event == "resumed" and not c.exhausted:
        delayed = c.argument.due_at is not None
        if delayed and (after.state, after.due_at) != (REDELIVERING, c.argument.due_at):
            yield "a running delay goes on after a restart"
        if not delayed and after.state not in (AWAITING_ACK, FAILOVER):
            yield "a message of an earlier run is given out at once"
    if event == "consumer_replaced" and c.holder_gone and any(sent[1] != c.argument.new for sent in c.sends):
        yield "what the old session held goes to the new one"
    if event == "extend" and c.answered:
        most = before.sent_at + policy.max_hold if policy.max_hold is not None and before.sent_at is not None else c.now + c.argument.seconds
        if after != before._replace(due_at=min(c.now + c.argument.seconds, most)) or c.effects:
            yield "an extension moves the deadline, to now and so many seconds or the longest hold, and nothing else"
    if before.state == BLOCKED and not event.startswith("release_") and event != "close" and after != before._replace(roster=after.roster):
        yield "a blocked message waits for a release, and for nothing else"
    if event == "release_retry" and after.state not in (AWAITING_ACK, FAILOVER):
        yield "a released message is given out at once"
    if event == "release_dead_letter" and after.state != DEAD_LETTERING:
        yield "a message released to the dead letters goes there"
    if event == "dead_letter_failed" and (after != before._replace(due_at=c.now + c.argument) or c.effects):
        yield "a dead letter that failed is tried again after its time"
    if event == "dead_letter_refused" and (after != before._replace(state=BLOCKED, due_at=None) or c.effects):
        yield "a refused dead letter is blocked"
    for effect in c.effects:
        if effect[0] == "dead_letter" and effect[1] != Held(after.offset or 0, after.attempt, after.failures, after.reason, exhausted=True):
            yield "a dead letter tells the history of its message"
    if event == "close" and (c.effects or after != (CLOSED, before.roster, None, 0, 0, "", None, None, None)):
        yield "a close settles nothing, says nothing and lets go of everything"


INVARIANTS: tuple[Callable[[Case], Iterator[str]], ...] = (
    *(s1_single_in_flight, s2_at_least_once, s3_settlement_is_earned, s5_one_active_consumer, s6_fair_rotation, s7_order),
    *(s8_removed_is_not_acknowledged, s11_bounded, s12_state_is_meaning, s13_blame_is_just, l2_every_wait_has_an_end, promises),
)


def judge(step: Step[ReliableWorld], policy: FailurePolicy, selection: Selection) -> Iterator[tuple[str, str]]:
    """(invariant, what is wrong) for all that the step breaks."""
    if step.event:
        case = Case(step, policy, selection)
        for invariant in INVARIANTS:
            for problem in invariant(case):
                yield title(invariant), problem
