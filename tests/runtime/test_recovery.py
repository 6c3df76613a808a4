"""A message that met its verdict before a restart is found again whatever the store does at opening, and with nobody attached."""

from __future__ import annotations

import pytest

import processes
from danube_dispatcher import FailurePolicy, StoreUnavailable
from danube_dispatcher.virtual_time import advance
from delivering import join, publish, settle, take
from processes import Machine, faults_of

machine = processes.machine

POLICY = FailurePolicy(max_redeliveries=0)


@pytest.mark.parametrize("lagging", [False, True], ids=["in place", "awaited"])
async def test_a_verdict_survives_reads_that_fail_at_opening(machine: Machine, lagging: bool) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s", start="earliest", policy=POLICY)
    await publish(topic, "poison")
    await (await take(await join(subscription, "c"))).nack()
    await topic.close()

    topic = await machine.topic()
    trouble = StoreUnavailable("test", "the disk is on fire")
    if lagging:
        faults_of(topic).fail("read", trouble, before=0.01)
    else:
        faults_of(topic).fail("read", trouble)
    subscription = await topic.subscribe("s", policy=POLICY)
    await advance(1)
    faults_of(topic).heal()
    await advance(6)
    assert subscription.explain().code == "blocked"
    assert await subscription.release("drop") == 0
    await settle()
    assert subscription.status().cursor == 0
