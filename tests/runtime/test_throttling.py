"""Rate limits: a message that has to wait is never skipped."""

from __future__ import annotations

import pytest

import processes
from danube_dispatcher import Consumer, FailurePolicy, StoreUnavailable, Subscription
from danube_dispatcher.virtual_time import advance
from delivering import join, now, take, waiting
from processes import Machine, block_loop, core_of, faults_of, outlive

machine = processes.machine


async def throttled(machine: Machine, rate: float, burst: float | None = None, **policy: float) -> tuple[Subscription, Consumer]:
    topic = await machine.topic()
    await topic.publish_many([b"x"] * 40)
    subscription = await topic.subscribe("s", start="earliest", rate_limit=rate, rate_burst=burst, policy=FailurePolicy(**policy))  # type: ignore[arg-type]
    return subscription, await join(subscription, "c")


async def pace(consumer: Consumer, count: int) -> list[tuple[int, float]]:
    """Acknowledge at once; say which offset came when."""
    began = now()
    came: list[tuple[int, float]] = []
    for _ in range(count):
        delivery = await take(consumer)
        came.append((delivery.message.offset, round(now() - began, 2)))
        await delivery.ack()
    return came


@pytest.mark.parametrize(
    ("rate", "burst", "expected"),
    [
        (2, None, [0, 0, 0.5, 1, 1.5]),  # one second's worth may go at once
        (2, 1, [0, 0.5, 1, 1.5, 2]),
        (2, 4, [0, 0, 0, 0, 0.5]),
        (0.5, None, [0, 2, 4, 6, 8]),  # never below one message
        (20, 1, [0, 0.05, 0.1, 0.15, 0.2]),  # finer than the heartbeat
    ],
)
async def test_messages_leave_at_the_rate_and_none_is_skipped(machine: Machine, rate: float, burst: float | None, expected: list[float]) -> None:
    _, consumer = await throttled(machine, rate, burst)
    came = await pace(consumer, 5)
    assert [offset for offset, _ in came] == [0, 1, 2, 3, 4]
    assert [at for _, at in came] == pytest.approx(expected, abs=0.011)


async def test_the_bucket_refills_up_to_the_burst_and_not_beyond(machine: Machine) -> None:
    _, consumer = await throttled(machine, 2, 3)
    await pace(consumer, 10)
    delivery = await take(consumer)
    await advance(20)  # one is out meanwhile
    await delivery.ack()
    came = await pace(consumer, 5)
    assert [at for _, at in came] == pytest.approx([0, 0, 0, 0.5, 1], abs=0.011)


async def test_only_first_sends_take_a_token(machine: Machine) -> None:
    _, consumer = await throttled(machine, 0.1, 1, redelivery_delay=1, max_redelivery_delay=1)
    began = now()
    for attempt in range(1, 4):
        delivery = await take(consumer)
        assert (delivery.message.offset, delivery.attempt) == (0, attempt)
        await delivery.nack()
    delivery = await take(consumer)
    assert now() - began == pytest.approx(3, abs=0.1)
    await delivery.ack()
    assert (await take(consumer)).message.offset == 1
    assert now() - began == pytest.approx(10, abs=0.1)


async def test_a_message_with_a_history_takes_no_token_after_a_restart(machine: Machine) -> None:
    subscription, consumer = await throttled(machine, 0.01, 1)
    await (await take(consumer)).ack()
    await advance(100)
    await take(consumer)
    await subscription.close()
    topic = await machine.topic()
    subscription = await topic.subscribe("s", rate_limit=0.01, rate_burst=1)
    consumer = await join(subscription, "c")
    began = now()
    await (await take(consumer)).ack()
    await take(consumer)
    assert now() - began < 0.1  # the one token was left for the new message


async def test_it_says_that_it_is_throttled_and_until_when(machine: Machine) -> None:
    subscription, consumer = await throttled(machine, 1, 1)
    await pace(consumer, 1)
    assert waiting(consumer) == [0]
    explanation = subscription.explain()
    assert explanation.code == "throttled"
    assert "token" in explanation.ends_with


async def test_a_throttled_message_survives_a_crash(machine: Machine) -> None:
    subscription, consumer = await throttled(machine, 1, 1)
    await pace(consumer, 1)
    await subscription.dispatcher.flush_progress()
    await outlive(machine.topics[-1])
    topic = await machine.topic()
    consumer = await join(await topic.subscribe("s"), "c")
    assert [offset for offset, _ in await pace(consumer, 3)] == [1, 2, 3]


async def test_a_consumer_that_joins_takes_nothing_beyond_the_rate(machine: Machine) -> None:
    subscription, consumer = await throttled(machine, 1, 1)
    await pace(consumer, 1)
    for _ in range(5):
        subscription.dispatcher.remove_consumer("c")
        consumer = await join(subscription, "c")
        subscription.dispatcher.poll_and_dispatch()
    assert waiting(consumer) == [0]
    await advance(1.01)
    assert waiting(consumer) == [1]


@pytest.mark.parametrize("how", ["pause", "lease"])
async def test_a_token_that_comes_while_something_else_holds_it_back_asks_for_no_more_attention(machine: Machine, how: str) -> None:
    subscription, consumer = await throttled(machine, 1, 1)
    await pace(consumer, 1)
    if how == "pause":
        await subscription.pause()
    else:
        faults_of(machine.topics[0]).fail("renew", StoreUnavailable("test", "the disk is on fire"))
        core_of(subscription).lease_until = now() + 0.5
    block_loop(2)  # without a turn: a timer that comes due again and again would never let one pass
    core_of(subscription).tick(now())
    assert core_of(subscription).alarm(now()) > now()
    await advance(5)
    assert waiting(consumer) == [0]
    if how == "pause":
        await subscription.resume()
    else:
        faults_of(machine.topics[0]).heal()
    assert [offset for offset, _ in await pace(consumer, 3)] == [1, 2, 3]
