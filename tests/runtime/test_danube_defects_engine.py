"""What Danube's broker and others get wrong about positions, ownership and stalls: each as a test that would have caught it.

Its defects in who is served, what an answer settles and what is redelivered are the business of the tests of deliveries.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import processes
from danube_dispatcher import CursorUnreadable, Delivery, Dispatcher, FailurePolicy, StoreUnavailable, SubscriptionEngine, UsageError
from danube_dispatcher.virtual_time import advance
from delivering import TOPIC, join, now, publish, settle, take, text, waiting
from faults import TROUBLE, FaultLog
from processes import DEAD, Machine, faults_of, outlive

machine = processes.machine


async def test_a_rate_limited_message_is_not_fetched_and_dropped(machine: Machine) -> None:
    topic = await machine.topic()
    await topic.publish_many([str(number).encode() for number in range(10)])
    consumer = await join(await topic.subscribe("s", start="earliest", rate_limit=1, rate_burst=1), "c")
    came: list[str] = []
    for _ in range(10):
        delivery = await take(consumer)
        came.append(text(delivery))
        await delivery.ack()
    assert came == [str(number) for number in range(10)]
    assert now() == pytest.approx(9, abs=0.1)


async def test_the_last_position_of_a_burst_is_written_though_nothing_follows(machine: Machine) -> None:
    topic = await machine.topic()
    await topic.publish_many([b"x"] * 5)
    consumer = await join(await topic.subscribe("s", start="earliest"), "c")
    for _ in range(5):
        await (await take(consumer)).ack()
    await advance(5.1)
    assert machine.stored_cursor() == 4


async def test_a_failed_flush_does_not_clear_the_dirty_mark(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, "x")
    consumer = await join(await topic.subscribe("s", start="earliest"), "c")
    faults_of(topic).fail("store", TROUBLE, times=1)
    await (await take(consumer)).ack()
    await advance(6)
    assert machine.stored_cursor() == 0


async def test_an_unreadable_cursor_does_not_mean_start_at_latest(machine: Machine) -> None:
    topic = await machine.topic()
    await topic.publish_many([b"x"] * 5)
    await topic.subscribe("s", start="earliest")
    await topic.close()
    topic = await machine.topic()
    faults_of(topic).fail("load", CursorUnreadable(TOPIC, "s", "damaged"))
    with pytest.raises(CursorUnreadable):
        await topic.subscribe("s")
    faults_of(topic).heal()
    assert (await topic.subscribe("s")).status().cursor == -1


async def test_a_crash_before_the_first_flush_skips_no_message(machine: Machine) -> None:
    topic = await machine.topic()
    await topic.subscribe("s")
    await publish(topic, "missed")
    await outlive(topic)
    topic = await machine.topic()
    assert text(await take(await join(await topic.subscribe("s"), "c"))) == "missed"


async def test_an_offset_gap_does_not_freeze_the_cursor(machine: Machine) -> None:
    topic = await machine.topic()
    await topic.publish_many([b"x"] * 6)
    assert isinstance(topic.hub.log, FaultLog)
    topic.hub.log.hidden = {1, 2, 5}
    subscription = await topic.subscribe("s", start="earliest", flush_interval=0)
    consumer = await join(subscription, "c")
    for _ in range(3):
        await (await take(consumer)).ack()
    assert machine.stored_cursor() == 4


async def test_a_failure_to_initialise_does_not_signal_ready(machine: Machine) -> None:
    topic = await machine.topic()
    faults_of(topic).fail("load", TROUBLE)
    dispatcher = Dispatcher.reliable_exclusive(SubscriptionEngine(topic, "s"))
    with pytest.raises(StoreUnavailable):
        await dispatcher.ready()
    with pytest.raises(UsageError):
        await dispatcher.flush_progress()
    with pytest.raises(StoreUnavailable):
        await dispatcher.ready()


async def test_a_dead_letter_publish_blocks_nobody(machine: Machine) -> None:
    topic = await machine.topic()
    policy = FailurePolicy(max_redeliveries=0, poison_policy="dead_letter", dead_letter_topic=DEAD)
    subscription = await topic.subscribe("s", type="failover", policy=policy)
    neighbour = await join(await topic.subscribe("neighbour"), "c")
    consumer = await join(subscription, "c")
    await publish(topic, "poison", "fine")
    delivery = await take(consumer)
    faults_of(topic).lag("append", before=60.0)
    began = now()
    assert await delivery.nack() is True
    await join(subscription, "another")
    subscription.dispatcher.remove_consumer("another")
    await subscription.pause()
    await subscription.resume()
    assert await (await take(neighbour)).ack() is True
    assert await subscription.dispatcher.flush_progress() is True
    assert now() - began < 0.1
    assert subscription.explain().code == "dead_lettering"
    assert text(await take(consumer)) == "fine"
    assert now() - began == pytest.approx(60, abs=0.1)


async def test_reconnecting_burns_no_attempts(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, "long job")
    for _ in range(10):
        subscription = await topic.subscribe("s", start="earliest", policy=FailurePolicy(max_redeliveries=0))
        consumer = await join(subscription, "c")
        await take(consumer)
        await topic.close()
        topic = await machine.topic()
    subscription = await topic.subscribe("s", policy=FailurePolicy(max_redeliveries=0))
    delivery = await take(await join(subscription, "c"))
    assert subscription.status().failures == 0
    assert await delivery.ack() is True


@pytest.mark.parametrize("action", ["retry", "drop", "dead_letter"])
async def test_a_blocked_message_can_be_released(machine: Machine, action: str) -> None:
    topic = await machine.topic()
    await publish(topic, "poison", "fine")
    policy = FailurePolicy(max_redeliveries=0, dead_letter_topic=DEAD)
    subscription = await topic.subscribe("s", start="earliest", policy=policy)
    consumer = await join(subscription, "c")
    await (await take(consumer)).nack()
    assert await subscription.release(action) == 0
    assert text(await take(consumer)) == ("poison" if action == "retry" else "fine")


async def test_a_consumer_that_takes_nothing_blocks_neither_commands_nor_publishers(machine: Machine) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s", type="failover")
    live = await topic.subscribe("live", reliable=False)
    idle = [await join(each, "idle", capacity=1) for each in (subscription, live)]
    began = now()
    await topic.publish_many([b"x"] * 1000)
    await subscription.pause()
    await subscription.resume()
    await join(subscription, "another")
    assert now() - began < 0.1
    assert waiting(*idle) == [1, 1]
    assert live.status().counts.dropped == 999
    subscription.dispatcher.remove_consumer("idle")
    assert subscription.status().active == "another"


# others


async def test_a_redelivery_needs_no_publish_to_wake_it(machine: Machine) -> None:
    """pulsar #23845"""
    topic = await machine.topic()
    await publish(topic, "x")
    consumer = await join(await topic.subscribe("s", start="earliest"), "c")
    for _ in range(3):
        await (await take(consumer)).nack()
    assert await (await take(consumer)).ack() is True


async def test_a_shutdown_before_the_ack_acknowledges_nothing(machine: Machine) -> None:
    """faststream #1648"""
    topic = await machine.topic()
    await publish(topic, "x")
    subscription = await topic.subscribe("s", start="earliest")
    answers: list[Any] = []

    async def handler(delivery: Delivery) -> None:
        try:
            await advance(10)
        finally:
            answers.append(await delivery.ack())

    running = asyncio.create_task(subscription.run(handler))
    await advance(1)
    await topic.close()
    await running
    assert answers == [False]
    assert machine.stored_cursor() == -1


async def test_slow_work_that_extends_its_deadline_is_not_evicted(machine: Machine) -> None:
    """aiokafka #848"""
    topic = await machine.topic()
    await publish(topic, "x")
    subscription = await topic.subscribe("s", type="failover", start="earliest", policy=FailurePolicy(ack_timeout=5))
    consumer = await join(subscription, "c")
    delivery = await take(consumer)
    for _ in range(10):
        await advance(4)
        assert await delivery.extend(5) is True
    assert await delivery.ack() is True
    await settle()
    assert (subscription.status().counts.delivered, subscription.status().counts.failures) == (1, 0)
