"""Where exhausted messages go, and what goes with them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import pairwise

import pytest

from danube_dispatcher import Closed, Consumer, FailurePolicy, InvalidArgument, Message, StoreFull, Subscription, Topic
from danube_dispatcher.virtual_time import advance
from delivering import TOPIC, Place, Record, failing, join, publish, settle, take, take_and_ack, text, waiting

DEAD = "/test/dead"
POLICY = FailurePolicy(max_redeliveries=1, poison_policy="dead_letter", dead_letter_topic=DEAD)
NONE_LEFT = FailurePolicy(max_redeliveries=0, poison_policy="dead_letter", dead_letter_topic=DEAD)
BLOCKS = FailurePolicy(max_redeliveries=0, dead_letter_topic=DEAD)


@pytest.fixture
async def dead(place: Place) -> Topic:
    """The dead-letter topic."""
    return await place.topic(DEAD)


async def letters(dead: Topic) -> list[Message]:
    """All that lies in the topic."""
    reader = await dead.subscribe("reader", start="earliest")
    consumer = await join(reader, "reader")
    found: list[Message] = []
    for _ in range(dead.head):
        delivery = await take(consumer)
        found.append(delivery.message)
        await delivery.ack()
    await reader.close()
    await dead.unsubscribe("reader")
    return found


async def ready(topic: Topic, policy: FailurePolicy, *, type: str = "failover") -> tuple[Subscription, Consumer]:
    subscription = await topic.subscribe("s", type=type, start="earliest", policy=policy)
    return subscription, await join(subscription, "a")


async def fail(consumer: Consumer, *reasons: str | None) -> None:
    for reason in reasons:
        assert await (await take(consumer)).nack(reason=reason) is True
    await settle()


# what goes with it


async def test_a_dead_letter_is_the_message_and_says_where_it_comes_from(topic: Topic, dead: Topic) -> None:
    await publish(topic, "before")
    subscription, a = await ready(topic, POLICY, type="shared")
    await take_and_ack(a, count=1)
    await topic.publish(b"\x00\xff", key="k", attributes={"path": "a/b", "x-mine": "kept"})
    await fail(a, "first", "second: no good")
    (letter,) = await letters(dead)
    assert (letter.payload, letter.key, letter.topic, letter.offset) == (b"\x00\xff", "k", DEAD, 0)
    assert letter.attributes == {
        "path": "a/b",
        "x-mine": "kept",
        "x-original-topic": TOPIC,
        "x-original-subscription": "s",
        "x-original-topic-offset": "1",
        "x-poison-policy": "dead_letter",
        "x-delivery-attempt": "2",
        "x-failure-reason": "second: no good",
        "x-death-count": "1",
    }
    assert subscription.status().cursor == 1


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        *(("nack", "nack"), ("timeout", "ack timeout")),
        *(("loss", "consumer lost"), ("takeover", "consumer lost")),
    ],
)
async def test_the_reason_without_one_given(topic: Topic, dead: Topic, how: str, reason: str) -> None:
    subscription, a = await ready(topic, NONE_LEFT)
    await publish(topic, "0")
    delivery = await take(a)
    if how == "nack":
        await delivery.nack()
    elif how == "timeout":
        await advance(31)
    elif how == "loss":
        subscription.dispatcher.remove_consumer("a")
    else:
        await join(subscription, "a")
    await settle()
    (letter,) = await letters(dead)
    assert letter.attributes["x-failure-reason"] == reason


async def test_a_message_without_key_and_attributes(topic: Topic, dead: Topic) -> None:
    _, a = await ready(topic, NONE_LEFT)
    await publish(topic, "0")
    await fail(a, None)
    (letter,) = await letters(dead)
    assert letter.key is None
    assert all(name.startswith("x-") for name in letter.attributes)


async def test_attributes_of_an_earlier_death_are_overwritten_and_deaths_counted(topic: Topic, dead: Topic) -> None:
    _, a = await ready(topic, NONE_LEFT)
    old: Mapping[str, str] = {"x-original-topic": "/old/one", "x-original-topic-offset": "77", "x-failure-reason": "old", "x-death-count": "4", "n": "1"}
    await topic.publish(b"0", attributes=old)
    await fail(a, "new")
    (letter,) = await letters(dead)
    got = letter.attributes
    assert (got["x-original-topic"], got["x-original-topic-offset"], got["x-failure-reason"]) == (TOPIC, "0", "new")
    assert (got["x-death-count"], got["n"]) == ("5", "1")


@pytest.mark.parametrize("count", ["", "many", "-3", "1.5", "²", "9" * 400])
async def test_a_death_count_that_is_none_is_taken_for_none(topic: Topic, dead: Topic, count: str) -> None:
    subscription, a = await ready(topic, NONE_LEFT)
    await topic.publish(b"0", attributes={"x-death-count": count})
    await fail(a, None)
    (letter,) = await letters(dead)
    assert letter.attributes["x-death-count"] == "1"
    assert subscription.status().cursor == 0


# the order of things


async def test_the_next_message_follows(topic: Topic, dead: Topic) -> None:
    subscription, a = await ready(topic, POLICY)
    await publish(topic, "0", "1", "2")
    await take_and_ack(a, count=1)
    await fail(a, None, None)
    assert await take_and_ack(a, count=1) == ["a:2"]
    counts = subscription.status().counts
    assert (counts.dead_lettered, counts.dropped, counts.acked, counts.settled) == (1, 0, 2, 3)


async def test_it_is_durable_before_the_cursor_moves(topic: Topic, dead: Topic) -> None:
    moved: list[tuple[object, int]] = []

    class Watch(Record):
        def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
            if name == "settle":
                moved.append((arguments[1], dead.head))

    subscription = await topic.subscribe("s", policy=NONE_LEFT, observer=Watch())
    a = await join(subscription, "a")
    await publish(topic, "0")
    nack = asyncio.ensure_future((await take(a)).nack())
    await nack
    await settle()
    assert moved == [("dead_lettered", 1)]


async def test_its_write_holds_up_nothing_else(place: Place, topic: Topic, dead: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    subscription, a = await ready(topic, NONE_LEFT)
    other = await topic.subscribe("other", policy=FailurePolicy(ack_timeout=5, redelivery_delay=1))
    b = await join(other, "b")
    await publish(topic, "0", "1")
    never: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
    with monkeypatch.context() as patch:
        patch.setattr(dead.hub.log, "append", lambda messages: never)
        assert await (await take(a)).nack() is True
        assert subscription.status().state == "DeadLettering"
        assert (await take(b)).attempt == 1
        await advance(6.5)  # ticks go on
        assert await (await take(b)).ack() is True  # and acks
        assert await topic.publish(b"2") == 2  # and publishing
        assert await take_and_ack(b, count=2) == ["b:1", "b:2"]
        await join(subscription, "standby")  # and this subscription's own consumers come and go
        subscription.dispatcher.remove_consumer("a")
    assert (subscription.status().state, subscription.status().cursor) == ("DeadLettering", -1)
    never.set_result([0])
    await settle()
    assert subscription.status().cursor == 0


async def test_a_failed_write_is_tried_again_with_backoff_and_visible(place: Place, topic: Topic, dead: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    subscription, a = await ready(topic, NONE_LEFT)
    await publish(topic, "0", "1")
    tries: list[float] = []
    full = failing(StoreFull(place.url, "no room"))
    with monkeypatch.context() as patch:

        def append(messages: object) -> object:
            tries.append(asyncio.get_running_loop().time())
            return full()

        patch.setattr(dead.hub.log, "append", append)
        await fail(a, "bad")
        await advance(60)
        assert (subscription.status().state, subscription.status().cursor) == ("DeadLettering", -1)
        assert "no room" in str(subscription.status().last_error)
        why = subscription.explain()
        assert why.code == "dead_lettering"
        assert "no room" in why.sentence
    gaps = [round(after - before, 3) for before, after in pairwise(tries)]
    assert gaps[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert set(gaps[7:]) == {5.0}
    await advance(6)  # it works again
    assert subscription.status().last_error is None
    assert (subscription.status().cursor, subscription.status().counts.dead_lettered) == (0, 1)
    assert [letter.payload for letter in await letters(dead)] == [b"0"]
    assert await take_and_ack(a, count=1) == ["a:1"]


async def test_a_close_while_it_is_written_loses_nothing(place: Place, topic: Topic, dead: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least once: it may be written twice, and three attributes tell which."""
    _, a = await ready(topic, NONE_LEFT)
    await publish(topic, "0", "1")
    with monkeypatch.context() as patch:
        patch.setattr(dead.hub.log, "append", failing(StoreFull(place.url, "no room")))
        await fail(a, "bad")
        topic = await place.restart()
    dead = await place.topic(DEAD)
    subscription = await topic.subscribe("s", type="failover", policy=NONE_LEFT)
    await settle()  # to its verdict, with nobody attached
    (letter,) = await letters(dead)
    assert (letter.payload, letter.attributes["x-failure-reason"], letter.attributes["x-delivery-attempt"]) == (b"0", "bad", "1")
    assert await take_and_ack(await join(subscription, "a"), count=1) == ["a:1"]


async def test_after_a_restart_an_exhausted_message_goes_to_its_verdict_and_to_no_consumer(place: Place, topic: Topic, dead: Topic) -> None:
    _, a = await ready(topic, BLOCKS)
    await publish(topic, "0", "1")
    await fail(a, "bad")
    topic = await place.restart()
    dead = await place.topic(DEAD)
    subscription = await topic.subscribe("s", type="failover", policy=NONE_LEFT)
    a = await join(subscription, "a")
    assert text(await take(a)) == "1"
    assert subscription.status().counts.redelivered == 0
    assert len(await letters(dead)) == 1


# it ends


async def test_at_sixteen_deaths_it_is_blocked_instead(topic: Topic, dead: Topic) -> None:
    subscription, a = await ready(topic, NONE_LEFT)
    await topic.publish(b"0", attributes={"x-death-count": "15"})
    await topic.publish(b"1", attributes={"x-death-count": "16"})
    await fail(a, None)
    assert [letter.attributes["x-death-count"] for letter in await letters(dead)] == ["16"]
    await fail(a, None)
    assert subscription.status().state == "Blocked"
    assert dead.head == 1
    with pytest.raises(InvalidArgument, match="16 times"):
        await subscription.release("dead_letter")
    assert subscription.status().state == "Blocked"
    assert await subscription.release("drop") == 1


async def test_two_topics_do_not_feed_each_other_for_ever(place: Place, topic: Topic, dead: Topic) -> None:
    there = await topic.subscribe("s", policy=NONE_LEFT)
    back = await dead.subscribe("s", policy=FailurePolicy(max_redeliveries=0, poison_policy="dead_letter", dead_letter_topic=TOPIC))

    def refuse(delivery: object) -> None:
        raise ValueError("never")

    runs = [asyncio.ensure_future(each.run(refuse)) for each in (there, back)]
    await publish(topic, "0")
    await advance(3600)
    assert sorted(each.status().state for each in (there, back)) == ["Blocked", "Idle"]
    assert topic.head + dead.head == 17  # itself, and sixteen dead letters
    await there.close()
    await back.close()
    await asyncio.gather(*runs)


async def test_its_own_topic_is_refused(topic: Topic) -> None:
    with pytest.raises(InvalidArgument, match="dead_letter_topic"):
        await topic.subscribe("s", policy=FailurePolicy(dead_letter_topic=TOPIC))
    assert await topic.subscriptions() == []


# by hand


async def test_release_to_dead_letters(topic: Topic, dead: Topic) -> None:
    subscription, a = await ready(topic, BLOCKS)
    await publish(topic, "0", "1")
    await fail(a, "bad")
    assert subscription.status().state == "Blocked"
    assert await subscription.release("dead_letter") == 0
    assert subscription.status().durable_cursor == 0
    (letter,) = await letters(dead)
    assert (letter.payload, letter.attributes["x-poison-policy"], letter.attributes["x-failure-reason"]) == (b"0", "block", "bad")
    assert await take_and_ack(a, count=1) == ["a:1"]


async def test_release_to_dead_letters_needs_no_consumer(place: Place, topic: Topic) -> None:
    _, a = await ready(topic, BLOCKS)
    await publish(topic, "0")
    await fail(a, "bad")
    topic = await place.restart()
    subscription = await topic.subscribe("s", type="failover", policy=BLOCKS)
    assert await subscription.release("dead_letter") == 0
    assert len(await letters(await place.topic(DEAD))) == 1


async def test_release_to_dead_letters_waits_for_a_store_that_fails(place: Place, topic: Topic, dead: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    subscription, a = await ready(topic, BLOCKS)
    await publish(topic, "0")
    await fail(a, "bad")
    with monkeypatch.context() as patch:
        patch.setattr(dead.hub.log, "append", failing(StoreFull(place.url, "no room")))
        release = asyncio.create_task(subscription.release("dead_letter"))
        await advance(20)
        assert not release.done()
    assert await release == 0
    assert dead.head == 1


async def test_a_release_that_is_under_way_ends_with_the_subscription(place: Place, topic: Topic, dead: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    subscription, a = await ready(topic, BLOCKS)
    await publish(topic, "0")
    await fail(a, "bad")
    with monkeypatch.context() as patch:
        patch.setattr(dead.hub.log, "append", failing(StoreFull(place.url, "no room")))
        release = asyncio.create_task(subscription.release("dead_letter"))
        await advance(20)
        await subscription.close()
        with pytest.raises(Closed):  # not its offset: it was not moved
            await release
    again = await topic.subscribe("s", type="failover", policy=BLOCKS)
    await settle()
    assert (again.status().state, waiting(await join(again, "a"))) == ("Blocked", [0])
