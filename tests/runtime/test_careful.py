"""After an unclean end the next owner is careful, so that a message that kills its process is found out."""

from __future__ import annotations

from typing import Any

import pytest

import processes
from danube_dispatcher import Consumer, FailurePolicy, Subscription, Topic
from danube_dispatcher.virtual_time import advance
from danube_statemachines import FLUSH_MESSAGES, Held
from delivering import join, settle, take, waiting
from processes import Machine, core_of, faults_of, outlive

machine = processes.machine


class AtTheSend:
    """An observer that notes what is stored at the moment of each send."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.stored: list[tuple[int, Held | None]] = []

    def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
        pass

    def effect(self, machine: str, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "send":
            progress = self.machine.row().progress
            self.stored.append((progress.cursor, progress.held))


async def crashed(machine: Machine, count: int = 6) -> None:
    """A process that had `count` messages before it died with the first in hand."""
    topic = await machine.topic()
    await topic.publish_many([b"x"] * count)
    consumer = await join(await topic.subscribe("s", start="earliest"), "c")
    await take(consumer)
    await outlive(topic)


async def reopened(machine: Machine, observer: AtTheSend | None = None, **policy: Any) -> tuple[Topic, Subscription, Consumer]:
    topic = await machine.topic()
    subscription = await topic.subscribe("s", policy=FailurePolicy(**policy), observer=observer)
    return topic, subscription, await join(subscription, "c")


async def test_who_follows_a_clean_close_is_not_careful(machine: Machine) -> None:
    topic = await machine.topic()
    await topic.publish_many([b"x"] * 3)
    await topic.subscribe("s", start="earliest")
    await topic.close()
    topic, subscription, consumer = await reopened(machine)
    assert core_of(subscription).careful == 0
    await (await take(consumer)).ack()
    assert not faults_of(topic).made("store")


async def test_who_follows_a_crash_is_careful_for_as_many_messages_as_may_come_twice(machine: Machine) -> None:
    await crashed(machine)
    _, subscription, consumer = await reopened(machine)
    assert core_of(subscription).careful == FLUSH_MESSAGES
    await (await take(consumer)).ack()
    assert core_of(subscription).careful == FLUSH_MESSAGES - 1


async def test_a_mark_is_durable_before_the_first_send_in_one_write_with_the_cursor(machine: Machine) -> None:
    await crashed(machine)
    observer = AtTheSend(machine)
    topic, _, consumer = await reopened(machine, observer)
    for _ in range(3):
        await (await take(consumer)).ack()
    assert observer.stored == [(offset - 1, Held(offset, attempt=1, sent=True)) for offset in range(4)]
    assert len(faults_of(topic).made("store")) == 4


async def test_a_message_leaves_only_when_its_mark_is_durable(machine: Machine) -> None:
    await crashed(machine)
    store = await machine.process()
    topic = await machine.topic(store)
    subscription = await topic.subscribe("s")
    store.lag("store", after=2.0)
    consumer = await join(subscription, "c")
    await advance(1.9)
    assert waiting(consumer) == [0]
    assert subscription.explain().code == "busy"
    await advance(0.2)
    assert waiting(consumer) == [1]


async def test_each_ack_is_durable_while_careful_and_no_longer_after(machine: Machine) -> None:
    await crashed(machine)
    _, subscription, consumer = await reopened(machine)
    core_of(subscription).careful = 3
    for offset in range(3):
        await (await take(consumer)).ack()
        assert machine.stored_cursor() == offset
    await (await take(consumer)).ack()
    await settle()
    assert machine.stored_cursor() == 2
    assert machine.row().progress.held is None
    await advance(5.1)
    assert machine.stored_cursor() == 3


async def test_the_mark_stays_until_the_message_settles(machine: Machine) -> None:
    await crashed(machine)
    _, _, consumer = await reopened(machine, redelivery_delay=1.0)
    for attempt in (1, 2):
        delivery = await take(consumer)
        held = machine.row().progress.held
        assert held is not None
        assert (held.offset, held.sent, delivery.attempt) == (0, True, attempt)
        await delivery.nack()
    await (await take(consumer)).ack()
    await settle()
    held = machine.row().progress.held
    assert held == Held(1, attempt=1, sent=True)


async def test_careful_mode_ends_by_itself() -> None:
    async with Machine(None) as machine:  # not on a file: ten thousand durable writes
        await crashed(machine, FLUSH_MESSAGES + 3)
        topic, subscription, consumer = await reopened(machine)
        for _ in range(FLUSH_MESSAGES):
            await (await take(consumer)).ack()
        writes = len(faults_of(topic).made("store"))
        assert core_of(subscription).careful == 0
        for _ in range(2):
            await (await take(consumer)).ack()
        await settle()
        assert len(faults_of(topic).made("store")) == writes


async def test_a_payload_that_kills_its_process_while_a_write_is_under_way_is_blocked_in_bounded_time() -> None:
    async with Machine(None) as machine:
        topic = await machine.topic()
        await topic.publish_many([b"fine"] * FLUSH_MESSAGES + [b"deadly"])
        subscription = await topic.subscribe("s", start="earliest", policy=FailurePolicy(max_redeliveries=0))
        consumer = await join(subscription, "c")
        faults_of(topic).lag("store", before=1.0)
        crashes = 0
        while subscription.status().state != "Blocked":
            await advance(0.1)
            while waiting(consumer) == [1]:
                delivery = await take(consumer)
                if delivery.message.payload == b"deadly":
                    crashes += 1
                    break
                await delivery.ack()
            await outlive(topic)
            topic, subscription, consumer = await reopened(machine, max_redeliveries=0)
            await advance(0.1)
        assert crashes <= 2


@pytest.mark.parametrize("limit", [0, 1, 3])
async def test_a_payload_that_kills_its_process_is_blocked_in_bounded_time(machine: Machine, limit: int) -> None:
    topic = await machine.topic()
    await topic.publish_many([b"fine", b"deadly", b"fine"])
    await topic.subscribe("s", start="earliest")
    await outlive(topic)
    crashes = 0
    attempts: list[int] = []
    while True:
        topic, subscription, consumer = await reopened(machine, max_redeliveries=limit)
        await advance(0.1)
        while waiting(consumer) == [1]:
            delivery = await take(consumer)
            if delivery.message.payload == b"deadly":
                attempts.append(delivery.attempt)
                crashes += 1
                break
            await delivery.ack()
        else:
            break
        await outlive(topic)
        assert crashes <= limit + 2
    assert subscription.status().state == "Blocked"
    assert attempts == sorted(set(attempts))  # an attempt is never repeated
    assert subscription.explain().code == "blocked"
    assert "process lost" in str(subscription.explain())
    assert await subscription.release("drop") == 1
    assert (await take(consumer)).message.offset == 2


@pytest.mark.parametrize("limit", [0, 2])
async def test_a_payload_that_kills_its_process_from_the_first_run_on_is_blocked_too(machine: Machine, limit: int) -> None:
    topic = await machine.topic()
    await topic.publish_many([b"deadly"])
    crashes = 0
    while True:
        subscription = await topic.subscribe("s", start="earliest", policy=FailurePolicy(max_redeliveries=limit))
        consumer = await join(subscription, "c")
        await advance(0.1)
        if waiting(consumer) == [0]:
            break
        await take(consumer)
        crashes += 1
        await outlive(topic)
        topic = await machine.topic()
    assert subscription.status().state == "Blocked"
    assert crashes == limit + 2  # the first leaves no mark, the others are charged


async def test_a_crash_between_two_messages_charges_nobody(machine: Machine) -> None:
    await crashed(machine)
    for offset in range(3):
        topic, subscription, consumer = await reopened(machine, max_redeliveries=0)
        await subscription.resume()
        delivery = await take(consumer)
        assert (delivery.message.offset, delivery.attempt) == (offset, 1)
        await subscription.pause()
        await delivery.ack()  # no other leaves
        await outlive(topic)


async def test_a_message_that_was_marked_and_never_left_is_not_charged(machine: Machine) -> None:
    await crashed(machine)
    store = await machine.process()
    topic = await machine.topic(store)
    subscription = await topic.subscribe("s", policy=FailurePolicy(max_redeliveries=0))
    store.lag("store", after=5.0)
    await join(subscription, "c")
    await settle()
    held = machine.row().progress.held
    assert held is not None
    assert held.sent  # the mark is there, the message is not out yet
    await subscription.close()
    assert machine.row().progress.held is None
    _, _, consumer = await reopened(machine, max_redeliveries=0)
    delivery = await take(consumer)
    assert (delivery.message.offset, delivery.attempt) == (0, 1)


async def test_a_clean_close_with_a_marked_message_charges_nobody(machine: Machine) -> None:
    await crashed(machine)
    _, subscription, consumer = await reopened(machine, max_redeliveries=0)
    await take(consumer)
    await subscription.close()
    _, subscription, consumer = await reopened(machine, max_redeliveries=0)
    delivery = await take(consumer)
    assert (delivery.attempt, delivery.redelivered, subscription.status().failures) == (2, True, 0)
