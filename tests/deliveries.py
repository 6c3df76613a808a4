"""A reliable subscription under test: what a test can do with it, and what must then be so. The rules that do it in any order are in
tests/runtime/test_stateful.py.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from danube_dispatcher import Consumer, Delivery, FailurePolicy, InvalidArgument, Message, StoreError, Subscription, Topic
from danube_dispatcher.dead_letters import DEATHS, MOST_DEATHS
from danube_dispatcher.virtual_time import advance
from danube_statemachines import VARIANTS, EngineCore
from danube_statemachines.errors import StoryLine
from danube_statemachines.trace import Trace
from delivering import join, now, settle, store_loop
from faults import FaultStore
from ledger import Ledger, Open
from processes import DEAD, EPOCH, OUTLIVED, Machine, faults_of
from stateful import Rules, watch

T = TypeVar("T")

STEP = 4
"""Seconds at most in one go: between a send and its deadline there are always looks at who has taken it."""
BOUND = 4
"""Settled messages that may be lost in a crash: in earnest 10,000."""
CALM = 3.0
"""Seconds after which a store that had failed a few calls has been tried again."""
EXTENSION = 20.37
"""Seconds."""
QUIET = ("wake", "recover", "polled", "resumed", "poll_empty", "tick", "close")
"""Events that no consumer sends."""


class Observers:
    """What watches one run of a subscription. One that was killed, or so it seemed, is held to nothing but its table."""

    def __init__(self, subject: Deliveries, trace: Trace) -> None:
        self.subject = subject
        self.trace = trace
        self.killed = False

    def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
        self.trace.transition(machine, source, trigger, dest, row)
        if not self.killed:
            self.subject.story.add(StoryLine(trigger, dest, (), trigger if trigger in QUIET else "", None, now()))
            self.subject.ledger.transition(machine, source, trigger, dest, row)
            if trigger in ("polled", "resumed"):
                self.subject.at_intake()

    def effect(self, machine: str, name: str, arguments: tuple[Any, ...]) -> None:
        self.trace.effect(machine, name, arguments)
        if not self.killed:
            self.subject.story.add_effect(name, arguments)
            self.subject.ledger.effect(machine, name, arguments)
            if name == "send":
                self.subject.at_send(arguments[0][2])

    def rest(self) -> None:
        self.trace.rest()
        assert not self.trace.wrong, self.trace.wrong


class Deliveries(Rules):
    scheme: ClassVar[str]
    ledger: Ledger
    machine: Machine
    topic: Topic
    dead: Topic
    faults: FaultStore
    subscription: Subscription
    observers: Observers

    def __init__(self) -> None:
        super().__init__(f"a subscription in a {self.scheme} store")
        self.runner = asyncio.Runner(loop_factory=store_loop)
        self.directory = tempfile.TemporaryDirectory()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("danube_dispatcher.engine.EngineCore", partial(EngineCore, flush_messages=BOUND))
        self.consumers: dict[str, Consumer] = {}
        self.waits: dict[str, asyncio.Task[Delivery | None]] = {}
        self.gone: list[Consumer] = []
        self.seen: list[Delivery] = []
        self.stale = {"ack": 0, "nack": 0, "extend": 0}
        self.closed: set[int] = set()
        """Epochs of dispatchers that are closed: nobody counts the answers of their consumers any more."""
        self.promised = -1
        """The highest offset of which an ack said that it is durable."""
        self.durable = -1
        self.crashes = 0
        self.died: set[int] = set()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Do something, see who has taken what since, and complain of what should not have happened."""

        async def whole() -> T:
            result = await coroutine
            await self.look()
            return result

        result = self.runner.run(whole())
        self.observers.rest()
        assert not self.ledger.complaints, self.ledger.complaints
        return result

    async def look(self) -> None:
        """Whoever waits for a delivery has taken it by now."""
        await settle()
        for name, wait in list(self.waits.items()):
            if wait.done():
                del self.waits[name]
                delivery = wait.result()
                assert delivery is not None
                self.took(delivery)

    def took(self, delivery: Delivery) -> None:
        now_open = self.ledger.open
        assert now_open is not None
        assert now_open.id == delivery.id  # what comes out of a box is what was sent last
        assert not now_open.taken
        now_open.taken = True
        self.seen.append(delivery)

    def counts(self, delivery: Delivery) -> bool:
        """Whether an answer must count now."""
        current = self.ledger.open
        return current is not None and current.id == delivery.id and now() < current.deadline

    async def end(self, name: str, error: type[Exception] | None = None) -> None:
        """A consumer that is gone: its iteration ends, or raises that."""
        self.gone.append(self.consumers.pop(name))
        wait = self.waits.pop(name, None)
        for last in (wait, anext(self.gone[-1], None)):
            if last is None:
                continue
            if error is None:
                assert await last is None
            else:
                with pytest.raises(error):
                    await last

    def at_intake(self) -> None:
        """A message is taken in only under a lease that others respect."""
        self.ledger.must(self.machine.now() < self.machine.row().until, "a message was taken in after the lease had run out")

    def at_send(self, offset: int) -> None:
        """A careful owner has marked what it gives out, and made durable all before it."""
        if self.ledger.careful:
            cursor, held = self.machine.row().progress[:2]
            self.ledger.must(cursor == offset - 1, f"{offset} was sent while only {cursor} is durable, in spite of care")
            marked = held is not None and held.offset == offset and held.sent
            self.ledger.must(marked, f"{offset} was sent, but {held} is marked")

    async def opening(self, kind: str, policy: FailurePolicy, flush: float, rate: tuple[float | None, int | None]) -> None:
        self.kind = kind
        self.policy = policy
        self.flush = flush
        self.rate = rate
        self.ledger = Ledger(policy, exclusive=kind != "shared", rate=rate[0], burst=rate[1])
        self.machine = Machine(Path(self.directory.name) if self.scheme == "sqlite:" else None)
        await self.open_topics()

    async def open_topics(self) -> None:
        """As a process of its own."""
        self.topic = await self.machine.topic()
        self.faults = faults_of(self.topic)
        self.dead = await self.machine.topic(self.faults, DEAD)
        await self.subscribe()

    async def subscribe(self) -> None:
        variant = VARIANTS["reliable_shared" if self.kind == "shared" else "reliable_exclusive"]
        self.observers = Observers(self, watch(variant, "runtime", self.policy))
        self.subscription = await self.topic.subscribe(
            "s",
            type=self.kind,
            start="earliest",
            policy=self.policy,
            flush_interval=self.flush,
            rate_limit=self.rate[0],
            rate_burst=self.rate[1],
            observer=self.observers,
        )
        self.sessions = 0
        self.charged_before = self.ledger.charged
        self.stale = dict.fromkeys(self.stale, 0)

    async def publishing(self, count: int, *, died: bool = False) -> None:
        for _ in range(count):
            offset = self.topic.head
            self.ledger.published += 1
            with suppress(StoreError):  # it may be in all the same
                await self.topic.publish(b"x", attributes={DEATHS: str(MOST_DEATHS)} if died else None)
            self.ledger.published = self.topic.head
            if died and self.topic.head > offset:
                self.died.add(offset)

    async def disconnecting(self) -> None:
        for consumer in self.consumers.values():
            self.ledger.lose(consumer.session, blame=False)
        await self.subscription.dispatcher.disconnect_all_consumers()
        for name in list(self.consumers):
            await self.end(name)

    def pick(self, pick: int) -> str:
        return sorted(self.consumers)[pick % len(self.consumers)]

    @property
    def holder(self) -> Consumer | None:
        """Who has an untaken delivery in its box."""
        return next((consumer for consumer in self.consumers.values() if consumer.waiting()), None)

    async def taking(self) -> None:
        assert self.holder is not None
        self.took(await anext(self.holder))

    async def answering(self, delivery: Delivery, kind: str, delay: float | None, *, here: bool = True) -> None:
        """`here`: it asks the dispatcher that is open now."""
        expected = here and self.counts(delivery)
        current = self.ledger.open if expected else None
        strict = self.flush == 0 or self.ledger.careful > 0
        assert delivery.open is expected
        if kind == "ack":
            self.ledger.acking = delivery.id
            answer = await delivery.ack()
            self.ledger.acking = None
            if answer and strict:
                self.promised = delivery.id[2]
                assert self.machine.stored_cursor() >= self.promised
        elif kind == "nack":
            self.ledger.nacking = delay or 0.0
            self.ledger.charged += expected
            answer = await delivery.nack(delay)
            self.ledger.nacking = None
        else:
            self.extended(current)
            answer = await delivery.extend(EXTENSION)
        assert answer is expected
        self.stale[kind] += not expected and here

    def extended(self, current: Open | None) -> None:
        if current is not None:
            hold = self.policy.max_hold
            current.deadline = min(now() + EXTENSION, float("inf") if hold is None else current.sent_at + hold)

    async def passing(self, seconds: float) -> None:
        while seconds > 0:
            step = min(seconds, STEP)
            seconds -= step
            await advance(step)
            await self.look()

    async def releasing(self, action: str) -> None:
        assert self.ledger.exhausted
        offset = self.ledger.next
        if action == "dead_letter" and offset in self.died:
            with pytest.raises(InvalidArgument, match="times"):
                await self.subscription.release(action)
            return
        self.ledger.releasing = action
        assert await self.subscription.release(action) == offset
        self.ledger.releasing = None
        assert (offset in self.ledger.settled) is (action != "retry")

    async def crashing(self, wakes: bool) -> None:
        old = [self.topic, self.dead]
        observers, faults, calm = self.observers, self.faults, now() > self.faults.suffered_at + CALM
        faults.heal()
        faults.kill()
        observers.killed = True
        self.closed |= {delivery.id[0] for delivery in self.seen}
        for wait in self.waits.values():
            wait.cancel()
        self.waits.clear()
        self.gone += self.consumers.values()
        self.consumers.clear()
        self.crashes += 1
        self.judge_what_is_durable(calm=calm)
        await advance(OUTLIVED)
        self.ledger.reopened(careful=BOUND)
        await self.open_topics()
        assert self.topic.head == self.ledger.published
        assert self.subscription.status().cursor == self.ledger.next - 1
        await settle()
        row = self.machine.row()
        if wakes:
            faults.wake()
            await advance(OUTLIVED)
            assert self.machine.row().epoch == row.epoch
            assert self.machine.row().progress == row.progress
        faults.wake()
        for topic in old:
            await topic.close()
        observers.rest()

    def judge_what_is_durable(self, *, calm: bool) -> None:
        progress = self.machine.row().progress
        assert progress.cursor >= self.promised
        assert progress.paused is self.ledger.paused
        times = dict(self.ledger.settled_at)
        lost = self.ledger.crashed(progress, EPOCH)
        assert len(lost) <= BOUND
        if calm:
            assert all(times[offset] + self.flush >= now() for offset in lost)

    async def all_has_gone(self) -> None:
        assert self.ledger.open is not None or not self.ledger.sendable, self.subscription.explain()
        assert not self.ledger.exhausted or self.subscription.status().state == "Blocked"

    def finish(self) -> None:
        if hasattr(self, "subscription"):
            self.runner.run(self.finishing())

    def clean_up(self) -> None:
        self.runner.close()
        self.patch.undo()
        self.directory.cleanup()

    async def finishing(self) -> None:
        """Everything is settled or accounted for, and nothing is left running."""
        ledger = self.ledger
        self.faults.heal()
        await self.passing(6)
        ledger.paused = False
        await self.subscription.resume()
        await self.look()
        await self.disconnecting()
        self.sessions += 1
        ledger.turns.come(self.sessions)
        last = self.consumers["last"] = await join(self.subscription, "last")
        until = now() + 100 * (1 + ledger.published)
        while ledger.next < ledger.published and now() < until:
            if self.subscription.status().state == "Blocked":
                await self.releasing("drop")
            elif last.waiting():
                await self.taking()
                await self.answering(self.seen[-1], "ack", None)
            else:
                await advance(1)
        assert not ledger.complaints
        assert sorted(ledger.settled) == list(range(ledger.published)), self.subscription.explain()
        dead = {offset for offset, outcome in ledger.settled.items() if outcome == "dead_lettered"}
        letters = {int(letter.attributes["x-original-topic-offset"]) async for letter in self.letters()}
        assert letters >= dead
        assert letters == dead or self.crashes
        await self.machine.__aexit__(None, None, None)
        self.observers.rest()
        await advance(0.01)  # the turns that a loop gives to its writer end by themselves
        assert asyncio.all_tasks() == {asyncio.current_task()}
        timers = [each for each in self.runner.get_loop()._scheduled if not each.cancelled()]  # type: ignore[attr-defined]
        assert not timers

    async def letters(self) -> AsyncIterator[Message]:
        reader = await self.dead.subscribe("reader", start="earliest")
        consumer = await join(reader, "reader")
        for _ in range(self.dead.head):
            delivery = await anext(consumer)
            await delivery.ack()
            yield delivery.message
