"""The dispatcher of one subscription: one class, four constructors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Self, cast

from danube_statemachines import (
    DEAD_LETTERING,
    DISPATCHING,
    NON_RELIABLE_EXCLUSIVE,
    NON_RELIABLE_SHARED,
    RELIABLE_EXCLUSIVE,
    RELIABLE_SHARED,
    FailurePolicy,
    Held,
    IllegalEvent,
)

from .adapter import NonReliableAdapter, Outcome, ReliableAdapter
from .cancellation import to_the_end
from .clock import Watchdog, countdown, watchdog
from .consumer import Consumer
from .context import Closable
from .counts import Counts
from .dead_letters import MOST_DEATHS, DeadLetters, deaths
from .delivery import Delivery
from .engine import SubscriptionEngine
from .errors import (
    Closed,
    ConsumerAttached,
    ConsumerNotFound,
    ConsumerRefused,
    DanubeError,
    InvalidArgument,
    NotBlocked,
    NotSupported,
    OwnershipLost,
    SubscriptionInUse,
    UsageError,
)
from .explain import explain_non_reliable, explain_reliable
from .messages import Message
from .observer import Observer
from .recent import Glance, Recent
from .status import ConsumerStatus, Explanation, Lag, Leftover, Status
from .validation import check_delay, check_kind, check_observer, check_policy, check_reason, check_release, check_timeout


def _exclusive(standbys: bool) -> str:
    return "failover" if standbys else "exclusive"


class Dispatcher(Closable):
    """Hands the messages of one subscription to its consumers.

    A non-reliable one is given messages with `dispatch_message` and hands each over at most once. A reliable one reads them from its engine's
    topic and keeps one in flight until it is acknowledged. `await ready()`, or `async with`, before anything else.

    Its methods raise Closed after `close`, and WrongContext outside of the loop, thread and process it belongs to. `status` and `explain` always answer,
    and so do the answers to deliveries, which then say False.
    """

    def __init__(
        self,
        type: str,
        make: Callable[[], NonReliableAdapter] | Callable[[FailurePolicy, Watchdog], ReliableAdapter],
        *,
        engine: SubscriptionEngine | None = None,
        policy: FailurePolicy | None = None,
    ) -> None:
        """Use one of the four constructors below."""
        self.type = type
        """ "exclusive", "failover" or "shared"."""
        self.reliable = engine is not None
        self._make = make
        self._engine = engine
        self._policy = FailurePolicy() if engine is None else check_policy(policy, engine.hub.name)
        super().__init__(f"the {'reliable' if engine else 'non-reliable'} {type} dispatcher" + (f" of {engine.name}" if engine else ""))
        self._adapter: ReliableAdapter | NonReliableAdapter | None = None
        self._dead_letters: DeadLetters | None = None
        self._opening: asyncio.Task[None] | None = None
        self._withdrawn = False
        self._held: Held | None = None
        self._failure: Exception | None = None
        self._recent: Recent | None = None
        """While another process watches."""

    @classmethod
    def non_reliable_exclusive(cls, *, standbys: bool = False, observer: Observer | None = None) -> Self:
        """At most once, to one active consumer; with `standbys` others may wait for their turn."""
        return cls(_exclusive(standbys), partial(NonReliableAdapter, NON_RELIABLE_EXCLUSIVE, check_observer(observer)))

    @classmethod
    def non_reliable_shared(cls, *, observer: Observer | None = None) -> Self:
        """At most once, round robin over the consumers that have room."""
        return cls("shared", partial(NonReliableAdapter, NON_RELIABLE_SHARED, check_observer(observer)))

    @classmethod
    def reliable_exclusive(
        cls, engine: SubscriptionEngine, *, policy: FailurePolicy | None = None, standbys: bool = False, observer: Observer | None = None
    ) -> Self:
        """At least once, to one active consumer; with `standbys` (a failover subscription) others may wait for their turn."""
        engine = check_kind("engine", engine, SubscriptionEngine)
        return cls(_exclusive(standbys), partial(ReliableAdapter, RELIABLE_EXCLUSIVE, engine, check_observer(observer)), engine=engine, policy=policy)

    @classmethod
    def reliable_shared(cls, engine: SubscriptionEngine, *, policy: FailurePolicy | None = None, observer: Observer | None = None) -> Self:
        """At least once, round robin, one message in flight: spreads load and survives workers, but does not run them in parallel."""
        engine = check_kind("engine", engine, SubscriptionEngine)
        return cls("shared", partial(ReliableAdapter, RELIABLE_SHARED, engine, check_observer(observer)), engine=engine, policy=policy)

    def __repr__(self) -> str:
        return f"<{self._context.what}: {self.state}>"

    @property
    def state(self) -> str:
        """The machine's state, such as "Idle" or "AwaitingAck"."""
        return "Closed" if self._closing else "opening" if self._adapter is None else self._adapter.machine.state

    # opening and closing

    async def ready(self) -> None:
        """Open the engine; raises what opening raised."""
        self._context.check()
        if self._closing is not None:
            raise self._closed()
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        opening = self._opening
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():  # it was not this call that was cancelled: somebody closed
                raise self._closed() from None
            self._withdrawn = True
            await to_the_end(self.close())  # leave no lease behind
            raise

    async def _open(self) -> None:
        engine = self._engine
        if engine is None:
            self._adapter = cast("Callable[[], NonReliableAdapter]", self._make)()
            return
        target = self._policy.dead_letter_topic
        dead_letter_log = None if target is None else (await engine.hub.sibling(target)).log
        await engine.open(self.type, self._policy)
        try:
            self._adapter = adapter = cast("Callable[[FailurePolicy, Watchdog], ReliableAdapter]", self._make)(self._policy, watchdog())
        except BaseException:
            await to_the_end(engine.close(None, withdrawn=True))  # leave no lease behind
            raise
        if dead_letter_log is not None:
            self._dead_letters = DeadLetters(dead_letter_log, engine.name, self._policy.poison_policy, adapter)
        engine.attach(adapter, self, self._dead_letters)
        engine.head_moved()

    async def close(self) -> None:
        """End at once: acknowledge nothing, end the consumers, make the position durable, let go of the lease. Again is harmless."""
        await super().close()

    async def _close(self) -> None:
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if self._adapter is not None:
            self._end(None)
            if self._engine is not None:
                await self._engine.close(self._held, withdrawn=self._withdrawn)

    def _end(self, error: Exception | None) -> None:
        if isinstance(self._adapter, ReliableAdapter):
            self._adapter.begin()
            self._held = self._adapter.machine.held or self._held
        if self._adapter is not None:
            self._adapter.close(error)

    async def __aenter__(self) -> Self:
        await self.ready()
        return self

    @property
    def ended(self) -> bool:
        """Closed, or failed for good: its consumers have heard why."""
        return self._closing is not None or self._failure is not None

    def _closed(self) -> Closed:
        return Closed(f"{self._context.what} is closed" + (f": {self._failure}" if self._failure else ""))

    def _open_adapter(self) -> ReliableAdapter | NonReliableAdapter:
        adapter = self._unchecked_adapter()
        adapter.check()
        return adapter

    def _unchecked_adapter(self) -> ReliableAdapter | NonReliableAdapter:
        """For what looks by itself whether a step is under way."""
        self._context.check()
        if self.ended:
            raise self._closed()
        if self._adapter is None:
            raise UsageError(f"{self._context.what} is not open yet; await ready() first")
        return self._adapter

    def _reliable(self, what: str) -> ReliableAdapter:
        adapter = self._open_adapter()
        if not isinstance(adapter, ReliableAdapter):
            raise NotSupported(f"a non-reliable dispatcher has nothing to {what}: it keeps no position and no message")
        return adapter

    # consumers

    def add_consumer(self, consumer: Consumer) -> None:
        """Attach a consumer. Under an attached name it takes over: the old one ends with ConsumerReplaced and what it held goes to this one.

        Raises ConsumerAttached for a consumer that was added before, ConsumerRefused for a second one of an exclusive dispatcher.
        """
        adapter = self._open_adapter()
        if check_kind("consumer", consumer, Consumer).session:
            raise ConsumerAttached(consumer.name, "it was added before; make a new Consumer for each attachment")
        if self.type == "exclusive" and adapter.boxes and adapter.find(consumer.name) is None:
            other = next(iter(adapter.boxes.values())).name
            raise ConsumerRefused(consumer.name, f"the exclusive subscription has its consumer, {other}; use type='failover' for standbys")
        adapter.attach(consumer)

    def remove_consumer(self, name: str, *, blame: bool = True) -> None:
        """Lose a consumer. What it held is not acknowledged: it goes to the next, charged with a failure if this one had taken it (and `blame`).

        Raises ConsumerNotFound.
        """
        adapter = self._open_adapter()
        consumer = adapter.find(name)
        if consumer is None:
            raise ConsumerNotFound(name, "no consumer of that name is attached")
        adapter.detach(consumer, blame=blame)

    async def disconnect_all_consumers(self) -> None:
        """End all consumers. What they held is charged to nobody; the position is durable on return."""
        adapter = self._open_adapter()
        adapter.disconnect()
        if isinstance(adapter, ReliableAdapter):
            await adapter.engine.durable()

    # messages

    def dispatch_message(self, message: Message) -> Outcome:
        """Hand a message over, at once and at most once: "sent", "dropped" (no room) or "no_consumer". Raises NotSupported on a reliable dispatcher."""
        if type(message) is not Message:  # most are: that spares a call
            check_kind("message", message, Message)
        return self._unchecked_adapter().dispatch(message)

    def poll_and_dispatch(self) -> None:
        """Look for a message now. Not needed in ordinary use: publishing, joining and the heartbeat do so. Raises NotSupported on a non-reliable dispatcher."""
        self._reliable("poll").engine.head_moved()

    async def ack_message(self, delivery: Delivery) -> bool:
        """As `delivery.ack()`."""
        return self._adapter is not None and await self._adapter.ack_message(check_kind("delivery", delivery, Delivery).id)

    async def nack_message(self, delivery: Delivery, *, delay: float | None = None, reason: str | None = None) -> bool:
        """As `delivery.nack()`."""
        delay, reason = check_delay(delay), check_reason(reason)
        return self._adapter is not None and await self._adapter.nack_message(check_kind("delivery", delivery, Delivery).id, delay, reason)

    async def flush_progress(self) -> bool:
        """Make the position durable now. False on a non-reliable dispatcher, or when it was closed before it could."""
        adapter = self._open_adapter()
        return isinstance(adapter, ReliableAdapter) and await adapter.engine.durable()

    # observers

    def add_observer(self, observer: Observer) -> None:
        """Tell an observer, too, of all that happens from now on; the same one is told once. Nothing is paid for it before, and after it was removed."""
        self._open_adapter().add_observer(check_observer(observer, needed=True))

    def remove_observer(self, observer: Observer) -> None:
        """Tell it nothing any more. Harmless when it is not told anything."""
        if self._adapter is not None:
            self._adapter.remove_observer(observer)

    # operation

    async def pause(self) -> None:
        """Stop the intake, also over a restart. What is in hand is still redelivered and settled. Durable on return.

        This, `resume`, `drain` and `release` raise NotSupported on a non-reliable dispatcher.
        """
        await self._set_paused(True)

    async def resume(self) -> None:
        """Take in again. Durable on return."""
        await self._set_paused(False)

    async def _set_paused(self, paused: bool) -> None:
        adapter = self._reliable("pause" if paused else "resume")
        adapter.core.pause(paused, adapter.begin())
        adapter.follow()
        if not await adapter.engine.durable():
            raise self._closed()

    async def caught_up(self, timeout: float | None = None) -> bool:
        """Wait until everything published is settled, as far as this process knows of it: True. False: it took longer than `timeout` seconds, or it ended.

        Raises InvalidArgument, and NotSupported on a non-reliable dispatcher.
        """
        adapter = self._reliable("catch up with")
        left = countdown(check_timeout(timeout))
        while adapter.core.cursor < adapter.engine.hub.log.head - 1:
            if self.ended or left() == 0:
                return False
            await adapter.change(left(), by_any_step=False)
        return True

    async def drain(self, timeout: float | None = None) -> tuple[Leftover, ...]:
        """Pause, wait until nothing is unsettled, and flush. Empty means drained; after `timeout` seconds, what is left and why. It stays paused."""
        adapter = self._reliable("drain")
        left = countdown(check_timeout(timeout))
        adapter.core.pause(True, adapter.begin())
        adapter.follow()
        while adapter.unsettled is not None and self._closing is None and left() != 0:
            await adapter.change(left())
        held = adapter.unsettled
        flushed = await adapter.engine.durable(left())
        if held is not None:
            return (Leftover(held.offset, held.attempt, held.failures, self.explain()),)
        return () if flushed else (Leftover(adapter.core.cursor, 0, 0, Explanation("store", "the position is not durable yet", "a write that succeeds")),)

    async def release(self, action: str) -> int:
        """Let a blocked message go: "retry" (its failures are forgiven), "drop", or "dead_letter". Return its offset, once that is durable.

        Raises NotBlocked, and InvalidArgument when there is no dead-letter topic.
        """
        action = check_release(action)
        adapter = self._reliable("release")
        machine = adapter.machine
        while machine.state == DISPATCHING and adapter.exhausted:  # a careful engine marks it first
            await adapter.change()
        if action == "dead_letter" and self._dead_letters is None:
            raise InvalidArgument("action", "'dead_letter' needs a FailurePolicy with a dead_letter_topic")
        if action == "dead_letter" and machine.offset is not None and deaths(adapter.message) >= MOST_DEATHS:
            raise InvalidArgument("action", f"message {machine.offset} has been dead-lettered {MOST_DEATHS} times; drop it or retry it")
        offset = machine.offset
        trigger = {"retry": machine.release_retry, "drop": machine.release_drop, "dead_letter": machine.release_dead_letter}[action]
        try:
            adapter.step(trigger, None)
        except IllegalEvent as error:
            raise NotBlocked(f"nothing is blocked: {self.explain()}") from error
        assert offset is not None
        if action == "dead_letter":
            while machine.offset == offset and machine.state == DEAD_LETTERING:
                await adapter.change()
            if adapter.core.cursor < offset:
                raise self._closed() if self.ended else NotBlocked(f"message {offset} was not moved: {self.explain()}")
        if not await adapter.engine.durable():
            raise self._closed()
        return offset

    # what it is doing

    def status(self) -> Status:
        """What it is doing now, as a typed snapshot. Also after it was closed."""
        adapter = self._adapter
        if adapter is None:
            return Status(self.type, self.reliable, self.state, None, (), Counts(), None)
        delivery = adapter.machine.delivery if isinstance(adapter, ReliableAdapter) else None
        consumers = tuple(
            ConsumerStatus(box.name, session, box.active, box.waiting(), delivery[2] if delivery is not None and delivery[1] == session else None)
            for session, box in adapter.boxes.items()
        )
        active = adapter.machine.active
        name = None if active is None or active not in adapter.boxes else adapter.boxes[active].name
        if not isinstance(adapter, ReliableAdapter):
            return Status(self.type, self.reliable, self.state, name, consumers, replace(adapter.counts), None)
        machine, core, head = adapter.machine, adapter.core, adapter.engine.hub.log.head
        trouble = adapter.engine.last_error or (self._dead_letters.last_error if self._dead_letters else None)
        return Status(
            self.type,
            self.reliable,
            self.state,
            name,
            consumers,
            replace(adapter.counts),
            str(self._failure) if self._failure else trouble,
            in_flight=None if delivery is None else delivery[2],
            attempt=machine.attempt if machine.offset is not None else None,
            failures=machine.failures if machine.offset is not None else None,
            cursor=core.cursor,
            durable_cursor=core.durable.cursor,
            head=head,
            lag=Lag.between(core.cursor, head),
        )

    def explain(self) -> Explanation:
        """Why it is not progressing, and what ends the wait."""
        if self._engine is not None and self._adapter is not None and not self.ended:
            self._engine.hub.look()  # it is never "at the end" while there is something to read
        return self._explain()

    def _explain(self) -> Explanation:
        adapter = self._adapter
        if self._failure is not None and not isinstance(self._failure, OwnershipLost):
            return Explanation("failed", f"it ended: {self._failure}", "subscribing again")
        if isinstance(adapter, ReliableAdapter):
            return explain_reliable(adapter, self._dead_letters, self._context.loop.time())
        if adapter is None:
            return Explanation("opening", "it is not open yet", "await ready()")
        return explain_non_reliable(adapter.machine)

    @property
    def live(self) -> NonReliableAdapter:
        """Where the live messages of a topic go. Raises NotSupported on a reliable dispatcher."""
        if not isinstance(self._adapter, NonReliableAdapter):
            raise NotSupported("a reliable dispatcher reads its topic by itself")
        return self._adapter

    # the engine's side

    def fail(self, error: Exception) -> None:
        """The ownership is lost, or the store is beyond hope: end, and let the consumers know."""
        if self._failure is None and self._closing is None:
            self._failure = error
            self._end(error)

    def watch(self) -> None:
        adapter, recent = self._adapter, self._recent
        assert isinstance(adapter, ReliableAdapter)
        if recent is not None and recent.wanted:
            adapter.engine.stirred(self._context.loop.time())
        elif recent is not None:
            self._recent = None
            adapter.remove_observer(recent)
        adapter.watch()

    def mark(self) -> object:
        adapter = self._adapter
        assert isinstance(adapter, ReliableAdapter)
        machine, core, counts = adapter.machine, adapter.core, adapter.counts
        troubles = (adapter.engine.last_error, self._dead_letters and self._dead_letters.last_error, self._failure)
        return (machine.state, core.cursor, core.paused, core.refused, counts.delivered, counts.stale_acks, tuple(adapter.boxes), *troubles)

    def report(self) -> str:
        import json

        return json.dumps(self._report())

    def _report(self) -> dict[str, object]:
        status, why = self.status(), self._explain()
        return {
            "type": status.type,
            "state": status.state,
            "active": status.active,
            "consumers": [consumer.name for consumer in status.consumers],
            "cursor": status.cursor,
            "in_flight": status.in_flight,
            "attempt": status.attempt,
            "delivered": status.counts.delivered,
            "redelivered": status.counts.redelivered,
            "settled": status.counts.settled,
            "dropped": status.counts.dropped,
            "dead_lettered": status.counts.dead_lettered,
            "stale_acks": status.counts.stale_acks,
            "last_error": status.last_error,
            "code": why.code,
            "explanation": str(why),
        }

    async def request(self, action: str) -> str:
        kind, _, argument = action.partition(":")
        try:
            if kind == "release":
                return f"ok {await self.release(argument)}"
            if kind == "watch":
                return f"ok {self._glance(argument).encode()}"
            raise NotSupported(f"unknown request {kind!r}")
        except InvalidArgument as error:
            return f"invalid {error.problem}"
        except DanubeError as error:
            return f"error {error}"

    def _glance(self, seen: str) -> Glance:
        """What has happened since somebody's last look. It is kept from the first one on, and while they go on looking."""
        adapter = self._reliable("watch")
        if self._recent is None:
            self._recent = Recent(adapter.engine.hub.store.now)
            adapter.add_observer(self._recent)
        adapter.engine.stirred(self._context.loop.time())  # so that the next renewal asks whether anybody looks
        return self._recent.since(seen, self._report())

    def check_idle(self, topic: str, name: str) -> None:
        """Raises SubscriptionInUse while consumers are attached."""
        if self._adapter is not None and self._adapter.boxes:
            names = ", ".join(box.name for box in self._adapter.boxes.values())
            raise SubscriptionInUse(topic, name, f"consumers are attached: {names}")
