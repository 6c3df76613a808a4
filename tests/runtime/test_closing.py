"""Closing a subscription, and what a dispatcher that is opened and closed by hand says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import processes
from danube_dispatcher import (
    Closed,
    Consumer,
    ConsumerNotFound,
    Dispatcher,
    FailurePolicy,
    Message,
    NotSupported,
    Subscription,
    SubscriptionEngine,
    SubscriptionMismatch,
    Topic,
    UsageError,
    WrongContext,
)
from danube_dispatcher.adapter import ReliableAdapter
from danube_dispatcher.virtual_time import advance
from delivering import TOPIC, Record, join, publish, settle, take, take_and_ack, text
from processes import Machine, faults_of, started

machine = processes.machine


# closing


async def test_a_close_that_was_refused_leaves_it_open_and_known(topic: Topic) -> None:
    subscription = await topic.subscribe("s")

    def elsewhere() -> None:
        with pytest.raises(WrongContext):
            asyncio.run(subscription.close())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert await topic.subscribe("s") is subscription
    consumer = await join(subscription, "c")
    await publish(topic, "x")
    assert await take_and_ack(consumer, count=1) == ["c:x"]


async def test_closing_the_topic_waits_for_a_close_that_goes_on_without_its_caller(machine: Machine) -> None:
    topic = await machine.topic()
    await cancelled_close(await topic.subscribe("s"))
    await topic.close()
    assert machine.row().owner == ""


async def cancelled_close(subscription: Subscription) -> None:
    closing = asyncio.create_task(subscription.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing


async def test_what_fails_when_a_dispatcher_is_made_leaves_no_lease(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = await machine.topic()
    with monkeypatch.context() as patch:
        patch.setattr(ReliableAdapter, "add_observer", failing)
        with pytest.raises(RuntimeError, match="no memory"):
            await topic.subscribe("s", observer=Record())
    assert machine.rows() == []
    assert (await topic.subscribe("s", observer=Record())).status().state == "Idle"


def failing(*_: object) -> None:
    raise RuntimeError("no memory")


async def test_closing_acknowledges_nothing_and_ends_every_consumer(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, *"abc")
    subscription = await topic.subscribe("s", type="shared", start="earliest")
    a, b = await join(subscription, "a"), await join(subscription, "b")
    delivery = await take(a)
    idle = asyncio.create_task(anext(b))
    await settle()
    await subscription.close()
    with pytest.raises(StopAsyncIteration):
        await idle
    with pytest.raises(StopAsyncIteration):
        await anext(a)
    assert (await delivery.ack(), await delivery.nack(), await delivery.extend(1)) == (False, False, False)
    assert machine.stored_cursor() == -1
    assert subscription.explain().code == "closed"


async def test_closing_again_or_at_the_same_time_is_harmless(machine: Machine) -> None:
    topic, subscription, _ = await started(machine)
    faults_of(topic).lag("store", after=1.0)
    await asyncio.gather(subscription.close(), subscription.close(), topic.close())
    await subscription.close()
    assert len(faults_of(topic).made("store")) == 1


CALLS: list[Callable[[Subscription], Awaitable[object] | object]] = [
    lambda s: s.pause(),
    lambda s: s.resume(),
    lambda s: s.drain(1),
    lambda s: s.release("drop"),
    lambda s: s.consumer("x").__aenter__(),
    lambda s: s.run(print),
    lambda s: s.dispatcher.flush_progress(),
    lambda s: s.dispatcher.ready(),
    lambda s: s.dispatcher.disconnect_all_consumers(),
    lambda s: s.dispatcher.remove_consumer("c"),
    lambda s: s.dispatcher.poll_and_dispatch(),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("reliable", [True, False])
async def test_after_closing_every_call_says_closed(machine: Machine, call: Callable[[Subscription], Any], reliable: bool) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s", reliable=reliable)
    await join(subscription, "c")
    await subscription.close()
    with pytest.raises(Closed, match="is closed"):
        await call(subscription)
    assert subscription.status().state == "Closed"


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.publish(b"x"),
        lambda t: t.publish_many([b"x"]),
        lambda t: t.subscribe("s"),
        lambda t: t.unsubscribe("s"),
        lambda t: t.subscriptions(),
        lambda t: t.release("s", "drop"),
    ],
)
async def test_after_closing_a_topic_every_call_says_closed(machine: Machine, call: Callable[[Topic], Awaitable[object]]) -> None:
    topic = await machine.topic()
    await topic.close()
    with pytest.raises(Closed, match=f"topic {TOPIC} is closed"):
        await call(topic)


async def test_a_closed_subscription_can_be_opened_again(machine: Machine) -> None:
    topic, subscription, consumer = await started(machine)
    await (await take(consumer)).ack()
    await subscription.close()
    again = await topic.subscribe("s", type="exclusive", start="earliest", flush_interval=0)
    assert again is not subscription
    assert text(await take(await join(again, "c"))) == "b"


async def test_disconnecting_all_consumers_charges_nobody_and_is_durable(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, *"abc")
    subscription = await topic.subscribe("s", type="shared", start="earliest", policy=FailurePolicy(max_redeliveries=0), flush_interval=3600)
    a, b = await join(subscription, "a"), await join(subscription, "b")
    await (await take(a)).ack()
    delivery = await take(a)
    await subscription.dispatcher.disconnect_all_consumers()
    assert machine.stored_cursor() == 0
    assert await delivery.ack() is False
    for consumer in (a, b):
        with pytest.raises(StopAsyncIteration):
            await anext(consumer)
    assert subscription.status().failures == 0
    again = await take(await join(subscription, "c"))
    assert (text(again), again.attempt) == ("b", 2)


# the dispatcher by itself


async def test_a_dispatcher_is_opened_before_anything_else(machine: Machine) -> None:
    topic = await machine.topic()
    dispatcher = Dispatcher.reliable_exclusive(SubscriptionEngine(topic, "s"))
    consumer = Consumer("c")
    with pytest.raises(UsageError, match="ready"):
        dispatcher.add_consumer(consumer)
    assert (dispatcher.status().state, dispatcher.explain().code) == ("opening", "opening")
    async with dispatcher:
        dispatcher.add_consumer(consumer)
        await publish(topic, "x")
        delivery = await take(consumer)
        assert await dispatcher.ack_message(delivery) is True
        assert await dispatcher.ack_message(delivery) is False
        assert await dispatcher.flush_progress() is True
        assert machine.stored_cursor() == 0
        dispatcher.remove_consumer("c")
        with pytest.raises(ConsumerNotFound):
            dispatcher.remove_consumer("c")
    assert machine.row().owner == ""


async def test_ready_raises_what_opening_raised_each_time(machine: Machine) -> None:
    topic = await machine.topic()
    await topic.subscribe("s", type="shared")
    await topic.close()
    topic = await machine.topic()
    dispatcher = Dispatcher.reliable_exclusive(SubscriptionEngine(topic, "s"))
    for _ in range(2):
        with pytest.raises(SubscriptionMismatch):
            await dispatcher.ready()
    with pytest.raises(UsageError):
        dispatcher.add_consumer(Consumer("c"))
    await dispatcher.close()


async def test_an_engine_serves_one_dispatcher(machine: Machine) -> None:
    topic = await machine.topic()
    engine = SubscriptionEngine(topic, "s")
    async with Dispatcher.reliable_exclusive(engine):
        with pytest.raises(UsageError, match="make a new one"):
            await Dispatcher.reliable_exclusive(engine).ready()
        assert machine.row().owner


async def test_what_a_kind_of_dispatcher_cannot_do_it_says(machine: Machine) -> None:
    topic = await machine.topic()
    message = Message(b"x")
    async with Dispatcher.reliable_shared(SubscriptionEngine(topic, "s")) as reliable:
        with pytest.raises(NotSupported, match="publish to the topic"):
            reliable.dispatch_message(message)
    async with Dispatcher.non_reliable_shared() as live:
        consumer = Consumer("c", capacity=1)
        assert live.dispatch_message(message) == "no_consumer"
        live.add_consumer(consumer)
        assert [live.dispatch_message(message) for _ in range(2)] == ["sent", "dropped"]
        delivery = await take(consumer)
        assert await live.ack_message(delivery) is False
        assert await live.nack_message(delivery) is False
        assert await live.flush_progress() is False
        for call in (live.pause, live.resume, live.drain):
            with pytest.raises(NotSupported, match="non-reliable"):
                await call()
        with pytest.raises(NotSupported):
            await live.release("drop")
        with pytest.raises(NotSupported):
            live.poll_and_dispatch()


async def test_a_dispatcher_that_is_closed_while_it_opens_says_closed_and_leaves_nothing(machine: Machine) -> None:
    topic = await machine.topic()
    faults_of(topic).lag("acquire", after=2.0)
    dispatcher = Dispatcher.reliable_exclusive(SubscriptionEngine(topic, "s"))
    ready = asyncio.create_task(dispatcher.ready())
    await advance(1)
    await dispatcher.close()
    with pytest.raises(Closed):
        await ready
    assert machine.rows() == []
