"""What the next owner knows of a subscription, after a clean end and after a crash."""

from __future__ import annotations

from typing import Any

import pytest

import processes
from danube_dispatcher import FailurePolicy, Topic
from danube_dispatcher.virtual_time import advance
from delivering import TOPIC, join, now, publish, settle, take, waiting
from processes import DEAD, OUTLIVED, Machine, blocked, kill, outlive, started

machine = processes.machine
endings = pytest.mark.parametrize("end", ["close", "crash"])


async def ended(topic: Topic, end: str) -> None:
    if end == "close":
        await topic.close()
        await advance(OUTLIVED)
    else:
        await outlive(topic)


async def blocked_before(machine: Machine, end: str) -> None:
    topic, _, _ = await blocked(machine)
    await ended(topic, end)


@endings
async def test_failures_attempts_and_their_reason_survive(machine: Machine, end: str) -> None:
    policy: dict[str, Any] = {"redelivery_delay": 1.0, "max_redeliveries": 3}
    topic, _, consumer = await started(machine, **policy)
    for _ in range(2):
        await (await take(consumer)).nack(reason="too hot")
    await ended(topic, end)
    topic, subscription, consumer = await started(machine, **policy)
    delivery = await take(consumer)
    assert (delivery.message.offset, delivery.attempt, delivery.redelivered) == (0, 3, True)
    assert subscription.status().failures == 2
    for _ in range(2):
        await delivery.nack(reason="still too hot")
        if subscription.status().state != "Blocked":
            delivery = await take(consumer)
    assert subscription.status().state == "Blocked"  # two before the restart, two after it
    assert "still too hot" in str(subscription.explain())


@endings
async def test_of_a_running_delay_what_is_left_survives(machine: Machine, end: str) -> None:
    topic, _, consumer = await started(machine, redelivery_delay=30.0)
    began = now()
    await (await take(consumer)).nack()
    await advance(4)
    await ended(topic, end)
    _, subscription, consumer = await started(machine)
    await settle()
    assert waiting(consumer) == [0]
    assert subscription.explain().code == "redelivering"
    await take(consumer)
    assert now() - began == pytest.approx(30, abs=0.1)


@endings
async def test_a_delay_that_is_over_meanwhile_costs_nothing(machine: Machine, end: str) -> None:
    topic, _, consumer = await started(machine, redelivery_delay=5.0)
    await (await take(consumer)).nack()
    await ended(topic, end)
    _, _, consumer = await started(machine)
    began = now()
    await take(consumer)
    assert now() - began < 0.1


async def test_a_close_by_the_owner_charges_nothing_and_the_next_says_redelivered(machine: Machine) -> None:
    topic, _, consumer = await started(machine, max_redeliveries=0)
    for attempt in range(1, 6):
        delivery = await take(consumer)
        assert (delivery.message.offset, delivery.attempt, delivery.redelivered) == (0, attempt, attempt > 1)
        await topic.close()
        assert await delivery.ack() is False
        topic, subscription, consumer = await started(machine, max_redeliveries=0)
        assert subscription.status().failures == 0


async def test_a_message_that_nobody_took_has_no_less_of_a_history(machine: Machine) -> None:
    """It was sent: that its box was never opened is not known to the next owner, and not charged either."""
    topic, _, consumer = await started(machine)
    assert waiting(consumer) == [1]
    await topic.close()
    _, subscription, consumer = await started(machine)
    delivery = await take(consumer)
    assert (delivery.attempt, subscription.status().failures) == (2, 0)


async def test_a_message_that_was_never_sent_has_no_history(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, "a")
    await topic.subscribe("s", start="earliest")
    await topic.close()
    assert machine.row().progress.held is None
    _, _, consumer = await started(machine)
    assert (await take(consumer)).attempt == 1


@endings
async def test_a_pause_survives_and_so_does_its_end(machine: Machine, end: str) -> None:
    topic, subscription, consumer = await started(machine)
    await (await take(consumer)).ack()
    await subscription.pause()
    await (await take(consumer)).ack()
    await ended(topic, end)
    topic, subscription, consumer = await started(machine)
    await advance(5)
    assert waiting(consumer) == [0]
    assert subscription.explain().code == "paused"
    await subscription.resume()
    await take(consumer)
    await ended(topic, end)
    _, _, consumer = await started(machine)
    await take(consumer)


@endings
async def test_a_paused_subscription_still_redelivers_what_it_had_in_hand(machine: Machine, end: str) -> None:
    topic, subscription, consumer = await started(machine)
    await (await take(consumer)).nack()
    await subscription.pause()
    await ended(topic, end)
    _, subscription, consumer = await started(machine)
    delivery = await take(consumer)
    assert (delivery.message.offset, delivery.attempt) == (0, 2)
    await delivery.ack()
    await advance(5)
    assert waiting(consumer) == [0]
    assert subscription.explain().code == "paused"


# verdicts


@endings
async def test_a_blocked_message_is_still_blocked_and_reaches_no_consumer(machine: Machine, end: str) -> None:
    await blocked_before(machine, end)
    _, subscription, consumer = await started(machine, max_redeliveries=0)
    await advance(5)
    assert waiting(consumer) == [0]
    assert subscription.explain().code == "blocked"
    assert "too hot" in str(subscription.explain())


@endings
@pytest.mark.parametrize(("action", "offset"), [("retry", 0), ("drop", 1)])
async def test_a_saved_verdict_and_its_release_need_no_consumer(machine: Machine, end: str, action: str, offset: int) -> None:
    await blocked_before(machine, end)
    topic = await machine.topic()
    subscription = await topic.subscribe("s", policy=FailurePolicy(max_redeliveries=0))
    assert await subscription.release(action) == 0
    delivery = await take(await join(subscription, "c"))
    assert (delivery.message.offset, subscription.status().failures) == (offset, 0)


@endings
async def test_a_saved_exhausted_message_is_dropped_with_nobody_attached(machine: Machine, end: str) -> None:
    await blocked_before(machine, end)
    topic = await machine.topic()
    subscription = await topic.subscribe("s", policy=FailurePolicy(max_redeliveries=0, poison_policy="drop"))
    await advance(0.1)
    status = subscription.status()
    assert (status.cursor, status.counts.dropped, status.counts.delivered) == (0, 1, 0)


@endings
async def test_a_saved_exhausted_message_is_dead_lettered_with_nobody_attached(machine: Machine, end: str) -> None:
    await blocked_before(machine, end)
    topic = await machine.topic()
    subscription = await topic.subscribe("s", policy=FailurePolicy(max_redeliveries=0, poison_policy="dead_letter", dead_letter_topic=DEAD))
    await advance(0.1)
    status = subscription.status()
    assert (status.cursor, status.counts.dead_lettered, status.counts.delivered) == (0, 1, 0)
    dead = await machine.topic(processes.faults_of(topic), DEAD)
    assert dead.head == 1
    letter = await take(await join(await dead.subscribe("d", start="earliest"), "c"))
    assert letter.message.payload == b"a"
    assert letter.message.attributes["x-failure-reason"] == "too hot"
    assert letter.message.attributes["x-original-topic"] == TOPIC


async def test_a_crash_between_dead_letter_and_cursor_repeats_it_and_loses_nothing(machine: Machine) -> None:
    policy: dict[str, Any] = {"max_redeliveries": 0, "poison_policy": "dead_letter", "dead_letter_topic": DEAD}
    topic, _, consumer = await started(machine, **policy)
    delivery = await take(consumer)
    await delivery.nack()
    await advance(0.1)
    kill(topic)  # the dead letter is durable, the cursor is not
    assert machine.stored_cursor() == -1
    await advance(OUTLIVED)
    topic, subscription, consumer = await started(machine, **policy)
    assert (await take(consumer)).message.offset == 1
    assert subscription.status().counts.dead_lettered == 1
    dead = await machine.topic(processes.faults_of(topic), DEAD)
    assert dead.head == 2


@endings
async def test_a_gentler_policy_gives_a_blocked_message_another_chance(machine: Machine, end: str) -> None:
    """The policy belongs to the opening: the verdict is given anew by the one it is opened with."""
    await blocked_before(machine, end)
    _, _, consumer = await started(machine, max_redeliveries=3)
    delivery = await take(consumer)
    assert (delivery.message.offset, delivery.attempt) == (0, 2)


@endings
async def test_what_was_released_for_a_retry_stays_forgiven(machine: Machine, end: str) -> None:
    await blocked_before(machine, "close")
    topic, subscription, _ = await started(machine, max_redeliveries=0)
    await settle()
    await subscription.release("retry")
    await ended(topic, end)
    _, subscription, consumer = await started(machine, max_redeliveries=0)
    delivery = await take(consumer)
    # a crash of a careful owner is charged; this one was not careful
    assert (delivery.message.offset, subscription.status().failures) == (0, 0)
    assert delivery.attempt > 1


async def test_policy_rate_and_flush_interval_belong_to_the_opening(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, *"abc")
    await topic.subscribe("s", start="earliest", policy=FailurePolicy(ack_timeout=1), rate_limit=1, flush_interval=1)
    await topic.close()
    topic = await machine.topic()
    subscription = await topic.subscribe("s", policy=FailurePolicy(ack_timeout=77), rate_limit=None, flush_interval=0)
    consumer = await join(subscription, "c")
    began = now()
    for _ in range(3):
        await (await take(consumer)).ack()
    assert now() - began < 0.1
    assert machine.stored_cursor() == 2
