"""Pausing, draining, releasing, closing: what an operator does with a subscription."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import processes
from danube_dispatcher import (
    Closed,
    Consumer,
    ConsumerNotFound,
    Dispatcher,
    FailurePolicy,
    InvalidArgument,
    Message,
    NotBlocked,
    NotSupported,
    StoreUnavailable,
    Subscription,
    SubscriptionEngine,
    SubscriptionMismatch,
    SubscriptionNotFound,
    Topic,
    UsageError,
)
from danube_dispatcher.clock import HEARTBEAT, LEASE
from delivering import TOPIC, join, now, publish, settle, take, text, waiting
from processes import Machine, faults_of, kill, outlive
from virtual import advance

machine = processes.machine

TROUBLE = StoreUnavailable("test", "the disk is on fire")
DEAD = "/test/dead"


async def started(machine: Machine, **policy: Any) -> tuple[Topic, Subscription, Consumer]:
    topic = await machine.topic()
    await publish(topic, *"abc")
    subscription = await topic.subscribe("s", start="earliest", policy=FailurePolicy(**policy))
    return topic, subscription, await join(subscription, "c")


async def blocked(machine: Machine, **policy: Any) -> tuple[Topic, Subscription, Consumer]:
    topic, subscription, consumer = await started(machine, max_redeliveries=0, **policy)
    await (await take(consumer)).nack(reason="too hot")
    assert subscription.status().state == "Blocked"
    return topic, subscription, consumer


# pause and resume


async def test_a_pause_stops_the_intake_and_resume_ends_it(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    delivery = await take(consumer)
    await subscription.pause()
    assert await delivery.ack() is True
    await advance(5)
    assert waiting(consumer) == [0]
    assert (subscription.explain().code, subscription.explain().ends_with) == ("paused", "resume()")
    await subscription.resume()
    assert text(await take(consumer)) == "b"


async def test_what_is_in_hand_is_still_redelivered_while_paused(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    delivery = await take(consumer)
    await subscription.pause()
    await delivery.nack()
    again = await take(consumer)
    assert (text(again), again.attempt) == ("a", 2)
    assert await again.ack() is True
    await advance(5)
    assert waiting(consumer) == [0]


@pytest.mark.parametrize("what", ["pause", "resume"])
async def test_pausing_and_resuming_are_durable_when_they_return(machine: Machine, what: str) -> None:
    topic, subscription, _ = await started(machine)
    if what == "resume":
        await subscription.pause()
        assert machine.row().progress.paused is True
    faults_of(topic).fail("store", TROUBLE)
    task = asyncio.create_task(getattr(subscription, what)())
    await advance(10)
    assert not task.done()
    faults_of(topic).heal()
    await task
    assert machine.row().progress.paused is (what == "pause")


async def test_pausing_or_resuming_twice_is_harmless(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    for _ in range(2):
        await subscription.pause()
    for _ in range(2):
        await subscription.resume()
    assert text(await take(consumer)) == "a"


# drain


async def test_draining_an_idle_subscription_is_done_at_once_and_leaves_it_paused(machine: Machine) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s")
    assert await subscription.drain() == ()
    consumer = await join(subscription, "c")
    await publish(topic, "x")
    await advance(5)
    assert waiting(consumer) == [0]
    assert subscription.explain().code == "paused"
    await subscription.resume()
    assert text(await take(consumer)) == "x"


async def test_draining_waits_for_what_is_in_flight_and_writes_the_position(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    delivery = await take(consumer)
    draining = asyncio.create_task(subscription.drain())
    await advance(7)
    assert not draining.done()
    assert await delivery.ack() is True
    assert await draining == ()
    assert now() < 7.1
    assert waiting(consumer) == [0]
    assert machine.stored_cursor() == 0


async def test_draining_waits_for_redeliveries_too(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    draining = asyncio.create_task(subscription.drain())
    for attempt in range(1, 4):
        delivery = await take(consumer)
        assert (text(delivery), delivery.attempt) == ("a", attempt)
        await delivery.nack()
    await (await take(consumer)).ack()
    assert await draining == ()


async def test_a_drain_that_runs_out_of_time_is_no_error_and_says_what_is_left(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    await (await take(consumer)).nack()
    await take(consumer)
    (left,) = await subscription.drain(3)
    assert now() == pytest.approx(4, abs=0.1)
    assert (left.offset, left.attempt, left.failures, left.why.code) == (0, 2, 1, "awaiting_ack")
    assert "consumer c" in str(left.why)
    assert machine.row().progress.paused


async def test_draining_for_no_time_looks_and_returns(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    delivery = await take(consumer)
    began = now()
    assert [left.offset for left in await subscription.drain(0)] == [0]
    await delivery.ack()
    await settle()
    assert await subscription.drain(0.001) == ()
    assert now() - began < 0.1


@pytest.mark.parametrize("why", ["blocked", "no_consumer", "redelivering"])
async def test_a_drain_says_why_something_is_left(machine: Machine, why: str) -> None:
    if why == "blocked":
        _, subscription, consumer = await blocked(machine)
    else:
        _, subscription, consumer = await started(machine, redelivery_delay=30)
        delivery = await take(consumer)
        if why == "redelivering":
            await delivery.nack()
        else:
            subscription.dispatcher.remove_consumer("c")
    (left,) = await subscription.drain(5)
    assert (left.offset, left.why.code) == (0, why)


async def test_a_drain_whose_last_write_fails_says_so(machine: Machine) -> None:
    topic, subscription, consumer = await started(machine)
    await (await take(consumer)).ack()
    delivery = await take(consumer)
    faults_of(topic).fail("store", TROUBLE)
    draining = asyncio.create_task(subscription.drain(5))
    await settle()
    await delivery.ack()
    (left,) = await draining
    assert left.why.code == "store"
    assert now() == pytest.approx(5, abs=0.1)


async def test_a_drain_ends_when_the_subscription_closes(machine: Machine) -> None:
    topic, subscription, consumer = await started(machine)
    await take(consumer)
    draining = asyncio.create_task(subscription.drain())
    await advance(1)
    await topic.close()
    async with asyncio.timeout(1):
        left = await draining
    assert [each.why.code for each in left] in ([], ["closed"])
    assert machine.row().progress.held is not None


async def test_draining_needs_no_consumer_when_nothing_is_unsettled(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    await (await take(consumer)).ack()
    await (await take(consumer)).ack()
    await (await take(consumer)).ack()
    subscription.dispatcher.remove_consumer("c")
    assert await subscription.drain() == ()
    assert machine.stored_cursor() == 2


async def test_a_drain_that_is_cancelled_leaves_it_paused_and_nothing_acknowledged(machine: Machine) -> None:
    _, subscription, consumer = await started(machine)
    delivery = await take(consumer)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await subscription.drain()
    assert subscription.status().cursor == -1
    assert await delivery.ack() is True
    await advance(1)
    assert waiting(consumer) == [0]


# release


async def test_a_retry_forgives_and_delivers_again(machine: Machine) -> None:
    _, subscription, consumer = await blocked(machine)
    assert await subscription.release("retry") == 0
    delivery = await take(consumer)
    assert (delivery.message.offset, delivery.attempt, subscription.status().failures) == (0, 2, 0)
    held = machine.row().progress.held
    assert held is not None
    assert (held.failures, held.exhausted) == (0, False)
    await delivery.nack()
    assert subscription.status().state == "Blocked"  # the limit is met anew


async def test_a_drop_goes_on_with_the_next_and_is_durable(machine: Machine) -> None:
    _, subscription, consumer = await blocked(machine)
    assert await subscription.release("drop") == 0
    assert machine.stored_cursor() == 0
    assert text(await take(consumer)) == "b"
    assert subscription.status().counts.dropped == 1


async def test_a_dead_letter_release_is_durable_in_its_topic_before_the_cursor_moves(machine: Machine) -> None:
    topic, subscription, consumer = await blocked(machine, dead_letter_topic=DEAD)
    store = faults_of(topic)
    store.lag("append", before=2.0)
    task = asyncio.create_task(subscription.release("dead_letter"))
    await advance(1.9)
    assert subscription.status().cursor == -1
    assert subscription.explain().code == "dead_lettering"
    assert await task == 0
    assert machine.stored_cursor() == 0
    assert text(await take(consumer)) == "b"
    dead = await machine.topic(store, DEAD)
    letter = (await take(await join(await dead.subscribe("d", start="earliest"), "c"))).message
    assert letter.payload == b"a"
    assert {key: letter.attributes[key] for key in ("x-original-topic", "x-original-subscription", "x-original-topic-offset", "x-failure-reason")} == {
        "x-original-topic": TOPIC,
        "x-original-subscription": "s",
        "x-original-topic-offset": "0",
        "x-failure-reason": "too hot",
    }


async def test_a_dead_letter_that_cannot_be_written_is_tried_again_and_visible(machine: Machine) -> None:
    topic, subscription, consumer = await blocked(machine, dead_letter_topic=DEAD)
    faults_of(topic).fail("append", TROUBLE)
    task = asyncio.create_task(subscription.release("dead_letter"))
    await advance(20)
    assert not task.done()
    assert "dead letter failed" in str(subscription.status().last_error)
    assert "on fire" in str(subscription.explain())
    assert waiting(consumer) == [0]
    faults_of(topic).heal()
    assert await task == 0
    assert subscription.status().last_error is None


async def test_without_a_dead_letter_topic_there_is_no_such_release(machine: Machine) -> None:
    _, subscription, _ = await blocked(machine)
    with pytest.raises(InvalidArgument, match="dead_letter_topic"):
        await subscription.release("dead_letter")
    assert subscription.status().state == "Blocked"


@pytest.mark.parametrize("action", ["retry", "drop", "dead_letter"])
@pytest.mark.parametrize("state", ["Idle", "AwaitingAck", "Redelivering", "Failover"])
async def test_releasing_what_is_not_blocked_is_an_error_and_changes_nothing(machine: Machine, action: str, state: str) -> None:
    _, subscription, consumer = await started(machine, dead_letter_topic=DEAD)
    delivery = await take(consumer)
    if state == "Idle":
        await subscription.pause()
        await delivery.ack()
    elif state == "Redelivering":
        await delivery.nack()
    elif state == "Failover":
        subscription.dispatcher.remove_consumer("c")
    assert subscription.status().state == state
    before = subscription.status()
    with pytest.raises(NotBlocked, match="nothing is blocked"):
        await subscription.release(action)
    assert subscription.status() == before


async def test_while_blocked_iteration_waits(machine: Machine) -> None:
    _, subscription, consumer = await blocked(machine)
    iteration = asyncio.create_task(take(consumer))
    await advance(60)
    assert not iteration.done()
    await subscription.release("drop")
    assert text(await iteration) == "b"


# release from outside


@pytest.mark.parametrize(("action", "following"), [("retry", "a"), ("drop", "b"), ("dead_letter", "b")])
async def test_another_process_asks_the_owner_who_releases_at_its_next_heartbeat(machine: Machine, action: str, following: str) -> None:
    topic, _, consumer = await blocked(machine, dead_letter_topic=DEAD)
    other = await machine.topic()
    began = now()
    assert await other.release("s", action) == 0
    assert now() - began <= 2 * HEARTBEAT
    assert text(await take(consumer)) == following
    assert machine.row().owner
    assert not faults_of(other).made("acquire")
    assert await machine.inner.asked([machine.row().epoch]) == []
    assert faults_of(topic).made("answer")


async def test_an_owner_that_has_nothing_blocked_answers_so(machine: Machine) -> None:
    await started(machine)
    other = await machine.topic()
    with pytest.raises(NotBlocked, match="nothing is blocked"):
        await other.release("s", "drop")


async def test_an_owner_without_a_dead_letter_topic_answers_so(machine: Machine) -> None:
    _, subscription, _ = await blocked(machine)
    other = await machine.topic()
    with pytest.raises(NotBlocked, match="dead_letter_topic"):
        await other.release("s", "dead_letter")
    assert subscription.status().state == "Blocked"


@pytest.mark.parametrize(("action", "following"), [("retry", "a"), ("drop", "b"), ("dead_letter", "b")])
@pytest.mark.parametrize("type", ["exclusive", "failover", "shared"])
async def test_without_an_owner_it_takes_the_lease_itself(machine: Machine, action: str, following: str, type: str) -> None:
    topic = await machine.topic()
    await publish(topic, *"abc")
    subscription = await topic.subscribe("s", type=type, start="earliest", policy=FailurePolicy(max_redeliveries=0))
    await (await take(await join(subscription, "c"))).nack(reason="too hot")
    await topic.close()
    other = await machine.topic()
    assert await other.release("s", action, dead_letter_topic=DEAD if action == "dead_letter" else None) == 0
    row = machine.row()
    assert (row.owner, row.type) == ("", type)
    assert row.progress.cursor == (-1 if action == "retry" else 0)
    again = await other.subscribe("s", type=type, policy=FailurePolicy(max_redeliveries=0))
    assert text(await take(await join(again, "c"))) == following
    if action == "dead_letter":
        assert (await machine.topic(name=DEAD)).head == 1


async def test_without_an_owner_and_without_a_topic_there_is_no_dead_letter(machine: Machine) -> None:
    topic, _, _ = await blocked(machine)
    await topic.close()
    other = await machine.topic()
    with pytest.raises(InvalidArgument, match="dead_letter_topic"):
        await other.release("s", "dead_letter")
    assert machine.row().owner == ""
    held = machine.row().progress.held
    assert held is not None
    assert held.exhausted


async def test_without_an_owner_what_is_not_blocked_is_said_to_be_so(machine: Machine) -> None:
    topic, _, _ = await started(machine)
    await topic.close()
    other = await machine.topic()
    with pytest.raises(NotBlocked):
        await other.release("s", "drop")
    with pytest.raises(SubscriptionNotFound):
        await other.release("t", "drop")


async def test_a_dead_owner_is_asked_in_vain_and_then_replaced(machine: Machine) -> None:
    topic, _, _ = await blocked(machine)
    kill(topic)
    other = await machine.topic()
    with pytest.raises(StoreUnavailable, match="has not answered"):
        await other.release("s", "drop")
    assert now() <= LEASE + 1
    await advance(1)
    assert await other.release("s", "drop") == 0


async def test_an_unanswered_request_is_not_carried_out_later(machine: Machine) -> None:
    topic, _, _ = await blocked(machine)
    kill(topic)
    other = await machine.topic()
    with pytest.raises(StoreUnavailable):
        await other.release("s", "drop")
    await advance(2)
    again = await other.subscribe("s", policy=FailurePolicy(max_redeliveries=0))
    await advance(10)
    assert again.status().state == "Blocked"


async def test_a_request_that_was_given_up_is_not_carried_out_by_an_owner_that_wakes_late(machine: Machine) -> None:
    topic, subscription, _ = await blocked(machine)
    faults_of(topic).fail("asked", TROUBLE)
    other = await machine.topic()
    with pytest.raises(StoreUnavailable, match="has not answered"):
        await other.release("s", "drop")
    faults_of(topic).heal()
    await advance(10)
    assert subscription.status().state == "Blocked"


async def test_releasing_by_the_topic_that_has_it_open_is_immediate(machine: Machine) -> None:
    topic, _, _ = await blocked(machine)
    began = now()
    assert await topic.release("s", "drop") == 0
    assert now() - began < 0.01
    await topic.subscribe("live", reliable=False)
    with pytest.raises(NotSupported, match="never blocks"):
        await topic.release("live", "drop")


# closing


async def test_closing_acknowledges_nothing_and_ends_every_consumer(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, *"abc")
    subscription = await topic.subscribe("s", type="shared", start="earliest")
    a, b = await join(subscription, "a"), await join(subscription, "b")
    delivery = await take(a)
    idle = asyncio.create_task(anext(b))
    await settle()
    await subscription.close()
    with pytest.raises(StopAsyncIteration):
        await idle
    with pytest.raises(StopAsyncIteration):
        await anext(a)
    assert (await delivery.ack(), await delivery.nack(), await delivery.extend(1)) == (False, False, False)
    assert machine.stored_cursor() == -1
    assert subscription.explain().code == "closed"


async def test_closing_again_or_at_the_same_time_is_harmless(machine: Machine) -> None:
    topic, subscription, _ = await started(machine)
    faults_of(topic).lag("store", after=1.0)
    await asyncio.gather(subscription.close(), subscription.close(), topic.close())
    await subscription.close()
    assert len(faults_of(topic).made("store")) == 1


CALLS: list[Callable[[Subscription], Awaitable[object] | object]] = [
    lambda s: s.pause(),
    lambda s: s.resume(),
    lambda s: s.drain(1),
    lambda s: s.release("drop"),
    lambda s: s.consumer("x").__aenter__(),
    lambda s: s.run(print),
    lambda s: s.dispatcher.flush_progress(),
    lambda s: s.dispatcher.ready(),
    lambda s: s.dispatcher.disconnect_all_consumers(),
    lambda s: s.dispatcher.remove_consumer("c"),
    lambda s: s.dispatcher.poll_and_dispatch(),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("reliable", [True, False])
async def test_after_closing_every_call_says_closed(machine: Machine, call: Callable[[Subscription], Any], reliable: bool) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s", reliable=reliable)
    await join(subscription, "c")
    await subscription.close()
    with pytest.raises(Closed, match="is closed"):
        await call(subscription)
    assert subscription.status().state == "Closed"


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.publish(b"x"),
        lambda t: t.publish_many([b"x"]),
        lambda t: t.subscribe("s"),
        lambda t: t.unsubscribe("s"),
        lambda t: t.subscriptions(),
        lambda t: t.release("s", "drop"),
    ],
)
async def test_after_closing_a_topic_every_call_says_closed(machine: Machine, call: Callable[[Topic], Awaitable[object]]) -> None:
    topic = await machine.topic()
    await topic.close()
    with pytest.raises(Closed, match=f"topic {TOPIC} is closed"):
        await call(topic)


async def test_a_closed_subscription_can_be_opened_again(machine: Machine) -> None:
    topic, subscription, consumer = await started(machine)
    await (await take(consumer)).ack()
    await subscription.close()
    again = await topic.subscribe("s", type="exclusive", start="earliest", flush_interval=0)
    assert again is not subscription
    assert text(await take(await join(again, "c"))) == "b"


async def test_disconnecting_all_consumers_charges_nobody_and_is_durable(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, *"abc")
    subscription = await topic.subscribe("s", type="shared", start="earliest", policy=FailurePolicy(max_redeliveries=0), flush_interval=3600)
    a, b = await join(subscription, "a"), await join(subscription, "b")
    await (await take(a)).ack()
    delivery = await take(a)
    await subscription.dispatcher.disconnect_all_consumers()
    assert machine.stored_cursor() == 0
    assert await delivery.ack() is False
    for consumer in (a, b):
        with pytest.raises(StopAsyncIteration):
            await anext(consumer)
    assert subscription.status().failures == 0
    again = await take(await join(subscription, "c"))
    assert (text(again), again.attempt) == ("b", 2)


# the dispatcher by itself


async def test_a_dispatcher_is_opened_before_anything_else(machine: Machine) -> None:
    topic = await machine.topic()
    dispatcher = Dispatcher.reliable_exclusive(SubscriptionEngine(topic, "s"))
    consumer = Consumer("c")
    with pytest.raises(UsageError, match="ready"):
        dispatcher.add_consumer(consumer)
    assert (dispatcher.status().state, dispatcher.explain().code) == ("opening", "opening")
    async with dispatcher:
        dispatcher.add_consumer(consumer)
        await publish(topic, "x")
        delivery = await take(consumer)
        assert await dispatcher.ack_message(delivery) is True
        assert await dispatcher.ack_message(delivery) is False
        assert await dispatcher.flush_progress() is True
        assert machine.stored_cursor() == 0
        dispatcher.remove_consumer("c")
        with pytest.raises(ConsumerNotFound):
            dispatcher.remove_consumer("c")
    assert machine.row().owner == ""


async def test_ready_raises_what_opening_raised_each_time(machine: Machine) -> None:
    topic = await machine.topic()
    await topic.subscribe("s", type="shared")
    await topic.close()
    topic = await machine.topic()
    dispatcher = Dispatcher.reliable_exclusive(SubscriptionEngine(topic, "s"))
    for _ in range(2):
        with pytest.raises(SubscriptionMismatch):
            await dispatcher.ready()
    with pytest.raises(UsageError):
        dispatcher.add_consumer(Consumer("c"))
    await dispatcher.close()


async def test_an_engine_serves_one_dispatcher(machine: Machine) -> None:
    topic = await machine.topic()
    engine = SubscriptionEngine(topic, "s")
    async with Dispatcher.reliable_exclusive(engine):
        with pytest.raises(UsageError, match="make a new one"):
            await Dispatcher.reliable_exclusive(engine).ready()
        assert machine.row().owner


async def test_what_a_kind_of_dispatcher_cannot_do_it_says(machine: Machine) -> None:
    topic = await machine.topic()
    message = Message(b"x")
    async with Dispatcher.reliable_shared(SubscriptionEngine(topic, "s")) as reliable:
        with pytest.raises(NotSupported, match="publish to the topic"):
            reliable.dispatch_message(message)
    async with Dispatcher.non_reliable_shared() as live:
        consumer = Consumer("c", capacity=1)
        assert live.dispatch_message(message) == "no_consumer"
        live.add_consumer(consumer)
        assert [live.dispatch_message(message) for _ in range(2)] == ["sent", "dropped"]
        delivery = await take(consumer)
        assert await live.ack_message(delivery) is False
        assert await live.nack_message(delivery) is False
        assert await live.flush_progress() is False
        for call in (live.pause, live.resume, live.drain):
            with pytest.raises(NotSupported, match="non-reliable"):
                await call()
        with pytest.raises(NotSupported):
            await live.release("drop")
        with pytest.raises(NotSupported):
            live.poll_and_dispatch()


async def test_after_a_crash_of_the_owner_operations_go_on_with_the_next(machine: Machine) -> None:
    topic, _, _ = await blocked(machine)
    await outlive(topic)
    other = await machine.topic()
    subscription = await other.subscribe("s", policy=FailurePolicy(max_redeliveries=0))
    assert await subscription.release("retry") == 0
    delivery = await take(await join(subscription, "c"))
    await subscription.pause()
    await delivery.ack()
    assert await subscription.drain(1) == ()
    assert machine.stored_cursor() == 0


async def test_a_dispatcher_that_is_closed_while_it_opens_says_closed_and_leaves_nothing(machine: Machine) -> None:
    topic = await machine.topic()
    faults_of(topic).lag("acquire", after=2.0)
    dispatcher = Dispatcher.reliable_exclusive(SubscriptionEngine(topic, "s"))
    ready = asyncio.create_task(dispatcher.ready())
    await advance(1)
    await dispatcher.close()
    with pytest.raises(Closed):
        await ready
    assert machine.rows() == []
