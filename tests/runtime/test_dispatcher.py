"""The dispatcher by itself: four constructors and what they have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from danube_dispatcher import (
    Closed,
    Consumer,
    ConsumerAttached,
    ConsumerNotFound,
    ConsumerRefused,
    ConsumerStatus,
    Counts,
    Dispatcher,
    FailurePolicy,
    InvalidArgument,
    Lag,
    Message,
    NotSupported,
    SubscriptionEngine,
    SubscriptionMismatch,
    SubscriptionOwned,
    Topic,
    UsageError,
)
from danube_dispatcher.virtual_time import advance
from delivering import TOPIC, Place, Record, attach, publish, seat, seats, settle, take, take_and_ack, text, waiting

Make = Callable[[Topic], Dispatcher]
RELIABLE: dict[str, Make] = {
    "reliable exclusive": lambda topic: Dispatcher.reliable_exclusive(engine(topic)),
    "reliable failover": lambda topic: Dispatcher.reliable_exclusive(engine(topic), standbys=True),
    "reliable shared": lambda topic: Dispatcher.reliable_shared(engine(topic)),
}
NON_RELIABLE: dict[str, Make] = {
    "non-reliable exclusive": lambda _: Dispatcher.non_reliable_exclusive(),
    "non-reliable failover": lambda _: Dispatcher.non_reliable_exclusive(standbys=True),
    "non-reliable shared": lambda _: Dispatcher.non_reliable_shared(),
}
ALL = RELIABLE | NON_RELIABLE


def engine(topic: Topic, name: str = "s", *, flush_interval: float = 5.0) -> SubscriptionEngine:
    return SubscriptionEngine(topic, name, start="earliest", flush_interval=flush_interval)


@pytest.fixture(params=ALL)
async def any_kind(request: pytest.FixtureRequest, topic: Topic) -> Dispatcher:
    make: Make = ALL[request.param]
    return make(topic)


@pytest.fixture(params=RELIABLE)
async def reliable(request: pytest.FixtureRequest, topic: Topic) -> Dispatcher:
    make: Make = RELIABLE[request.param]
    return make(topic)


@pytest.fixture(params=NON_RELIABLE)
async def non_reliable(request: pytest.FixtureRequest, topic: Topic) -> Dispatcher:
    make: Make = NON_RELIABLE[request.param]
    return make(topic)


# what it is


@pytest.mark.parametrize("kind", ALL)
async def test_type_and_guarantee(topic: Topic, kind: str) -> None:
    guarantee, kind_of = kind.split()
    subject = ALL[kind](topic)
    assert (subject.type, subject.reliable, subject.state) == (kind_of, guarantee == "reliable", "opening")
    async with subject:
        assert subject.state == subject.status().state == "Idle"
        assert kind in repr(subject)
    assert subject.state == subject.status().state == "Closed"


async def test_async_with_is_ready_and_close(any_kind: Dispatcher) -> None:
    async with any_kind as subject:
        assert subject is any_kind
        await subject.ready()  # again is harmless
        attach(subject, "a")
        assert seats(subject) == ["a"]
    assert seats(any_kind) == []
    await any_kind.close()  # again is harmless
    with pytest.raises(Closed):
        await any_kind.ready()


async def test_everything_says_closed_after_the_end(any_kind: Dispatcher) -> None:
    async with any_kind as subject:
        pass
    calls: list[Callable[[], object]] = [
        lambda: attach(subject, "a"),
        lambda: subject.remove_consumer("a"),
        lambda: subject.dispatch_message(Message(b"")),
        subject.poll_and_dispatch,
    ]
    for call in calls:
        with pytest.raises(Closed, match=r"dispatcher.* is closed"):
            call()
    for coroutine in (
        *(subject.disconnect_all_consumers(), subject.flush_progress(), subject.pause(), subject.resume()),
        *(subject.drain(0), subject.release("drop"), subject.ready()),
    ):
        with pytest.raises(Closed):
            await coroutine
    assert subject.explain().code == "closed"


async def test_nothing_works_before_it_is_ready(any_kind: Dispatcher) -> None:
    for call in (lambda: attach(any_kind, "a"), lambda: any_kind.remove_consumer("a"), any_kind.poll_and_dispatch):
        with pytest.raises(UsageError, match=r"ready\(\)"):
            call()
    with pytest.raises(UsageError, match=r"ready\(\)"):
        any_kind.dispatch_message(Message(b""))
    assert any_kind.status().counts == Counts()
    assert any_kind.explain().code == "opening"
    consumer = Consumer("a")
    with pytest.raises(UsageError):
        any_kind.add_consumer(consumer)
    async with any_kind:
        any_kind.add_consumer(consumer)  # refused before, it may be added now


async def test_closing_one_that_was_never_ready(any_kind: Dispatcher, place: Place) -> None:
    await any_kind.close()
    assert any_kind.state == "Closed"
    assert await place.store.rows(TOPIC) == []


# ready


async def test_ready_raises_what_opening_raised(topic: Topic) -> None:
    async with Dispatcher.reliable_exclusive(engine(topic)):
        second = Dispatcher.reliable_exclusive(engine(topic))
        for _ in range(2):
            with pytest.raises(SubscriptionOwned):
                await second.ready()
        with pytest.raises(UsageError):
            attach(second, "a")
        await second.close()
    with pytest.raises(SubscriptionMismatch, match="exclusive"):
        await Dispatcher.reliable_shared(engine(topic)).ready()


async def test_an_engine_serves_one_dispatcher(topic: Topic) -> None:
    only = engine(topic)
    async with Dispatcher.reliable_shared(only):
        with pytest.raises(UsageError, match="before"):
            await Dispatcher.reliable_shared(only).ready()


async def test_a_topic_is_not_its_own_dead_letter_topic(topic: Topic) -> None:
    with pytest.raises(InvalidArgument, match="dead_letter_topic"):
        Dispatcher.reliable_shared(engine(topic), policy=FailurePolicy(dead_letter_topic=TOPIC))


async def test_two_that_wait_for_ready_get_the_same_opening(reliable: Dispatcher, place: Place) -> None:
    await asyncio.gather(reliable.ready(), reliable.ready())
    assert len(await place.store.rows(TOPIC)) == 1
    await reliable.close()


async def test_a_close_while_opening_leaves_no_lease(reliable: Dispatcher, place: Place, topic: Topic) -> None:
    opening = asyncio.ensure_future(reliable.ready())
    await asyncio.sleep(0)
    await reliable.close()
    await asyncio.wait([opening])
    assert opening.exception() is None or isinstance(opening.exception(), Closed)
    assert all(not row.owner for row in await place.store.rows(TOPIC))


# consumers


async def test_adding_and_removing_are_synchronous(any_kind: Dispatcher) -> None:
    async with any_kind as subject:
        a = attach(subject, "a", capacity=7)
        assert seat(subject, "a") == ConsumerStatus("a", a.session, True, 0, None)
        assert a.session > 0
        subject.remove_consumer("a")
        assert seats(subject) == []
        with pytest.raises(ConsumerNotFound, match="consumer a: ") as caught:
            subject.remove_consumer("a")
        assert caught.value.consumer == "a"
        assert [delivery async for delivery in a] == []


async def test_sessions_are_never_reused(any_kind: Dispatcher) -> None:
    async with any_kind as subject:
        sessions = []
        for _ in range(3):
            sessions.append(attach(subject, "a").session)
            sessions.append(attach(subject, "a").session)  # a takeover
            subject.remove_consumer("a")
        assert len(set(sessions)) == 6


async def test_a_consumer_is_added_once_in_its_life(any_kind: Dispatcher) -> None:
    async with any_kind as subject, Dispatcher.non_reliable_shared() as other:
        a = attach(subject, "a")
        for host in (subject, other):
            with pytest.raises(ConsumerAttached):
                host.add_consumer(a)
        assert (seats(subject), seats(other)) == (["a"], [])
        assert a.active


@pytest.mark.parametrize("kind", ALL)
async def test_only_exclusive_refuses_a_second_name(topic: Topic, kind: str) -> None:
    async with ALL[kind](topic) as subject:
        attach(subject, "a")
        if kind.endswith("exclusive"):
            with pytest.raises(ConsumerRefused):
                attach(subject, "b")
            assert seats(subject) == ["a"]
        else:
            attach(subject, "b")
            assert seats(subject) == ["a", "b"]
        attach(subject, "a")
        assert seats(subject).count("a") == 1


async def test_disconnect_all_consumers(topic: Topic, any_kind: Dispatcher) -> None:
    async with any_kind as subject:
        await publish(topic, "0", "1")
        a = attach(subject, "a")
        if subject.reliable:
            await take_and_ack(a, count=1)
            await take(a)
        await subject.disconnect_all_consumers()
        assert seats(subject) == []
        assert [delivery async for delivery in a] == []
        await subject.disconnect_all_consumers()  # nobody: harmless
        if subject.reliable:
            status = subject.status()
            assert (status.durable_cursor, status.failures, status.state) == (0, 0, "Failover")
            again = await take(attach(subject, "b"))
            assert (text(again), again.attempt) == ("1", 2)


async def test_disconnecting_many_hands_the_message_to_none_of_them(topic: Topic) -> None:
    async with Dispatcher.reliable_shared(engine(topic)) as subject:
        boxes = [attach(subject, name) for name in "abc"]
        await publish(topic, "0")
        await take(boxes[0])
        await subject.disconnect_all_consumers()
        assert subject.status().counts.delivered == 1


# reliable


async def test_dispatch_message_on_a_reliable_one_is_a_clear_error(reliable: Dispatcher) -> None:
    async with reliable as subject:
        a = attach(subject, "a")
        with pytest.raises(NotSupported, match="publish"):
            subject.dispatch_message(Message(b"0"))
        assert waiting(a) == [0]


async def test_ack_and_nack_by_delivery(topic: Topic, reliable: Dispatcher) -> None:
    async with reliable as subject:
        a = attach(subject, "a")
        await publish(topic, "0", "1")
        first = await take(a)
        assert await subject.nack_message(first, delay=5, reason="not yet") is True
        assert await subject.nack_message(first) is False
        assert await subject.ack_message(first) is False
        assert "not yet" in subject.explain().sentence
        await advance(4.9)
        assert waiting(a) == [0]
        second = await take(a)
        assert await subject.ack_message(second) is True
        assert await subject.ack_message(second) is False
        counts = subject.status().counts
        assert (counts.acked, counts.failures, counts.stale_acks, counts.stale_nacks) == (1, 1, 2, 1)
        with pytest.raises(InvalidArgument, match="delay"):
            await subject.nack_message(await take(a), delay=-1)
        assert subject.status().in_flight == 1


async def test_poll_and_dispatch(topic: Topic, reliable: Dispatcher) -> None:
    async with reliable as subject:
        a = attach(subject, "a")
        subject.poll_and_dispatch()  # nothing to read
        assert subject.state == "Idle"
        await publish(topic, "0", "1")
        for _ in range(3):
            subject.poll_and_dispatch()  # one is in flight already
        assert waiting(a) == [1]
        assert await take_and_ack(a, count=2) == ["a:0", "a:1"]


async def test_poll_and_dispatch_with_nobody_attached(topic: Topic, reliable: Dispatcher) -> None:
    async with reliable as subject:
        await publish(topic, "0")
        subject.poll_and_dispatch()
        assert subject.status().in_flight is None
        assert waiting(attach(subject, "a")) == [1]


async def test_flush_progress_makes_the_position_durable(topic: Topic, reliable: Dispatcher, place: Place) -> None:
    async with reliable as subject:
        a = attach(subject, "a")
        await publish(topic, "0", "1")
        await take_and_ack(a, count=2)
        assert (subject.status().cursor, subject.status().durable_cursor) == (1, -1)
        assert await subject.flush_progress() is True
        assert subject.status().durable_cursor == 1
        assert [row.progress.cursor for row in await place.store.rows(TOPIC)] == [1]
        assert await subject.flush_progress() is True  # nothing to do


async def test_removing_a_consumer_flushes_soon(topic: Topic, reliable: Dispatcher) -> None:
    async with reliable as subject:
        await publish(topic, "0")
        await take_and_ack(attach(subject, "a"), count=1)
        subject.remove_consumer("a")
        await settle()
        assert subject.status().durable_cursor == 0


async def test_close_makes_the_position_durable_and_lets_go(topic: Topic, reliable: Dispatcher, place: Place) -> None:
    async with reliable as subject:
        await publish(topic, "0", "1")
        a = attach(subject, "a")
        await take_and_ack(a, count=1)
        unsettled = await take(a)
    (row,) = await place.store.rows(TOPIC)
    assert (row.progress.cursor, row.owner) == (0, "")
    assert await unsettled.ack() is False
    assert [delivery async for delivery in a] == []
    assert subject.status().cursor == 0


async def test_status_of_a_reliable_one(topic: Topic) -> None:
    async with Dispatcher.reliable_exclusive(engine(topic), standbys=True, policy=FailurePolicy(redelivery_delay=1)) as subject:
        status = subject.status()
        assert (status.type, status.reliable, status.state, status.active, status.consumers, status.last_error) == ("failover", True, "Idle", None, (), None)
        assert (status.in_flight, status.attempt, status.failures) == (None, None, None)
        assert (status.cursor, status.durable_cursor, status.head, status.lag) == (-1, -1, 0, Lag(-1, 0, 0))
        a, b = attach(subject, "a"), attach(subject, "b")
        await publish(topic, "0", "1", "2")
        status = subject.status()
        assert status.consumers == (ConsumerStatus("a", a.session, True, 1, 0), ConsumerStatus("b", b.session, False, 0, None))
        assert (status.state, status.active, status.in_flight, status.attempt, status.failures) == ("AwaitingAck", "a", 0, 1, 0)
        assert (status.cursor, status.head, status.lag) == (-1, 3, Lag(-1, 3, 3))
        delivery = await take(a)
        assert seat(subject, "a") == ConsumerStatus("a", a.session, True, 0, 0)  # taken, and still its own
        await delivery.nack()
        assert (subject.status().state, subject.status().in_flight, subject.status().attempt, subject.status().failures) == ("Redelivering", None, 1, 1)
        await (await take(a)).ack()
        status = subject.status()
        assert (status.cursor, status.durable_cursor, status.in_flight, status.attempt, status.failures) == (0, -1, 1, 1, 0)
        assert status.counts == Counts(delivered=3, redelivered=1, acked=1, failures=1)
        assert status.counts.settled == 1
        assert status.lag == Lag(0, 3, 2)


async def test_a_status_is_a_snapshot(any_kind: Dispatcher, topic: Topic) -> None:
    async with any_kind as subject:
        before = subject.status()
        attach(subject, "a")
        await publish(topic, "0")
        if not subject.reliable:
            subject.dispatch_message(Message(b""))
        assert before.consumers == ()
        assert before.counts == Counts()
        assert subject.status().counts.delivered == 1


# non-reliable


async def test_status_of_a_non_reliable_one(non_reliable: Dispatcher) -> None:
    async with non_reliable as subject:
        a = attach(subject, "a")
        subject.dispatch_message(Message(b"0"))
        status = subject.status()
        assert (status.reliable, status.state, status.counts) == (False, "Idle", Counts(delivered=1))
        assert status.active == (None if status.type == "shared" else "a")
        assert status.consumers == (ConsumerStatus("a", a.session, True, 1, None),)
        assert (status.cursor, status.durable_cursor, status.head, status.lag, status.in_flight, status.attempt, status.failures) == (None,) * 7
        assert subject.explain().code == "ready"


async def test_what_a_non_reliable_one_cannot_do_says_so(non_reliable: Dispatcher) -> None:
    async with non_reliable as subject:
        with pytest.raises(NotSupported, match="non-reliable"):
            subject.poll_and_dispatch()
        for coroutine in (subject.pause(), subject.resume(), subject.drain(0), subject.release("drop")):
            with pytest.raises(NotSupported, match="non-reliable"):
                await coroutine
        assert await subject.flush_progress() is False


async def test_what_it_is_given_is_what_comes(non_reliable: Dispatcher) -> None:
    message = Message(b"payload", "key", {"a": "b"}, "/some/topic", 7, 1.5)
    async with non_reliable as subject:
        a = attach(subject, "a")
        assert subject.dispatch_message(message) == "sent"
        delivery = await take(a)
        assert delivery.message is message
        assert (delivery.attempt, delivery.redelivered, delivery.open) == (1, False, False)
        assert (await subject.ack_message(delivery), await subject.nack_message(delivery)) == (False, False)


# observed or not, it is the same


@pytest.mark.parametrize("kind", ["reliable exclusive", "reliable shared"])
async def test_an_observed_one_does_the_same(topic: Topic, kind: str) -> None:
    make = Dispatcher.reliable_exclusive if kind.endswith("exclusive") else Dispatcher.reliable_shared
    record = Record()
    policy = FailurePolicy(redelivery_delay=1, max_redeliveries=1, poison_policy="drop")

    async def day(name: str, observer: Record | None) -> tuple[list[tuple[str, int, bool]], Counts]:
        seen: list[tuple[str, int, bool]] = []
        async with make(engine(topic, name), policy=policy, observer=observer) as subject:
            a = attach(subject, "a")
            while len(seen) < 7:
                delivery = await take(a)
                answer = await (delivery.nack() if text(delivery) == "1" else delivery.ack())
                seen.append((text(delivery), delivery.attempt, answer))
            return seen, subject.status().counts

    await publish(topic, *"012345")
    assert await day("plain", None) == await day("observed", record)
    assert record.told
