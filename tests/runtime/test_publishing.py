"""What publishing promises."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import processes
from danube_dispatcher import (
    InvalidArgument,
    Message,
    PublishFailed,
    StoreFull,
    Topic,
)
from danube_dispatcher.storage.protocols import READ_MESSAGES, Batch
from danube_dispatcher.virtual_time import advance
from delivering import TOPIC, join, settle, take, text
from processes import EPOCH, Machine, faults_of, kill

machine = processes.machine


async def contents(topic: Topic) -> list[Message]:
    found: list[Message] = []
    offset = 0
    while True:
        batch = topic.hub.log.read(offset)
        assert isinstance(batch, Batch)
        if not batch.messages:
            return found
        found += batch.messages
        offset = batch.next_offset


# messages


async def test_offsets_start_at_zero_and_the_head_is_the_next(machine: Machine) -> None:
    topic = await machine.topic()
    assert topic.head == 0
    assert (await topic.subscribe("s")).status().cursor == -1
    assert [await topic.publish(b"x") for _ in range(3)] == [0, 1, 2]
    assert topic.head == 3
    assert (await topic.subscribe("later")).status().cursor == 2


async def test_a_message_comes_back_as_it_was_published(machine: Machine) -> None:
    topic = await machine.topic()
    attributes = {"Größe": "ünï", "empty": ""}
    await advance(5)
    await topic.publish(b"\x00\xff", key="schlüssel", attributes=attributes)
    attributes["later"] = "change"
    await topic.publish(b"")
    consumer = await join(await topic.subscribe("s", start="earliest"), "c")
    first = (await take(consumer)).message
    assert (first.payload, first.key, dict(first.attributes)) == (b"\x00\xff", "schlüssel", {"Größe": "ünï", "empty": ""})
    assert (first.topic, first.offset) == (TOPIC, 0)
    assert first.published_at == pytest.approx(EPOCH + 5, abs=0.1)
    with pytest.raises(TypeError):
        first.attributes["x"] = "y"  # type: ignore[index]
    subscription = await topic.subscribe("t", start=1)
    second = (await take(await join(subscription, "c"))).message
    assert (second.payload, second.key) == (b"", None)
    assert dict(second.attributes) == {}
    assert second.attributes is not None


async def test_what_publish_returned_for_is_durable(machine: Machine) -> None:
    for number in range(5):
        topic = await machine.topic()
        assert [message.payload for message in await contents(topic)] == [str(earlier).encode() for earlier in range(number)]
        await topic.publish(str(number).encode())
        kill(topic)


@pytest.mark.parametrize("kind", [list, tuple, iter])
async def test_publish_many_takes_bytes_and_messages_in_order(machine: Machine, kind: Any) -> None:
    topic = await machine.topic()
    assert await topic.publish_many(kind([b"0", Message(b"1", "k", {"a": "b"}), b"2"])) == 3
    assert [message.payload for message in await contents(topic)] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("count", [0, 1, READ_MESSAGES, READ_MESSAGES + 1, 3 * READ_MESSAGES])
async def test_publish_many_takes_any_number_in_bounded_chunks(machine: Machine, count: int) -> None:
    topic = await machine.topic()
    assert await topic.publish_many(b"x" for _ in range(count)) == count
    assert topic.head == count
    assert all(call.arguments[0] <= READ_MESSAGES for call in faults_of(topic).made("append"))  # type: ignore[operator]


async def test_publish_many_is_bounded_in_bytes_too(machine: Machine) -> None:
    topic = await machine.topic()
    assert await topic.publish_many([bytes(3 << 20)] * 5) == 5
    assert [call.arguments[0] for call in faults_of(topic).made("append")] == [2, 2, 1]


async def test_publish_many_that_fails_says_how_many_are_in(machine: Machine) -> None:
    topic = await machine.topic()
    store = faults_of(topic)

    def items() -> Iterator[bytes]:
        for number in range(4 * READ_MESSAGES):
            if number == 2 * READ_MESSAGES:
                store.fail("append", StoreFull("test", "no room"))
            yield str(number).encode()

    with pytest.raises(PublishFailed, match="no room") as caught:
        await topic.publish_many(items())
    published = caught.value.published
    assert published == topic.head
    assert READ_MESSAGES <= published <= 2 * READ_MESSAGES
    assert isinstance(caught.value.__cause__, StoreFull)
    assert [message.payload for message in await contents(topic)] == [str(number).encode() for number in range(published)]
    store.heal()
    assert await topic.publish_many([b"again"]) == 1


async def test_publish_many_looks_at_a_whole_list_before_it_publishes_any(machine: Machine) -> None:
    topic = await machine.topic()
    items: Any = [b"x"] * 1000 + ["text"]
    with pytest.raises(InvalidArgument, match=r"items\[1000\]\.payload"):
        await topic.publish_many(items)
    assert topic.head == 0


async def test_publish_many_from_an_iterator_says_how_many_were_in_before_the_bad_one(machine: Machine) -> None:
    topic = await machine.topic()
    items: Any = iter([b"x"] * 1000 + ["text"])
    with pytest.raises(PublishFailed, match=r"items\[1000\]\.payload") as caught:
        await topic.publish_many(items)
    assert caught.value.published == topic.head == 3 * READ_MESSAGES
    assert isinstance(caught.value.__cause__, InvalidArgument)


async def test_a_publish_that_fails_is_not_in_and_may_be_tried_again(machine: Machine) -> None:
    topic = await machine.topic()
    faults_of(topic).fail("append", StoreFull("test", "no room"), times=2)
    for _ in range(2):
        with pytest.raises(StoreFull):
            await topic.publish(b"x")
    assert topic.head == 0
    assert await topic.publish(b"x") == 0


@pytest.mark.parametrize("done", [True, False])
async def test_a_cancelled_publish_is_undecided_but_breaks_nothing(machine: Machine, done: bool) -> None:
    topic = await machine.topic()
    consumer = await join(await topic.subscribe("s"), "c")
    store = faults_of(topic)
    if done:
        store.lag("append", after=1.0, times=1)
    else:
        store.lag("append", before=1.0, times=1)
    task = asyncio.create_task(topic.publish(b"undecided"))
    await advance(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await advance(1)
    decided = topic.head
    assert await topic.publish(b"next") == decided
    expected = ["undecided", "next"][1 - decided :]
    for payload in expected:
        delivery = await take(consumer)
        assert text(delivery) == payload
        await delivery.ack()


async def test_cancelled_publishes_at_any_moment_leave_offsets_without_gaps(machine: Machine) -> None:
    topic = await machine.topic()
    tasks = [asyncio.create_task(topic.publish(str(number).encode())) for number in range(40)]
    for turn, task in enumerate(tasks):
        if turn % 3 == 0:
            task.cancel()
        if turn % 7 == 0:
            await asyncio.sleep(0)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    await settle()
    found = await contents(topic)
    assert [message.offset for message in found] == list(range(topic.head))
    for number, offset in enumerate(answers):
        if isinstance(offset, int):
            assert found[offset].payload == str(number).encode()


async def test_concurrent_publishes_share_commits_and_get_offsets_in_their_order(machine: Machine) -> None:
    topic = await machine.topic()
    offsets = await asyncio.gather(*(topic.publish(str(number).encode()) for number in range(200)))
    assert offsets == list(range(200))
    if machine.durable:
        assert machine.inner.writer.commits < 20  # type: ignore[attr-defined]


async def test_publishing_to_several_topics_of_one_store(machine: Machine) -> None:
    store = await machine.process()
    topics = [await machine.topic(store, f"/test/t{number}") for number in range(3)]
    await asyncio.gather(*(topic.publish_many([topic.name.encode()] * (number + 1)) for number, topic in enumerate(topics)))
    for number, topic in enumerate(topics):
        assert [message.payload for message in await contents(topic)] == [topic.name.encode()] * (number + 1)
        assert [message.offset for message in await contents(topic)] == list(range(number + 1))
