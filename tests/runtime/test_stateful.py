"""Topics, subscriptions and consumers through whatever may happen to them, in any order: nothing is lost, and every answer counts as it should.

A `Ledger` stands at the machine's port as an observer. It knows what the test did, and from that alone what may follow: who may be sent what (S1, S5,
S7), which answers count (S3), who is to blame (S13), and when a message may be settled (S2, S8).
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from danube_dispatcher import Consumer, ConsumerRefused, ConsumerReplaced, Delivery, FailurePolicy, Message, StoreFull, Subscription, Topic
from delivering import Place, failing, forge, join, now, publish, settle, store_loop
from ledger import TIMEOUT, Ledger
from virtual import advance

T = TypeVar("T")

DEAD = "/test/dead"
STEP = 4
"""Seconds at most in one go: between a send and its deadline there are always looks at who has taken it."""


class Deliveries(RuleBasedStateMachine):
    scheme: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=store_loop)
        self.directory = tempfile.TemporaryDirectory()
        self.patch = pytest.MonkeyPatch()
        self.consumers: dict[str, Consumer] = {}
        self.waits: dict[str, asyncio.Task[Delivery | None]] = {}
        self.gone: list[Consumer] = []
        self.seen: list[Delivery] = []
        self.stale = {"ack": 0, "nack": 0, "extend": 0}
        self.closed: set[int] = set()
        """Epochs of dispatchers that are closed: nobody counts the answers of their consumers any more."""
        self.charged = 0
        self.durable = -1

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Do something, see who has taken what since, and complain of what should not have happened."""

        async def whole() -> T:
            result = await coroutine
            await self.look()
            return result

        result = self.runner.run(whole())
        assert not self.ledger.complaints
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

    def held_by(self, name: str) -> bool:
        return self.ledger.open is not None and self.ledger.open.id[1] == self.consumers[name].session

    def lose(self, *, blame: bool) -> None:
        """The holder goes, and only one that had taken the message is to blame."""
        assert self.ledger.open is not None
        if blame and self.ledger.open.taken:
            self.charged += 1
        else:
            self.ledger.open = None

    @initialize(
        kind=st.sampled_from(["exclusive", "failover", "shared"]),
        poison=st.sampled_from(["block", "drop", "dead_letter"]),
        limit=st.integers(0, 3),
        flush=st.sampled_from([0, 5]),
    )
    def open_all(self, kind: str, poison: Any, limit: int, flush: float) -> None:
        self.kind = kind
        self.flush = flush
        self.policy = FailurePolicy(ack_timeout=TIMEOUT, redelivery_delay=2.5, max_redeliveries=limit, poison_policy=poison, dead_letter_topic=DEAD)
        self.ledger = Ledger(self.policy, kind != "shared")
        url = f"{self.scheme}{Path(self.directory.name) / 's.db'}" if self.scheme == "sqlite:" else self.scheme

        async def opening() -> None:
            self.place = await Place.open(url)
            await self.open_topics(await self.place.topic())

        self.run(opening())
        self.attach("a")
        self.publish(3)

    async def open_topics(self, topic: Topic) -> None:
        self.topic = topic
        self.dead = await self.place.topic(DEAD)
        await self.subscribe()

    async def subscribe(self) -> None:
        self.subscription = await self.topic.subscribe(
            "s", type=self.kind, start="earliest", policy=self.policy, flush_interval=self.flush, observer=self.ledger
        )
        self.charged = self.ledger.charges
        self.charged_before = self.charged
        self.stale = dict.fromkeys(self.stale, 0)

    # consumers and publishers

    @rule(count=st.integers(1, 3))
    def publish(self, count: int) -> None:
        self.ledger.published += count
        self.run(publish(self.topic, *map(str, range(count))))

    @rule(name=st.sampled_from("abc"))
    def attach(self, name: str) -> None:
        """Join, or take over."""

        async def joining(subscription: Subscription) -> None:
            if name in self.consumers and self.held_by(name):
                self.lose(blame=True)
            self.ledger.must(name in self.consumers or self.kind != "exclusive" or not self.consumers, "an exclusive subscription took in a second name")
            new = await join(subscription, name)
            if name in self.consumers:
                await self.end(name, ConsumerReplaced)
            self.consumers[name] = new

        if self.kind == "exclusive" and self.consumers and name not in self.consumers:
            with pytest.raises(ConsumerRefused):
                self.runner.run(join(self.subscription, name))
        else:
            self.run(joining(self.subscription))

    @precondition(lambda self: self.consumers)
    @rule(pick=st.integers(0, 2), blame=st.booleans())
    def detach(self, pick: int, blame: bool) -> None:
        name = self.pick(pick)

        async def leaving() -> None:
            if self.held_by(name):
                self.lose(blame=blame)
            self.subscription.dispatcher.remove_consumer(name, blame=blame)
            await self.end(name)

        self.run(leaving())

    @precondition(lambda self: self.consumers)
    @rule()
    def disconnect_all(self) -> None:
        async def leaving() -> None:
            self.ledger.open = None
            await self.subscription.dispatcher.disconnect_all_consumers()
            for name in list(self.consumers):
                await self.end(name)

        self.run(leaving())

    def pick(self, pick: int) -> str:
        return sorted(self.consumers)[pick % len(self.consumers)]

    @property
    def holder(self) -> Consumer | None:
        """Who has an untaken delivery in its box."""
        return next((consumer for consumer in self.consumers.values() if consumer.waiting()), None)

    @precondition(lambda self: self.holder is not None)
    @rule()
    def take(self) -> None:
        self.run(self.taking())

    async def taking(self) -> None:
        assert self.holder is not None
        self.took(await anext(self.holder))

    @precondition(lambda self: len(self.consumers) > len(self.waits))
    @rule(pick=st.integers(0, 2))
    def wait(self, pick: int) -> None:
        """A worker that is ready for whatever comes."""
        names = sorted(set(self.consumers) - set(self.waits))
        name = names[pick % len(names)]

        async def waiting() -> None:
            self.waits[name] = asyncio.ensure_future(anext(self.consumers[name], None))

        self.run(waiting())

    @precondition(lambda self: self.waits)
    @rule(arrives=st.booleans())
    def stop_waiting(self, arrives: bool) -> None:
        """Cancelling loses nothing, also when a message arrives at that moment."""
        name = min(self.waits)

        async def stopping() -> None:
            wait = self.waits.pop(name)

            def cancel(_: object) -> None:
                wait.cancel()

            if arrives:
                self.ledger.published += 1
                end = self.topic.hub.log.watch(cancel)
                await publish(self.topic, "just now")
                end()
            wait.cancel()
            with suppress(asyncio.CancelledError):
                delivery = await wait
                assert delivery is not None
                self.took(delivery)

        self.run(stopping())

    # answers

    @precondition(lambda self: self.holder is not None or (self.ledger.open is not None and self.ledger.open.taken))
    @rule(kind=st.sampled_from(["ack", "nack", "extend"]), delay=st.sampled_from([None, 0, 7]))
    def work(self, kind: str, delay: float | None) -> None:
        """Answer the open delivery."""

        async def working() -> None:
            if self.holder is not None:
                await self.taking()
            await self.answering(self.seen[-1], kind, delay)

        self.run(working())

    @precondition(lambda self: self.seen)
    @rule(back=st.integers(0, 4), kind=st.sampled_from(["ack", "nack", "extend"]))
    def answer_again(self, back: int, kind: str) -> None:
        """Late, twice, as a former holder, or to a former run; or right, after all."""
        delivery = self.seen[-1 - back % len(self.seen)]
        self.run(self.answering(delivery, kind, None, here=delivery.id[0] not in self.closed))

    @precondition(lambda self: self.seen)
    @rule(part=st.sampled_from(["epoch", "session", "offset", "attempt"]), by=st.sampled_from([-1, 1]), kind=st.sampled_from(["ack", "nack", "extend"]))
    def forge(self, part: str, by: int, kind: str) -> None:
        genuine = self.seen[-1]
        forged = forge(genuine, **{part: by})
        if self.ledger.open is None or forged.id != self.ledger.open.id:  # or it would be genuine again
            self.run(self.answering(forged, kind, None, here=genuine.id[0] not in self.closed))

    async def answering(self, delivery: Delivery, kind: str, delay: float | None, *, here: bool = True) -> None:
        """`here`: it asks the dispatcher that is open now."""
        expected = here and self.counts(delivery)
        seconds = 20.37
        assert delivery.open is expected
        if kind == "ack":
            self.ledger.acking = delivery.id
            answer = await delivery.ack()
            self.ledger.acking = None
        elif kind == "nack":
            self.charged += expected
            answer = await delivery.nack(delay)
        else:
            answer = await delivery.extend(seconds)
            if expected and self.ledger.open is not None:
                self.ledger.open.deadline = now() + seconds
        assert answer is expected
        self.stale[kind] += not expected and here

    # operation

    @rule(seconds=st.integers(1, 40))
    def pass_time(self, seconds: int) -> None:
        self.run(self.passing(seconds))

    @rule(seconds=st.integers(1, 8))
    def disk_trouble(self, seconds: int) -> None:
        """Nothing can be written for a while: it is retried, and nothing is lost."""

        async def trouble() -> None:
            with self.patch.context() as patch:
                patch.setattr(self.place.store, "store", failing(StoreFull("s", "no room")))
                patch.setattr(self.dead.hub.log, "append", failing(StoreFull("s", "no room")))
                await self.passing(seconds)
            await self.passing(6)  # the longest that a retry waits

        self.run(trouble())

    async def passing(self, seconds: int) -> None:
        while seconds > 0:
            step = min(seconds, STEP)
            seconds -= step
            current = self.ledger.open
            until = now() + step
            if current is not None and current.taken and current.deadline <= until:
                self.charged += 1
            await advance(step)
            await self.look()

    @rule()
    def pause(self) -> None:
        async def pausing() -> None:
            self.ledger.paused = True
            await self.subscription.pause()

        self.run(pausing())

    @rule()
    def resume(self) -> None:
        async def resuming() -> None:
            self.ledger.paused = False
            await self.subscription.resume()

        self.run(resuming())

    @precondition(lambda self: self.subscription.status().state == "Blocked")
    @rule(action=st.sampled_from(["retry", "drop", "dead_letter"]))
    def release(self, action: str) -> None:
        self.run(self.releasing(action))

    async def releasing(self, action: str) -> None:
        assert self.ledger.exhausted
        self.ledger.releasing = action
        offset = self.ledger.next
        assert await self.subscription.release(action) == offset
        self.ledger.releasing = None
        assert (offset in self.ledger.settled) is (action != "retry")

    @rule(restart=st.booleans())
    def close_and_reopen(self, restart: bool) -> None:
        async def reopening() -> None:
            self.ledger.open = None
            self.closed |= {delivery.id[0] for delivery in self.seen}
            topic = self.topic
            if restart:
                topic = await self.place.restart()
            else:
                await self.subscription.close()
            for name in list(self.consumers):
                await self.end(name)
            self.ledger.active = None
            if restart:
                await self.open_topics(topic)
            else:
                await self.subscribe()
            assert self.subscription.status().cursor == self.ledger.next - 1  # a close writes all that was settled

        self.run(reopening())

    # at all times

    @invariant()
    def what_it_says_is_so(self) -> None:
        if not hasattr(self, "subscription"):
            return
        status = self.subscription.status()
        counts = status.counts
        assert status.in_flight == (None if self.ledger.open is None else self.ledger.open.id[2])
        assert status.cursor == self.ledger.next - 1
        assert status.durable_cursor is not None
        assert self.durable <= status.durable_cursor <= self.ledger.next - 1
        self.durable = status.durable_cursor
        assert {"ack": counts.stale_acks, "nack": counts.stale_nacks, "extend": counts.stale_extends} == self.stale
        assert self.ledger.charges == self.charged
        assert counts.failures == self.charged - self.charged_before
        if status.failures is not None:
            assert status.failures == self.ledger.failures
        assert sum(consumer.waiting() for consumer in self.consumers.values()) <= 1
        assert {consumer.name for consumer in status.consumers} == set(self.consumers)
        assert sum(consumer.active for consumer in self.consumers.values()) == (len(self.consumers) if self.kind == "shared" else min(1, len(self.consumers)))
        assert not any(consumer.active for consumer in self.gone)

    # and when the trouble is over

    def teardown(self) -> None:
        try:
            if hasattr(self, "subscription"):
                self.runner.run(self.finish())
        finally:
            self.runner.close()
            self.directory.cleanup()

    async def finish(self) -> None:
        """Everything is settled or accounted for, and nothing is left running."""
        self.ledger.paused = False
        await self.subscription.resume()
        await self.look()
        self.ledger.open = None
        await self.subscription.dispatcher.disconnect_all_consumers()
        for name in list(self.consumers):
            await self.end(name)
        last = self.consumers["last"] = await join(self.subscription, "last")
        until = now() + 100 * (1 + self.ledger.published)
        while self.ledger.next < self.ledger.published and now() < until:
            if self.subscription.status().state == "Blocked":
                await self.releasing("drop")
            elif last.waiting():
                await self.taking()
                await self.answering(self.seen[-1], "ack", None)
            else:
                await advance(1)
        assert not self.ledger.complaints
        assert sorted(self.ledger.settled) == list(range(self.ledger.published)), self.subscription.explain()
        dead = {offset for offset, outcome in self.ledger.settled.items() if outcome == "dead_lettered"}
        assert {int(letter.attributes["x-original-topic-offset"]) async for letter in self.letters()} == dead
        await self.place.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def letters(self) -> AsyncIterator[Message]:
        reader = await self.dead.subscribe("reader", start="earliest")
        consumer = await join(reader, "reader")
        for _ in range(self.dead.head):
            delivery = await anext(consumer)
            await delivery.ack()
            yield delivery.message


class InMemory(Deliveries):
    scheme = "memory:"


class OnAFile(Deliveries):
    scheme = "sqlite:"


TestInMemory = InMemory.TestCase
TestInMemory.settings = settings(max_examples=60, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow])
TestOnAFile = OnAFile.TestCase
TestOnAFile.settings = settings(max_examples=8, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow])
