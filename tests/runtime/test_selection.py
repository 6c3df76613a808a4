"""Who gets the next message."""

from __future__ import annotations

import asyncio

import pytest

from danube_dispatcher import Consumer, ConsumerAttached, ConsumerRefused, FailurePolicy, Subscription, Topic
from danube_dispatcher.virtual_time import advance
from delivering import join, publish, seats, settle, take, take_and_ack, text, waiting


async def subscribe(topic: Topic, type: str, *payloads: str) -> Subscription:
    subscription = await topic.subscribe("s", type=type, start="earliest")
    await publish(topic, *payloads)
    return subscription


# exclusive and failover: one active consumer


async def test_first_is_active_and_is_not_preempted(topic: Topic) -> None:
    subscription = await subscribe(topic, "failover", "0", "1", "2", "3")
    a, b, c = [await join(subscription, name) for name in ("a", "b", "c")]
    assert (a.active, b.active, c.active) == (True, False, False)
    assert subscription.status().active == "a"
    assert await take_and_ack(a, b, c, count=4) == ["a:0", "a:1", "a:2", "a:3"]


async def test_next_in_order_of_arrival_is_promoted_in_the_same_step(topic: Topic) -> None:
    subscription = await subscribe(topic, "failover", "0", "1")
    a, b, c = [await join(subscription, name) for name in ("a", "b", "c")]
    subscription.dispatcher.remove_consumer("a")
    # no await since: the promotion and the send belong to the step that lost the consumer
    assert (a.active, b.active, c.active) == (False, True, False)
    assert waiting(b, c) == [1, 0]
    assert subscription.status().active == "b"
    subscription.dispatcher.remove_consumer("b")
    assert c.active
    assert waiting(c) == [1]
    assert await take_and_ack(c, count=2) == ["c:0", "c:1"]


async def test_who_comes_back_stands_at_the_end(topic: Topic) -> None:
    subscription = await subscribe(topic, "failover", "0")
    await join(subscription, "a")
    b = await join(subscription, "b")
    subscription.dispatcher.remove_consumer("a")
    again = await join(subscription, "a")
    assert (b.active, again.active) == (True, False)
    subscription.dispatcher.remove_consumer("b")
    assert again.active


async def test_a_standby_that_leaves_changes_nothing(topic: Topic) -> None:
    subscription = await subscribe(topic, "failover", "0")
    a = await join(subscription, "a")
    b = await join(subscription, "b")
    delivery = await take(a)
    subscription.dispatcher.remove_consumer("b")
    assert (a.active, b.active) == (True, False)
    assert await delivery.ack() is True


@pytest.mark.parametrize("name", ["a", "b", "c"])
async def test_a_takeover_keeps_the_place_in_the_order(topic: Topic, name: str) -> None:
    subscription = await subscribe(topic, "failover", "0", "1", "2")
    consumers = {each: await join(subscription, each) for each in ("a", "b", "c")}
    consumers[name] = await join(subscription, name)
    a, b, c = consumers.values()
    assert (a.active, b.active, c.active) == (True, False, False)
    assert await take_and_ack(a, b, c, count=1) == ["a:0"]
    subscription.dispatcher.remove_consumer("a")
    assert (b.active, c.active) == (True, False)
    assert await take_and_ack(b, c, count=1) == ["b:1"]
    subscription.dispatcher.remove_consumer("b")
    assert await take_and_ack(c, count=1) == ["c:2"]


async def test_an_ack_timeout_never_changes_the_active_consumer(topic: Topic) -> None:
    subscription = await topic.subscribe("s", type="failover", policy=FailurePolicy(ack_timeout=5, redelivery_delay=1))
    a, b = await join(subscription, "a"), await join(subscription, "b")
    await publish(topic, "0")
    first = await take(a)
    await advance(6.5)
    assert (a.active, b.active) == (True, False)
    second = await take(a)
    assert (first.attempt, second.attempt) == (1, 2)
    assert waiting(b) == [0]


async def test_exclusive_refuses_a_second_name_and_takes_it_once_the_first_has_left(topic: Topic) -> None:
    subscription = await subscribe(topic, "exclusive", "0")
    a = await join(subscription, "a")
    refused = subscription.consumer("b")
    with pytest.raises(ConsumerRefused, match=r"consumer b: .*\ba\b.*failover") as caught:
        await refused.__aenter__()
    assert caught.value.consumer == "b"
    assert seats(subscription) == ["a"]
    assert a.active
    assert waiting(a) == [1]
    subscription.dispatcher.remove_consumer("a")
    async with refused:  # a refusal changed nothing: the same object may come again
        assert refused.active
        assert text(await take(refused)) == "0"


async def test_exclusive_admits_the_same_name_as_a_takeover(topic: Topic) -> None:
    subscription = await subscribe(topic, "exclusive", "0")
    await join(subscription, "a")
    again = await join(subscription, "a")
    assert seats(subscription) == ["a"]
    assert again.active
    assert text(await take(again)) == "0"


@pytest.mark.parametrize("type", ["exclusive", "failover", "shared"])
async def test_the_same_object_is_not_added_twice(topic: Topic, type: str) -> None:
    subscription = await subscribe(topic, type, "0")
    a = await join(subscription, "a")
    with pytest.raises(ConsumerAttached, match="consumer a: "):
        subscription.dispatcher.add_consumer(a)
    assert seats(subscription) == ["a"]
    delivery = await take(a)
    assert await delivery.ack() is True
    subscription.dispatcher.remove_consumer("a")
    with pytest.raises(ConsumerAttached):  # nor after it left: its iteration has ended
        await a.__aenter__()
    assert seats(subscription) == []


# shared: round robin


async def test_shared_goes_round(topic: Topic) -> None:
    subscription = await subscribe(topic, "shared")
    a, b, c = [await join(subscription, name) for name in ("a", "b", "c")]
    await publish(topic, *"012345")
    assert (a.active, b.active, c.active) == (True, True, True)
    assert subscription.status().active is None
    assert await take_and_ack(a, b, c, count=6) == ["a:0", "b:1", "c:2", "a:3", "b:4", "c:5"]


async def test_leaving_costs_nobody_a_turn(topic: Topic) -> None:
    subscription = await subscribe(topic, "shared")
    a, b, c = [await join(subscription, name) for name in ("a", "b", "c")]
    await publish(topic, *"01234")
    assert await take_and_ack(a, b, c, count=1) == ["a:0"]
    held = await take(b)  # in the hands of b, which is not the one that leaves
    subscription.dispatcher.remove_consumer("a")
    assert await held.ack() is True
    assert await take_and_ack(b, c, count=3) == ["c:2", "b:3", "c:4"]


async def test_a_newcomer_stands_at_the_end(topic: Topic) -> None:
    subscription = await subscribe(topic, "shared")
    a, b = await join(subscription, "a"), await join(subscription, "b")
    await publish(topic, *"01234")
    # a has been served and stands behind b: the newcomer stands behind both
    c = await join(subscription, "c")
    assert await take_and_ack(a, b, c, count=5) == ["a:0", "b:1", "a:2", "c:3", "b:4"]


@pytest.mark.parametrize("how", ["nack", "timeout", "leave taken", "leave untaken"])
async def test_a_redelivery_goes_to_the_next_in_rotation(topic: Topic, how: str) -> None:
    subscription = await topic.subscribe("s", type="shared", policy=FailurePolicy(ack_timeout=30, redelivery_delay=1))
    a, b, c = [await join(subscription, name) for name in ("a", "b", "c")]
    await publish(topic, "0", "1", "2")
    if how != "leave untaken":
        delivery = await take(a)
        if how == "nack":
            assert await delivery.nack() is True
    if how.startswith("leave"):
        subscription.dispatcher.remove_consumer("a")
    await advance({"nack": 1.1, "timeout": 31.1}.get(how, 0))
    assert waiting(b, c) == [1, 0]
    assert await take_and_ack(b, c, count=2) == ["b:0", "c:1"]


@pytest.mark.parametrize("taken", [False, True])
async def test_shared_takeover_of_the_holder_goes_to_the_front_and_is_then_back_in_its_place(topic: Topic, taken: bool) -> None:
    subscription = await subscribe(topic, "shared")
    a, b, c = [await join(subscription, name) for name in ("a", "b", "c")]
    await publish(topic, *"012345")
    if taken:
        await take(a)
    successor = await join(subscription, "a")
    assert waiting(successor, b, c) == [1, 0, 0]  # what the old one held goes to it, though b was next
    assert await take_and_ack(successor, b, c, count=5) == ["a:0", "b:1", "c:2", "a:3", "b:4"]


async def test_shared_takeover_of_another_keeps_its_place(topic: Topic) -> None:
    subscription = await subscribe(topic, "shared")
    a, _, c = [await join(subscription, name) for name in ("a", "b", "c")]
    await publish(topic, *"0123")
    b = await join(subscription, "b")
    assert await take_and_ack(a, b, c, count=4) == ["a:0", "b:1", "c:2", "a:3"]


async def test_workers_started_together_share_from_the_first_message(topic: Topic) -> None:
    subscription = await subscribe(topic, "shared")
    await topic.publish_many([b"x"] * 100)
    got = dict.fromkeys("abcd", 0)

    async def work(name: str) -> None:
        async with subscription.consumer(name) as consumer:
            async for delivery in consumer:
                got[name] += 1
                await delivery.ack()

    async with asyncio.TaskGroup() as group:
        for name in got:
            group.create_task(work(name))
        while sum(got.values()) < 100:
            await settle()
        await subscription.close()
    # who joins first is served once before there is anyone to share with
    assert max(got.values()) - min(got.values()) <= 2, got


@pytest.mark.parametrize("type", ["exclusive", "failover", "shared"])
async def test_nobody_is_active_after_the_end(topic: Topic, type: str) -> None:
    subscription = await subscribe(topic, type, "0")
    consumers: list[Consumer] = [await join(subscription, name) for name in ("a", "b") if type != "exclusive" or name == "a"]
    await subscription.close()
    assert not any(consumer.active for consumer in consumers)
    assert subscription.status().active is None
