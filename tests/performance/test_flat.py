"""What a message costs does not depend on how many consumers there are, how long the backlog is, or how often the message was sent before."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from pathlib import Path

import pytest

from danube_dispatcher import FailurePolicy, Subscription, Topic
from danube_dispatcher.adapter import ReliableAdapter
from danube_dispatcher.clock import RENEWAL
from danube_dispatcher.storage.protocols import READ_MESSAGES
from danube_dispatcher.storage.sqlite import SqliteStore
from danube_dispatcher.virtual_time import advance
from delivering import Place
from performance.counting import MESSAGES, WARM, Calls, Window

FEW, MANY = 1_000, 20_000
"""Messages of backlog."""


# ---- consumers ----


@pytest.mark.parametrize(("kind", "few"), [("failover", 1), ("shared", 4)])
async def test_a_message_to_one_of_many_consumers_is_as_many_calls(kind: str, few: int) -> None:
    async def calls(consumers: int) -> dict[str, Fraction]:
        counted = Calls()
        window = Window(counted)
        async with await topic.subscribe(f"{kind}-{consumers}", type=kind, start="earliest") as subscription:

            async def work(name: str) -> None:
                async with subscription.consumer(name) as consumer:
                    async for delivery in consumer:
                        await delivery.ack()
                        window.passed()

            tasks = [asyncio.create_task(work(f"c{nth}")) for nth in range(consumers)]
            while not window.over:
                await asyncio.sleep(0)
                assert not any(task.done() for task in tasks)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        return counted.each

    async with await Topic.open("memory:", "/test/consumers") as topic:
        await topic.publish_many([b"x"] * 2 * (WARM + MESSAGES))
        assert await calls(few) == await calls(64)


# ---- backlog ----


async def filled(place: Place, messages: int) -> Topic:
    topic = await place.topic(f"/test/backlog-{messages}")
    await topic.publish_many([b"x"] * messages)
    return topic


def held(subscription: Subscription) -> int:
    """Messages read ahead."""
    adapter = subscription.dispatcher._adapter
    assert isinstance(adapter, ReliableAdapter)
    return len(adapter.core.buffer)


async def opened(topic: Topic, name: str = "s") -> dict[str, int]:
    """Calls until a new subscription has its first message."""
    with Calls() as calls:
        subscription = await topic.subscribe(name, start="earliest")
        consumer = await subscription.consumer("c").__aenter__()
        await anext(consumer)
    assert held(subscription) < READ_MESSAGES
    await subscription.close()
    return calls.ours


async def test_opening_is_as_many_calls_however_long_the_backlog(place: Place) -> None:
    few, many = await filled(place, FEW), await filled(place, MANY)
    assert await opened(few) == await opened(many)


async def test_draining_holds_no_more_than_a_batch_however_long_the_backlog(place: Place) -> None:
    topic = await filled(place, MANY)
    most = 0
    async with await topic.subscribe("s", start="earliest") as subscription, subscription.consumer("c") as consumer:
        async for delivery in consumer:
            most = max(most, held(subscription))
            await delivery.ack()
            if delivery.message.offset == MANY - 1:
                break
    assert most == READ_MESSAGES - 1, "one is in hand"


async def test_sqlite_works_as_much_for_a_first_batch_however_long_the_backlog(tmp_path: Path) -> None:
    place = await Place.open(f"sqlite:{tmp_path / 'flat.db'}")
    assert isinstance(place.store, SqliteStore)
    reader, steps = place.store.reader, 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    async def took(topic: Topic) -> int:
        nonlocal steps
        await opened(topic, "warm")
        reader.set_progress_handler(step, 1)
        steps = 0
        await opened(topic)
        reader.set_progress_handler(None, 1)
        return steps

    topics = [await filled(place, FEW), await filled(place, MANY)]
    few, many = [await took(topic) for topic in topics]
    assert few == many > READ_MESSAGES
    statements: list[str] = []
    reader.set_trace_callback(statements.append)
    topic = await place.topic(f"/test/backlog-{MANY}")
    topic.hub.log.read(MANY // 2)
    reader.set_trace_callback(None)
    plans = [plan for text in statements if "messages" in text for *_, plan in reader.execute(f"EXPLAIN QUERY PLAN {text}")]
    assert plans
    assert all(plan.startswith("SEARCH messages USING INTEGER PRIMARY KEY") for plan in plans), plans
    await place.close()


# ---- attempts ----


async def test_the_fifth_attempt_is_as_many_calls_as_the_second() -> None:
    place = await Place.open("memory:")
    topic = await place.topic()
    await topic.publish_many([b"x"] * 2)
    policy = FailurePolicy(max_redeliveries=9, redelivery_delay=0.001, backoff="fixed")  # all is over before the next heartbeat
    each: dict[int, dict[str, int]] = {}
    async with await topic.subscribe("s", start="earliest", policy=policy) as subscription, subscription.consumer("c") as consumer:
        delivery = await anext(consumer)
        await advance(1.1 * RENEWAL)
        await delivery.ack()  # the first step after a renewal, which is told of
        delivery = await anext(consumer)
        while len(each) < 6:
            with Calls() as calls:
                await delivery.nack()
                delivery = await anext(consumer)
            each[delivery.attempt] = calls.ours
    assert each[5] == each[4] == each[3] == each[2]
    await place.close()
