"""What the cross-check found between the sentences about careful owners: see docs/formal/README.md."""

from __future__ import annotations

import processes
from danube_dispatcher import FailurePolicy
from danube_dispatcher.virtual_time import advance
from delivering import join, take, waiting
from processes import Machine, outlive

machine = processes.machine


async def test_a_payload_that_kills_its_process_is_blocked_in_bounded_time_with_clean_ends_between(machine: Machine) -> None:
    topic = await machine.topic()
    await topic.publish_many([b"deadly"])
    policy = FailurePolicy(max_redeliveries=0)
    crashes = 0
    while True:
        subscription = await topic.subscribe("s", start="earliest", policy=policy)
        consumer = await join(subscription, "c")
        await advance(0.1)
        if waiting(consumer) == [0]:
            break
        await take(consumer)
        crashes += 1
        assert crashes <= 2
        await outlive(topic)
        topic = await machine.topic()
        await topic.subscribe("s", policy=policy)  # somebody has a look, and ends cleanly
        await topic.close()
        topic = await machine.topic()
    assert subscription.status().state == "Blocked"


async def test_a_blocked_message_is_charged_for_no_crash(machine: Machine) -> None:
    topic = await machine.topic()
    await topic.publish_many([b"poison"])
    policy = FailurePolicy(max_redeliveries=0)
    subscription = await topic.subscribe("s", start="earliest", policy=policy)
    await (await take(await join(subscription, "c"))).nack(reason="broken")
    for _ in range(3):
        await outlive(topic)
        topic = await machine.topic()
        subscription = await topic.subscribe("s", policy=policy)
        await advance(0.1)
    assert subscription.status().state == "Blocked"
    assert subscription.status().failures == 1
    assert "broken" in str(subscription.explain())


async def test_a_message_that_crashes_have_exhausted_can_be_released_without_an_owner(machine: Machine) -> None:
    topic = await machine.topic()
    await topic.publish_many([b"deadly"])
    policy = FailurePolicy(max_redeliveries=0)
    for _ in range(2):
        subscription = await topic.subscribe("s", start="earliest", policy=policy)
        await take(await join(subscription, "c"))
        await outlive(topic)
        topic = await machine.topic()
    subscription = await topic.subscribe("s", policy=policy)
    await advance(0.1)
    assert subscription.status().state == "Blocked"
    await outlive(topic)  # for a reason of its own
    topic = await machine.topic()
    assert await topic.release("s", "drop") == 0
