"""The reliable machine: at least once, one message in flight.

Theory of operation. The machine holds at most one unsettled message.

  Idle           nothing to do: nothing to read, or nobody to give it to
  Dispatching    a poll is out; the engine answers it exactly once, with `polled`, `resumed` or `poll_empty`
  AwaitingAck    one delivery is open; its own ack settles it
  Failover       a message in hand has no delivery: `proceed` decides in the same step what becomes of it;
                 it rests here only while nobody is attached
  Redelivering   waits out a delay
  DeadLettering  waits for the dead letter to be durable
  Blocked        waits for a release
  Closed         takes everything, does nothing

End of log, pause, throttle, drain and a lapsed lease are the engine's reasons for answering "nothing now" (a `wake` follows when they end) and
no business of the machine. Time enters with each step as `now`; `due_at` says when a `tick` matters. A restart has no path of its own: the
engine answers the first poll with the history of the message (`resumed`).

Who is next stands in the roster (selection.py): exclusive and shared run this one table.
"""

from __future__ import annotations

from collections.abc import Callable

from .declaration import Shape, row
from .identity import DeliveryId, Extend, Lost, Nack, Replaced
from .policy import FailurePolicy
from .port import ReliablePort, Settlement
from .progress import Held
from .roster import RosterMachine

STATES = IDLE, DISPATCHING, AWAITING_ACK, FAILOVER, REDELIVERING, DEAD_LETTERING, BLOCKED, CLOSED = (
    "Idle",
    "Dispatching",
    "AwaitingAck",
    "Failover",
    "Redelivering",
    "DeadLettering",
    "Blocked",
    "Closed",
)
OPEN = STATES[:-1]
BUSY = OPEN[1:]
STAYS = None
SHAPE = Shape(states=STATES, initial=IDLE, final=CLOSED, completion={FAILOVER: "proceed"})

TABLE = [
    # a message on its normal way
    row("wake", IDLE, DISPATCHING, when=["anyone"], do=["poll"]),
    row("wake", STATES, STAYS, why="busy, or nobody to give it to: settling or joining polls anyway"),
    row("recover", IDLE, DISPATCHING, do=["poll"], why="an exhausted message of an earlier run meets its verdict with nobody attached, too"),
    row("recover", (*BUSY, CLOSED), STAYS, why="it is being polled already"),
    row("polled", DISPATCHING, AWAITING_ACK, when=["anyone"], do=["take", "send"]),
    row("polled", DISPATCHING, FAILOVER, do=["take"], why="the last consumer left meanwhile"),
    row("resumed", DISPATCHING, FAILOVER, do=["recall"], why="it has a history: an earlier run gave it out"),
    row("poll_empty", DISPATCHING, IDLE),
    row("ack", AWAITING_ACK, DISPATCHING, when=["current"], do=["settle_acked", "poll"]),
    row("ack", STATES, STAYS, do=["stale_ack"], why="late, duplicate, foreign or forged"),
    row("extend", AWAITING_ACK, STAYS, when=["extends_current"], do=["prolong"]),
    row("extend", STATES, STAYS, do=["stale_extend"], why="late, duplicate, foreign or forged"),
    # a delivery fails
    row("nack", AWAITING_ACK, FAILOVER, when=["nacks_current"], do=["charge_nack", "back_off_as_asked", "save"]),
    row("nack", STATES, STAYS, do=["stale_nack"], why="late, duplicate, foreign or forged"),
    row("tick", AWAITING_ACK, FAILOVER, when=["overdue", "taken"], do=["withdraw", "charge_timeout", "back_off", "save"], why="its consumer is silent"),
    row("tick", AWAITING_ACK, FAILOVER, when=["overdue"], do=["withdraw", "give_up"], why="nobody looked at it: it is innocent"),
    row("consumer_lost", AWAITING_ACK, FAILOVER, when=["holder", "had_taken"], do=["charge_loss", "save", "leave"], why="goes on at once"),
    row("consumer_lost", AWAITING_ACK, FAILOVER, when=["holder"], do=["give_up", "leave"], why="it sat in the box: it is innocent"),
    row("consumer_replaced", AWAITING_ACK, FAILOVER, when=["holder", "had_taken"], do=["charge_loss", "save", "succeed"], why="goes to the new one"),
    row("consumer_replaced", AWAITING_ACK, FAILOVER, when=["holder"], do=["give_up", "succeed"], why="goes to the new one; it is innocent"),
    # Failover: what becomes of the message in hand, in the same step
    row("proceed", FAILOVER, BLOCKED, when=["exhausted", "policy_blocks"], do=["disarm"]),
    row("proceed", FAILOVER, DEAD_LETTERING, when=["exhausted", "policy_dead_letters"], do=["disarm", "dead_letter"]),
    row("proceed", FAILOVER, DISPATCHING, when=["exhausted"], do=["settle_dropped", "poll"]),
    row("proceed", FAILOVER, REDELIVERING, when=["delayed"]),
    row("proceed", FAILOVER, AWAITING_ACK, when=["anyone"], do=["send"]),
    row("proceed", FAILOVER, STAYS, why="waits for a consumer"),
    row("tick", REDELIVERING, FAILOVER, when=["overdue"], do=["disarm"]),
    # poison
    row("dead_lettered", DEAD_LETTERING, DISPATCHING, do=["settle_dead_lettered", "poll"]),
    row("dead_letter_failed", DEAD_LETTERING, STAYS, do=["try_later"], why="the store will work again"),
    row("dead_letter_refused", DEAD_LETTERING, BLOCKED, do=["disarm"], why="two topics do not feed each other for ever"),
    row("tick", DEAD_LETTERING, STAYS, when=["overdue"], do=["disarm", "dead_letter"]),
    row("release_retry", BLOCKED, FAILOVER, do=["forgive", "save"]),
    row("release_drop", BLOCKED, DISPATCHING, do=["settle_dropped", "poll"]),
    row("release_dead_letter", BLOCKED, DEAD_LETTERING, do=["dead_letter"]),
    # consumers come and go
    row("consumer_added", IDLE, DISPATCHING, do=["join", "poll"]),
    row("consumer_added", BUSY, STAYS, do=["join"], why="busy: it will be served in its turn"),
    row("consumer_lost", OPEN, STAYS, do=["leave"], why="it held nothing"),
    row("consumer_replaced", OPEN, STAYS, do=["replace"], why="it held nothing: the new one takes its place in the order"),
    # early ticks; the end
    row("tick", STATES, STAYS, why="early"),
    row("close", OPEN, CLOSED, do=["let_go"]),
    *(
        row(event, CLOSED, STAYS, why="under way when we closed")
        for event in (
            *("polled", "resumed", "poll_empty", "dead_lettered", "dead_letter_failed", "dead_letter_refused"),
            *("consumer_added", "consumer_lost", "consumer_replaced", "close"),
        )
    ),
]


class Reliable(RosterMachine):
    """What a reliable dispatcher holds and can do; when it does it is the table's word alone.

    Make one with `RELIABLE_EXCLUSIVE.lean(port, policy)`. What can be called is a trigger of the table: set `now` (seconds), then call it with its
    argument. A trigger raises IllegalEvent where its state does not list it.
    """

    __slots__ = ("attempt", "delivery", "due_at", "epoch", "failures", "offset", "policy", "reason", "sent_at")
    fields = ("state", "roster", "offset", "attempt", "failures", "reason", "delivery", "sent_at", "due_at")
    port: ReliablePort

    # the message in hand, with its history; its open delivery; when time ends the wait
    offset: int | None
    attempt: int
    failures: int
    reason: str
    delivery: DeliveryId | None
    sent_at: float | None
    due_at: float | None

    # the triggers, made from the table
    wake: Callable[[None], bool]
    recover: Callable[[None], bool]
    polled: Callable[[int], bool]
    resumed: Callable[[Held], bool]
    poll_empty: Callable[[None], bool]
    ack: Callable[[DeliveryId], bool]
    extend: Callable[[Extend], bool]
    nack: Callable[[Nack], bool]
    tick: Callable[[bool], bool]
    consumer_added: Callable[[int], bool]
    consumer_lost: Callable[[Lost], bool]
    consumer_replaced: Callable[[Replaced], bool]
    dead_lettered: Callable[[None], bool]
    dead_letter_failed: Callable[[float], bool]
    dead_letter_refused: Callable[[None], bool]
    release_retry: Callable[[None], bool]
    release_drop: Callable[[None], bool]
    release_dead_letter: Callable[[None], bool]
    close: Callable[[None], bool]

    def __init__(self, port: ReliablePort, policy: FailurePolicy, *, epoch: int = 0) -> None:
        """`epoch` tells the deliveries of this run from those of any other."""
        super().__init__(port)
        self.policy = policy
        self.epoch = epoch
        self.state = IDLE
        self._clear()

    def _clear(self) -> None:
        self.offset = None
        self.attempt = 0
        self.failures = 0
        self.reason = ""
        self.give_up(None)

    @property
    def held(self) -> Held | None:
        """The message in hand as the next owner must know it."""
        return None if self.offset is None else self._held(self.offset)

    def _held(self, offset: int) -> Held:
        # a deadline dies with its delivery; a delay does not
        due_at = None if self.delivery else self.due_at
        return Held(offset, self.attempt, self.failures, self.reason, due_at, exhausted=self.policy.exhausted(self.failures))

    # guards

    def current(self, delivery: DeliveryId) -> bool:
        return delivery == self.delivery

    def nacks_current(self, nack: Nack) -> bool:
        return nack.delivery == self.delivery

    def extends_current(self, extend: Extend) -> bool:
        return extend.delivery == self.delivery

    def overdue(self, _: object) -> bool:
        return self.due_at is not None and self.now >= self.due_at

    def taken(self, taken: bool) -> bool:
        return taken

    def holder(self, gone: Lost | Replaced) -> bool:
        return self.delivery is not None and self.delivery[1] == gone.session

    def had_taken(self, gone: Lost | Replaced) -> bool:
        return gone.taken

    def exhausted(self, _: object) -> bool:
        return self.policy.exhausted(self.failures)

    def policy_blocks(self, _: object) -> bool:
        return self.policy.poison_policy == "block"

    def policy_dead_letters(self, _: object) -> bool:
        return self.policy.poison_policy == "dead_letter"

    def delayed(self, _: object) -> bool:
        return self.due_at is not None

    # actions: the message in hand

    def poll(self, _: object) -> None:
        self.port.poll()

    def take(self, offset: int) -> None:
        self.offset = offset

    def recall(self, held: Held) -> None:
        self.offset, self.attempt, self.failures, self.reason, self.due_at = held[:5]

    def send(self, _: object) -> None:
        assert self.offset is not None
        session = self.roster[0]
        self.roster = self.selection.served(self.roster, session)
        self.attempt = attempt = self.attempt + 1
        self.delivery = (self.epoch, session, self.offset, attempt)
        self.sent_at = self.now
        self.due_at = self.now + self.policy.ack_timeout
        self.port.send(self.delivery)

    def give_up(self, _: object) -> None:
        self.delivery = self.sent_at = self.due_at = None

    def withdraw(self, _: object) -> None:
        assert self.delivery is not None
        self.port.withdraw(self.delivery)

    def settle_acked(self, _: object) -> None:
        self._settle("acked")

    def settle_dropped(self, _: object) -> None:
        self._settle("dropped")

    def settle_dead_lettered(self, _: object) -> None:
        self._settle("dead_lettered")

    def _settle(self, outcome: Settlement) -> None:
        assert self.offset is not None
        offset = self.offset
        self._clear()
        self.port.settle(offset, outcome)

    def dead_letter(self, _: object) -> None:
        assert self.offset is not None
        self.port.dead_letter(self._held(self.offset))

    def let_go(self, _: object) -> None:
        self._clear()

    # actions: blame

    def charge_nack(self, nack: Nack) -> None:
        self._charge(nack.reason or "nack")

    def charge_timeout(self, _: object) -> None:
        self._charge("ack timeout")

    def charge_loss(self, _: object) -> None:
        self._charge("consumer lost")

    def _charge(self, reason: str) -> None:
        self.failures += 1
        self.reason = reason
        self.give_up(None)

    def forgive(self, _: object) -> None:
        self.failures = 0

    def save(self, _: object) -> None:
        assert self.offset is not None
        self.port.save_failure(self._held(self.offset))

    # actions: time

    def back_off(self, _: object) -> None:
        self._wait(0.0)

    def back_off_as_asked(self, nack: Nack) -> None:
        self._wait(nack.delay)

    def _wait(self, asked: float) -> None:
        assert self.offset is not None
        self.due_at = self.now + self.policy.delay(self.offset, self.failures, asked)

    def prolong(self, extend: Extend) -> None:
        assert self.sent_at is not None
        self.due_at = self.now + extend.seconds
        if self.policy.max_hold is not None:
            self.due_at = min(self.due_at, self.sent_at + self.policy.max_hold)

    def try_later(self, seconds: float) -> None:
        self.due_at = self.now + seconds

    def disarm(self, _: object) -> None:
        self.due_at = None

    # actions: answers that count for nothing

    def stale_ack(self, _: object) -> None:
        self.port.stale("ack")

    def stale_nack(self, _: object) -> None:
        self.port.stale("nack")

    def stale_extend(self, _: object) -> None:
        self.port.stale("extend")

    # actions: the roster

    def succeed(self, replaced: Replaced) -> None:
        """The holder's successor is next; once served it is where the holder was."""
        self._seat((replaced.new, *(session for session in self.roster if session != replaced.session)))
