"""What Danube's broker and others get wrong about who is served and what an answer settles: each as a test that would have caught it.

Those about positions, ownership and stalls are in test_danube_defects_engine.py.
"""

from __future__ import annotations

import pytest

from danube_dispatcher import FailurePolicy, Topic
from danube_dispatcher.virtual_time import advance
from delivering import attach, forge, join, outlook, publish, seats, settle, take, take_and_ack, text, waiting

POLICY = FailurePolicy(ack_timeout=5, redelivery_delay=1, backoff="fixed")


async def test_removing_the_active_consumer_promotes_the_next(topic: Topic) -> None:
    subscription = await topic.subscribe("s", type="failover")
    a, b = await join(subscription, "a"), await join(subscription, "b")
    subscription.dispatcher.remove_consumer("a")
    assert (a.active, b.active, subscription.status().active) == (False, True, "b")
    await publish(topic, "0")
    assert await take_and_ack(b, count=1) == ["b:0"]


@pytest.mark.parametrize("wrong", [{"epoch": 1}, {"session": 1}, {"offset": 1}, {"attempt": 1}])
async def test_an_ack_is_not_matched_by_its_offset_alone(topic: Topic, wrong: dict[str, int]) -> None:
    subscription = await topic.subscribe("s")
    a = await join(subscription, "a")
    await publish(topic, "0", "1", "2")
    delivery = await take(a)
    before = outlook(subscription)
    assert await forge(delivery, **wrong).ack() is False
    assert outlook(subscription) == before
    assert await delivery.ack() is True


async def test_nothing_stays_pending_after_the_consumer_that_held_it_was_removed(topic: Topic) -> None:
    subscription = await topic.subscribe("s", policy=POLICY)
    a = await join(subscription, "a")
    await publish(topic, "0")
    await take(a)
    subscription.dispatcher.remove_consumer("a")
    b = await join(subscription, "b")
    assert await take_and_ack(b, count=1) == ["b:0"]
    assert subscription.explain().code == "end"


async def test_a_slow_consumer_blocks_neither_the_dispatcher_nor_its_publishers(topic: Topic) -> None:
    subscription = await topic.subscribe("s", type="shared", reliable=False)
    slow, quick = await join(subscription, "slow", capacity=1), await join(subscription, "quick")
    await publish(topic, *"012345")
    assert waiting(slow, quick) == [1, 5]
    await publish(topic, "6")
    assert waiting(slow, quick) == [1, 6]


async def test_an_ack_of_a_superseded_delivery_is_refused(topic: Topic) -> None:
    subscription = await topic.subscribe("s", type="shared", policy=POLICY)
    a, b = await join(subscription, "a"), await join(subscription, "b")
    await publish(topic, "0")
    late = await take(a)
    await advance(6.1)
    again = await take(b)
    assert (text(again), again.attempt) == ("0", 2)
    assert await late.ack() is False
    assert (subscription.status().in_flight, subscription.status().counts.stale_acks) == (0, 1)
    assert await again.ack() is True


async def test_a_queue_is_alive_after_every_consumer_has_timed_out(topic: Topic) -> None:
    subscription = await topic.subscribe("s", type="failover", policy=FailurePolicy(ack_timeout=5, redelivery_delay=1, max_redeliveries=9))
    a, b = await join(subscription, "a"), await join(subscription, "b")
    await publish(topic, "0", "1")
    for _ in range(3):
        await take(a)
        await advance(70)
    assert (seats(subscription), a.active, b.active) == (["a", "b"], True, False)
    assert await take_and_ack(a, count=2) == ["a:0", "a:1"]


async def test_deleting_a_consumer_loses_nothing_of_what_it_held(topic: Topic) -> None:
    subscription = await topic.subscribe("s", type="shared", policy=POLICY)
    a = await join(subscription, "a")
    await publish(topic, "0", "1")
    await settle()
    assert waiting(a) == [1]
    subscription.dispatcher.remove_consumer("a")
    b = await join(subscription, "b")
    assert await take_and_ack(b, count=2) == ["b:0", "b:1"]


async def test_counters_do_not_drift(topic: Topic) -> None:
    """Whatever comes and goes, what a status counts is what is there."""
    subscription = await topic.subscribe("s", type="shared", policy=POLICY)
    for turn in range(3):
        for name in "abc":
            await join(subscription, name)  # the second time over they take over
        await publish(topic, str(turn))
        subscription.dispatcher.remove_consumer("b")
    status = subscription.status()
    assert sorted(consumer.name for consumer in status.consumers) == ["a", "c"]
    assert sum(consumer.waiting for consumer in status.consumers) == (status.in_flight is not None) == 1
    assert [consumer.holds for consumer in status.consumers].count(status.in_flight) == 1


async def test_the_store_in_memory_behaves_as_the_file(topic: Topic) -> None:
    """An attribute map is a map on both, also in a dead letter."""
    dead = FailurePolicy(max_redeliveries=0, poison_policy="dead_letter", dead_letter_topic="/test/dead")
    subscription = await topic.subscribe("s", policy=dead)
    a = await join(subscription, "a")
    await topic.publish(b"0")
    await (await take(a)).nack(reason="no")
    await settle()
    async with await Topic.open(topic.store, "/test/dead") as letters:
        b = attach((await letters.subscribe("reader", start="earliest")).dispatcher, "b")
        letter = (await take(b)).message
    assert letter.attributes["x-failure-reason"] == "no"
    assert dict(letter.attributes)["x-original-topic-offset"] == "0"
