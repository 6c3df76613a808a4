"""When the position, and what failed on the way to it, is durable."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

import processes
from danube_dispatcher import Consumer, FailurePolicy, StoreBusy, StoreUnavailable, Subscription, Topic
from danube_dispatcher.virtual_time import advance
from danube_statemachines import Progress
from delivering import join, now, settle, take, text, waiting
from faults import TROUBLE
from processes import Machine, core_of, faults_of, filled, kill, settle_next

machine = processes.machine


# writing the position


async def writes_of(machine: Machine, interval: float | None = None) -> tuple[Topic, Subscription, Consumer]:
    topic = await filled(machine, 20)
    subscription = await topic.subscribe("s", start="earliest", flush_interval=interval)
    return topic, subscription, await join(subscription, "c")


async def test_writes_are_five_seconds_apart_and_each_carries_the_newest_position(machine: Machine) -> None:
    topic, subscription, consumer = await writes_of(machine)
    store = faults_of(topic)
    began = now()
    for _ in range(3):
        await settle_next(consumer)
        await advance(2)
    status = subscription.status()
    assert (status.cursor, status.durable_cursor) == (2, 2)  # acks at 0, 2, 4; the write at 5
    assert [round(call.at - began, 2) for call in store.made("store")] == [5.0]
    await settle_next(consumer)  # at 6
    await advance(4.9)
    assert (subscription.status().cursor, machine.stored_cursor()) == (3, 2)
    await advance(0.2)
    assert machine.stored_cursor() == 3  # the trailing write, though nothing happened since
    assert [round(call.at - began, 2) for call in store.made("store")] == [5.0, 11.0]


async def test_an_idle_subscription_writes_nothing(machine: Machine) -> None:
    topic, _, consumer = await writes_of(machine)
    await settle_next(consumer, 20)
    await advance(60)
    assert len(faults_of(topic).made("store")) == 1


async def test_flush_interval_is_in_seconds(machine: Machine) -> None:
    _, _, consumer = await writes_of(machine, 0.25)
    await settle_next(consumer)
    await advance(0.24)
    assert machine.stored_cursor() == -1
    await advance(0.02)
    assert machine.stored_cursor() == 0


@pytest.mark.parametrize("how", ["disconnect", "remove", "drain", "close", "close topic", "flush"])
async def test_the_position_is_written_at_once_when_somebody_leaves(machine: Machine, how: str) -> None:
    topic, subscription, consumer = await writes_of(machine, 3600)
    await settle_next(consumer, 3)
    if how != "disconnect":
        await advance(1)
    assert machine.stored_cursor() == -1
    began = now()
    if how == "disconnect":
        await subscription.dispatcher.disconnect_all_consumers()
    elif how == "remove":
        subscription.dispatcher.remove_consumer("c")
        await settle()
    elif how == "drain":
        task = asyncio.create_task(subscription.drain())
        await settle()
        await settle_next(consumer)
        assert await task == ()
    elif how == "close":
        await subscription.close()
    elif how == "close topic":
        await topic.close()
    else:
        assert await subscription.dispatcher.flush_progress() is True
    assert machine.stored_cursor() == (3 if how == "drain" else 2)
    assert now() - began < 0.1


async def test_with_flush_interval_zero_an_ack_is_durable_when_it_returns(machine: Machine) -> None:
    _, _, consumer = await writes_of(machine, 0)
    for offset in range(5):
        assert await settle_next(consumer) == [offset]
        assert machine.stored_cursor() == offset


async def test_with_flush_interval_zero_the_next_message_leaves_when_the_position_is_durable(machine: Machine) -> None:
    topic, _, consumer = await writes_of(machine, 0)
    store = faults_of(topic)
    for before, after in ((2.0, 0.0), (0.0, 2.0)):
        store.lag("store", before=before, after=after)
        delivery = await take(consumer)
        acked = asyncio.create_task(delivery.ack())
        await advance(1.9)
        assert not acked.done()
        assert waiting(consumer) == [0]
        assert await acked is True
        await settle()
        assert waiting(consumer) == [1]
        store.heal()


async def test_with_flush_interval_zero_an_ack_waits_for_a_failing_store(machine: Machine) -> None:
    topic, subscription, consumer = await writes_of(machine, 0)
    store = faults_of(topic)
    store.fail("store", TROUBLE)
    acked = asyncio.create_task((await take(consumer)).ack())
    await advance(30)
    assert not acked.done()
    assert waiting(consumer) == [0]
    assert subscription.explain().code == "store"
    store.heal()
    assert await acked is True
    assert machine.stored_cursor() == 0
    assert text(await take(consumer)) == "1"


async def test_an_ack_that_waits_is_false_once_the_subscription_closed_in_vain(machine: Machine) -> None:
    topic, subscription, consumer = await writes_of(machine, 0)
    faults_of(topic).fail("store", TROUBLE)
    acked = asyncio.create_task((await take(consumer)).ack())
    await advance(1)
    with pytest.raises(StoreUnavailable, match="on fire"):
        await subscription.close()
    assert await acked is False
    assert machine.stored_cursor() == -1


async def test_an_ack_that_waits_is_true_when_closing_made_it_durable(machine: Machine) -> None:
    topic, subscription, consumer = await writes_of(machine, 0)
    faults_of(topic).fail("store", TROUBLE)
    acked = asyncio.create_task((await take(consumer)).ack())
    await advance(1)
    faults_of(topic).heal()
    await subscription.close()
    assert await acked is True
    assert machine.stored_cursor() == 0


async def test_five_thousand_settled_messages_are_written_without_waiting(machine: Machine) -> None:
    """Half the bound on duplicates, so that nobody waits for a write that takes its time."""
    topic = await machine.topic()
    await topic.publish_many(b"x" for _ in range(5_050))
    consumer = await join(await topic.subscribe("s", start="earliest", flush_interval=3600), "c")
    await settle_next(consumer, 4_999)
    await settle()
    assert machine.stored_cursor() == -1
    await settle_next(consumer)
    await settle()
    assert machine.stored_cursor() == 4_999


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
async def test_while_nothing_can_be_written_the_bound_on_duplicates_holds(machine: Machine, trouble: str) -> None:
    topic = await machine.topic()
    await topic.publish_many(b"x" for _ in range(20_500))
    subscription = await topic.subscribe("s", start="earliest", flush_interval=1)
    consumer = await join(subscription, "c")
    store = faults_of(topic)
    if trouble == "fails":
        store.fail("store", TROUBLE)
    else:
        store.lag("store", before=60.0)
    await settle_next(consumer)
    await advance(2)
    for _ in range(20_000):
        if not waiting(consumer)[0]:
            break
        await settle_next(consumer)
    await advance(30)
    assert waiting(consumer) == [0]
    assert subscription.explain().code == ("store" if trouble == "fails" else "busy")
    cursor = core_of(subscription).cursor
    assert cursor < 10_000
    store.heal()
    assert await settle_next(consumer, 500) == list(range(cursor + 1, cursor + 501))


@pytest.mark.parametrize("error", [TROUBLE, StoreBusy("test", "locked")], ids=["unavailable", "busy"])
async def test_a_failed_write_stays_dirty_is_tried_again_with_growing_delays_and_visible(machine: Machine, error: Exception) -> None:
    topic, subscription, consumer = await writes_of(machine)
    store = faults_of(topic)
    store.fail("store", error)
    await settle_next(consumer, 2)
    await advance(25)
    status = subscription.status()
    assert (status.cursor, status.durable_cursor, machine.stored_cursor()) == (1, -1, -1)
    assert "write of the cursor failed" in str(status.last_error)
    gaps = [later.at - earlier.at for earlier, later in pairwise(store.made("store"))]
    assert [round(gap, 2) for gap in gaps[:6]] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2]
    assert max(gaps) == pytest.approx(5.0, abs=0.01)
    assert await settle_next(consumer) == [2]  # deliveries go on meanwhile
    store.heal()
    await advance(5.1)
    status = subscription.status()
    assert (machine.stored_cursor(), status.durable_cursor, status.last_error) == (2, 2, None)


async def test_a_failed_write_is_made_good_by_closing(machine: Machine) -> None:
    topic, subscription, consumer = await writes_of(machine)
    faults_of(topic).fail("store", TROUBLE, times=1)
    await settle_next(consumer, 2)
    await advance(5.01)
    assert machine.stored_cursor() == -1
    await subscription.close()
    assert machine.stored_cursor() == 1


async def test_a_write_whose_answer_was_lost_is_repeated_and_does_no_harm(machine: Machine) -> None:
    topic, _, consumer = await writes_of(machine, 0)
    faults_of(topic).fail("store", TROUBLE, times=1, done=True)
    assert await settle_next(consumer, 3) == [0, 1, 2]
    assert machine.stored_cursor() == 2


async def test_one_write_at_a_time(machine: Machine) -> None:
    topic, subscription, consumer = await writes_of(machine, 3600)
    store = faults_of(topic)
    store.lag("store", after=1.0)
    flushes: list[asyncio.Task[bool]] = []
    for _ in range(5):
        await settle_next(consumer)
        flushes.append(asyncio.create_task(subscription.dispatcher.flush_progress()))
        await asyncio.sleep(0.01)
    assert await asyncio.gather(*flushes) == [True] * 5
    cursors = [progress.cursor for call in store.made("store") for progress in call.arguments if isinstance(progress, Progress)]
    assert cursors == [0, 4]


async def test_what_was_settled_after_the_last_write_comes_again_after_a_crash(machine: Machine) -> None:
    topic, _, consumer = await writes_of(machine, 3)
    await settle_next(consumer, 4)
    await advance(3.1)
    await settle_next(consumer, 3)
    kill(topic)
    await advance(processes.OUTLIVED)
    reopened = await machine.topic()
    consumer = await join(await reopened.subscribe("s"), "c")
    delivery = await take(consumer)
    assert delivery.message.offset == 4


# failures


async def test_a_failure_is_durable_in_one_row_with_the_position_when_nack_returns(machine: Machine) -> None:
    topic, _, consumer = await writes_of(machine, 3600)
    await settle_next(consumer, 3)
    assert await (await take(consumer)).nack(reason="too hot") is True
    progress = machine.row().progress
    assert progress.cursor == 2
    assert progress.held is not None
    assert (progress.held.offset, progress.held.attempt, progress.held.failures, progress.held.reason) == (3, 1, 1, "too hot")
    assert len(faults_of(topic).made("store")) == 1


async def test_a_nack_waits_for_a_failing_store_and_is_false_once_closed_in_vain(machine: Machine) -> None:
    topic, subscription, consumer = await writes_of(machine)
    faults_of(topic).fail("store", TROUBLE)
    nacked = asyncio.create_task((await take(consumer)).nack(delay=50))
    await advance(20)
    assert not nacked.done()
    with pytest.raises(StoreUnavailable):
        await subscription.close()
    assert await nacked is False


async def test_an_ack_timeout_is_durable_at_once(machine: Machine) -> None:
    topic = await filled(machine, 1)
    subscription = await topic.subscribe("s", start="earliest", policy=FailurePolicy(ack_timeout=2, redelivery_delay=60), flush_interval=3600)
    await take(await join(subscription, "c"))
    await advance(2.01)
    held = machine.row().progress.held
    assert held is not None
    assert (held.failures, held.reason) == (1, "ack timeout")


async def test_the_send_after_a_charged_loss_does_not_wait_for_its_row(machine: Machine) -> None:
    topic = await filled(machine, 1)
    subscription = await topic.subscribe("s", type="failover", start="earliest")
    first, second = await join(subscription, "first"), await join(subscription, "second")
    await take(first)
    faults_of(topic).lag("store", before=5.0)
    subscription.dispatcher.remove_consumer("first")
    assert waiting(second) == [1]
    assert (await take(second)).attempt == 2
    assert machine.row().progress.held is None
    await advance(5.1)
    held = machine.row().progress.held
    assert held is not None
    assert held.failures == 1
