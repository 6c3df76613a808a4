"""Asking for a subscription: twice, with other arguments, and cancelled at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest

import processes
from danube_dispatcher import (
    Closed,
    FailurePolicy,
    StoreUnavailable,
    SubscriptionMismatch,
    SubscriptionNotFound,
)
from danube_dispatcher.virtual_time import advance
from danube_statemachines import Progress
from delivering import join, publish, settle, take
from faults import TROUBLE
from processes import Machine, core_of, faults_of, outlive, owner

machine = processes.machine


# subscribing


async def test_the_same_arguments_again_give_the_same_object(machine: Machine) -> None:
    topic = await machine.topic()
    first = await topic.subscribe("s", type="shared", rate_limit=5, flush_interval=1, policy=FailurePolicy(ack_timeout=3))
    assert await topic.subscribe("s", type="shared", rate_limit=5, flush_interval=1, policy=FailurePolicy(ack_timeout=3)) is first
    other = await machine.topic(faults_of(topic))
    assert await other.subscribe("s", type="shared", rate_limit=5, flush_interval=1, policy=FailurePolicy(ack_timeout=3)) is first
    live = await topic.subscribe("live", reliable=False)
    assert await topic.subscribe("live", reliable=False) is live


async def test_asking_at_the_same_time_gives_the_same_object(machine: Machine) -> None:
    topic = await machine.topic()
    faults_of(topic).lag("*", after=0.1)
    first, *others = await asyncio.gather(*(topic.subscribe("s") for _ in range(5)))
    assert all(each is first for each in others)


@pytest.mark.parametrize(
    "other",
    [
        {"type": "failover"},
        {"type": "shared"},
        {"reliable": False},
        {"start": "earliest"},
        {"policy": FailurePolicy(ack_timeout=3)},
        {"rate_limit": 5},
        {"flush_interval": 0},
    ],
    ids=str,
)
async def test_other_arguments_are_an_error_and_change_nothing(machine: Machine, other: dict[str, Any]) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s")
    with pytest.raises(SubscriptionMismatch, match="open here with other arguments"):
        await topic.subscribe("s", **other)
    consumer = await join(subscription, "c")
    await publish(topic, "x")
    assert await (await take(consumer)).ack() is True


@pytest.mark.parametrize("stored", ["exclusive", "failover", "shared"])
@pytest.mark.parametrize("asked", ["exclusive", "failover", "shared", "non-reliable"])
async def test_type_and_guarantee_belong_to_the_stored_subscription(machine: Machine, stored: str, asked: str) -> None:
    topic = await machine.topic()
    await topic.subscribe("s", type=stored)
    await topic.close()
    topic = await machine.topic()
    arguments: dict[str, Any] = {"reliable": False} if asked == "non-reliable" else {"type": asked}
    if asked == stored:
        await topic.subscribe("s", **arguments)
        return
    with pytest.raises(SubscriptionMismatch, match=stored if asked != "non-reliable" else "stored as reliable"):
        await topic.subscribe("s", **arguments)
    assert machine.row().owner == ""
    await topic.subscribe("s", type=stored)


async def test_closing_the_topic_ends_a_subscribe_that_waits(machine: Machine) -> None:
    topic, _, _ = await owner(machine)
    other = await machine.topic()
    waiter = asyncio.create_task(other.subscribe("s", wait=None))
    await advance(1.2)
    await other.close()
    await topic.close()
    with pytest.raises(Closed):
        await waiter
    assert machine.row().owner == ""


# subscribing, cancelled


def traces(machine: Machine) -> list[tuple[str, str, Progress]]:
    """What is left in the store."""
    return [(row.subscription, row.owner, row.progress) for row in machine.rows()]


async def cancelled_after(call: Coroutine[Any, Any, Any], seconds: float) -> bool:
    """Whether the call was cancelled, and not done before."""
    task = asyncio.create_task(call)
    await advance(seconds)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


@pytest.mark.parametrize("new", [True, False], ids=["new", "stored"])
@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize(
    "arguments", [{}, {"policy": FailurePolicy(poison_policy="dead_letter", dead_letter_topic="/test/dead")}], ids=["plain", "dead letters"]
)
async def test_cancelled_at_any_call_subscribing_leaves_nothing(machine: Machine, new: bool, done: bool, arguments: dict[str, Any]) -> None:
    store = await machine.process()
    topic = await machine.topic(store)
    await publish(topic, *"abc")
    if not new:
        other = await machine.topic()
        await (await take(await join(await other.subscribe("s", start="earliest"), "c"))).nack(delay=1000)
        await other.close()
    before = traces(machine)
    points = 0
    for point in range(20):
        store.lag("*", **({"after": 0.1} if done else {"before": 0.1}))  # type: ignore[arg-type]
        was_cancelled = await cancelled_after(topic.subscribe("s", start="earliest", **arguments), 0.05 + point * 0.1)
        if not was_cancelled:
            break
        points += 1
        await advance(1)
        store.heal()
        assert traces(machine) == before, f"cancelled in call {point}"
        assert not topic._session.holdings.engines
    else:
        raise AssertionError("it never came to its end")
    assert points >= 2
    store.heal()
    assert await topic.subscribe("s", start="earliest", **arguments) is not None


@pytest.mark.parametrize("new", [True, False], ids=["new", "stored"])
async def test_cancelled_at_any_turn_of_the_loop_subscribing_leaves_nothing(machine: Machine, new: bool) -> None:
    topic = await machine.topic()
    if not new:
        other = await machine.topic()
        await other.subscribe("s")
        await other.close()
    before = traces(machine)
    for turns in range(300):
        task = asyncio.create_task(topic.subscribe("s"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            await settle()
            assert traces(machine) == before, f"cancelled after {turns} turns"
        else:
            assert turns > 2
            return
    raise AssertionError("it never came to its end")


async def test_cancelled_while_it_waits_for_a_lease_subscribing_leaves_nothing(machine: Machine) -> None:
    _, _, consumer = await owner(machine)
    before = machine.row()
    other = await machine.topic()
    assert await cancelled_after(other.subscribe("s", wait=None), 1.2)
    await settle()
    row = machine.row()
    assert (row.epoch, row.owner, row.progress) == (before.epoch, before.owner, before.progress)
    assert await (await take(consumer)).ack() is True


async def test_cancelled_after_an_unclean_end_subscribing_leaves_it_unclean(machine: Machine) -> None:
    topic, _, _ = await owner(machine)
    await outlive(topic)
    store = await machine.process()
    other = await machine.topic(store)
    store.lag("load", before=1.0)
    assert await cancelled_after(other.subscribe("s"), 0.5)
    store.heal()
    await advance(2)
    assert core_of(await other.subscribe("s")).careful


@pytest.mark.parametrize("call", ["acquire", "load"])
async def test_what_opening_raises_leaves_nothing_behind(machine: Machine, call: str) -> None:
    store = await machine.process()
    topic = await machine.topic(store)
    store.fail(call, TROUBLE, times=1)
    with pytest.raises(StoreUnavailable, match="on fire"):
        await topic.subscribe("s")
    assert machine.rows() == []
    await topic.subscribe("s")


@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
async def test_unsubscribing_that_is_cancelled_is_undecided_but_can_be_repeated(machine: Machine, done: bool) -> None:
    for point in range(10):
        owned, _, _ = await owner(machine)
        await owned.close()
        store = await machine.process()
        topic = await machine.topic(store)
        store.lag("*", **({"after": 0.1} if done else {"before": 0.1}))  # type: ignore[arg-type]
        was_cancelled = await cancelled_after(topic.unsubscribe("s"), 0.05 + point * 0.1)
        store.heal()
        await advance(1)
        assert all(row.owner == "" for row in machine.rows())
        if not was_cancelled:
            return
        with suppress(SubscriptionNotFound):
            await topic.unsubscribe("s")
        assert machine.rows() == []
    raise AssertionError("it never came to its end")
