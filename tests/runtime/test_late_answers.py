"""Calls of the store that are answered when nobody cares any more."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

import processes
from danube_dispatcher import FailurePolicy
from danube_dispatcher.clock import LEASE, RENEWAL
from danube_dispatcher.errors import Fenced, SubscriptionOwned
from danube_dispatcher.virtual_time import VirtualLoop, advance
from delivering import join, publish, take
from faults import TROUBLE
from processes import Machine, faults_of, owner

machine = processes.machine


@pytest.mark.parametrize("call", ["store", "read"])
async def test_a_call_that_fails_after_the_end_is_nothing_to_complain_of(machine: Machine, call: str) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    topic, subscription, consumer = await owner(machine, "abc", flush_interval=1.0)
    faults_of(topic).fail(call, Fenced("test", "over") if call == "store" else TROUBLE, before=5.0)
    await (await take(consumer)).ack()
    if call == "read":
        await topic.publish_many([b"more"] * 300)
        for _ in range(2):
            await (await take(consumer)).ack()
    await advance(2.0)
    engine = subscription.dispatcher._engine
    assert engine is not None
    engine.lose()
    await advance(10.0)
    await subscription.close()
    gc.collect()
    assert complaints == []


async def test_who_asked_for_a_lease_long_ago_has_not_watched_it_since(machine: Machine) -> None:
    _, subscription, _ = await owner(machine)
    elsewhere = await machine.topic()
    faults_of(elsewhere).lag("acquire", before=LEASE + 2.3, times=1)
    with pytest.raises(SubscriptionOwned):
        await elsewhere.subscribe("s", wait=LEASE + 7.0)
    await advance(RENEWAL + 1.0)
    assert not subscription.dispatcher.ended


async def test_the_ack_deadline_of_a_message_whose_read_took_long_is_kept(machine: Machine) -> None:
    here, elsewhere = await machine.topic(), await machine.topic()
    consumer = await join(await here.subscribe("s", policy=FailurePolicy(ack_timeout=2.5)), "c")
    await advance(1.0)
    faults_of(here).lag("read", before=0.01)
    await publish(elsewhere, "a")
    delivery = await take(consumer)
    await advance(3.0)
    assert not delivery.open
    assert await delivery.ack() is False


async def test_a_handler_that_blocks_the_loop_past_its_deadline_is_late_although_no_timer_could_fire(machine: Machine) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    topic, subscription, consumer = await owner(machine, "ab", policy=FailurePolicy(ack_timeout=5.0))
    assert await (await take(consumer)).ack()
    delivery = await take(consumer)
    loop.work(5.1)
    assert await delivery.ack() is False
    assert subscription.status().counts.failures == 1
    await topic.close()
