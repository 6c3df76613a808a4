"""Sentences of docs/contracts.md that no other test holds; the page says which do the rest."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

import danube_dispatcher
import processes
from danube_dispatcher import (
    Consumer,
    ConsumerReplaced,
    DanubeError,
    Delivery,
    FailurePolicy,
    Message,
    NotBlocked,
    OwnershipLost,
    Subscription,
    SubscriptionInUse,
    SubscriptionNotFound,
    SubscriptionOwned,
    Topic,
)
from danube_dispatcher.clock import HEARTBEAT, LEASE, RENEWAL
from danube_dispatcher.storage import open_store
from danube_dispatcher.storage.protocols import Store
from danube_dispatcher.virtual_time import VirtualLoop, advance
from delivering import TOPIC, Place, join, now, publish, settle, take, waiting
from faults import TROUBLE, FaultStore
from processes import EPOCH, Machine, faults_of, kill, outlive

ROOT = Path(__file__).parents[2]
machine = processes.machine
FIRST = FailurePolicy(max_redeliveries=0)
"""The first failure exhausts."""


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """A store in a file."""
    opened = await Place.open(f"sqlite:{tmp_path / 's.db'}")
    yield opened
    await opened.close()


# stores and topics


async def test_a_copy_that_sqlite_makes_beside_the_open_store_is_a_store(place: Place, tmp_path: Path) -> None:
    topic = await place.topic()
    await publish(topic, *"abc")
    subscription = await topic.subscribe("s", start="earliest")
    consumer = await join(subscription, "c")
    await (await take(consumer)).ack()
    await subscription.dispatcher.flush_progress()
    source, target = sqlite3.connect(tmp_path / "s.db"), sqlite3.connect(tmp_path / "copy.db")
    source.backup(target)
    target.close()
    source.close()
    await publish(topic, "d")  # the store itself goes on
    copy = await Place.open(f"sqlite:{tmp_path / 'copy.db'}")
    try:
        restored = await copy.topic()
        assert restored.head == 3
        again = await restored.subscribe("s", wait=None)  # it holds the owner's lease, too, which must run out
        assert (await take(await join(again, "c"))).message.payload == b"b"
    finally:
        await copy.close()


# publishing


async def test_publishing_nothing_is_nothing(machine: Machine) -> None:
    topic = await machine.topic()
    assert (await topic.publish_many([]), await topic.publish_many(iter(())), topic.head) == (0, 0, 0)


# subscriptions


async def test_how_long_to_wait_is_not_compared(machine: Machine) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s")
    assert await topic.subscribe("s", wait=None) is subscription
    assert await topic.subscribe("s", wait=3) is subscription


async def blocked_and_paused(machine: Machine) -> tuple[Topic, Subscription, Consumer]:
    topic = await machine.topic()
    await publish(topic, *"ab")
    subscription = await topic.subscribe("s", start="earliest", policy=FIRST)
    consumer = await join(subscription, "c")
    await (await take(consumer)).nack()
    await subscription.pause()
    return topic, subscription, consumer


async def test_unsubscribing_forgets_failures_verdict_and_pause(machine: Machine) -> None:
    topic, subscription, _ = await blocked_and_paused(machine)
    assert subscription.explain().code == "blocked"
    subscription.dispatcher.remove_consumer("c")
    await topic.unsubscribe("s")
    again = await topic.subscribe("s", start="earliest", policy=FIRST)
    (info,) = await topic.subscriptions()
    assert (info.failures, info.blocked, info.paused) == (0, False, False)
    with pytest.raises(NotBlocked):
        await again.release("drop")
    assert (await take(await join(again, "c"))).attempt == 1


async def test_unsubscribing_from_a_non_reliable_subscription(machine: Machine) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s", reliable=False)
    async with subscription.consumer("c"):
        with pytest.raises(SubscriptionInUse, match="c"):
            await topic.unsubscribe("s")
    await topic.unsubscribe("s")
    await publish(topic, "a")
    assert await topic.subscriptions() == []
    assert subscription.status().counts.no_consumer == 0  # nothing was offered
    with pytest.raises(SubscriptionNotFound):
        await topic.unsubscribe("s")


@pytest.mark.parametrize(("rate", "at_once"), [(3, 3), (0.5, 1)])
async def test_by_default_a_seconds_worth_may_go_at_once_and_at_least_one(machine: Machine, rate: float, at_once: int) -> None:
    topic = await machine.topic()
    await publish(topic, *"abcdefgh")
    subscription = await topic.subscribe("s", start="earliest", rate_limit=rate)
    consumer = await join(subscription, "c")
    await settle()
    while consumer.waiting():
        await (await take(consumer)).ack()
    assert subscription.status().counts.delivered == at_once
    assert subscription.explain().code == "throttled"


async def test_each_opening_begins_with_a_full_burst(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, *"abcdefgh")
    for _ in range(2):
        subscription = await topic.subscribe("s", start="earliest", rate_limit=3)
        consumer = await join(subscription, "c")
        await settle()
        while consumer.waiting():
            await (await take(consumer)).ack()
        assert subscription.status().counts.delivered == 3
        await subscription.close()


async def test_each_process_may_have_a_non_reliable_subscription_of_the_same_name(machine: Machine) -> None:
    topics = [await machine.topic(), await machine.topic()]
    consumers = [await join(await topic.subscribe("s", reliable=False), "c") for topic in topics]
    await publish(topics[0], "a")
    await advance(2 * HEARTBEAT)
    await publish(topics[1], "b")
    await advance(2 * HEARTBEAT)
    assert waiting(*consumers) == [2, 2]


# ownership


@pytest.mark.real_time
async def test_two_event_loops_of_one_process_are_two_owners(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 's.db'}"
    met: list[Exception] = []

    async def elsewhere() -> None:
        async with await Topic.open(url, TOPIC) as topic:
            try:
                await topic.subscribe("s")
            except SubscriptionOwned as error:
                met.append(error)

    async with await Topic.open(url, TOPIC) as topic:
        await topic.subscribe("s")
        thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
        thread.start()
        await asyncio.to_thread(thread.join)
    assert len(met) == 1


class Walls(NamedTuple):
    """A store that two processes have open, each with a wall clock of its own."""

    mine: Topic
    other: Topic
    ahead: dict[str, float]
    """Seconds by which each clock is ahead."""


@pytest.fixture
async def walls(tmp_path: Path) -> AsyncIterator[Walls]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    ahead = {"mine": 0.0, "other": 0.0}

    async def process(which: str) -> tuple[Store, Topic]:
        store = await open_store(f"sqlite:{tmp_path / 's.db'}", create=True, clock=lambda: EPOCH + loop.time() + ahead[which])
        loop.busy.append(lambda: store.outstanding > 0)
        return store, await Topic.open(FaultStore(store), TOPIC)

    (store, mine), (another, other) = await process("mine"), await process("other")
    yield Walls(mine, other, ahead)
    await other.close()
    if not faults_of(mine).dead:
        await mine.close()
    await store.close()
    await another.close()


async def test_a_wall_clock_that_jumps_ahead_can_cost_a_living_owner_its_lease_and_loses_nothing(walls: Walls) -> None:
    await publish(walls.mine, "a")
    old = await join(await walls.mine.subscribe("s", start="earliest"), "c")
    delivery = await take(old)
    walls.ahead["other"] = LEASE + 1
    again = await take(await join(await walls.other.subscribe("s"), "c"))
    assert again.message == delivery.message
    assert await delivery.ack() is True  # by its own clocks the old owner still has its lease
    await advance(RENEWAL + HEARTBEAT)
    with pytest.raises(OwnershipLost):
        await take(old)
    assert await again.ack() is True


async def test_a_wall_clock_that_is_set_back_delays_a_waiter_by_no_more_than_a_lease(walls: Walls) -> None:
    await walls.mine.subscribe("s")
    kill(walls.mine)
    walls.ahead["other"] = -3600.0
    await advance(2 * LEASE)
    with pytest.raises(SubscriptionOwned):
        await walls.other.subscribe("s")
    began = now()
    await walls.other.subscribe("s", wait=None)
    assert now() - began <= LEASE + HEARTBEAT


async def test_a_careful_owner_that_was_only_stopped_is_charged_as_one_that_died(machine: Machine) -> None:
    first, second, third = [await machine.topic() for _ in range(3)]
    await publish(first, "a")
    await first.subscribe("s", start="earliest")
    kill(first)
    stopped = await join(await second.subscribe("s", wait=None), "c")
    delivery = await take(stopped)
    faults_of(second).fail("renew", TROUBLE)
    successor = await third.subscribe("s", wait=None)
    again = await take(await join(successor, "c"))
    assert (again.message, successor.status().failures) == (delivery.message, 1)
    assert await delivery.ack() is False
    assert await again.ack() is True


# consumers and deliveries


async def test_closing_ends_no_handler(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, "a")
    subscription = await topic.subscribe("s", start="earliest")
    ended: list[bool] = []

    async def handler(delivery: Delivery) -> None:
        await advance(10)
        ended.append(await delivery.ack())

    running = asyncio.ensure_future(subscription.run(handler))
    await advance(1)
    await subscription.close()
    again = await join(await topic.subscribe("s"), "c")
    assert ((await take(again)).attempt, ended) == (2, [])  # while the first is still at work
    await running
    assert ended == [False]


async def test_an_active_consumer_that_hangs_keeps_its_message_and_its_place(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, "a")
    subscription = await topic.subscribe("s", type="failover", start="earliest")
    hangs, standby = await join(subscription, "c"), await join(subscription, "d")
    await take(hangs)
    await advance(3600)
    status = subscription.status()
    assert (status.active, status.failures, waiting(hangs, standby)) == ("c", 1, [1, 0])
    assert status.counts.withdrawn > 100
    subscription.dispatcher.remove_consumer("c")
    assert (await take(standby)).attempt == (status.attempt or 0) + 1


async def test_an_ack_that_is_cancelled_while_it_waits_for_the_disk_counts_all_the_same(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, *"ab")
    consumer = await join(await topic.subscribe("s", start="earliest", flush_interval=0), "c")
    delivery = await take(consumer)
    faults_of(topic).lag("store", before=2.0, times=1)
    ack = asyncio.ensure_future(delivery.ack())
    await advance(1)
    ack.cancel()
    await advance(2)
    assert ack.cancelled()
    assert machine.stored_cursor() == 0
    assert await delivery.ack() is False
    assert (await take(consumer)).message.payload == b"b"


async def test_a_second_run_under_the_same_name_takes_over_from_the_first(machine: Machine) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s", type="shared")
    first, second = (asyncio.ensure_future(subscription.run(lambda delivery: None)) for _ in range(2))
    await settle()
    assert isinstance(first.exception(), ConsumerReplaced)
    await subscription.close()
    await second


async def test_nothing_of_a_message_but_its_place_is_logged_or_shown(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s", policy=FIRST)
    await topic.publish(b"secret payload", key="secret key", attributes={"secret name": "secret value"})
    shown: list[str] = []

    def handler(delivery: Delivery) -> None:
        shown.append(f"{delivery!r} {delivery.message!r}")
        raise RuntimeError("no")

    running = asyncio.ensure_future(subscription.run(handler))
    await settle()
    await subscription.close()
    await running
    assert f"{TOPIC}@0" in shown[0]
    assert f"{TOPIC}@0" in caplog.text
    assert "secret" not in caplog.text + shown[0]


# attempts, failures, poison


async def test_a_stricter_policy_exhausts_at_the_next_opening(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, "a")
    subscription = await topic.subscribe("s", start="earliest", policy=FailurePolicy(max_redeliveries=3))
    consumer = await join(subscription, "c")
    for _ in range(2):
        await (await take(consumer)).nack()
    await subscription.close()
    again = await topic.subscribe("s", policy=FailurePolicy(max_redeliveries=1))
    consumer = await join(again, "c")
    await advance(LEASE)
    assert (again.explain().code, waiting(consumer)) == ("blocked", [0])


# dead letters


async def test_the_dead_letter_topic_is_made_in_the_same_store_when_the_subscription_opens(machine: Machine) -> None:
    topic = await machine.topic()
    await topic.subscribe("s", policy=FailurePolicy(poison_policy="dead_letter", dead_letter_topic="/test/dead"))
    assert await topic.store.topics() == ["/test/dead", TOPIC]


# operating


@pytest.mark.parametrize("crash", [False, True])
async def test_what_was_drained_is_paused_after_a_restart(machine: Machine, crash: bool) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s", start="earliest")
    assert await subscription.drain() == ()
    await (outlive(topic) if crash else topic.close())
    topic = await machine.topic()
    await publish(topic, "a")
    again = await topic.subscribe("s")
    consumer = await join(again, "c")
    await advance(LEASE)
    assert (again.explain().code, waiting(consumer)) == ("paused", [0])


@pytest.mark.parametrize("blocked", [True, False])
async def test_a_drain_without_a_timeout_waits_for_what_nobody_will_settle(machine: Machine, blocked: bool) -> None:
    topic = await machine.topic()
    await publish(topic, "a")
    subscription = await topic.subscribe("s", start="earliest", policy=FIRST if blocked else None)
    delivery = await take(await join(subscription, "c"))
    if blocked:
        await delivery.nack()
    else:
        subscription.dispatcher.remove_consumer("c")
    draining = asyncio.ensure_future(subscription.drain())
    await advance(100)
    assert not draining.done()
    (left,) = await subscription.drain(0)
    assert left.why.code == ("blocked" if blocked else "no_consumer")
    if blocked:
        await subscription.release("drop")
    else:
        await (await take(await join(subscription, "d"))).ack()
    assert await draining == ()


async def test_what_is_blocked_can_be_released_and_retried_while_paused(machine: Machine) -> None:
    _, subscription, consumer = await blocked_and_paused(machine)
    assert await subscription.release("retry") == 0
    delivery = await take(consumer)
    assert (delivery.message.payload, delivery.attempt, subscription.status().failures) == (b"a", 2, 0)
    assert await delivery.ack() is True
    await settle()
    assert (waiting(consumer), subscription.explain().code) == ([0], "paused")


async def test_counts_begin_anew_with_each_opening(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, *"ab")
    subscription = await topic.subscribe("s", start="earliest")
    await (await take(await join(subscription, "c"))).ack()
    assert (subscription.status().counts.delivered, subscription.status().counts.settled) == (2, 1)
    await subscription.close()
    again = await topic.subscribe("s")
    assert (again.status().counts.delivered, again.status().counts.settled) == (0, 0)


def test_the_page_names_every_code_of_explain() -> None:
    sources = [ROOT / "runtime/danube_dispatcher" / name for name in ("explain.py", "dispatcher.py")]
    codes = {code for source in sources for code in re.findall(r'Explanation\(\s*"(\w+)"', source.read_text(encoding="utf-8"))}
    (sentence,) = re.findall(r"^- The codes are.*?\.\s", (ROOT / "docs/contracts.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(\w+)`", sentence)) == codes


# errors


def test_every_error_is_one_of_ours_and_none_blames_the_callers_types() -> None:
    exported = [getattr(danube_dispatcher, name) for name in danube_dispatcher.__all__]
    errors = [each for each in exported if isinstance(each, type) and issubclass(each, Exception)]
    assert len(errors) > 20
    for error in errors:
        assert issubclass(error, DanubeError)
        assert not issubclass(error, TypeError | AttributeError)


def test_a_message_to_publish_shows_nothing_of_itself() -> None:
    assert "secret" not in repr(Message(b"secret", "secret", {"secret": "secret"}))
