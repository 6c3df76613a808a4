"""Letting a blocked message go: here, from another process, and without an owner."""

from __future__ import annotations

import asyncio

import pytest

import processes
from danube_dispatcher import (
    FailurePolicy,
    InvalidArgument,
    NotBlocked,
    NotSupported,
    StoreUnavailable,
    SubscriptionNotFound,
)
from danube_dispatcher.clock import HEARTBEAT, LEASE
from danube_dispatcher.virtual_time import advance
from delivering import TOPIC, join, now, publish, take, text, waiting
from faults import TROUBLE
from processes import DEAD, Machine, blocked, faults_of, kill, outlive, started

machine = processes.machine


# release


async def test_a_retry_forgives_and_delivers_again(machine: Machine) -> None:
    _, subscription, consumer = await blocked(machine)
    assert await subscription.release("retry") == 0
    delivery = await take(consumer)
    assert (delivery.message.offset, delivery.attempt, subscription.status().failures) == (0, 2, 0)
    held = machine.row().progress.held
    assert held is not None
    assert (held.failures, held.exhausted) == (0, False)
    await delivery.nack()
    assert subscription.status().state == "Blocked"  # the limit is met anew


async def test_a_drop_goes_on_with_the_next_and_is_durable(machine: Machine) -> None:
    _, subscription, consumer = await blocked(machine)
    assert await subscription.release("drop") == 0
    assert machine.stored_cursor() == 0
    assert text(await take(consumer)) == "b"
    assert subscription.status().counts.dropped == 1


async def test_a_dead_letter_release_is_durable_in_its_topic_before_the_cursor_moves(machine: Machine) -> None:
    topic, subscription, consumer = await blocked(machine, dead_letter_topic=DEAD)
    store = faults_of(topic)
    store.lag("append", before=2.0)
    task = asyncio.create_task(subscription.release("dead_letter"))
    await advance(1.9)
    assert subscription.status().cursor == -1
    assert subscription.explain().code == "dead_lettering"
    assert await task == 0
    assert machine.stored_cursor() == 0
    assert text(await take(consumer)) == "b"
    dead = await machine.topic(store, DEAD)
    letter = (await take(await join(await dead.subscribe("d", start="earliest"), "c"))).message
    assert letter.payload == b"a"
    assert {key: letter.attributes[key] for key in ("x-original-topic", "x-original-subscription", "x-original-topic-offset", "x-failure-reason")} == {
        "x-original-topic": TOPIC,
        "x-original-subscription": "s",
        "x-original-topic-offset": "0",
        "x-failure-reason": "too hot",
    }


async def test_a_dead_letter_that_cannot_be_written_is_tried_again_and_visible(machine: Machine) -> None:
    topic, subscription, consumer = await blocked(machine, dead_letter_topic=DEAD)
    faults_of(topic).fail("append", TROUBLE)
    task = asyncio.create_task(subscription.release("dead_letter"))
    await advance(20)
    assert not task.done()
    assert "dead letter failed" in str(subscription.status().last_error)
    assert "on fire" in str(subscription.explain())
    assert waiting(consumer) == [0]
    faults_of(topic).heal()
    assert await task == 0
    assert subscription.status().last_error is None


async def test_without_a_dead_letter_topic_there_is_no_such_release(machine: Machine) -> None:
    _, subscription, _ = await blocked(machine)
    with pytest.raises(InvalidArgument, match="dead_letter_topic"):
        await subscription.release("dead_letter")
    assert subscription.status().state == "Blocked"


@pytest.mark.parametrize("action", ["retry", "drop", "dead_letter"])
@pytest.mark.parametrize("state", ["Idle", "AwaitingAck", "Redelivering", "Failover"])
async def test_releasing_what_is_not_blocked_is_an_error_and_changes_nothing(machine: Machine, action: str, state: str) -> None:
    _, subscription, consumer = await started(machine, dead_letter_topic=DEAD)
    delivery = await take(consumer)
    if state == "Idle":
        await subscription.pause()
        await delivery.ack()
    elif state == "Redelivering":
        await delivery.nack()
    elif state == "Failover":
        subscription.dispatcher.remove_consumer("c")
    assert subscription.status().state == state
    before = subscription.status()
    with pytest.raises(NotBlocked, match="nothing is blocked"):
        await subscription.release(action)
    assert subscription.status() == before


async def test_while_blocked_iteration_waits(machine: Machine) -> None:
    _, subscription, consumer = await blocked(machine)
    iteration = asyncio.create_task(take(consumer))
    await advance(60)
    assert not iteration.done()
    await subscription.release("drop")
    assert text(await iteration) == "b"


async def test_after_a_crash_of_the_owner_operations_go_on_with_the_next(machine: Machine) -> None:
    topic, _, _ = await blocked(machine)
    await outlive(topic)
    other = await machine.topic()
    subscription = await other.subscribe("s", policy=FailurePolicy(max_redeliveries=0))
    assert await subscription.release("retry") == 0
    delivery = await take(await join(subscription, "c"))
    await subscription.pause()
    await delivery.ack()
    assert await subscription.drain(1) == ()
    assert machine.stored_cursor() == 0


# release from outside


@pytest.mark.parametrize(("action", "following"), [("retry", "a"), ("drop", "b"), ("dead_letter", "b")])
async def test_another_process_asks_the_owner_who_releases_at_its_next_heartbeat(machine: Machine, action: str, following: str) -> None:
    topic, _, consumer = await blocked(machine, dead_letter_topic=DEAD)
    other = await machine.topic()
    began = now()
    assert await other.release("s", action) == 0
    assert now() - began <= 2 * HEARTBEAT
    assert text(await take(consumer)) == following
    assert machine.row().owner
    assert not faults_of(other).made("acquire")
    assert await machine.inner.asked() == []
    assert faults_of(topic).made("answer")


async def test_an_owner_that_has_nothing_blocked_answers_so(machine: Machine) -> None:
    await started(machine)
    other = await machine.topic()
    with pytest.raises(NotBlocked, match="nothing is blocked"):
        await other.release("s", "drop")


async def test_an_owner_without_a_dead_letter_topic_answers_so(machine: Machine) -> None:
    _, subscription, _ = await blocked(machine)
    other = await machine.topic()
    with pytest.raises(InvalidArgument, match=r"action: .*answers: .*dead_letter_topic"):
        await other.release("s", "dead_letter")
    assert subscription.status().state == "Blocked"


@pytest.mark.parametrize(("action", "following"), [("retry", "a"), ("drop", "b"), ("dead_letter", "b")])
@pytest.mark.parametrize("type", ["exclusive", "failover", "shared"])
async def test_without_an_owner_it_takes_the_lease_itself(machine: Machine, action: str, following: str, type: str) -> None:
    topic = await machine.topic()
    await publish(topic, *"abc")
    subscription = await topic.subscribe("s", type=type, start="earliest", policy=FailurePolicy(max_redeliveries=0))
    await (await take(await join(subscription, "c"))).nack(reason="too hot")
    await topic.close()
    other = await machine.topic()
    assert await other.release("s", action, dead_letter_topic=DEAD if action == "dead_letter" else None) == 0
    row = machine.row()
    assert (row.owner, row.type) == ("", type)
    assert row.progress.cursor == (-1 if action == "retry" else 0)
    again = await other.subscribe("s", type=type, policy=FailurePolicy(max_redeliveries=0))
    assert text(await take(await join(again, "c"))) == following
    if action == "dead_letter":
        assert (await machine.topic(name=DEAD)).head == 1


async def test_without_an_owner_and_without_a_topic_there_is_no_dead_letter(machine: Machine) -> None:
    topic, _, _ = await blocked(machine)
    await topic.close()
    other = await machine.topic()
    with pytest.raises(InvalidArgument, match="dead_letter_topic"):
        await other.release("s", "dead_letter")
    assert machine.row().owner == ""
    held = machine.row().progress.held
    assert held is not None
    assert held.exhausted


async def test_without_an_owner_what_is_not_blocked_is_said_to_be_so(machine: Machine) -> None:
    topic, _, _ = await started(machine)
    await topic.close()
    other = await machine.topic()
    with pytest.raises(NotBlocked):
        await other.release("s", "drop")
    with pytest.raises(SubscriptionNotFound):
        await other.release("t", "drop")


async def test_a_dead_owner_is_asked_in_vain_and_then_replaced(machine: Machine) -> None:
    topic, _, _ = await blocked(machine)
    kill(topic)
    other = await machine.topic()
    with pytest.raises(StoreUnavailable, match="has not answered"):
        await other.release("s", "drop")
    assert now() <= LEASE + 1
    await advance(1)
    assert await other.release("s", "drop") == 0


async def test_an_unanswered_request_is_not_carried_out_later(machine: Machine) -> None:
    topic, _, _ = await blocked(machine)
    kill(topic)
    other = await machine.topic()
    with pytest.raises(StoreUnavailable):
        await other.release("s", "drop")
    await advance(2)
    again = await other.subscribe("s", policy=FailurePolicy(max_redeliveries=0))
    await advance(10)
    assert again.status().state == "Blocked"


async def test_a_request_that_was_given_up_is_not_carried_out_by_an_owner_that_wakes_late(machine: Machine) -> None:
    topic, subscription, _ = await blocked(machine)
    faults_of(topic).fail("asked", TROUBLE)
    other = await machine.topic()
    with pytest.raises(StoreUnavailable, match="has not answered"):
        await other.release("s", "drop")
    faults_of(topic).heal()
    await advance(10)
    assert subscription.status().state == "Blocked"


async def test_a_request_that_takes_long_is_answered_once_however_often_it_is_seen(machine: Machine) -> None:
    topic, _, _ = await blocked(machine, dead_letter_topic=DEAD)
    store = faults_of(topic)
    store.lag("append", before=60 * HEARTBEAT)
    other = await machine.topic()
    await faults_of(other).ask(TOPIC, "s", "release:dead_letter")
    for _ in range(50):
        await publish(other, "x")
        await advance(HEARTBEAT)
    assert len(store.made("asked")) > 40
    assert len(asyncio.all_tasks()) < 10
    await advance(20 * HEARTBEAT)
    assert len(store.made("answer")) == 1
    assert machine.row().progress.cursor == 0


async def test_releasing_by_the_topic_that_has_it_open_is_immediate(machine: Machine) -> None:
    topic, _, _ = await blocked(machine)
    began = now()
    assert await topic.release("s", "drop") == 0
    assert now() - began < 0.01
    await topic.subscribe("live", reliable=False)
    with pytest.raises(NotSupported, match="never blocks"):
        await topic.release("live", "drop")
