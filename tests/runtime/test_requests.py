"""What another process asks the owner for is done once, whatever goes wrong with the asking and the answering."""

from __future__ import annotations

import asyncio

import pytest

import processes
from danube_dispatcher.clock import HEARTBEAT
from danube_dispatcher.virtual_time import advance
from delivering import take
from faults import TROUBLE
from processes import Machine, blocked, faults_of

machine = processes.machine


@pytest.mark.parametrize("trouble", ["the answer fails", "the answer fails though it is written", "the release takes long", "reading fails"])
async def test_a_release_is_carried_out_once(machine: Machine, trouble: str) -> None:
    topic, subscription, consumer = await blocked(machine)
    elsewhere = await machine.topic()
    store = faults_of(topic)
    if trouble == "the release takes long":
        store.lag("store", after=4 * HEARTBEAT, times=1)
    elif trouble == "reading fails":
        store.fail("asked", TROUBLE, times=2)
    else:
        store.fail("answer", TROUBLE, times=2, done="written" in trouble)
    asking = asyncio.create_task(elsewhere.release("s", "drop"))
    next_one = await take(consumer)
    assert next_one.message.offset == 1
    await next_one.nack()
    await advance(8 * HEARTBEAT)
    assert await asking == 0
    assert (subscription.status().state, subscription.status().counts.dropped) == ("Blocked", 1)
    assert await elsewhere.release("s", "drop") == 1
