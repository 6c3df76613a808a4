"""Between a machine and the event loop: a step, and a loop that carries out effects and feeds the answers back.

An acknowledgement drives the machine in its caller's stack, and the next message is in its consumer's box before the caller goes on.
The adapter assigns no state and branches on none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any, Generic, Literal, TypeVar, cast

from danube_statemachines import (
    Coupling,
    Declaration,
    DeliveryId,
    Extend,
    FailurePolicy,
    Held,
    Lost,
    Nack,
    NonReliable,
    NonReliablePort,
    Reliable,
    ReliablePort,
    Replaced,
    Settlement,
    Stale,
)

from .clock import NEVER, Watchdog
from .consumer import Consumer
from .counts import Counts
from .delivery import Delivery
from .engine import SubscriptionEngine
from .errors import ConsumerReplaced, NotSupported, UsageError
from .messages import Message
from .observer import ObservedPort, Observer

E = TypeVar("E")
Outcome = Literal["sent", "dropped", "no_consumer"]


M = TypeVar("M", Reliable, NonReliable)


def _nothing(_: None) -> bool:
    """What happened was no event of the machine's: a read or a write was answered."""
    return True


class Adapter(Generic[M]):
    """What both kinds have: the boxes of the attached consumers, by session."""

    machine: M
    message: Message

    def __init__(self, declaration: Declaration[M]) -> None:
        self.boxes: dict[int, Consumer] = {}
        self.counts = Counts()
        self._declaration: Declaration[M] = declaration
        self._sessions = count(1)
        self._port: ObservedPort | None = None
        """Between the machine and this, while somebody watches."""

    def add_observer(self, observer: Observer) -> None:
        self.check()
        if self._port is None:
            self._port = ObservedPort(self._declaration.title, cast("ReliablePort | NonReliablePort", self))
            self._become(self._declaration.observed, self._port)
        if all(other is not observer for other in self._port.observers):  # two that are equal are two
            self._port.observers += (observer,)

    def remove_observer(self, observer: Observer) -> None:
        self.check()
        if self._port is not None:
            self._port.observers = tuple(other for other in self._port.observers if other is not observer)
            if not self._port.observers:
                self._port = None
                self._become(self._declaration.lean, self)

    def _become(self, kind: type[M], port: Any) -> None:
        """The two classes of a declaration have the same attributes: what the machine holds stays."""
        machine: Any = self.machine
        machine.__class__ = kind
        machine.port = port

    def find(self, name: str) -> Consumer | None:
        return next((box for box in self.boxes.values() if box.name == name), None)

    def check(self) -> None:
        """An observer runs inside a step, which must end before the next begins."""
        if self._port is not None and self._port.observing:
            raise UsageError("an observer may not call back into the dispatcher it watches")

    def begin(self) -> float:
        """The time of the step that begins; what time ends by itself has ended."""
        self.check()
        return 0.0

    def run(self, trigger: Callable[[E], bool], event: E, now: float) -> None:
        """One event, and everything that follows from it."""
        trigger(event)

    def attach(self, consumer: Consumer) -> None:
        """A newcomer joins; under an attached name it takes over."""
        now = self.begin()
        old = self.find(consumer.name)
        consumer.session = next(self._sessions)
        consumer.active = not self.machine.selection.announces
        self.boxes[consumer.session] = consumer
        if old is None:
            self.run(self.machine.consumer_added, consumer.session, now)
        else:
            gone = Replaced(old.session, consumer.session, self._take_leave(old))
            old.end(ConsumerReplaced(old.name, "a new consumer of this name has taken over; what this one held goes to it"))
            self.run(self.machine.consumer_replaced, gone, now)

    def detach(self, consumer: Consumer, *, blame: bool = True) -> None:
        """Lose a consumer: what it held goes on to others."""
        now = self.begin()
        gone = Lost(consumer.session, self._take_leave(consumer) and blame)
        consumer.end()
        self.run(self.machine.consumer_lost, gone, now)
        self.flush(now)

    def flush(self, now: float) -> None:
        """Make the position durable, where there is one."""

    def disconnect(self) -> None:
        """End all consumers; what they held is charged to nobody."""
        for box in list(self.boxes.values()):
            self.detach(box)

    def close(self, error: Exception | None = None) -> None:
        """End the machine and all consumers, with an error or without."""
        self.run(self.machine.close, None, self.begin())
        for box in list(self.boxes.values()):
            self._take_leave(box)
            box.end(error)

    def _take_leave(self, consumer: Consumer) -> bool:
        """Whether the consumer had taken the open delivery out of its box, which is closed here."""
        del self.boxes[consumer.session]
        return False

    # effects

    def active_changed(self, session: int | None) -> None:
        for each, box in self.boxes.items():
            box.active = each == session

    def transition(self, trigger: str, source: str, dest: str, row: int) -> None:
        raise AssertionError("only observed machines tell, and they tell their observer")


class ReliableAdapter(Adapter[Reliable], Coupling[Message]):
    """Drives a reliable machine, and is its port."""

    def __init__(
        self, declaration: Declaration[Reliable], engine: SubscriptionEngine, observer: Observer | None, policy: FailurePolicy, watchdog: Watchdog
    ) -> None:
        super().__init__(declaration)
        self.machine = declaration.lean(self, policy, epoch=engine.lease.epoch)
        if observer is not None:
            self.add_observer(observer)
        self.engine = engine
        self.core = engine.core
        self.armed = NEVER
        self._change: asyncio.Future[None] | None = None
        self._watchdog = watchdog
        self._clock = asyncio.get_running_loop().time
        self._alarm = NEVER
        self._charged = False

    def begin(self) -> float:
        if self._port is not None:
            self.check()
        now = self.machine.now = self._clock()
        if now >= self._alarm:
            self._late(now)
        return now

    def step(self, trigger: Callable[[E], bool], event: E) -> None:
        self.run(trigger, event, self.begin())

    def run(self, trigger: Callable[[E], bool], event: E, now: float) -> None:
        trigger(event)
        if self.asked or self.core.attention or self.core.news:
            self.catch_up(now)
        due_at = self.machine.due_at
        if due_at is not None and due_at < self.armed:
            self._arm(now)

    def flush(self, now: float) -> None:
        self.core.flush(now)
        self.follow()

    def follow(self) -> None:
        """The engine has news."""
        if self._port is not None and self._port.observing:
            return  # its observer has looked and found more to read: the step under way follows by itself
        self.run(_nothing, None, self.begin())

    def read(self, now: float) -> None:
        self.engine.read(now)

    def write(self, now: float) -> None:
        if self.core.write_due is not None:
            self.engine.write(now)
        self._arm(now)
        if self._change is not None:
            self._changed()

    async def change(self, timeout: float | None = None, *, by_any_step: bool = True) -> None:
        """Wait until something out of the ordinary has happened, as it is when the log ends; `by_any_step`: the next step is that, whatever it is."""
        if self._change is None:
            self._change = asyncio.get_running_loop().create_future()
        if by_any_step:
            self.core.attention = True
        await asyncio.wait([self._change], timeout=timeout)

    def _changed(self) -> None:
        if self._change is not None:
            self._change.set_result(None)
            self._change = None

    def _arm(self, now: float) -> None:
        alarm = self.alarm(now)
        self._alarm = min(self._alarm, alarm)
        if alarm < self.armed and not self._at_rest:  # a later one is found when this one fires: a deadline is not armed anew for each message
            self._watchdog.arm(self, alarm)

    @property
    def _at_rest(self) -> bool:
        """Whether nothing is to come but the end of the lease, which wakes nobody: the next step looks at the time first."""
        core = self.core
        return self.machine.due_at is None and core.write_due is None and core.read_retry_at is None and core.refused != "throttled"

    def watch(self) -> None:
        """Tell the engine of the next step, whenever that is."""
        self._alarm = -NEVER

    def on_alarm(self, now: float) -> None:
        self.machine.now = now
        self._late(now)

    def _late(self, now: float) -> None:
        """Time comes before whatever else happens now: an ack after its deadline is stale."""
        self._alarm = NEVER
        self._watchdog.arm(self, NEVER)
        self.engine.stirred(now)
        self.time_is_up(now)
        self._arm(now)

    def taken(self) -> bool:
        delivery = self.machine.delivery
        return delivery is not None and not self.boxes[delivery[1]].waiting()

    def _take_leave(self, consumer: Consumer) -> bool:
        delivery = self.machine.delivery
        taken = delivery is not None and delivery[1] == consumer.session and not consumer.waiting()
        del self.boxes[consumer.session]
        return taken

    def close(self, error: Exception | None = None) -> None:
        super().close(error)
        self._watchdog.arm(self, NEVER)
        self._changed()

    def disconnect(self) -> None:
        delivery = self.machine.delivery
        # the holder last, so that its message does not wander through those who must go, too
        for box in sorted(self.boxes.values(), key=lambda box: delivery is not None and box.session == delivery[1]):
            self.detach(box, blame=False)

    # answers

    def dispatch(self, message: Message) -> Outcome:
        self.check()
        raise NotSupported("a reliable dispatcher reads its topic by itself; publish to the topic instead of dispatching")

    def is_open(self, delivery: DeliveryId) -> bool:
        return self.machine.delivery == delivery

    async def ack_message(self, delivery: DeliveryId) -> bool:
        stale = self.counts.stale_acks
        self.run(self.machine.ack, delivery, self.begin())  # as `step` does it
        if self.counts.stale_acks != stale:
            return False
        return self.core.plain or not self.core.doubtful(self.machine.now) or await self.engine.durable()

    async def nack_message(self, delivery: DeliveryId, delay: float, reason: str) -> bool:
        stale = self.counts.stale_nacks
        self.step(self.machine.nack, Nack(delivery, delay, reason))
        return self.counts.stale_nacks == stale and await self.engine.durable()

    def extend_message(self, delivery: DeliveryId, seconds: float) -> bool:
        stale = self.counts.stale_extends
        self.step(self.machine.extend, Extend(delivery, seconds))
        return self.counts.stale_extends == stale

    # effects

    def send(self, delivery: DeliveryId) -> None:
        counts = self.counts
        counts.delivered += 1
        if delivery[3] > 1:
            counts.redelivered += 1
            counts.withdrawn += not self._charged
        self._charged = False
        self.boxes[delivery[1]].put(Delivery(self.message, delivery, self))

    def withdraw(self, delivery: DeliveryId) -> None:
        self.boxes[delivery[1]].clear()

    def save_failure(self, held: Held) -> None:
        self._charged = True
        self.counts.failures += held.failures > 0
        super().save_failure(held)

    def settle(self, offset: int, outcome: Settlement) -> None:
        if outcome == "acked":
            self.counts.acked += 1
        elif outcome == "dropped":
            self.counts.dropped += 1
        else:
            self.counts.dead_lettered += 1
        self.core.settle(offset, self.machine.now)  # as super() does, which would cost every message a call

    def dead_letter(self, held: Held) -> None:
        self.engine.dead_letter(self.message, held)

    def stale(self, kind: Stale) -> None:
        if kind == "ack":
            self.counts.stale_acks += 1
        elif kind == "nack":
            self.counts.stale_nacks += 1
        else:
            self.counts.stale_extends += 1


class NonReliableAdapter(Adapter[NonReliable]):
    """Drives a non-reliable machine, and is its port."""

    def __init__(self, declaration: Declaration[NonReliable], observer: Observer | None) -> None:
        super().__init__(declaration)
        self.machine = declaration.lean(self)
        if observer is not None:
            self.add_observer(observer)
        self._offered: int | None = None
        self._outcome: Outcome = "no_consumer"

    def dispatch(self, message: Message) -> Outcome:
        """Hand a message over, or not, at once."""
        if self._port is not None:
            self.check()
        machine = self.machine
        machine.message(None)
        while (session := self._offered) is not None:
            self._offered = None
            if self.boxes[session].offer(Delivery(message, (0, session, message.offset, 1), self)):
                machine.accepted(session)
            else:
                machine.refused(session)
        return self._outcome

    def _take_leave(self, consumer: Consumer) -> bool:
        self.counts.dropped += consumer.waiting()
        return super()._take_leave(consumer)

    # answers: fire and forget

    def is_open(self, delivery: DeliveryId) -> bool:
        return False

    async def ack_message(self, delivery: DeliveryId) -> bool:
        return False

    async def nack_message(self, delivery: DeliveryId, delay: float, reason: str) -> bool:
        return False

    def extend_message(self, delivery: DeliveryId, seconds: float) -> bool:
        return False

    # effects

    def offer(self, session: int) -> None:
        self._offered = session

    def sent(self, session: int) -> None:
        self.counts.delivered += 1
        self._outcome = "sent"

    def dropped(self) -> None:
        self.counts.dropped += 1
        self._outcome = "dropped"

    def no_consumer(self) -> None:
        self.counts.no_consumer += 1
        self._outcome = "no_consumer"
