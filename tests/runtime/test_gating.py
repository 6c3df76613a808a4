"""One message in flight, and whose answer counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from danube_dispatcher import Delivery, FailurePolicy, StoreFull, Subscription, Topic
from danube_dispatcher.virtual_time import advance
from delivering import Place, Record, failing, forge, join, now, outlook, publish, settle, take, take_and_ack, text, waiting

POLICY = FailurePolicy(ack_timeout=30, redelivery_delay=2, max_redeliveries=9)

Answer = Callable[[Delivery], Awaitable[bool]]
ANSWERS: dict[str, Answer] = {
    "acks": lambda delivery: delivery.ack(),
    "nacks": lambda delivery: delivery.nack(),
    "extends": lambda delivery: delivery.extend(60),
}


@pytest.fixture(params=ANSWERS)
def kind(request: pytest.FixtureRequest) -> str:
    """The three answers, by how their stale ones are counted."""
    answer: str = request.param
    return answer


@pytest.fixture(params=["failover", "shared"])
async def subscription(topic: Topic, request: pytest.FixtureRequest) -> Subscription:
    return await topic.subscribe("s", type=request.param, policy=POLICY)


def stale(subscription: Subscription) -> dict[str, int]:
    counts = subscription.status().counts
    return {"acks": counts.stale_acks, "nacks": counts.stale_nacks, "extends": counts.stale_extends}


def only(kind: str, count: int = 1) -> dict[str, int]:
    return {"acks": 0, "nacks": 0, "extends": 0, kind: count}


async def changes_nothing(subscription: Subscription, kind: str, delivery: Delivery) -> None:
    """The answer is refused and counted as what it is, and all else is as it was."""
    before, counted = outlook(subscription), stale(subscription)
    assert await ANSWERS[kind](delivery) is False
    assert outlook(subscription) == before
    assert stale(subscription) == counted | {kind: counted[kind] + 1}
    assert delivery.open is False


# the next leaves when the one in flight is settled


async def test_one_message_is_in_flight(topic: Topic, subscription: Subscription) -> None:
    a, b = await join(subscription, "a"), await join(subscription, "b")
    await publish(topic, "0", "1", "2")
    await advance(20)
    assert waiting(a, b) == [1, 0]
    delivery = await take(a)
    await advance(9)
    assert waiting(a, b) == [0, 0]
    assert subscription.status().in_flight == 0
    assert delivery.open is True
    assert await delivery.ack() is True
    assert sum(waiting(a, b)) == 1
    assert subscription.status().in_flight == 1


async def test_the_next_is_in_its_box_when_ack_returns(topic: Topic) -> None:
    """An acknowledgement drives the machine in its caller's own stack, without a turn of the loop."""
    subscription = await topic.subscribe("s")
    a = await join(subscription, "a")
    await publish(topic, "0", "1")
    delivery = await take(a)
    with pytest.raises(StopIteration) as done:
        delivery.ack().send(None)  # the first step of the coroutine is its last
    assert done.value.value is True
    assert waiting(a) == [1]


async def test_first_deliveries_are_in_offset_order(topic: Topic, subscription: Subscription) -> None:
    a, b = await join(subscription, "a"), await join(subscription, "b")
    await publish(topic, *"0123456789")
    assert [each[2:] for each in await take_and_ack(a, b, count=10)] == list("0123456789")


@pytest.mark.parametrize("how", ["leaves", "leaves untaken", "is replaced", "is replaced untaken", "says no", "is silent", "is silent untaken"])
async def test_what_is_in_flight_comes_again_before_anything_newer(topic: Topic, subscription: Subscription, how: str) -> None:
    a, b = await join(subscription, "a"), await join(subscription, "b")
    await publish(topic, "0", "1")
    if not how.endswith("untaken"):
        delivery = await take(a)
        if how == "says no":
            assert await delivery.nack() is True
    if how.startswith("leaves"):
        subscription.dispatcher.remove_consumer("a")
    elif how.startswith("is replaced"):
        a = await join(subscription, "a")
    else:
        await advance(3 if how == "says no" else 33)
    holder = next(consumer for consumer in (a, b) if consumer.waiting())
    again = await take(holder)
    assert (text(again), again.attempt, again.redelivered) == ("0", 2, True)
    assert sum(waiting(a, b)) == 0
    assert await again.ack() is True
    assert subscription.status().in_flight == 1


async def test_the_predecessor_of_a_redelivery_is_withdrawn_first(topic: Topic) -> None:
    record = Record()
    subscription = await topic.subscribe("s", type="exclusive", policy=POLICY, observer=record)
    a = await join(subscription, "a")
    await publish(topic, "0")
    await advance(31)  # nobody looked at it: it goes out again at once, to the same box
    assert [name for name, *_ in record.effects("send", "withdraw")] == ["send", "withdraw", "send"]
    assert waiting(a) == [1]
    assert (await take(a)).attempt == 2


# only its own ack settles a delivery


@pytest.mark.parametrize("part", ["epoch", "session", "offset", "attempt"])
@pytest.mark.parametrize("by", [-1, 1])
async def test_a_forged_answer_changes_nothing(topic: Topic, subscription: Subscription, kind: str, part: str, by: int) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0", "1", "2")
    await take_and_ack(a, count=1)
    delivery = await take(a)
    await changes_nothing(subscription, kind, forge(delivery, **{part: by}))
    assert subscription.status().cursor == 0
    assert await delivery.ack() is True


async def test_an_answer_counts_once(topic: Topic, subscription: Subscription, kind: str) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0", "1")
    delivery = await take(a)
    assert await delivery.ack() is True
    await changes_nothing(subscription, kind, delivery)
    assert stale(subscription) == only(kind)
    assert (subscription.status().cursor, subscription.status().in_flight) == (0, 1)


async def test_a_nacked_delivery_is_answered(topic: Topic, subscription: Subscription, kind: str) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0")
    delivery = await take(a)
    assert await delivery.nack() is True
    await changes_nothing(subscription, kind, delivery)
    assert subscription.status().failures == 1


async def test_an_answer_to_another_subscription_changes_nothing(topic: Topic, place: Place) -> None:
    one, two = [await topic.subscribe(name, policy=POLICY) for name in ("one", "two")]
    a, b = await join(one, "a"), await join(two, "a")
    await publish(topic, "0")
    first, second = await take(a), await take(b)
    assert first.id[1:] == second.id[1:]  # the same session, offset and attempt: the epoch tells them apart
    before = outlook(one)
    assert await one.dispatcher.ack_message(second) is False
    assert await one.dispatcher.nack_message(second) is False
    assert outlook(one) == before
    assert (await first.ack(), await second.ack()) == (True, True)


async def test_an_answer_of_an_earlier_run_changes_nothing(topic: Topic, place: Place, kind: str) -> None:
    subscription = await topic.subscribe("s", policy=POLICY)
    a = await join(subscription, "a")
    await publish(topic, "0")
    old = await take(a)
    topic = await place.restart()
    subscription = await topic.subscribe("s", policy=POLICY)
    a = await join(subscription, "a")
    new = await take(a)
    assert old.id[0] != new.id[0]
    assert old.id[1:3] == new.id[1:3]
    before = outlook(subscription)
    assert await ANSWERS[kind](old) is False
    assert await subscription.dispatcher.ack_message(old) is False
    assert outlook(subscription) == before
    assert await new.ack() is True


async def test_epochs_do_not_repeat_when_a_subscription_is_made_anew(topic: Topic) -> None:
    async def once() -> Delivery:
        subscription = await topic.subscribe("s", start="earliest", policy=POLICY)
        delivery = await take(await join(subscription, "a"))
        await subscription.close()
        await topic.unsubscribe("s")
        return delivery

    await publish(topic, "0")
    old = await once()
    subscription = await topic.subscribe("s", start="earliest", policy=POLICY)
    new = await take(await join(subscription, "a"))
    assert new.id != old.id
    assert await subscription.dispatcher.ack_message(old) is False
    assert subscription.status().cursor == -1


# late answers


async def test_the_deadline_runs_from_the_send(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0", "1")
    await advance(29)
    delivery = await take(a)
    await advance(1.5)
    assert delivery.open is False
    assert await delivery.ack() is False


async def test_an_ack_before_the_deadline_counts(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0")
    delivery = await take(a)
    await advance(29.9)
    assert await delivery.ack() is True
    await advance(100)
    assert waiting(a) == [0]
    assert subscription.status().counts.failures == 0


async def test_an_answer_at_the_deadline_is_late_though_no_timer_has_fired(topic: Topic, subscription: Subscription, kind: str) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0")
    delivery = await take(a)
    answers: list[bool] = []
    loop = asyncio.get_running_loop()
    # a timer for the same instant, made earlier than the deadline's own could run: whichever comes first, the answer is late
    loop.call_at(now() + 30, lambda: tasks.append(loop.create_task(answer())))
    tasks: list[asyncio.Task[None]] = []

    async def answer() -> None:
        answers.append(await ANSWERS[kind](delivery))

    await advance(30.5)
    assert answers == [False]
    assert stale(subscription) == only(kind)


async def test_a_late_answer_is_stale_while_the_message_waits_for_its_redelivery(topic: Topic, subscription: Subscription, kind: str) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0")
    delivery = await take(a)
    await advance(31)
    assert subscription.status().state == "Redelivering"
    await changes_nothing(subscription, kind, delivery)
    await advance(2)
    again = await take(a)
    assert again.attempt == 2
    await changes_nothing(subscription, kind, delivery)  # nor after it: the new delivery stays open
    assert again.open is True
    assert await again.ack() is True


@pytest.mark.parametrize("how", ["leaves", "is replaced"])
async def test_an_answer_of_one_who_is_gone_changes_nothing(topic: Topic, subscription: Subscription, kind: str, how: str) -> None:
    a, b = await join(subscription, "a"), await join(subscription, "b")
    await publish(topic, "0")
    delivery = await take(a)
    if how == "leaves":
        subscription.dispatcher.remove_consumer("a")
    else:
        a = await join(subscription, "a")
    await changes_nothing(subscription, kind, delivery)
    again = await take(b if how == "leaves" else a)
    assert text(again) == "0"
    assert await again.ack() is True


async def test_removed_is_not_acknowledged(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0")
    await take(a)
    subscription.dispatcher.remove_consumer("a")
    await settle()
    assert (subscription.status().cursor, subscription.status().durable_cursor) == (-1, -1)
    b = await join(subscription, "b")
    assert text(await take(b)) == "0"


@pytest.mark.parametrize("how", ["subscription", "dispatcher", "topic", "loses the ownership"])
async def test_answers_are_false_and_raise_nothing_after_the_end(topic: Topic, kind: str, how: str) -> None:
    subscription = await topic.subscribe("s", policy=POLICY)
    a = await join(subscription, "a")
    await publish(topic, "0")
    delivery = await take(a)
    if how == "subscription":
        await subscription.close()
    elif how == "dispatcher":
        await subscription.dispatcher.close()
    elif how == "topic":
        await topic.close()
    else:
        subscription.dispatcher.fail(RuntimeError("as if the ownership were lost"))
    assert await ANSWERS[kind](delivery) is False
    assert await subscription.dispatcher.ack_message(delivery) is False
    assert await subscription.dispatcher.nack_message(delivery) is False
    assert delivery.open is False
    assert subscription.status().cursor == -1


# more time


async def test_extend_sets_the_deadline_from_now(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0")
    delivery = await take(a)
    await advance(20)
    assert await delivery.extend(50) is True
    await advance(49.9)
    assert delivery.open is True
    await advance(0.2)
    assert delivery.open is False
    assert subscription.status().failures == 1


async def test_extend_may_shorten(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0")
    delivery = await take(a)
    assert await delivery.extend(1) is True
    await advance(1.1)
    assert delivery.open is False


async def test_a_consumer_can_extend_again_and_again(topic: Topic, subscription: Subscription) -> None:
    a = await join(subscription, "a")
    await publish(topic, "0")
    delivery = await take(a)
    for _ in range(50):
        await advance(25)
        assert await delivery.extend(30) is True
    assert await delivery.ack() is True
    assert subscription.status().counts.delivered == 1


async def test_max_hold_bounds_all_extensions_from_the_send(topic: Topic) -> None:
    subscription = await topic.subscribe("s", policy=FailurePolicy(ack_timeout=30, max_hold=100))
    a = await join(subscription, "a")
    await publish(topic, "0")
    delivery = await take(a)
    for _ in range(4):
        await advance(24)
        assert await delivery.extend(1000) is True
    await advance(3.9)
    assert delivery.open is True
    await advance(0.2)
    assert delivery.open is False
    again = await take(a)
    assert again.attempt == 2
    await advance(60)  # the bound counts from this send, not from the first
    assert again.open is False
    assert subscription.status().counts.stale_extends == 0


# every ack durable


async def test_with_no_flush_interval_ack_returns_and_the_next_leaves_when_the_position_is_durable(topic: Topic) -> None:
    durable: list[tuple[object, int | None]] = []

    class Watch(Record):
        watched: Subscription

        def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
            if name == "send":
                assert isinstance(arguments[0], tuple)
                durable.append((arguments[0][2], self.watched.status().durable_cursor))

    watch = Watch()
    watch.watched = subscription = await topic.subscribe("s", flush_interval=0, observer=watch)
    a = await join(subscription, "a")
    await publish(topic, "0", "1", "2")
    for offset in range(3):
        assert await (await take(a)).ack() is True
        assert subscription.status().durable_cursor == offset
    assert durable == [(0, -1), (1, 0), (2, 1)]


async def test_with_no_flush_interval_ack_waits_for_a_failing_store_and_the_next_message_with_it(
    place: Place, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscription = await topic.subscribe("s", flush_interval=0)
    a = await join(subscription, "a")
    await publish(topic, "0", "1")
    delivery = await take(a)
    with monkeypatch.context() as patch:
        patch.setattr(place.store, "store", failing(StoreFull(place.url, "no room")))
        ack = asyncio.create_task(delivery.ack())
        await advance(20)
        assert not ack.done()
        assert waiting(a) == [0]
        assert "no room" in str(subscription.status().last_error)
    await advance(10)
    assert await ack is True
    assert waiting(a) == [1]


async def test_an_ack_that_waits_for_a_failing_store_is_false_once_it_is_closed(place: Place, topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    subscription = await topic.subscribe("s", flush_interval=0)
    a = await join(subscription, "a")
    await publish(topic, "0")
    delivery = await take(a)
    with monkeypatch.context() as patch:
        patch.setattr(place.store, "store", failing(StoreFull(place.url, "no room")))
        ack = asyncio.create_task(delivery.ack())
        await advance(20)
        with pytest.raises(StoreFull):
            await subscription.close()
        assert await ack is False
