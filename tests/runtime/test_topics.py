"""Topics and the stores they lie in."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

import processes
from danube_dispatcher import (
    Closed,
    Dispatcher,
    StoreNotFound,
    StoreUnavailable,
    SubscriptionEngine,
    SubscriptionInUse,
    SubscriptionNotFound,
    SubscriptionOwned,
    Topic,
)
from danube_dispatcher.session import stores_of
from danube_dispatcher.virtual_time import advance
from delivering import TOPIC, join, publish, settle, take, text, waiting
from faults import TROUBLE
from processes import Machine, faults_of

machine = processes.machine

OTHER = "/test/other"


# stores


async def test_memory_is_one_store_per_loop_alive_while_a_topic_on_it_is_open() -> None:
    first = await Topic.open("memory:", TOPIC)
    second = await Topic.open("memory:", OTHER)
    assert first.store is second.store
    await publish(first, "kept")
    await first.close()
    again = await Topic.open("memory:", TOPIC)
    assert again.head == 1
    await again.close()
    await second.close()
    empty = await Topic.open("memory:", TOPIC)
    assert empty.head == 0
    await empty.close()


def test_another_loop_has_a_memory_of_its_own() -> None:
    async def heads() -> list[int]:
        async with await Topic.open("memory:", TOPIC) as topic:
            before = topic.head
            await topic.publish(b"x")
            return [before, topic.head]

    for _ in range(2):
        with asyncio.Runner() as runner:
            assert runner.run(heads()) == [0, 1]


@pytest.mark.parametrize("spelling", ["{0}/s.db", "{0}/./s.db", "{0}/sub/../s.db", "{0}/link.db", "{0}/linked/s.db", "relative"])
async def test_a_file_is_one_store_however_its_path_is_spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "s.db")
    (tmp_path / "linked").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    async with await Topic.open(f"sqlite:{tmp_path}/s.db", TOPIC) as topic:
        url = "sqlite:s.db" if spelling == "relative" else "sqlite:" + spelling.format(tmp_path)
        async with await Topic.open(url, TOPIC) as same:
            assert same.store is topic.store
            assert len(stores_of(asyncio.get_running_loop())) == 1
    assert stores_of(asyncio.get_running_loop()) == []


async def test_opened_at_the_same_time_it_is_one_store_all_the_same(tmp_path: Path) -> None:
    topics = await asyncio.gather(*(Topic.open(f"sqlite:{tmp_path}/s.db", f"/test/t{number}") for number in range(5)))
    assert len({id(topic.store) for topic in topics}) == 1
    await asyncio.gather(*(topic.close() for topic in topics))


async def test_everything_after_the_colon_is_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a b?c=d#e%20.db", "ü:x.db"):
        await (await Topic.open(f"sqlite:{name}", TOPIC)).close()
        assert (tmp_path / name).is_file()


async def test_a_topic_is_opened_on_the_store_of_another_as_well(tmp_path: Path) -> None:
    topic = await Topic.open(f"sqlite:{tmp_path}/s.db", TOPIC)
    other = await Topic.open(topic.store, OTHER)
    assert other.store is topic.store
    await topic.close()
    assert await other.publish(b"still open") == 0
    await other.close()


async def test_a_store_that_was_given_is_its_givers_to_close(machine: Machine) -> None:
    topic = await machine.topic()
    store = faults_of(topic)
    await topic.close()
    assert not store.made("close")
    again = await Topic.open(store, TOPIC)
    assert await again.publish(b"x") == 0
    await again.close()


async def test_without_create_a_missing_store_or_topic_is_an_error_and_stays_missing(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/s.db"
    with pytest.raises(StoreNotFound, match="create=True"):
        await Topic.open(url, TOPIC, create=False)
    assert os.listdir(tmp_path) == []
    await (await Topic.open(url, TOPIC)).close()
    with pytest.raises(StoreNotFound, match=rf"{OTHER}.*create=True"):
        await Topic.open(url, OTHER, create=False)
    async with await Topic.open(url, TOPIC, create=False) as topic:
        assert await topic.store.topics() == [TOPIC]
    assert stores_of(asyncio.get_running_loop()) == []


async def test_what_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"not a store, and long enough to be looked at" * 100)
    for _ in range(2):
        with pytest.raises(Exception, match="something else"):
            await Topic.open(f"sqlite:{tmp_path}/s.db", TOPIC)
    assert stores_of(asyncio.get_running_loop()) == []


async def test_opening_that_is_cancelled_leaves_nothing_open(tmp_path: Path) -> None:
    for turns in range(60):
        task = asyncio.create_task(Topic.open(f"sqlite:{tmp_path}/s{turns}.db", TOPIC))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            topic = await task
        except asyncio.CancelledError:
            await settle()
            assert stores_of(asyncio.get_running_loop()) == []
        else:
            await topic.close()
            return
    await (await Topic.open(f"sqlite:{tmp_path}/s.db", TOPIC)).close()


# closing


async def test_everything_is_a_context_manager_that_returns_itself(machine: Machine) -> None:
    topic = await machine.topic()
    async with topic as entered:
        assert entered is topic
        subscription = await topic.subscribe("s")
        async with subscription as entered_subscription:
            assert entered_subscription is subscription
            consumer = subscription.consumer("c")
            async with consumer as entered_consumer:
                assert entered_consumer is consumer
                assert aiter(consumer) is consumer
        dispatcher = Dispatcher.reliable_shared(SubscriptionEngine(topic, "other"))
        async with dispatcher as entered_dispatcher:
            assert entered_dispatcher is dispatcher
    with pytest.raises(Closed):
        await topic.publish(b"x")


async def test_closing_a_topic_ends_consumers_writes_positions_and_lets_go(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, *"abc")
    consumers = [await join(await topic.subscribe(name, start="earliest", flush_interval=3600), "c") for name in ("s", "t")]
    live = await join(await topic.subscribe("live", reliable=False), "c")
    for consumer in consumers:
        await (await take(consumer)).ack()
    await topic.close()
    for name in ("s", "t"):
        row = machine.row(name)
        assert (row.progress.cursor, row.owner) == (0, "")
    for consumer in (*consumers, live):
        with pytest.raises(StopAsyncIteration):
            await anext(consumer)
    await topic.close()


async def test_closing_a_topic_leaves_the_subscriptions_that_another_opened(machine: Machine) -> None:
    first = await machine.topic()
    second = await machine.topic(faults_of(first))
    mine = await join(await first.subscribe("mine"), "c")
    theirs = await join(await second.subscribe("theirs"), "c")
    await first.close()
    await publish(second, "x")
    assert text(await take(theirs)) == "x"
    with pytest.raises(StopAsyncIteration):
        await anext(mine)


async def test_closing_a_topic_closes_the_others_though_one_of_its_subscriptions_cannot(machine: Machine) -> None:
    topic = await machine.topic()
    for name in ("a", "b", "c"):
        await topic.subscribe(name)
    faults_of(topic).fail("store", TROUBLE, times=1)
    with pytest.raises(StoreUnavailable, match="on fire"):
        await topic.close()
    assert sorted(row.owner != "" for row in machine.rows()) == [False, False, True]


async def test_cancelling_a_close_does_not_stop_it(machine: Machine) -> None:
    topic = await machine.topic()
    await topic.subscribe("s")
    faults_of(topic).lag("store", before=1.0)
    task = asyncio.create_task(topic.close())
    await advance(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await advance(1)
    assert machine.row().owner == ""


# subscriptions of a topic


async def test_unsubscribing_is_refused_while_consumers_are_attached(machine: Machine) -> None:
    topic = await machine.topic()
    for reliable in (True, False):
        subscription = await topic.subscribe("s", reliable=reliable)
        await join(subscription, "worker-7")
        with pytest.raises(SubscriptionInUse, match="worker-7"):
            await topic.unsubscribe("s")
        await publish(topic, "x")
        assert subscription.status().counts.delivered == 1
        subscription.dispatcher.remove_consumer("worker-7")
        await topic.unsubscribe("s")
        assert await topic.subscriptions() == []


async def test_unsubscribing_is_refused_while_another_process_owns_it(machine: Machine) -> None:
    owner, other = await machine.topic(), await machine.topic()
    await owner.subscribe("s")
    with pytest.raises(SubscriptionOwned) as caught:
        await other.unsubscribe("s")
    assert caught.value.until > machine.now()
    assert machine.row().owner
    await owner.close()
    await other.unsubscribe("s")
    assert machine.rows() == []


async def test_unsubscribing_from_nothing_is_an_error(machine: Machine) -> None:
    topic = await machine.topic()
    with pytest.raises(SubscriptionNotFound, match="s of"):
        await topic.unsubscribe("s")
    await topic.subscribe("s")
    await topic.unsubscribe("s")
    with pytest.raises(SubscriptionNotFound):
        await topic.unsubscribe("s")


async def test_after_unsubscribing_the_same_name_is_a_new_subscription(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, *"abc")
    subscription = await topic.subscribe("s", start="earliest")
    consumer = await join(subscription, "c")
    await (await take(consumer)).ack()
    await (await take(consumer)).nack()
    subscription.dispatcher.remove_consumer("c")
    await topic.unsubscribe("s")
    with pytest.raises(Closed):
        await subscription.pause()
    again = await topic.subscribe("s", type="shared", start=1)
    assert again is not subscription
    delivery = await take(await join(again, "c"))
    assert (delivery.message.offset, delivery.attempt) == (1, 1)


async def test_subscriptions_lists_all_whoever_owns_them(machine: Machine) -> None:
    mine, other = await machine.topic(), await machine.topic()
    await publish(mine, *"abc")
    await mine.subscribe("mine", type="shared", start="earliest")
    await other.subscribe("theirs", type="failover", start="latest")
    gone = await other.subscribe("gone")
    await gone.pause()
    await gone.close()
    await mine.subscribe("live", reliable=False)
    found = {info.name: info for info in await mine.subscriptions()}
    assert {name: (info.type, info.reliable, bool(info.owner), info.paused) for name, info in found.items()} == {
        "mine": ("shared", True, True, False),
        "theirs": ("failover", True, True, False),
        "gone": ("exclusive", True, False, True),
        "live": ("exclusive", False, True, False),
    }
    lag = found["mine"].lag
    assert lag is not None
    assert (lag.cursor, lag.head, lag.messages) == (-1, 3, 3)
    assert "live" not in {info.name for info in await other.subscriptions()}


# non-reliable


async def test_a_non_reliable_subscription_leaves_no_row(machine: Machine) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("live", reliable=False)
    await join(subscription, "c")
    await publish(topic, "x")
    assert machine.rows() == []
    await subscription.close()
    assert machine.rows() == []


async def test_a_non_reliable_dispatch_is_done_before_publish_returns(machine: Machine) -> None:
    topic = await machine.topic()
    consumer = await join(await topic.subscribe("live", reliable=False), "c")
    for number in range(1, 4):
        await publish(topic, str(number))
        assert waiting(consumer) == [number]
    await topic.publish_many([b"x"] * 500)
    assert waiting(consumer) == [503]


async def test_other_processes_messages_come_with_the_watchdog_from_the_live_tail(machine: Machine) -> None:
    topic, other = await machine.topic(), await machine.topic()
    await publish(other, "old")
    consumer = await join(await topic.subscribe("live", reliable=False), "c")
    await publish(other, "1", "2")
    await publish(topic, "3")
    await publish(other, "4")
    assert waiting(consumer)[0] <= 3
    await advance(0.51)
    assert [text(await take(consumer)) for _ in range(4)] == ["1", "2", "3", "4"]
    assert waiting(consumer) == [0]


async def test_what_was_published_before_a_non_reliable_subscription_opened_does_not_come(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, "old")
    subscription = await topic.subscribe("live", reliable=False)
    await publish(topic, "nobody is there")
    consumer = await join(subscription, "c")
    await publish(topic, "new")
    assert text(await take(consumer)) == "new"
    assert subscription.status().counts.no_consumer == 1
