"""What a reliable subscription reads, where its position is, and when that is durable."""

from __future__ import annotations

from itertools import pairwise

import pytest

import processes
from danube_dispatcher import CursorUnreadable, FailurePolicy, InvalidArgument, StoreDamaged, Topic
from danube_dispatcher.storage.protocols import READ_BYTES, READ_MESSAGES, Lease, Spec
from danube_dispatcher.virtual_time import advance
from danube_statemachines import Progress
from delivering import TOPIC, join, now, publish, take, text, waiting
from faults import TROUBLE, FaultLog
from processes import Machine, core_of, faults_of, filled, outlive, settle_next

machine = processes.machine


def log_of(topic: Topic) -> FaultLog:
    log = topic.hub.log
    assert isinstance(log, FaultLog)
    return log


# where it begins


@pytest.mark.parametrize(("start", "first"), [("earliest", 0), (0, 0), (2, 2), (3, 3), ("latest", 3)])
async def test_a_new_subscription_starts_where_it_is_asked_to(machine: Machine, start: str | int, first: int) -> None:
    topic = await filled(machine, 3)
    subscription = await topic.subscribe("s", start=start)
    await publish(topic, "new")
    consumer = await join(subscription, "c")
    assert await settle_next(consumer, 4 - first) == list(range(first, 4))


async def test_latest_is_the_default(machine: Machine) -> None:
    topic = await filled(machine, 3)
    assert (await topic.subscribe("s")).status().cursor == 2


@pytest.mark.parametrize("start", [4, 2**62])
async def test_a_start_beyond_the_head_is_an_error_and_leaves_nothing(machine: Machine, start: int) -> None:
    topic = await filled(machine, 3)
    with pytest.raises(InvalidArgument, match=rf"start: {start} is beyond the head 3 of {TOPIC}"):
        await topic.subscribe("s", start=start)
    assert machine.rows() == []
    assert await topic.subscriptions() == []


@pytest.mark.parametrize(("start", "cursor"), [("earliest", -1), (1, 0), ("latest", 2)])
async def test_the_first_position_is_durable_before_subscribe_returns(machine: Machine, start: str | int, cursor: int) -> None:
    topic = await filled(machine, 3)
    await topic.subscribe("s", start=start)
    assert machine.stored_cursor() == cursor


async def test_a_crash_before_the_first_flush_skips_nothing(machine: Machine) -> None:
    topic = await filled(machine, 3)
    await topic.subscribe("s", start="latest")
    await publish(topic, "missed")
    await outlive(topic)
    reopened = await machine.topic()
    await publish(reopened, "later")
    consumer = await join(await reopened.subscribe("s", start="latest"), "c")
    assert await settle_next(consumer, 2) == [3, 4]


async def test_a_stored_subscription_goes_on_where_it_was_whatever_start_says(machine: Machine) -> None:
    topic = await filled(machine, 5)
    await settle_next(await join(await topic.subscribe("s", start="earliest"), "c"), 2)
    await topic.close()
    for start in ("latest", "earliest", 4):
        topic = await machine.topic()
        subscription = await topic.subscribe("s", start=start)
        assert subscription.status().cursor == 1
        await topic.close()


async def test_a_cursor_beyond_the_head_is_an_error_and_never_a_new_start(machine: Machine) -> None:
    topic = await filled(machine, 3)
    lease = await machine.inner.acquire(TOPIC, "s", owner="x:1", seconds=10, new=Spec("exclusive", -1))
    assert isinstance(lease, Lease)
    await machine.inner.store(lease, Progress(3), let_go=True)
    for _ in range(2):
        with pytest.raises(CursorUnreadable, match="3 lies beyond the log"):
            await topic.subscribe("s")
        row = machine.row()
        assert (row.progress.cursor, row.owner) == (3, "")


async def test_a_cursor_that_cannot_be_read_is_an_error_and_never_a_new_start(machine: Machine) -> None:
    topic = await filled(machine, 3)
    await settle_next(await join(await topic.subscribe("s", start="earliest"), "c"))
    await topic.close()
    store = await machine.process()
    topic = await machine.topic(store)
    store.fail("load", CursorUnreadable(TOPIC, "s", "damaged"))
    for _ in range(2):  # its lease was let go, or the second would hear of that
        with pytest.raises(CursorUnreadable, match="damaged"):
            await topic.subscribe("s", start="latest")
    assert machine.stored_cursor() == 0
    store.heal()
    assert (await topic.subscribe("s")).status().cursor == 0


# reading


async def test_it_reads_ahead_in_batches(machine: Machine) -> None:
    topic = await filled(machine, 2 * READ_MESSAGES + 10)
    subscription = await topic.subscribe("s", start="earliest")
    assert await settle_next(await join(subscription, "c"), topic.head) == list(range(topic.head))
    assert len(faults_of(topic).made("read")) == 3


async def test_read_ahead_is_bounded_in_messages(machine: Machine) -> None:
    topic = await filled(machine, 3 * READ_MESSAGES)
    subscription = await topic.subscribe("s", start="earliest")
    consumer = await join(subscription, "c")
    most = 0
    for _ in range(topic.head):
        most = max(most, len(core_of(subscription).buffer))
        await settle_next(consumer)
    assert 0 < most <= READ_MESSAGES


async def test_read_ahead_is_bounded_in_bytes_though_never_below_one_message(machine: Machine) -> None:
    topic = await machine.topic()
    half, large = bytes(READ_BYTES // 2), bytes(READ_BYTES + 1)
    await topic.publish_many([half, half, half, large, large])
    subscription = await topic.subscribe("s", start="earliest")
    consumer = await join(subscription, "c")
    ahead: list[int] = []
    for _ in range(5):
        ahead.append(len(core_of(subscription).buffer))
        await settle_next(consumer)
    assert ahead == [1, 0, 0, 0, 0]


async def test_what_is_published_while_it_waits_is_bounded_like_what_it_reads(machine: Machine) -> None:
    topic = await filled(machine, 1)
    subscription = await topic.subscribe("s", start="earliest")
    consumer = await join(subscription, "c")
    await settle_next(consumer)
    half = bytes(READ_BYTES // 2)
    await topic.publish_many([half] * 5)
    ahead = len(core_of(subscription).buffer)
    assert await settle_next(consumer, 5) == [1, 2, 3, 4, 5]
    await topic.publish_many([half, half])
    assert (ahead, len(core_of(subscription).buffer)) == (1, 1)


async def test_a_gap_in_the_offsets_freezes_nothing(machine: Machine) -> None:
    topic = await filled(machine, 8)
    log_of(topic).hidden = {0, 3, 4, 7}
    subscription = await topic.subscribe("s", start="earliest", flush_interval=0)
    consumer = await join(subscription, "c")
    assert await settle_next(consumer, 4) == [1, 2, 5, 6]
    assert machine.stored_cursor() == 6
    assert subscription.explain().code == "end", "what follows is a gap"
    await publish(topic, "8")
    assert await settle_next(consumer) == [8]
    assert machine.stored_cursor() == 8


async def test_a_message_with_a_history_that_a_gap_swallowed_is_forgotten(machine: Machine) -> None:
    topic = await filled(machine, 2)
    consumer = await join(await topic.subscribe("s", start="earliest"), "c")
    await (await take(consumer)).nack()
    await topic.close()
    topic = await machine.topic()
    log_of(topic).hidden = {0}
    consumer = await join(await topic.subscribe("s"), "c")
    delivery = await take(consumer)
    assert (delivery.message.offset, delivery.attempt) == (1, 1)


async def test_lag_counts_what_is_not_settled(machine: Machine) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s", start="earliest")
    lag = subscription.status().lag
    assert lag is not None
    assert (lag.cursor, lag.head, lag.messages) == (-1, 0, 0)
    await publish(topic, *"abc")
    await settle_next(await join(subscription, "c"))
    lag = subscription.status().lag
    assert lag is not None
    assert (lag.cursor, lag.head, lag.messages) == (0, 3, 2)


@pytest.mark.parametrize("lagging", [False, True], ids=["in place", "awaited"])
async def test_a_read_that_fails_is_tried_again_with_growing_delays(machine: Machine, lagging: bool) -> None:
    topic = await filled(machine, 2)
    store = faults_of(topic)
    subscription = await topic.subscribe("s", start="earliest")
    if lagging:
        store.fail("read", TROUBLE, before=0.01)
    else:
        store.fail("read", TROUBLE)
    consumer = await join(subscription, "c")
    await advance(20)
    assert waiting(consumer) == [0]
    assert subscription.explain().code == "store"
    assert "on fire" in str(subscription.explain())
    assert "on fire" in str(subscription.status().last_error)
    times = [call.at for call in store.made("read")]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[0] < 0.2
    assert 4 < gaps[-1] < 5.6
    store.heal()
    assert text(await take(consumer)) == "0"
    assert now() - times[-1] < 5.6


async def test_a_slow_read_stops_nobody_and_skips_nothing(machine: Machine) -> None:
    topic = await filled(machine, 2)
    store = faults_of(topic)
    store.lag("read", before=3.0)
    subscription = await topic.subscribe("s", start="earliest")
    consumer = await join(subscription, "c")
    await publish(topic, "2")  # the publisher does not wait
    assert now() < 1
    assert subscription.explain().code == "busy"
    assert await settle_next(consumer, 3) == [0, 1, 2]


async def test_what_is_published_during_the_read_that_finds_nothing_is_found(machine: Machine) -> None:
    topic = await filled(machine, 1)
    log_of(topic).hidden = {0}
    subscription = await topic.subscribe("s", start="earliest")
    faults_of(topic).lag("read", after=1.0, times=1)
    consumer = await join(subscription, "c")
    await advance(0.5)
    await publish(topic, "1")
    await advance(0.51)
    assert waiting(consumer) == [1]


async def test_a_store_beyond_hope_ends_the_subscription_and_says_so(machine: Machine) -> None:
    topic = await filled(machine, 2)
    subscription = await topic.subscribe("s", start="earliest")
    faults_of(topic).fail("read", StoreDamaged("test", "torn page"))
    consumer = await join(subscription, "c")
    with pytest.raises(StoreDamaged, match="torn page"):
        await take(consumer)
    assert "torn page" in str(subscription.status().last_error)


async def test_a_subscription_that_ended_with_its_store_is_opened_again(machine: Machine) -> None:
    topic = await filled(machine, 2)
    store = faults_of(topic)
    ended = await topic.subscribe("s", start="earliest")
    store.fail("read", StoreDamaged("test", "torn page"))
    with pytest.raises(StoreDamaged):
        await take(await join(ended, "c"))
    store.heal()
    again = await topic.subscribe("s", start="earliest")
    assert again is not ended
    assert await settle_next(await join(again, "c"), 2) == [0, 1]


# the heartbeat


async def test_messages_of_another_process_are_found_within_one_heartbeat(machine: Machine) -> None:
    mine, other = await machine.topic(), await machine.topic()
    consumer = await join(await mine.subscribe("s"), "c")
    for delay in (0.0, 0.17, 0.31, 0.49):
        await advance(delay)
        published = now()
        await publish(other, "x")
        delivery = await take(consumer)
        assert now() - published <= 0.51
        await delivery.ack()


async def test_a_lost_notification_costs_at_most_one_heartbeat(machine: Machine) -> None:
    topic = await machine.topic()
    consumer = await join(await topic.subscribe("s"), "c")
    faults_of(topic).deaf = True
    for delay in (0.0, 0.2, 0.4):
        await advance(delay)
        published = now()
        await publish(topic, "x")
        assert waiting(consumer) == [0]
        delivery = await take(consumer)
        assert now() - published <= 0.51
        await delivery.ack()


async def test_it_never_says_end_while_there_is_something_to_read(machine: Machine) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s")
    consumer = await join(subscription, "c")
    assert subscription.explain().code == "end"
    faults_of(topic).deaf = True
    await publish(topic, "x")
    assert subscription.explain().code == "waking"
    await take(consumer)
    assert subscription.explain().code == "awaiting_ack"


async def test_deadlines_and_delays_fire_at_their_own_time(machine: Machine) -> None:
    topic = await filled(machine, 1)
    policy = FailurePolicy(ack_timeout=0.31, redelivery_delay=0.17)
    consumer = await join(await topic.subscribe("s", start="earliest", policy=policy), "c")
    times: list[float] = []
    for _ in range(2):
        await take(consumer)
        times.append(now())
    assert times[1] - times[0] == pytest.approx(0.48, abs=0.01)


async def test_a_heartbeat_that_cannot_look_looks_again(machine: Machine) -> None:
    topic, other = await machine.topic(), await machine.topic()
    store = faults_of(topic)
    consumer = await join(await topic.subscribe("s"), "c")
    store.fail("refresh", TROUBLE)
    await publish(other, "x")
    await advance(20)
    assert waiting(consumer) == [0]
    assert machine.row().until > machine.now()  # the renewals went on
    store.heal()
    began = now()
    await take(consumer)
    assert now() - began <= 0.51
