"""What a subscription says of itself, here and to other processes; and what it costs while nothing happens."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path

import pytest

import processes
from danube_dispatcher import ConsumerStatus, Counts, FailurePolicy, Topic
from danube_dispatcher.clock import RENEWAL
from danube_dispatcher.session import stores_of
from danube_dispatcher.virtual_time import VirtualLoop, advance
from delivering import TOPIC, join, publish, settle, take, text, waiting
from faults import TROUBLE
from processes import DEAD, Machine, faults_of, kill

machine = processes.machine


async def test_a_status_is_a_snapshot_of_everything(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, *"abcde")
    subscription = await topic.subscribe("s", type="failover", start="earliest")
    first, _ = await join(subscription, "first"), await join(subscription, "second")
    await (await take(first)).ack()
    stale = await take(first)
    await stale.nack()
    assert await stale.ack() is False
    await take(first)
    status = subscription.status()
    assert (status.type, status.reliable, status.state, status.active) == ("failover", True, "AwaitingAck", "first")
    assert status.consumers == (ConsumerStatus("first", 1, True, 0, 1), ConsumerStatus("second", 2, False, 0, None))
    assert (status.in_flight, status.attempt, status.failures) == (1, 2, 1)
    assert (status.cursor, status.durable_cursor, status.head) == (0, 0, 5)
    assert status.lag is not None
    assert (status.lag.cursor, status.lag.head, status.lag.messages, status.lag.exact) == (0, 5, 4, True)
    assert status.counts == Counts(delivered=3, redelivered=1, acked=1, failures=1, stale_acks=1)
    assert (status.counts.settled, status.last_error) == (1, None)
    await subscription.dispatcher.disconnect_all_consumers()
    assert status.state == "AwaitingAck"  # a snapshot stays what it was


async def test_a_non_reliable_status_has_no_position(machine: Machine) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s", type="shared", reliable=False)
    await join(subscription, "c", capacity=1)
    await publish(topic, *"ab")
    status = subscription.status()
    assert (status.type, status.reliable, status.state) == ("shared", False, "Idle")
    assert status.counts == Counts(delivered=1, dropped=1)
    assert (status.cursor, status.durable_cursor, status.head, status.lag, status.in_flight, status.attempt, status.failures) == (None,) * 7
    assert subscription.explain().code == "ready"


async def test_explain_says_why_and_what_ends_it(machine: Machine) -> None:
    topic = await machine.topic()
    policy = FailurePolicy(max_redeliveries=1, poison_policy="dead_letter", dead_letter_topic=DEAD)
    subscription = await topic.subscribe("s", policy=policy)
    said: list[tuple[str, str]] = []

    def explain() -> str:
        explanation = subscription.explain()
        assert str(explanation) == f"{explanation.sentence}; ends with {explanation.ends_with}"
        said.append((explanation.code, explanation.ends_with))
        return str(explanation)

    explain()
    consumer = await join(subscription, "worker")
    explain()
    await publish(topic, "a", "b")
    assert "message 0" in explain()
    assert "worker" in explain()
    await (await take(consumer)).nack(reason="too hot")
    assert "too hot" in explain()
    assert "1.0 s" in explain()
    delivery = await take(consumer)
    faults_of(topic).fail("append", TROUBLE)
    await delivery.nack(reason="too hot")
    await settle()
    assert "on fire" in explain()
    faults_of(topic).heal()
    delivery = await take(consumer)
    await subscription.pause()
    await delivery.ack()
    explain()
    await subscription.close()
    explain()
    codes = list(dict.fromkeys(code for code, _ in said))
    assert codes == ["no_consumer", "end", "awaiting_ack", "redelivering", "dead_lettering", "paused", "closed"]
    endings = dict(said)
    for code, word in {
        "no_consumer": "joins",
        "end": "publish",
        "awaiting_ack": "ack()",
        "redelivering": "delay",
        "dead_lettering": "write",
        "paused": "resume()",
        "closed": "subscribing again",
    }.items():
        assert word in endings[code]


@pytest.mark.parametrize("reliable", [True, False])
@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
async def test_status_and_explain_answer_after_everything_is_closed(tmp_path: Path, scheme: str, reliable: bool) -> None:
    topic = await Topic.open("memory:" if scheme == "memory" else f"sqlite:{tmp_path}/s.db", TOPIC)
    subscription = await topic.subscribe("s", reliable=reliable)
    await topic.close()
    assert subscription.status().state == "Closed"
    assert subscription.explain().code == "closed"


async def test_an_observer_may_look_while_others_publish(machine: Machine) -> None:
    topic, other = await machine.topic(), await machine.topic()

    class Looks:
        def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
            subscription.explain()

        def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
            subscription.explain()

    subscription = await topic.subscribe("s", type="failover", observer=Looks())
    first = await join(subscription, "first")
    await publish(other, "0", "1")
    await join(subscription, "second")  # this step is under way when the observer looks and finds more to read
    assert waiting(first) == [1]
    for number in range(2):
        delivery = await take(first)
        assert text(delivery) == str(number)
        assert await delivery.ack() is True
    assert subscription.status().counts == Counts(delivered=2, acked=2)


async def test_a_held_message_without_a_consumer_is_no_end(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, "a")
    subscription = await topic.subscribe("s", start="earliest")
    await take(await join(subscription, "c"))
    subscription.dispatcher.remove_consumer("c")
    assert subscription.explain().code == "no_consumer"


# other processes


async def test_another_process_reads_what_the_owner_last_said(machine: Machine) -> None:
    topic, other = await machine.topic(), await machine.topic()
    await publish(topic, *"abc")
    subscription = await topic.subscribe("s", type="shared", start="earliest")
    consumer = await join(subscription, "worker")
    await (await take(consumer)).ack()
    (info,) = await other.subscriptions()
    assert info.status == {}
    await advance(RENEWAL + 0.6)
    (info,) = await other.subscriptions()
    assert info.owner == machine.row().owner
    assert info.until > machine.now()
    assert {key: info.status[key] for key in ("type", "state", "consumers", "in_flight", "attempt", "delivered", "settled", "code")} == {
        "type": "shared",
        "state": "AwaitingAck",
        "consumers": ["worker"],
        "in_flight": 1,
        "attempt": 1,
        "delivered": 2,
        "settled": 1,
        "code": "awaiting_ack",
    }
    assert "worker" in str(info.status["explanation"])


async def test_a_blocked_message_is_seen_by_anyone_at_once(machine: Machine) -> None:
    topic, other = await machine.topic(), await machine.topic()
    await publish(topic, *"abc")
    subscription = await topic.subscribe("s", start="earliest", policy=FailurePolicy(max_redeliveries=0))
    await (await take(await join(subscription, "c"))).nack()
    (info,) = await other.subscriptions()
    assert (info.blocked, info.failures, info.paused) == (True, 1, False)
    assert info.lag is not None
    assert (info.lag.cursor, info.lag.messages) == (-1, 3)


async def test_the_status_is_written_only_when_something_changed(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, *"ab")
    subscription = await topic.subscribe("s", start="earliest")
    consumer = await join(subscription, "c")

    def written() -> list[bool]:
        return [status is not None for call in faults_of(topic).made("renew") for leases in call.arguments for status in dict(leases).values()]  # type: ignore[call-overload]

    await advance(10)
    assert written() == [True, False, False]
    delivery = await take(consumer)
    await delivery.ack()
    await advance(6)
    assert written() == [True, False, False, True, False]
    assert await delivery.ack() is False
    await advance(6)
    assert written() == [True, False, False, True, False, True, False], "a stale answer is told of, too"


async def test_a_status_that_was_not_written_is_written_the_next_time(machine: Machine) -> None:
    topic, other = await machine.topic(), await machine.topic()
    await topic.subscribe("s")
    faults_of(topic).fail("renew", TROUBLE, times=2)
    await advance(RENEWAL + 2)
    (info,) = await other.subscriptions()
    assert info.status["state"] == "Idle"


async def test_the_next_owner_shows_nothing_of_the_former(machine: Machine) -> None:
    topic, other = await machine.topic(), await machine.topic()
    await join(await topic.subscribe("s"), "old-worker")
    await advance(RENEWAL + 0.6)
    await topic.close()
    await other.subscribe("s")
    (info,) = await other.subscriptions()
    assert info.status == {}


# what it costs


async def test_two_hundred_idle_subscriptions_need_no_task_and_one_timer(machine: Machine) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    store = await machine.process()
    topics = [await machine.topic(store, f"/test/t{number}") for number in range(4)]
    await settle()
    before = asyncio.all_tasks()
    for topic in topics:
        for number in range(50):
            await topic.subscribe(f"s{number}")
    await settle()
    assert asyncio.all_tasks() == before
    await advance(1)
    timers = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    assert len(timers) == 1
    store.calls.clear()
    await advance(29.9)
    assert len(store.made("renew")) == 10
    assert len(store.made("refresh")) <= 61
    assert {call.name for call in store.calls} <= {"renew", "refresh", "asked"}


async def test_an_idle_subscription_with_a_consumer_needs_no_task_of_ours(machine: Machine) -> None:
    topic = await machine.topic()
    before = asyncio.all_tasks()
    consumers = [await join(await topic.subscribe(f"s{number}"), "c") for number in range(50)]
    await settle()
    assert asyncio.all_tasks() == before
    await publish(topic, "x")
    for consumer in consumers:
        assert await (await take(consumer)).ack() is True
    assert asyncio.all_tasks() == before


async def test_a_heartbeat_asks_nothing_of_subscriptions_whose_topic_is_quiet(machine: Machine) -> None:
    store = await machine.process()
    topics = [await machine.topic(store, f"/test/t{number}") for number in range(3)]
    for topic in topics:
        await join(await topic.subscribe("s"), "c")
    store.calls.clear()
    await advance(2.6)
    assert not store.made("read")
    await publish(topics[1], "x")
    await settle()
    assert not store.made("read"), "what is published here need not be read"


async def test_what_was_closed_leaves_no_timer_task_or_store() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    before = asyncio.all_tasks()
    for _ in range(3):
        topic = await Topic.open("memory:", TOPIC)
        await publish(topic, *"abc")
        consumer = await join(await topic.subscribe("s", start="earliest", rate_limit=1), "c")
        await (await take(consumer)).nack()
        await topic.close()
    await advance(1)
    assert asyncio.all_tasks() == before
    assert [handle for handle in loop._scheduled if not handle.cancelled()] == []  # type: ignore[attr-defined]
    assert stores_of(loop) == []


async def test_what_was_closed_is_forgotten() -> None:
    from weakref import ref

    keep = await Topic.open("memory:", TOPIC)
    topic = await Topic.open("memory:", "/test/other")
    subscription = await topic.subscribe("s")
    consumer = await join(subscription, "c")
    refs: list[Callable[[], object]] = [ref(topic), ref(subscription), ref(subscription.dispatcher)]
    await topic.close()
    del topic, subscription, consumer
    await advance(60)  # its last deadline
    gc.collect()
    assert [each() for each in refs] == [None] * 3
    await keep.close()


async def test_a_dead_process_costs_its_machine_nothing(machine: Machine) -> None:
    """Of the tests' own means: what a killed process does no longer reaches the store."""
    topic = await machine.topic()
    consumer = await join(await topic.subscribe("s", flush_interval=0.1), "c")
    await publish(topic, "a")
    delivery = await take(consumer)
    before = machine.row()
    kill(topic)
    acked = asyncio.create_task(delivery.ack())
    await advance(30)
    assert machine.row() == before
    acked.cancel()
