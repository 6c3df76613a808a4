"""Fire and forget: at most once, and what is dropped is counted and said."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from danube_dispatcher import Consumer, Dispatcher, Message, Subscription, SubscriptionMismatch, Topic
from danube_dispatcher.clock import HEARTBEAT
from danube_dispatcher.virtual_time import advance
from delivering import TOPIC, Place, Record, attach, join, publish, seats, settle, take, text, waiting


async def live(topic: Topic, type: str = "exclusive", name: str = "s") -> Subscription:
    return await topic.subscribe(name, type=type, reliable=False)


async def taken(*consumers: Consumer) -> list[str]:
    """Everything in the boxes."""
    found: list[str] = []
    for consumer in consumers:
        while consumer.waiting():
            found.append(text(await take(consumer)))
    return found


def dispatcher(kind: str, observer: Record | None = None) -> Dispatcher:
    if kind == "shared":
        return Dispatcher.non_reliable_shared(observer=observer)
    return Dispatcher.non_reliable_exclusive(standbys=kind == "failover", observer=observer)


# dispatched before publish returns


@pytest.mark.parametrize("type", ["exclusive", "failover", "shared"])
async def test_handed_over_before_publish_returns(topic: Topic, type: str) -> None:
    subscription = await live(topic, type)
    a = await join(subscription, "a")
    for number in range(5):
        await topic.publish(str(number).encode())
        assert waiting(a) == [number + 1]
    assert await topic.publish_many([b"5", b"6"]) == 2
    assert waiting(a) == [7]
    assert await taken(a) == list("0123456")
    assert subscription.status().counts.delivered == 7


async def test_every_topic_object_of_the_process_hands_over(place: Place, topic: Topic) -> None:
    a = await join(await live(topic), "a")
    other = await place.topic()
    await publish(other, "0")
    assert waiting(a) == [1]


async def test_only_messages_from_now_on(topic: Topic) -> None:
    await publish(topic, "before")
    subscription = await live(topic)
    a = await join(subscription, "a")
    await advance(5)
    assert waiting(a) == [0]
    await publish(topic, "0")
    assert await taken(a) == ["0"]


async def test_a_published_message_reaches_every_subscription_once(topic: Topic) -> None:
    boxes = [await join(await live(topic, name=f"s{number}"), "a") for number in range(3)]
    reliable = await join(await topic.subscribe("r"), "a")
    await publish(topic, "0", "1")
    assert waiting(*boxes) == [2, 2, 2]
    assert text(await take(reliable)) == "0"


async def test_at_most_once(topic: Topic) -> None:
    """Nothing is handed over twice, whatever happens to the consumers (S9)."""
    chance = random.Random(7)
    subscription = await live(topic, "shared")
    consumers = {name: await join(subscription, name, capacity=3) for name in "abc"}
    seen: list[str] = []
    for number in range(200):
        await publish(topic, str(number))
        name = chance.choice("abc")
        action = chance.choice(["take", "take", "replace", "leave", "nothing"])
        if action == "take" and consumers[name].waiting():
            delivery = await take(consumers[name])
            seen.append(text(delivery))
            assert await delivery.nack() is False
        elif action == "replace":
            consumers[name] = await join(subscription, name, capacity=3)
        elif action == "leave" and name in seats(subscription):
            subscription.dispatcher.remove_consumer(name)
        await advance(chance.choice([0, 0, 40]))
    seen += await taken(*consumers.values())
    assert len(seen) == len(set(seen)) > 20
    counts = subscription.status().counts
    # each message is one of the three; what a leaver had not taken is dropped after it had been handed over
    assert counts.delivered - len(seen) <= counts.dropped
    assert len(seen) + counts.dropped + counts.no_consumer == 200


# to whom


async def test_exclusive_goes_to_the_active_consumer_alone(topic: Topic) -> None:
    subscription = await live(topic, "failover")
    a, b = await join(subscription, "a"), await join(subscription, "b")
    assert (a.active, b.active, subscription.status().active) == (True, False, "a")
    await publish(topic, "0", "1")
    assert waiting(a, b) == [2, 0]
    subscription.dispatcher.remove_consumer("a")
    assert b.active
    await publish(topic, "2")
    assert waiting(b) == [1]


async def test_a_full_active_consumer_drops_though_a_standby_has_room(topic: Topic) -> None:
    subscription = await live(topic, "failover")
    a, b = await join(subscription, "a", capacity=1), await join(subscription, "b")
    await publish(topic, "0", "1")
    assert waiting(a, b) == [1, 0]
    assert subscription.status().counts.dropped == 1


async def test_shared_goes_round(topic: Topic) -> None:
    subscription = await live(topic, "shared")
    boxes = [await join(subscription, name) for name in "abc"]
    await publish(topic, *"012345")
    assert [[text(await take(box)) for _ in range(2)] for box in boxes] == [["0", "3"], ["1", "4"], ["2", "5"]]


async def test_a_full_box_is_skipped_at_no_cost_of_a_turn(topic: Topic) -> None:
    subscription = await live(topic, "shared")
    a = await join(subscription, "a")
    b = await join(subscription, "b", capacity=1)
    c = await join(subscription, "c")
    await publish(topic, *"012")  # a0 b1 c2
    await publish(topic, *"34")  # a3; b is full: c4
    assert waiting(a, b, c) == [2, 1, 2]
    assert await taken(b) == ["1"]
    # b was next and skipped: it is next still, before a
    await publish(topic, "5")
    assert waiting(b) == [1]
    await publish(topic, "6", "7")
    assert await taken(a, b, c) == [*"036", "5", *"247"]
    assert subscription.status().counts.dropped == 0


async def test_a_newcomer_and_a_leaver_cost_nobody_a_turn(topic: Topic) -> None:
    subscription = await live(topic, "shared")
    a, b = [await join(subscription, name) for name in "ab"]
    await publish(topic, "0")
    c = await join(subscription, "c")
    await publish(topic, "1", "2", "3")
    assert waiting(a, b, c) == [2, 1, 1]  # c came behind a, which had been served: b1 a2 c3
    assert await taken(a, b, c) == ["0", "2", "1", "3"]
    subscription.dispatcher.remove_consumer("b")
    await publish(topic, "4", "5")
    assert await taken(a, c) == ["4", "5"]


# dropped


@pytest.mark.parametrize("kind", ["exclusive", "failover", "shared"])
async def test_outcomes(kind: str) -> None:
    async with dispatcher(kind) as subject:
        assert subject.dispatch_message(Message(b"0")) == "no_consumer"
        a = attach(subject, "a", capacity=2)
        assert [subject.dispatch_message(Message(str(number).encode())) for number in range(1, 5)] == ["sent", "sent", "dropped", "dropped"]
        assert await taken(a) == ["1", "2"]  # a full box drops what is new
        assert subject.dispatch_message(Message(b"5")) == "sent"
        subject.remove_consumer("a")
        assert subject.dispatch_message(Message(b"6")) == "no_consumer"
        counts = subject.status().counts
        assert (counts.delivered, counts.no_consumer) == (3, 2)
        assert counts.dropped == 3  # two that found the box full, and the one that the leaver had not taken
        assert subject.status().state == "Idle"


async def test_shared_drops_when_every_box_is_full() -> None:
    async with dispatcher("shared") as subject:
        a = attach(subject, "a", capacity=1)
        b = attach(subject, "b", capacity=2)
        outcomes = [subject.dispatch_message(Message(b"")) for _ in range(5)]
        assert outcomes == ["sent", "sent", "sent", "dropped", "dropped"]
        assert waiting(a, b) == [1, 2]


async def test_no_consumer_is_no_exception_of_the_publisher(topic: Topic) -> None:
    subscription = await live(topic)
    assert await topic.publish(b"0") == 0
    assert subscription.status().counts.no_consumer == 1
    assert subscription.explain().code == "no_consumer"
    a = await join(subscription, "a")
    assert waiting(a) == [0]  # it is gone
    assert subscription.explain().code == "ready"


async def test_a_slow_consumer_holds_up_no_publisher(topic: Topic) -> None:
    subscription = await live(topic)
    a = await join(subscription, "a", capacity=3)
    async with asyncio.timeout(5):
        await topic.publish_many([b"x"] * 1000)
    assert waiting(a) == [3]
    assert subscription.status().counts.dropped == 997


@pytest.mark.parametrize("how", ["leaves", "is replaced", "closed"])
@pytest.mark.parametrize("type", ["exclusive", "shared"])
async def test_what_a_leaver_had_not_taken_counts_as_dropped(topic: Topic, type: str, how: str) -> None:
    subscription = await live(topic, type)
    a = await join(subscription, "a")
    await publish(topic, "0", "1", "2")
    await take(a)
    if how == "leaves":
        subscription.dispatcher.remove_consumer("a")
    elif how == "is replaced":
        a = await join(subscription, "a")
    else:
        await subscription.close()
    assert waiting(a) == [0]
    counts = subscription.status().counts
    assert (counts.delivered, counts.dropped) == (3, 2)


# no answer, no memory


@pytest.mark.parametrize("kind", ["exclusive", "failover", "shared"])
async def test_answers_say_no_and_change_nothing(topic: Topic, kind: str) -> None:
    subscription = await live(topic, kind)
    a = await join(subscription, "a")
    await publish(topic, "0")
    delivery = await take(a)
    before = subscription.status()
    assert delivery.open is False
    assert (await delivery.ack(), await delivery.nack(1, "no"), await delivery.extend(9)) == (False, False, False)
    subject = subscription.dispatcher
    assert (await subject.ack_message(delivery), await subject.nack_message(delivery), await subject.flush_progress()) == (False, False, False)
    assert subscription.status() == before
    await advance(1000)
    assert waiting(a) == [0]


async def test_it_leaves_no_row(topic: Topic, place: Place) -> None:
    subscription = await live(topic)
    assert [(info.name, info.reliable, info.lag) for info in await topic.subscriptions()] == [("s", False, None)]
    assert await place.store.rows(TOPIC) == []
    await subscription.close()
    assert await topic.subscriptions() == []
    await live(topic, "shared")  # so its name is free for another type


async def test_the_guarantee_belongs_to_the_name(topic: Topic) -> None:
    reliable = await topic.subscribe("s")
    with pytest.raises(SubscriptionMismatch):
        await live(topic)
    await reliable.close()
    with pytest.raises(SubscriptionMismatch, match="reliable"):
        await live(topic)
    await live(topic, name="t")
    with pytest.raises(SubscriptionMismatch):
        await topic.subscribe("t")


async def test_after_close_nothing_is_handed_over(topic: Topic) -> None:
    subscription = await live(topic)
    a = await join(subscription, "a")
    await subscription.close()
    await publish(topic, "0")
    assert waiting(a) == [0]
    assert [delivery async for delivery in a] == []
    assert subscription.explain().code == "closed"
    again = await live(topic)
    assert again is not subscription
    b = await join(again, "b")
    await publish(topic, "1")
    assert await taken(b) == ["1"]


# other processes


async def test_messages_of_other_processes_come_within_a_heartbeat(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 's.db'}"
    here, there = await Place.open(url), await Place.open(url)  # two stores on one file know nothing of each other
    try:
        topic, elsewhere = await here.topic(), await there.topic()
        await publish(elsewhere, "before")
        subscription = await live(topic)
        a = await join(subscription, "a")
        await publish(elsewhere, "0", "1")
        assert waiting(a) == [0]
        await advance(HEARTBEAT * 1.1)
        assert await taken(a) == ["0", "1"]
        await publish(elsewhere, "2")
        await publish(topic, "3")  # ours goes out at once, and theirs, which is older, before it
        assert await taken(a) == ["2", "3"]
        await advance(5)
        assert await taken(a) == []
        assert subscription.status().counts.delivered == 4
    finally:
        await here.close()
        await there.close()


async def test_a_handler_may_publish(topic: Topic) -> None:
    """Handing over happens inside of publishing; what is published from there comes in its turn."""
    subscription = await live(topic)

    async def handle(delivery: object) -> None:
        if topic.head < 10:
            await topic.publish(b"more")

    run = asyncio.ensure_future(subscription.run(handle))
    await settle()
    await publish(topic, "first")
    await settle()
    assert subscription.status().counts.delivered == topic.head == 10
    await subscription.close()
    await run
