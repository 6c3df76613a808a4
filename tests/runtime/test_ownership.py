"""One process at a time owns a reliable subscription: leases, fences, and what becomes of an owner that lost its own."""

from __future__ import annotations

import asyncio
import os
import re

import pytest

import processes
from danube_dispatcher import (
    Closed,
    Consumer,
    FailurePolicy,
    OwnershipLost,
    StoreBusy,
    Subscription,
    SubscriptionOwned,
    Topic,
)
from danube_dispatcher.clock import HEARTBEAT, LEASE, RENEWAL
from danube_dispatcher.storage.protocols import Lease, Spec
from danube_dispatcher.virtual_time import advance
from danube_statemachines import FLUSH_INTERVAL, Progress
from delivering import TOPIC, join, now, take, waiting
from faults import TROUBLE
from processes import EPOCH, Machine, block_loop, core_of, faults_of, kill, outlive, owner

machine = processes.machine


async def stolen(machine: Machine) -> Lease:
    """Another process takes the subscription although its owner lives: it has slept past its lease."""
    row = machine.row()
    stamp = row.epoch << 32
    for renewals in range(1000):
        lease = await machine.inner.acquire(TOPIC, "s", owner="other:1", seconds=LEASE, new=None, stamp=stamp + renewals)
        if isinstance(lease, Lease):
            return lease
    raise AssertionError("not taken")


# leases


async def test_a_lease_of_ten_seconds_is_renewed_every_three(machine: Machine) -> None:
    topic, _, _ = await owner(machine)
    assert machine.row().until == pytest.approx(EPOCH + now() + 10, abs=0.1)
    await advance(30.2)
    times = [call.at for call in faults_of(topic).made("renew")]
    assert [round(time) for time in times] == [3, 6, 9, 12, 15, 18, 21, 24, 27, 30]
    assert machine.row().until == pytest.approx(EPOCH + 40, abs=0.6)
    assert (LEASE, RENEWAL) == (10.0, 3.0)


async def test_one_statement_renews_all_leases_of_a_store(machine: Machine) -> None:
    store = await machine.process()
    for name in ("/test/a", "/test/b"):
        topic = await machine.topic(store, name)
        for number in range(5):
            await topic.subscribe(f"s{number}")
    await advance(3.6)
    renewals = store.made("renew")
    assert [len(leases) for call in renewals for leases in call.arguments if isinstance(leases, dict)] == [10]


async def test_a_second_process_is_told_who_owns_it_and_until_when(machine: Machine) -> None:
    await owner(machine)
    other = await machine.topic()
    with pytest.raises(SubscriptionOwned) as caught:
        await other.subscribe("s")
    error = caught.value
    assert re.fullmatch(rf"[^:]+:{os.getpid()}", error.owner)
    assert error.until == pytest.approx(EPOCH + 10, abs=0.1)
    assert (error.topic, error.subscription) == (TOPIC, "s")
    assert error.owner in str(error)
    assert "2023-11-14T22:13:30" in str(error)


async def test_waiting_gives_up_when_its_time_is_over(machine: Machine) -> None:
    await owner(machine)
    other = await machine.topic()
    began = now()
    with pytest.raises(SubscriptionOwned):
        await other.subscribe("s", wait=25.25)
    assert now() - began == pytest.approx(25.25, abs=0.01)


@pytest.mark.parametrize("wait", [None, 60.0])
async def test_waiting_takes_over_when_the_owner_lets_go(machine: Machine, wait: float | None) -> None:
    topic, _, consumer = await owner(machine)
    other = await machine.topic()
    waiter = asyncio.create_task(other.subscribe("s", wait=wait))
    await (await take(consumer)).ack()
    await advance(31)
    assert not waiter.done()
    closed = now()
    await topic.close()
    subscription = await waiter
    assert now() - closed < HEARTBEAT + 0.01
    assert core_of(subscription).careful == 0
    assert (await take(await join(subscription, "c"))).message.offset == 1


async def test_a_waiter_takes_over_within_a_lease_and_a_heartbeat_of_the_last_renewal(machine: Machine) -> None:
    topic, _, _ = await owner(machine)
    other = await machine.topic()
    waiter = asyncio.create_task(other.subscribe("s", wait=None))
    await advance(7.1)
    renewed = faults_of(topic).made("renew")[-1].at
    kill(topic)
    subscription = await waiter
    assert LEASE - 0.01 <= now() - renewed <= LEASE + HEARTBEAT + 0.01
    assert core_of(subscription).careful


async def test_who_has_waited_longer_than_a_lease_serves_as_soon_as_it_owns(machine: Machine) -> None:
    topic, _, _ = await owner(machine)
    other = await machine.topic()
    waiter = asyncio.create_task(other.subscribe("s", wait=None))
    await advance(2 * LEASE)
    kill(topic)
    subscription = await waiter
    owned = now()
    await other.publish(b"next")
    await take(await join(subscription, "c"))
    assert now() - owned < HEARTBEAT / 2, "its lease runs from the call that took it, and not from when it began to wait"


async def test_who_comes_later_takes_over_at_once_when_the_lease_is_over(machine: Machine) -> None:
    topic, _, _ = await owner(machine)
    await outlive(topic)
    other = await machine.topic()
    assert core_of(await other.subscribe("s")).careful


async def test_a_lease_seen_unchanged_for_one_lease_may_be_taken_whatever_the_wall_clock_says(machine: Machine) -> None:
    topic = await machine.topic()
    lease = await machine.inner.acquire(TOPIC, "s", owner="wrong.clock:1", seconds=1e6, new=Spec("exclusive", -1))
    assert isinstance(lease, Lease)
    with pytest.raises(SubscriptionOwned, match=r"wrong\.clock:1"):
        await topic.subscribe("s", wait=LEASE - 1)
    began = now()
    await topic.subscribe("s", wait=None)
    assert LEASE <= now() - began <= LEASE + HEARTBEAT + 0.01


async def test_who_has_renewed_is_watched_anew(machine: Machine) -> None:
    topic = await machine.topic()
    lease = await machine.inner.acquire(TOPIC, "s", owner="wrong.clock:1", seconds=1e6, new=Spec("exclusive", -1))
    assert isinstance(lease, Lease)
    waiter = asyncio.create_task(topic.subscribe("s", wait=None))
    await advance(LEASE - 1)
    await machine.inner.renew({lease: None}, seconds=1e6)
    renewed = now()
    await waiter
    assert LEASE <= now() - renewed <= LEASE + 2 * HEARTBEAT


async def test_an_owner_that_renews_is_not_taken_over(machine: Machine) -> None:
    _, subscription, consumer = await owner(machine)
    other = await machine.topic()
    with pytest.raises(SubscriptionOwned):
        await other.subscribe("s", wait=100)
    assert await (await take(consumer)).ack() is True
    assert subscription.status().last_error is None


@pytest.mark.parametrize("error", [StoreBusy("test", "locked"), TROUBLE], ids=["busy", "unavailable"])
async def test_trouble_at_a_renewal_is_no_loss(machine: Machine, error: Exception) -> None:
    topic, subscription, consumer = await owner(machine)
    faults_of(topic).fail("renew", error)
    await advance(8)
    assert await (await take(consumer)).ack() is True
    assert waiting(consumer) == [1]
    faults_of(topic).heal()
    await advance(1)
    assert machine.row().until > EPOCH + now() + 8
    await advance(30)
    assert await (await take(consumer)).ack() is True
    assert subscription.explain().code == "awaiting_ack"


# asleep past the lease


async def test_an_owner_past_its_lease_gives_nothing_out_until_it_has_renewed(machine: Machine) -> None:
    topic, subscription, consumer = await owner(machine, policy=FailurePolicy(ack_timeout=100))
    store = faults_of(topic)
    await advance(4)
    store.fail("renew", TROUBLE)
    delivery = await take(consumer)
    await advance(10)  # it was renewed once, at 3
    assert await delivery.ack() is True  # it holds it still, and nobody else took over
    await advance(5)
    assert waiting(consumer) == [0]
    assert subscription.explain().code == "lease"
    assert "renewal" in subscription.explain().ends_with
    store.heal()
    began = now()
    assert (await take(consumer)).message.offset == 1
    assert now() - began <= RENEWAL + HEARTBEAT


async def idle_owner(machine: Machine) -> tuple[Topic, Subscription, Consumer]:
    """Everything is settled, durable and told."""
    topic, subscription, consumer = await owner(machine)
    while subscription.explain().code != "end":
        await (await take(consumer)).ack()
    await advance(FLUSH_INTERVAL + 2 * RENEWAL)
    return topic, subscription, consumer


async def test_an_idle_owner_past_its_lease_gives_nothing_out_until_it_has_renewed(machine: Machine) -> None:
    topic, subscription, consumer = await idle_owner(machine)
    faults_of(topic).fail("renew", TROUBLE)
    await advance(LEASE + RENEWAL)
    await topic.publish(b"late")
    assert waiting(consumer) == [0]
    assert subscription.explain().code == "lease"
    faults_of(topic).heal()
    began = now()
    assert (await take(consumer)).message.payload == b"late"
    assert now() - began <= RENEWAL + HEARTBEAT


async def test_an_idle_owner_knows_its_lease_however_long_it_was_idle(machine: Machine) -> None:
    topic, subscription, consumer = await idle_owner(machine)
    await advance(10.1 * LEASE)
    assert subscription.explain().code == "end"
    await topic.publish(b"at last")
    assert waiting(consumer) == [1], "at once"


async def test_a_lease_counts_from_the_beginning_of_its_renewal(machine: Machine) -> None:
    topic, subscription, consumer = await owner(machine)
    faults_of(topic).lag("renew", after=4.0, times=1)  # from 3 to 7
    faults_of(topic).fail("renew", TROUBLE)
    delivery = await take(consumer)
    await advance(13.5)
    assert await delivery.ack() is True
    assert subscription.explain().code == "lease"


async def test_an_owner_whose_loop_was_blocked_past_its_lease_asks_before_it_goes_on(machine: Machine) -> None:
    topic, _, consumer = await owner(machine)
    delivery = await take(consumer)
    renewals = len(faults_of(topic).made("renew"))
    block_loop(LEASE + 2)
    assert await delivery.ack() is True
    assert machine.stored_cursor() == 0, "it counts because it is durable: another may have taken over"
    assert (await take(consumer)).message.offset == 1
    assert len(faults_of(topic).made("renew")) == renewals + 1


async def test_an_owner_at_rest_whose_loop_was_blocked_past_its_lease_asks_first(machine: Machine) -> None:
    topic, _, _ = await owner(machine)
    subscription = await topic.subscribe("resting", start="earliest")
    block_loop(LEASE + 2)
    consumer = Consumer("late")
    subscription.dispatcher.add_consumer(consumer)
    assert waiting(consumer) == [0], "not before the loop had a turn to renew"
    assert (await take(consumer)).message.offset == 0


async def test_an_owner_whose_loop_was_blocked_while_another_took_over_has_lost(machine: Machine) -> None:
    _, _, consumer = await owner(machine)
    delivery = await take(consumer)
    block_loop(LEASE + 2)
    await stolen(machine)
    assert await delivery.ack() is False
    with pytest.raises(OwnershipLost):
        await take(consumer)
    assert machine.stored_cursor() == -1


# the epoch has moved


async def test_a_renewal_that_finds_another_epoch_ends_the_subscription(machine: Machine) -> None:
    _, subscription, consumer = await owner(machine)
    delivery = await take(consumer)
    iteration = asyncio.create_task(take(consumer))
    await stolen(machine)
    await advance(3.6)
    with pytest.raises(OwnershipLost, match="subscribe again"):
        await iteration
    assert await delivery.ack() is False
    assert await delivery.nack() is False
    assert await delivery.extend(5) is False
    assert subscription.explain().code == "lost"
    assert "taken it over" in str(subscription.status().last_error)
    with pytest.raises(OwnershipLost):
        await take(consumer)
    for call in (subscription.pause, subscription.resume, subscription.drain, subscription.dispatcher.flush_progress):
        with pytest.raises(Closed, match="taken it over"):
            await call()
    await subscription.close()
    row = machine.row()
    assert (row.owner, row.progress) == ("other:1", Progress(-1))


async def test_a_write_that_is_fenced_ends_the_subscription_and_changes_nothing(machine: Machine) -> None:
    topic, _, consumer = await owner(machine, flush_interval=0)
    await (await take(consumer)).ack()
    lease = await stolen(machine)
    await machine.inner.store(lease, Progress(5))
    delivery = await take(consumer)
    began = now()
    assert await delivery.ack() is False  # it is not durable, and never will be here
    with pytest.raises(OwnershipLost):
        await take(consumer)
    assert now() - began < 0.1  # not only at the next renewal
    assert machine.stored_cursor() == 5
    writes = len(faults_of(topic).made("store"))
    await topic.close()
    assert len(faults_of(topic).made("store")) == writes
    assert machine.row().owner == "other:1"


async def test_a_failure_that_is_fenced_is_not_saved(machine: Machine) -> None:
    _, _, consumer = await owner(machine)
    delivery = await take(consumer)
    await stolen(machine)
    assert await delivery.nack() is False
    assert machine.row().progress.held is None


async def test_a_zombies_close_changes_nothing(machine: Machine) -> None:
    topic, _, consumer = await owner(machine)
    for _ in range(3):
        await (await take(consumer)).ack()
    lease = await stolen(machine)
    await machine.inner.store(lease, Progress(0))
    await topic.close()
    assert (machine.stored_cursor(), machine.row().owner) == (0, "other:1")


async def test_subscribing_again_competes_for_it(machine: Machine) -> None:
    topic, lost, _ = await owner(machine)
    lease = await stolen(machine)
    await advance(3.6)
    assert lost.dispatcher.ended
    with pytest.raises(SubscriptionOwned, match="other:1"):
        await topic.subscribe("s", start="earliest")
    await machine.inner.store(lease, Progress(2), let_go=True)
    again = await topic.subscribe("s", start="earliest")
    assert again is not lost
    assert (await take(await join(again, "c"))).message.offset == 3


async def test_an_answer_from_before_unsubscribing_settles_nothing_after(machine: Machine) -> None:
    topic, old, consumer = await owner(machine)
    delivery = await take(consumer)
    old.dispatcher.remove_consumer("c")
    await topic.unsubscribe("s")
    new = await topic.subscribe("s", start="earliest")
    consumer = await join(new, "c")
    fresh = await take(consumer)
    assert fresh.id[1:] == delivery.id[1:]  # only the epoch tells them apart
    assert fresh.id[0] > delivery.id[0]
    assert await delivery.ack() is False
    assert await new.dispatcher.ack_message(delivery) is False
    assert new.status().cursor == -1


async def test_losing_one_subscription_leaves_the_others(machine: Machine) -> None:
    topic, _, consumer = await owner(machine)
    other = await join(await topic.subscribe("t", start="earliest"), "c")
    await stolen(machine)
    await advance(3.6)
    with pytest.raises(OwnershipLost):
        await take(consumer)
    await advance(30)
    assert await (await take(other)).ack() is True
    assert machine.row("t").until > machine.now()
