"""A consumer's iteration: when it yields, waits, ends and raises, and that it loses nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from danube_dispatcher import (
    Consumer,
    ConsumerReplaced,
    Delivery,
    FailurePolicy,
    OwnershipLost,
    StoreDamaged,
    StoreUnavailable,
    Subscription,
    Topic,
    UsageError,
)
from danube_dispatcher.consumer import TURN
from danube_dispatcher.storage.protocols import Lease, Occupied
from danube_dispatcher.virtual_time import VirtualLoop, advance
from delivering import TOPIC, Place, join, publish, seats, settle, take, take_and_ack, text


@pytest.fixture(params=["exclusive", "shared"])
async def subscription(topic: Topic, request: pytest.FixtureRequest) -> Subscription:
    return await topic.subscribe("s", type=request.param, policy=FailurePolicy(max_redeliveries=1))


def waits(consumer: Consumer) -> asyncio.Task[Delivery]:
    """A task in the middle of taking the next delivery."""
    return asyncio.create_task(take(consumer))


async def stolen(place: Place) -> None:
    """Another process, whose wall clock says that our lease is over, takes the subscription."""
    seen = await place.store.acquire(TOPIC, "s", owner="elsewhere:1", seconds=10, new=None)
    assert isinstance(seen, Occupied)
    assert isinstance(await place.store.acquire(TOPIC, "s", owner="elsewhere:1", seconds=10, new=None, stamp=seen.stamp), Lease)


# it is its own context manager and its own iterator


async def test_everyday_use(topic: Topic, subscription: Subscription) -> None:
    await publish(topic, "0", "1", "2")
    seen: list[str] = []
    async with subscription.consumer("a") as consumer:
        assert aiter(consumer) is consumer
        assert seats(subscription) == ["a"]
        async for delivery in consumer:
            seen.append(text(delivery))
            assert await delivery.ack() is True
            if len(seen) == 3:
                break
    assert seen == ["0", "1", "2"]
    assert seats(subscription) == []
    assert subscription.status().cursor == 2


async def test_making_one_attaches_nobody(topic: Topic, subscription: Subscription) -> None:
    consumer = subscription.consumer("a", capacity=5)
    assert (consumer.name, consumer.capacity, consumer.active, consumer.session) == ("a", 5, False, 0)
    assert seats(subscription) == []
    with pytest.raises(UsageError, match="not attached"):
        await anext(consumer)


async def test_one_without_a_subscription_says_where_to_get_one() -> None:
    with pytest.raises(UsageError, match=r"subscription\.consumer"):
        await Consumer("a").__aenter__()


async def test_two_tasks_do_not_wait_on_one_consumer(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    first = waits(a)
    await settle()
    with pytest.raises(UsageError, match="another task"):
        await anext(a)
    await publish(topic, "0")
    assert text(await first) == "0"


async def test_what_a_delivery_says(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    await topic.publish(b"secret", key="k", attributes={"n": "1"})
    delivery = await take(a)
    message = delivery.message
    assert (message.payload, message.key, message.attributes, message.topic, message.offset) == (b"secret", "k", {"n": "1"}, TOPIC, 0)
    assert (delivery.attempt, delivery.redelivered, delivery.open) == (1, False, True)
    assert delivery.id[1:] == (a.session, 0, 1)
    assert "secret" not in repr(delivery)
    await delivery.nack()
    again = await take(a)
    assert (again.message, again.attempt, again.redelivered) == (message, 2, True)


async def test_a_box_of_one_is_enough(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a", capacity=1)
    await publish(topic, *"0123456789")
    assert len(await take_and_ack(a, count=10)) == 10


# it ends


@pytest.mark.parametrize("how", ["leaves", "disconnected", "subscription", "dispatcher", "topic"])
@pytest.mark.parametrize("holding", [False, True])
async def test_it_ends_when_it_left_or_everything_is_closed(topic: Topic, subscription: Subscription, how: str, holding: bool) -> None:
    a = await join(subscription, "a")
    task = None if holding else asyncio.create_task(anext(a, None))
    if holding:
        await publish(topic, "0", "1")  # "0" lies in its box: it is not yielded any more
    await settle()
    if how == "leaves":
        subscription.dispatcher.remove_consumer("a")
    elif how == "disconnected":
        await subscription.dispatcher.disconnect_all_consumers()
    elif how == "subscription":
        await subscription.close()
    elif how == "dispatcher":
        await subscription.dispatcher.close()
    else:
        await topic.close()
    assert [delivery async for delivery in a] == []
    assert [delivery async for delivery in a] == []  # again and again
    assert a.active is False
    if task is not None:
        assert await task is None


async def test_leaving_after_the_end_is_harmless(topic: Topic, subscription: Subscription) -> None:
    async with subscription.consumer("a"):
        subscription.dispatcher.remove_consumer("a")
    async with subscription.consumer("a"):
        await subscription.close()


# it raises


@pytest.mark.parametrize("holding", [False, True])
async def test_it_raises_when_it_is_replaced(topic: Topic, subscription: Subscription, holding: bool) -> None:
    a = await join(subscription, "a")
    task = None if holding else waits(a)
    if holding:
        await publish(topic, "0")
        await take(a)
    await settle()
    new = await join(subscription, "a")
    for _ in range(2):
        with pytest.raises(ConsumerReplaced, match="consumer a: ") as caught:
            await anext(a)
        assert caught.value.consumer == "a"
    if task is not None:
        with pytest.raises(ConsumerReplaced):
            await task
        await publish(topic, "0")
    assert text(await take(new)) == "0"


async def test_the_exit_of_one_that_was_replaced_leaves_its_successor_alone(topic: Topic, subscription: Subscription) -> None:
    async with subscription.consumer("a") as old:
        new = await join(subscription, "a")
        with pytest.raises(ConsumerReplaced):
            await anext(old)
    assert seats(subscription) == ["a"]
    await publish(topic, "0")
    assert await take_and_ack(new, count=1) == ["a:0"]


async def test_it_raises_when_the_ownership_is_lost(place: Place, topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0")
    delivery = await take(a)
    task = waits(a)
    await stolen(place)
    await advance(4)  # the next renewal finds out
    with pytest.raises(OwnershipLost, match="subscription s"):
        await task
    with pytest.raises(OwnershipLost):
        await anext(a)
    assert (await delivery.ack(), await delivery.nack(), await delivery.extend(9)) == (False, False, False)
    assert subscription.explain().code == "lost"


async def test_a_write_under_a_lost_ownership_ends_it_too(place: Place, topic: Topic) -> None:
    subscription = await topic.subscribe("s", flush_interval=0)
    a = await join(subscription, "a")
    await publish(topic, "0", "1")
    delivery = await take(a)
    await stolen(place)
    assert await delivery.ack() is False  # its position is another's to write: it was refused
    with pytest.raises(OwnershipLost):
        await take(a)


async def test_it_raises_when_the_store_is_damaged(place: Place, topic: Topic, subscription: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> None:
        raise StoreDamaged(place.url, "a checksum is wrong")

    await publish(topic, "0")  # before anybody waits for it, so that it must be read
    monkeypatch.setattr(topic.hub.log, "read", read)
    a = await join(subscription, "a")
    with pytest.raises(StoreDamaged, match="checksum"):
        await take(a)
    assert "checksum" in str(subscription.status().last_error)


async def test_it_waits_while_the_store_has_trouble_that_may_pass(
    place: Place, topic: Topic, subscription: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object, **__: object) -> None:
        raise StoreUnavailable(place.url, "not now")

    await publish(topic, "0")  # before anybody waits for it, so that it must be read
    with monkeypatch.context() as patch:
        patch.setattr(topic.hub.log, "read", read)
        a = await join(subscription, "a")
        task = waits(a)
        await advance(60)
        assert not task.done()
        assert "not now" in str(subscription.status().last_error)
    assert text(await task) == "0"


# it waits


@pytest.mark.parametrize("why", ["nothing", "paused", "blocked", "throttled", "standby"])
async def test_it_waits(topic: Topic, why: str) -> None:
    subscription = await topic.subscribe("s", type="failover", policy=FailurePolicy(max_redeliveries=0), rate_limit=0.01 if why == "throttled" else None)
    a = await join(subscription, "b" if why == "standby" else "a")
    if why == "standby":
        a = await join(subscription, "a")
    elif why == "paused":
        await subscription.pause()
        await publish(topic, "0")
    elif why == "blocked":
        await publish(topic, "0")
        await (await take(a)).nack()
    elif why == "throttled":
        await publish(topic, "0", "1")
        await (await take(a)).ack()
    task = asyncio.create_task(anext(a))
    await advance(90)
    assert not task.done()
    if why == "nothing":
        await publish(topic, "0")
    elif why == "paused":
        await subscription.resume()
    elif why == "blocked":
        await subscription.release("retry")
    elif why == "standby":
        subscription.dispatcher.remove_consumer("b")
        await publish(topic, "0")
    else:
        await advance(11)
    async with asyncio.timeout(1):
        assert text(await task) in "01"


# cancelled, it loses nothing


async def test_a_cancelled_wait_loses_nothing(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    for number in range(20):
        task = waits(a)
        if number % 2:
            await settle()
        if number % 3:
            await publish(topic, str(number))
        task.cancel()
        if not number % 3:
            await publish(topic, str(number))
        # cancelled before it began, while it waited, or when the message had already come
        with suppress(asyncio.CancelledError):
            delivery = await task
            assert text(delivery) == str(number)
            assert await delivery.ack() is True
            continue
        assert await take_and_ack(a, count=1) == [f"a:{number}"]
    assert subscription.status().counts.redelivered == 0


async def test_a_wait_cancelled_when_its_message_has_just_come_leaves_it_in_the_box(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    task = waits(a)
    await settle()
    # in the very call that brings the message: it has woken the task, which has not run yet
    end = topic.hub.log.watch(lambda _: cancelled.append((a.waiting(), task.cancel())))
    cancelled: list[tuple[int, bool]] = []
    await publish(topic, "0")
    end()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled == [(1, True)]
    assert text(await take(a)) == "0"


async def test_waiting_with_a_time_limit_again_and_again(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    asyncio.get_running_loop().call_later(3.5, lambda: tasks.append(asyncio.ensure_future(topic.publish(b"0"))))
    tasks: list[asyncio.Future[int]] = []
    patience = 0
    while patience < 10:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                assert (await anext(a)).attempt == 1
                break
        patience += 1
    assert patience == 3


@pytest.mark.parametrize("how", ["cancelled", "returns", "fails"])
async def test_only_a_consumer_that_ends_by_itself_is_to_blame(topic: Topic, subscription: Subscription, how: str) -> None:
    await publish(topic, "0")

    async def work() -> None:
        async with subscription.consumer("a") as consumer:
            await anext(consumer)
            if how == "cancelled":
                await asyncio.sleep(1000)
            elif how == "fails":
                raise ValueError

    task = asyncio.create_task(work())
    await settle()
    task.cancel()
    await asyncio.wait([task])
    assert seats(subscription) == []
    assert subscription.status().failures == (0 if how == "cancelled" else 1)
    if not task.cancelled():
        assert (task.exception() is None) is (how == "returns")
    assert text(await take(await join(subscription, "b"))) == "0"


async def test_a_join_that_is_cancelled_leaves_nobody(topic: Topic, subscription: Subscription) -> None:
    await publish(topic, "0")
    task = asyncio.create_task(subscription.consumer("a").__aenter__())
    await asyncio.sleep(0)
    assert seats(subscription) == ["a"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seats(subscription) == []
    b = await join(subscription, "b")
    assert text(await take(b)) == "0"
    assert subscription.status().failures == 0


# it shares the loop


@pytest.mark.parametrize("reliable", [True, False])
async def test_a_busy_consumer_gives_the_loop_its_turns(topic: Topic, reliable: bool) -> None:
    subscription = await topic.subscribe("s", reliable=reliable)
    a = await join(subscription, "a")
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    await topic.publish_many([b"x"] * 999)
    ticker = asyncio.create_task(tick())
    for _ in range(999):
        await (await anext(a)).ack()
    ticker.cancel()
    assert turns >= 999 // TURN


async def test_a_slow_consumer_gives_the_loop_its_turns_sooner(topic: Topic) -> None:
    """Work on the loop that takes 10 ms a message: soon others wait for one message, not for 128."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    subscription = await topic.subscribe("s")
    a = await join(subscription, "a")
    worst = last = 0

    async def tick() -> None:
        nonlocal worst, last
        while True:
            worst, last = max(worst, taken - last), taken
            await asyncio.sleep(0)

    await topic.publish_many([b"x"] * 200)
    taken = 0
    ticker = asyncio.create_task(tick())
    for taken in range(1, 201):
        delivery = await anext(a)
        if taken == 50:
            worst = 0
        loop.work(0.010)
        await delivery.ack()
    ticker.cancel()
    assert worst <= 2
