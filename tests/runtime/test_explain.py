"""`explain()`: why a subscription is not progressing, and what ends the wait. Each code is reached, and what it says ends the wait does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from danube_dispatcher import Dispatcher, Explanation, FailurePolicy, StoreDamaged, StoreFull, StoreUnavailable, Subscription, SubscriptionEngine, Topic
from danube_dispatcher.storage.protocols import Lease, Occupied
from danube_dispatcher.virtual_time import advance
from delivering import TOPIC, Place, failing, join, publish, settle, take, take_and_ack, waiting

POLICY = FailurePolicy(ack_timeout=30, redelivery_delay=10, max_redeliveries=1)


@pytest.fixture
async def subscription(topic: Topic) -> Subscription:
    return await topic.subscribe("s", type="failover", policy=POLICY)


def raising(error: Exception) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


def test_its_text_is_one_sentence() -> None:
    why = Explanation("end", "everything published is settled", "the next publish")
    assert str(why) == "everything published is settled; ends with the next publish"
    assert (why.code, why.sentence, why.ends_with) == ("end", "everything published is settled", "the next publish")


async def test_no_consumer(topic: Topic, subscription: Subscription) -> None:
    await publish(topic, "0")
    why = subscription.explain()
    assert (why.code, why.ends_with) == ("no_consumer", "a consumer that joins")
    await join(subscription, "a")
    assert subscription.explain().code == "awaiting_ack"


async def test_no_consumer_for_a_message_in_hand(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0")
    await take(a)
    subscription.dispatcher.remove_consumer("a")
    assert subscription.status().state == "Failover"
    assert subscription.explain().code == "no_consumer"


async def test_end(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    why = subscription.explain()
    assert (why.code, why.ends_with) == ("end", "the next publish")
    await publish(topic, "0")
    assert subscription.explain().code == "awaiting_ack"
    await take_and_ack(a, count=1)
    assert subscription.explain().code == "end"


async def test_awaiting_ack_names_message_holder_and_deadline(topic: Topic, subscription: Subscription) -> None:
    a, _ = await join(subscription, "worker-1"), await join(subscription, "worker-2")
    await publish(topic, "0", "1")
    await take_and_ack(a, count=1)
    delivery = await take(a)
    await advance(10)
    why = subscription.explain()
    assert why.code == "awaiting_ack"
    assert "message 1 " in why.sentence
    assert "worker-1" in why.sentence
    assert "ack()" in why.ends_with
    assert "in 20.0 s" in why.ends_with
    await delivery.extend(100)
    assert "in 100.0 s" in subscription.explain().ends_with


async def test_redelivering_says_why_and_when(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0")
    await (await take(a)).nack(reason="no good")
    await advance(4)
    why = subscription.explain()
    assert why.code == "redelivering"
    assert "message 0 (attempt 1, 1 failure)" in why.sentence
    assert "no good" in why.sentence
    assert "in 6.0 s" in why.ends_with
    await advance(6.1)
    assert subscription.explain().code == "awaiting_ack"


async def test_blocked_names_the_releases(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0")
    await (await take(a)).nack()
    await (await take(a)).nack(reason="no good")
    why = subscription.explain()
    assert why.code == "blocked"
    assert "message 0 (attempt 2, 2 failures)" in why.sentence
    assert "no good" in why.sentence
    assert 'release("retry")' in why.ends_with
    assert 'release("drop")' in why.ends_with
    await subscription.release("drop")
    assert subscription.explain().code == "end"


async def test_blocked_with_nobody_attached_is_blocked(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0")
    await (await take(a)).nack()
    await (await take(a)).nack()
    subscription.dispatcher.remove_consumer("a")
    assert subscription.explain().code == "blocked"


async def test_dead_lettering(place: Place, topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = FailurePolicy(max_redeliveries=0, poison_policy="dead_letter", dead_letter_topic="/test/dead")
    subscription = await topic.subscribe("s", policy=policy)
    dead = await place.topic("/test/dead")
    a = await join(subscription, "a")
    await publish(topic, "0")
    with monkeypatch.context() as patch:
        patch.setattr(dead.hub.log, "append", failing(StoreFull(place.url, "no room")))
        await (await take(a)).nack()
        assert subscription.explain().code == "dead_lettering"
        await advance(30)
        why = subscription.explain()
        assert why.code == "dead_lettering"
        assert "no room" in why.sentence
        assert "a write that succeeds" in why.ends_with
    await advance(6)
    assert subscription.explain().code == "end"


async def test_paused(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    await subscription.pause()
    await publish(topic, "0")
    why = subscription.explain()
    assert (why.code, why.ends_with) == ("paused", "resume()")
    await advance(60)
    assert waiting(a) == [0]
    await subscription.resume()
    assert subscription.explain().code == "awaiting_ack"


async def test_paused_with_a_message_in_flight_is_awaiting_it(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0", "1")
    delivery = await take(a)
    await subscription.pause()
    assert subscription.explain().code == "awaiting_ack"
    await delivery.ack()
    assert subscription.explain().code == "paused"


async def test_throttled(topic: Topic) -> None:
    subscription = await topic.subscribe("s", rate_limit=0.5)
    a = await join(subscription, "a")
    await publish(topic, "0", "1")
    await take_and_ack(a, count=1)
    why = subscription.explain()
    assert (why.code, why.ends_with) == ("throttled", "the next token of its rate limit")
    await advance(1.9)
    assert waiting(a) == [0]
    await advance(0.2)
    assert subscription.explain().code == "awaiting_ack"


@pytest.mark.parametrize("what", ["reading", "writing"])
async def test_store(place: Place, topic: Topic, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subscription = await topic.subscribe("s", flush_interval=0)
    a = await join(subscription, "a")
    ack: asyncio.Future[bool] | None = None
    with monkeypatch.context() as patch:
        if what == "reading":
            patch.setattr(topic.hub.log, "read", raising(StoreUnavailable(place.url, "not now")))
            await publish(topic, "0", "1", "2")  # the last one comes while another waits, so that it must be read
            await take_and_ack(a, count=2)
        else:
            await publish(topic, "0", "1")
            patch.setattr(place.store, "store", failing(StoreFull(place.url, "not now")))
            ack = asyncio.ensure_future((await take(a)).ack())
        await advance(20)
        why = subscription.explain()
        assert (why.code, why.ends_with) == ("store", "the next call that succeeds")
        assert "not now" in why.sentence
    await advance(6)
    assert subscription.explain().code == "awaiting_ack"
    assert subscription.status().last_error is None
    assert ack is None or await ack is True


async def test_lease(place: Place, topic: Topic, subscription: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    a = await join(subscription, "a")
    with monkeypatch.context() as patch:
        patch.setattr(place.store, "renew", failing(StoreFull(place.url, "not now")))
        await advance(11)
        await publish(topic, "0")
        why = subscription.explain()
        assert (why.code, why.ends_with) == ("lease", "the next renewal that succeeds")
        assert waiting(a) == [0]
    await advance(1)
    assert subscription.explain().code == "awaiting_ack"


async def test_lost(place: Place, topic: Topic, subscription: Subscription) -> None:
    seen = await place.store.acquire(TOPIC, "s", owner="elsewhere:1", seconds=10, new=None)
    assert isinstance(seen, Occupied)
    assert isinstance(await place.store.acquire(TOPIC, "s", owner="elsewhere:1", seconds=10, new=None, stamp=seen.stamp), Lease)
    await advance(4)
    why = subscription.explain()
    assert (why.code, why.ends_with) == ("lost", "subscribing again")


async def test_closed(subscription: Subscription) -> None:
    await subscription.close()
    why = subscription.explain()
    assert (why.code, why.ends_with) == ("closed", "subscribing again")


async def test_a_store_beyond_hope_says_so(place: Place, topic: Topic, subscription: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    a = await join(subscription, "a")
    with monkeypatch.context() as patch:
        patch.setattr(topic.hub.log, "read", raising(StoreDamaged(place.url, "a checksum is wrong")))
        await publish(topic, "0", "1", "2")  # the last one comes while another waits, so that it must be read
        await take_and_ack(a, count=2)
        await settle()
        why = subscription.explain()
        assert (why.code, why.ends_with) == ("failed", "subscribing again")
        assert "a checksum is wrong" in why.sentence


async def test_opening(topic: Topic) -> None:
    dispatcher = Dispatcher.reliable_shared(SubscriptionEngine(topic, "other"))
    why = dispatcher.explain()
    assert (why.code, why.ends_with) == ("opening", "await ready()")


async def test_non_reliable(topic: Topic) -> None:
    subscription = await topic.subscribe("s", reliable=False)
    assert (subscription.explain().code, subscription.explain().ends_with) == ("no_consumer", "a consumer that joins")
    await join(subscription, "a")
    assert (subscription.explain().code, subscription.explain().ends_with) == ("ready", "the next publish")
    await subscription.close()
    assert subscription.explain().code == "closed"


async def test_a_consumer_that_waits_always_has_an_explanation(topic: Topic) -> None:
    """In a day of everything that can go wrong, no wait is without its reason: it is never "waking" with a message to read (L1)."""
    subscription = await topic.subscribe("s", type="shared", policy=POLICY, rate_limit=1)
    codes: set[str] = set()
    a = await join(subscription, "a")
    for step in range(60):
        await publish(topic, str(step))
        if a.waiting() and step % 3:
            delivery = await take(a)
            await (delivery.nack() if step % 7 == 0 else delivery.ack())
        if step % 11 == 5:
            a = await join(subscription, "a")
        if step % 13 == 6:
            await subscription.pause()
        if step % 13 == 9:
            await subscription.resume()
        await advance(step % 5 + 0.01)
        code = subscription.explain().code
        codes.add(code)
        assert code != "waking"
        if code == "blocked":
            await subscription.release("drop")
    assert codes >= {"awaiting_ack", "paused", "redelivering"}
