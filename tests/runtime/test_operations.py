"""Pausing, draining, and waiting until everything is settled."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

import processes
from danube_dispatcher import Closed, Consumer, InvalidArgument, NotSupported, StoreError, Topic
from danube_dispatcher.adapter import ReliableAdapter
from danube_dispatcher.virtual_time import advance
from delivering import join, now, publish, settle, take, take_and_ack, text, waiting
from faults import TROUBLE
from processes import Machine, blocked, faults_of, started

machine = processes.machine


# pause and resume


async def test_a_pause_stops_the_intake_and_resume_ends_it(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    delivery = await take(consumer)
    await subscription.pause()
    assert await delivery.ack() is True
    await advance(5)
    assert waiting(consumer) == [0]
    assert (subscription.explain().code, subscription.explain().ends_with) == ("paused", "resume()")
    await subscription.resume()
    assert text(await take(consumer)) == "b"


async def test_what_is_in_hand_is_still_redelivered_while_paused(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    delivery = await take(consumer)
    await subscription.pause()
    await delivery.nack()
    again = await take(consumer)
    assert (text(again), again.attempt) == ("a", 2)
    assert await again.ack() is True
    await advance(5)
    assert waiting(consumer) == [0]


@pytest.mark.parametrize("what", ["pause", "resume"])
async def test_pausing_and_resuming_are_durable_when_they_return(machine: Machine, what: str) -> None:
    topic, subscription, _ = await started(machine)
    if what == "resume":
        await subscription.pause()
        assert machine.row().progress.paused is True
    faults_of(topic).fail("store", TROUBLE)
    task = asyncio.create_task(getattr(subscription, what)())
    await advance(10)
    assert not task.done()
    faults_of(topic).heal()
    await task
    assert machine.row().progress.paused is (what == "pause")


async def test_pausing_or_resuming_twice_is_harmless(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    for _ in range(2):
        await subscription.pause()
    for _ in range(2):
        await subscription.resume()
    assert text(await take(consumer)) == "a"


# drain


async def test_draining_an_idle_subscription_is_done_at_once_and_leaves_it_paused(machine: Machine) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s")
    assert await subscription.drain() == ()
    consumer = await join(subscription, "c")
    await publish(topic, "x")
    await advance(5)
    assert waiting(consumer) == [0]
    assert subscription.explain().code == "paused"
    await subscription.resume()
    assert text(await take(consumer)) == "x"


async def test_draining_waits_for_what_is_in_flight_and_writes_the_position(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    delivery = await take(consumer)
    draining = asyncio.create_task(subscription.drain())
    await advance(7)
    assert not draining.done()
    assert await delivery.ack() is True
    assert await draining == ()
    assert now() < 7.1
    assert waiting(consumer) == [0]
    assert machine.stored_cursor() == 0


async def test_draining_waits_for_redeliveries_too(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    draining = asyncio.create_task(subscription.drain())
    for attempt in range(1, 4):
        delivery = await take(consumer)
        assert (text(delivery), delivery.attempt) == ("a", attempt)
        await delivery.nack()
    await (await take(consumer)).ack()
    assert await draining == ()


async def test_a_drain_ends_with_the_last_message_although_it_was_resumed_meanwhile(machine: Machine) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s", flush_interval=3600.0)
    consumer = await join(subscription, "c")
    await settle()
    await topic.publish_many([b"a", b"b", b"c"])
    first = await take(consumer)
    draining = asyncio.create_task(subscription.drain())
    await settle()
    await subscription.resume()
    await first.ack()
    for _ in range(2):
        await settle()
        await (await take(consumer)).ack()
    await settle()
    assert draining.done()
    assert draining.result() == ()


async def test_a_drain_that_runs_out_of_time_is_no_error_and_says_what_is_left(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    await (await take(consumer)).nack()
    await take(consumer)
    (left,) = await subscription.drain(3)
    assert now() == pytest.approx(4, abs=0.1)
    assert (left.offset, left.attempt, left.failures, left.why.code) == (0, 2, 1, "awaiting_ack")
    assert "consumer c" in str(left.why)
    assert machine.row().progress.paused


async def test_draining_for_no_time_looks_and_returns(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    delivery = await take(consumer)
    began = now()
    assert [left.offset for left in await subscription.drain(0)] == [0]
    await delivery.ack()
    await settle()
    assert await subscription.drain(0.001) == ()
    assert now() - began < 0.1


@pytest.mark.parametrize("why", ["blocked", "no_consumer", "redelivering"])
async def test_a_drain_says_why_something_is_left(machine: Machine, why: str) -> None:
    if why == "blocked":
        _, subscription, consumer = await blocked(machine)
    else:
        _, subscription, consumer = await started(machine, redelivery_delay=30)
        delivery = await take(consumer)
        if why == "redelivering":
            await delivery.nack()
        else:
            subscription.dispatcher.remove_consumer("c")
    (left,) = await subscription.drain(5)
    assert (left.offset, left.why.code) == (0, why)


async def test_a_drain_whose_last_write_fails_says_so(machine: Machine) -> None:
    topic, subscription, consumer = await started(machine)
    await (await take(consumer)).ack()
    delivery = await take(consumer)
    faults_of(topic).fail("store", TROUBLE)
    draining = asyncio.create_task(subscription.drain(5))
    await settle()
    await delivery.ack()
    (left,) = await draining
    assert left.why.code == "store"
    assert now() == pytest.approx(5, abs=0.1)


async def test_a_drain_ends_when_the_subscription_closes(machine: Machine) -> None:
    topic, subscription, consumer = await started(machine)
    await take(consumer)
    draining = asyncio.create_task(subscription.drain())
    await advance(1)
    await topic.close()
    async with asyncio.timeout(1):
        left = await draining
    assert [each.why.code for each in left] in ([], ["closed"])
    assert machine.row().progress.held is not None


async def test_draining_needs_no_consumer_when_nothing_is_unsettled(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    await (await take(consumer)).ack()
    await (await take(consumer)).ack()
    await (await take(consumer)).ack()
    subscription.dispatcher.remove_consumer("c")
    assert await subscription.drain() == ()
    assert machine.stored_cursor() == 2


async def test_a_drain_that_is_cancelled_leaves_it_paused_and_nothing_acknowledged(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    delivery = await take(consumer)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await subscription.drain()
    assert subscription.status().cursor == -1
    assert await delivery.ack() is True
    await advance(1)
    assert waiting(consumer) == [0]


async def test_a_pause_that_was_closed_before_it_was_written_says_so(machine: Machine) -> None:
    topic, subscription, _ = await started(machine)
    faults_of(topic).fail("store", TROUBLE)
    pausing = asyncio.create_task(subscription.pause())
    await settle()
    with suppress(StoreError):
        await subscription.close()
    with pytest.raises(Closed):
        await pausing


# waiting until everything is settled


async def test_it_is_caught_up_when_the_last_message_is_settled(machine: Machine) -> None:
    topic, subscription, consumer = await started(machine)
    waiter = asyncio.create_task(subscription.caught_up())
    while (offset := (await take_and_settle(consumer))) < topic.head - 1:
        await settle()
        assert not waiter.done()
    assert await waiter is True
    assert offset == topic.head - 1
    assert await subscription.caught_up(0) is True


async def take_and_settle(consumer: Consumer) -> int:
    delivery = await take(consumer)
    assert await delivery.ack() is True
    return delivery.message.offset


async def test_what_is_published_meanwhile_counts(machine: Machine) -> None:
    topic, subscription, consumer = await started(machine)
    waiter = asyncio.create_task(subscription.caught_up())
    await settle()
    await publish(topic, "late")
    await take_and_ack(consumer, count=topic.head - 1)
    await settle()
    assert not waiter.done()
    await take_and_ack(consumer, count=1)
    assert await waiter is True


async def test_waiting_ends_with_its_time_and_when_it_closes(machine: Machine) -> None:
    _, subscription, _ = await started(machine)
    began = now()
    assert await subscription.caught_up(0) is False
    assert await subscription.caught_up(7) is False
    assert now() - began == pytest.approx(7, abs=0.01)
    waiter = asyncio.create_task(subscription.caught_up())
    await settle()
    await subscription.close()
    assert await waiter is False


async def test_waiting_makes_no_step_an_extraordinary_one(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = await machine.topic()
    await topic.publish_many([b"x"] * 1_000)
    subscription = await topic.subscribe("s", start="earliest")
    extraordinary: list[float] = []
    write = ReliableAdapter.write

    def counted(self: ReliableAdapter, now: float) -> None:
        extraordinary.append(now)
        write(self, now)

    monkeypatch.setattr(ReliableAdapter, "write", counted)
    waiter = asyncio.create_task(subscription.caught_up())
    await settle()
    await take_and_ack(await join(subscription, "a"), count=1_000)
    assert await waiter is True
    assert len(extraordinary) < 50


async def test_what_cannot_be_waited_for(topic: Topic) -> None:
    live = await topic.subscribe("live", reliable=False)
    with pytest.raises(NotSupported, match="catch up"):
        await live.caught_up()
    with pytest.raises(InvalidArgument, match="timeout: "):
        await (await topic.subscribe("s")).caught_up(-1)
