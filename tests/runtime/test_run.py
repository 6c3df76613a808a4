"""`Subscription.run`: a handler in place of a loop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from danube_dispatcher import ConsumerRefused, ConsumerReplaced, Delivery, FailurePolicy, InvalidArgument, Subscription, Topic
from danube_dispatcher.subscription import Handler
from danube_dispatcher.virtual_time import advance
from delivering import Place, join, publish, seats, settle, store_loop, take, text, waiting

POLICY = FailurePolicy(redelivery_delay=1, max_redeliveries=2, poison_policy="drop")


@pytest.fixture
async def subscription(topic: Topic) -> Subscription:
    return await topic.subscribe("s", type="failover", policy=POLICY)


async def ended(subscription: Subscription, run: asyncio.Task[None]) -> None:
    """It goes on until its subscription closes, and then returns."""
    assert not run.done()
    await subscription.close()
    await run


@pytest.mark.parametrize("kind", ["plain", "async", "returns an awaitable"])
async def test_handlers_of_every_kind(topic: Topic, subscription: Subscription, kind: str) -> None:
    seen: list[str] = []

    def plain(delivery: Delivery) -> str:
        seen.append(text(delivery))
        return "what it returns is its own affair"

    async def slow(delivery: Delivery) -> None:
        await asyncio.sleep(1)
        seen.append(text(delivery))

    handlers: dict[str, Handler] = {"plain": plain, "async": slow, "returns an awaitable": lambda delivery: asyncio.ensure_future(slow(delivery))}
    run = asyncio.create_task(subscription.run(handlers[kind]))
    await publish(topic, "0", "1", "2")
    await advance(10)
    assert seen == ["0", "1", "2"]
    counts = subscription.status().counts
    assert (counts.acked, counts.delivered, counts.stale_acks) == (3, 3, 0)
    await ended(subscription, run)


async def test_it_acks_only_after_the_handler_has_returned(topic: Topic, subscription: Subscription) -> None:
    async def handle(delivery: Delivery) -> None:
        await asyncio.sleep(5)
        assert delivery.open is True

    run = asyncio.create_task(subscription.run(handle))
    await publish(topic, "0")
    await advance(4.9)
    assert subscription.status().cursor == -1
    await advance(0.2)
    assert subscription.status().cursor == 0
    await ended(subscription, run)


@pytest.mark.parametrize("slow", [False, True])
async def test_an_exception_nacks_with_its_text_and_ends_nothing(
    topic: Topic, subscription: Subscription, slow: bool, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[str, int]] = []

    def plain(delivery: Delivery) -> None:
        seen.append((text(delivery), delivery.attempt))
        if text(delivery) == "1":
            raise ValueError("no good")

    async def patient(delivery: Delivery) -> None:
        await asyncio.sleep(0.1)
        plain(delivery)

    run = asyncio.create_task(subscription.run(patient if slow else plain))
    await publish(topic, "0", "secret", "1", "2")
    await advance(0.5)
    assert subscription.status().state == "Redelivering"
    assert "ValueError: no good" in subscription.explain().sentence
    await advance(10)
    assert seen == [("0", 1), ("secret", 1), ("1", 1), ("1", 2), ("1", 3), ("2", 1)]
    counts = subscription.status().counts
    assert (counts.acked, counts.dropped, counts.failures) == (3, 1, 3)
    assert "no good" in caplog.text
    assert "secret" not in caplog.text
    await ended(subscription, run)


async def test_it_settles_only_what_the_handler_has_not(topic: Topic, subscription: Subscription) -> None:
    async def handle(delivery: Delivery) -> None:
        if text(delivery) == "acked":
            assert await delivery.ack() is True
        elif text(delivery) == "nacked":
            assert await delivery.nack(reason="later") is True
        elif text(delivery) == "acked and fails":
            assert await delivery.ack() is True
            raise ValueError

    run = asyncio.create_task(subscription.run(handle))
    await publish(topic, "acked", "acked and fails", "nacked", "left")
    await advance(20)
    counts = subscription.status().counts
    assert (counts.acked, counts.dropped, counts.failures) == (3, 1, 3)  # "nacked" is nacked each time until it is dropped
    assert (counts.stale_acks, counts.stale_nacks) == (0, 0)
    await ended(subscription, run)


async def test_a_handler_that_takes_too_long_is_a_silent_consumer(topic: Topic) -> None:
    subscription = await topic.subscribe("s", policy=FailurePolicy(ack_timeout=5, redelivery_delay=1))
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if delivery.message.offset == 0 and delivery.attempt == 1:
            await asyncio.sleep(8)

    run = asyncio.create_task(subscription.run(handle))
    await publish(topic, "0", "1")
    await advance(20)
    assert attempts == [1, 2, 1]  # its late return settles nothing
    counts = subscription.status().counts
    assert (counts.acked, counts.failures, counts.stale_acks, counts.stale_nacks) == (2, 1, 0, 0)
    await ended(subscription, run)


async def test_a_handler_can_ask_for_time(topic: Topic) -> None:
    subscription = await topic.subscribe("s", policy=FailurePolicy(ack_timeout=5))

    async def handle(delivery: Delivery) -> None:
        for _ in range(10):
            assert await delivery.extend(5) is True
            await asyncio.sleep(4)

    run = asyncio.create_task(subscription.run(handle))
    await publish(topic, "0")
    await advance(41)
    assert (subscription.status().cursor, subscription.status().counts.delivered) == (0, 1)
    await ended(subscription, run)


async def test_cancellation_passes_through_and_settles_nothing(topic: Topic, subscription: Subscription) -> None:
    seen: list[str] = []

    async def handle(delivery: Delivery) -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    run = asyncio.create_task(subscription.run(handle))
    await publish(topic, "0")
    await advance(1)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert seen == ["cancelled"]
    assert seats(subscription) == []
    status = subscription.status()
    assert (status.cursor, status.counts.acked, status.counts.failures) == (-1, 0, 0)
    again = await take(await join(subscription, "b"))
    assert (text(again), again.attempt) == ("0", 2)


async def test_cancellation_between_messages_settles_nothing(topic: Topic, subscription: Subscription) -> None:
    run = asyncio.create_task(subscription.run(lambda delivery: None))
    await settle()
    run.cancel()
    await publish(topic, "0")
    with pytest.raises(asyncio.CancelledError):
        await run
    await settle()
    assert subscription.status().cursor == -1


@pytest.mark.parametrize("scheme", ["memory:", "sqlite:"])
@pytest.mark.parametrize("slow", [False, True])
def test_ctrl_c_passes_through_and_settles_nothing(tmp_path: Path, scheme: str, slow: bool) -> None:
    url = f"{scheme}{tmp_path / 's.db'}" if scheme == "sqlite:" else scheme
    loop = store_loop()

    async def handle(delivery: Delivery) -> None:
        if slow:
            await asyncio.sleep(1)
        raise KeyboardInterrupt

    async def prepare() -> tuple[Place, Subscription]:
        place = await Place.open(url)
        topic = await place.topic()
        subscription = await topic.subscribe("s", policy=POLICY)
        await publish(topic, "0")
        return place, subscription

    async def look() -> None:
        status = subscription.status()
        assert (status.cursor, status.counts.acked, status.counts.failures) == (-1, 0, 0)
        topic = await place.restart()
        again = await take(await join(await topic.subscribe("s", policy=POLICY), "a"))
        assert (text(again), again.attempt) == ("0", 2)
        await place.close()

    try:
        place, subscription = loop.run_until_complete(prepare())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(subscription.run(handle))
        loop.run_until_complete(look())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def test_its_name_is_a_consumers(topic: Topic, subscription: Subscription) -> None:
    run = asyncio.create_task(subscription.run(lambda delivery: None, name="worker-1", capacity=3))
    await settle()
    assert seats(subscription) == ["worker-1"]
    await join(subscription, "worker-1")  # a takeover ends it with a clear error
    with pytest.raises(ConsumerReplaced, match="worker-1"):
        await run
    assert seats(subscription) == ["worker-1"]


async def test_bad_arguments_and_refusals_are_raised(topic: Topic) -> None:
    subscription = await topic.subscribe("s")
    with pytest.raises(InvalidArgument, match="consumer"):
        await subscription.run(print, name="no blanks")
    await join(subscription, "a")
    with pytest.raises(ConsumerRefused):
        await subscription.run(print, name="b")


async def test_workers_share(topic: Topic) -> None:
    subscription = await topic.subscribe("s", type="shared")
    got = dict.fromkeys("abc", 0)

    def handler(name: str) -> Handler:
        def handle(delivery: Delivery) -> None:
            got[name] += 1

        return handle

    runs = [asyncio.create_task(subscription.run(handler(name), name=name)) for name in got]
    await settle()
    await topic.publish_many([b"x"] * 300)
    await settle()
    assert got == dict.fromkeys("abc", 100)
    await topic.close()
    await asyncio.gather(*runs)


async def test_a_non_reliable_one_is_run_the_same_way(topic: Topic) -> None:
    subscription = await topic.subscribe("s", reliable=False)
    seen: list[str] = []

    def handle(delivery: Delivery) -> None:
        seen.append(text(delivery))
        if len(seen) == 2:
            raise ValueError

    run = asyncio.create_task(subscription.run(handle))
    await settle()
    await publish(topic, "0", "1", "2")
    await settle()
    assert seen == ["0", "1", "2"]
    await ended(subscription, run)


async def test_it_takes_over_from_a_consumer_and_leaves_when_done(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0", "1")
    run = asyncio.create_task(subscription.run(lambda delivery: None, name="b"))
    await settle()
    assert waiting(a) == [1]
    subscription.dispatcher.remove_consumer("a")
    await settle()
    assert subscription.status().cursor == 1
    await ended(subscription, run)
