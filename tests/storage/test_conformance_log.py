"""What every back end promises of a topic's log (storage/protocols.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest

from danube_dispatcher.errors import Closed, StoreNotFound
from danube_dispatcher.messages import NO_ATTRIBUTES, Message
from danube_dispatcher.storage.protocols import READ_BYTES, READ_MESSAGES, Batch, Lease, Spec, Store, TopicLog
from danube_statemachines import Progress

from .conftest import Clock, forget

TOPIC = "/default/orders"


def some(count: int, *, first: int = 0, size: int = 4) -> list[Message]:
    return [Message(str(first + number).encode().ljust(size)) for number in range(count)]


async def read(log: TopicLog, start: int, messages: int = READ_MESSAGES, size: int = READ_BYTES) -> Batch:
    answer = log.read(start, messages=messages, size=size)
    return answer if isinstance(answer, Batch) else await answer


def offsets(batch: Batch) -> list[int]:
    return [message.offset for message in batch.messages]


@pytest.fixture
async def log(store: Store) -> TopicLog:
    return await store.topic(TOPIC, create=True)


async def test_an_empty_topic(log: TopicLog) -> None:
    assert log.topic == TOPIC
    assert log.head == 0
    assert await read(log, 0) == Batch([], 0)


async def test_offsets_start_at_zero_and_go_on(log: TopicLog) -> None:
    assert list(await log.append(some(3))) == [0, 1, 2]
    assert list(await log.append(some(1))) == [3]
    assert log.head == 4
    assert offsets(await read(log, 0)) == [0, 1, 2, 3]


@pytest.mark.parametrize("key", [None, "", "k", "schlüssel ✓", "nul\0inside"])
@pytest.mark.parametrize("attributes", [{}, {"a": "1"}, {"": "", "ü": "✓\n", "z": "1", "b": "\ud800"}])
@pytest.mark.parametrize("payload", [b"", b"\0\xff" * 50, b"x" * 100_000])
async def test_what_is_read_is_what_was_written(log: TopicLog, clock: Clock, payload: bytes, key: str | None, attributes: dict[str, str]) -> None:
    await log.append([Message(payload, key, attributes)])
    (message,) = (await read(log, 0)).messages
    assert message == Message(payload, key, attributes, TOPIC, 0, clock.now)
    assert list(message.attributes) == list(attributes)
    assert type(message.payload) is bytes


async def test_place_and_time_are_the_stores_to_give(log: TopicLog, clock: Clock) -> None:
    await log.append([Message(b"again", "k", {"a": "b"}, "/other/topic", 77, 1.0)])
    assert (await read(log, 0)).messages == [Message(b"again", "k", {"a": "b"}, TOPIC, 0, clock.now)]


async def test_attributes_are_a_mapping_that_nobody_can_change(log: TopicLog) -> None:
    given = {"a": "1"}
    appended = log.append([Message(b"", None, given), Message(b""), Message(b"", None, {})])
    await appended
    given["a"] = "2"
    first, second, third = (await read(log, 0)).messages
    assert isinstance(first.attributes, Mapping)
    assert first.attributes == {"a": "1"}
    with pytest.raises(TypeError):
        first.attributes["a"] = "3"  # type: ignore[index]
    assert second.attributes is third.attributes is NO_ATTRIBUTES


async def test_topics_are_apart(store: Store, log: TopicLog) -> None:
    other = await store.topic("/default/other", create=True)
    await log.append(some(2))
    await other.append(some(3, first=10))
    assert (log.head, other.head) == (2, 3)
    assert [message.payload.strip() for message in (await read(other, 0)).messages] == [b"10", b"11", b"12"]
    assert offsets(await read(log, -5)) == [0, 1]
    assert offsets(await read(other, -5)) == [0, 1, 2]


async def test_reading_starts_where_asked(log: TopicLog) -> None:
    await log.append(some(5))
    assert offsets(await read(log, 3)) == [3, 4]
    assert await read(log, 5) == Batch([], 5)
    assert await read(log, 99) == Batch([], 99)


async def test_a_batch_is_bounded_in_messages(log: TopicLog) -> None:
    for _ in range(3):
        await log.append(some(100))
    batch = await read(log, 0)
    assert offsets(batch) == list(range(READ_MESSAGES))
    assert batch.next_offset == READ_MESSAGES
    assert offsets(await read(log, batch.next_offset)) == list(range(READ_MESSAGES, 300))
    assert await read(log, 1, messages=2) == Batch(batch.messages[1:3], 3)


async def test_a_batch_is_bounded_in_bytes_but_always_one(log: TopicLog) -> None:
    await log.append(some(4, size=100))
    assert offsets(await read(log, 0, size=300)) == [0, 1, 2]
    batch = await read(log, 0, size=299)
    assert (offsets(batch), batch.next_offset) == ([0, 1], 2)
    batch = await read(log, 1, size=1)
    assert (offsets(batch), batch.next_offset) == ([1], 2)
    await log.append([Message(b"x" * (READ_BYTES + 1)), Message(b"")])
    assert offsets(await read(log, 4)) == [4]
    assert offsets(await read(log, 3)) == [3]


async def test_gaps_are_skipped(store: Store, log: TopicLog) -> None:
    await log.append(some(10))
    await forget(store, log, 0, 3, 4, 8, 9)
    assert offsets(await read(log, 0)) == [1, 2, 5, 6, 7]
    assert (await read(log, 0)).next_offset == 10, "nothing is between the last message and the head"
    batch = await read(log, 0, messages=2)
    assert (offsets(batch), batch.next_offset) == ([1, 2], 3)
    assert offsets(await read(log, 3, messages=1)) == [5]
    assert await read(log, 8) == Batch([], 10)
    assert list(await log.append(some(1))) == [10], "a gap never fills"
    assert offsets(await read(log, 8)) == [10]


async def test_the_order_of_handing_in_is_the_order_of_offsets(log: TopicLog) -> None:
    calls = [log.append(some(count, first=100 * count)) for count in (3, 1, 200, 100, 2)]
    ranges = [list(await call) for call in calls]
    assert sum(ranges, []) == list(range(306))
    assert (await read(log, 3, messages=1)).messages[0].payload.strip() == b"100"


async def test_concurrent_publishers_get_offsets_of_their_own(log: TopicLog) -> None:
    async def publish(number: int) -> list[int]:
        mine: list[int] = []
        for count in (1, 3, 2):
            mine += await log.append([Message(str(number).encode())] * count)
        return mine

    all_offsets = await asyncio.gather(*(publish(number) for number in range(50)))
    assert sorted(sum(all_offsets, [])) == list(range(300))
    assert all(mine == sorted(mine) for mine in all_offsets)
    payloads = [message.payload for start in (0, READ_MESSAGES) for message in (await read(log, start)).messages]
    assert all(payloads[offset] == str(number).encode() for number, mine in enumerate(all_offsets) for offset in mine)


async def test_watchers_hear_before_the_publisher(log: TopicLog) -> None:
    story: list[object] = []

    def heard(messages: Sequence[Message]) -> None:
        story.append((list(messages), log.head))

    log.watch(heard)
    appended = asyncio.ensure_future(log.append([Message(b"a", "k", {"x": "y"}), Message(b"b")]))
    appended.add_done_callback(lambda _: story.append("published"))
    await appended
    await asyncio.sleep(0)
    assert story == [((await read(log, 0)).messages, 2), "published"]


async def test_watchers_hear_in_commit_order(log: TopicLog) -> None:
    heard: list[int] = []
    log.watch(lambda messages: heard.extend(message.offset for message in messages))
    await asyncio.gather(*(log.append(some(7)) for _ in range(100)))
    assert heard == list(range(700))


async def test_a_watcher_may_read_and_publish(store: Store, log: TopicLog) -> None:
    other = await store.topic("/default/copy", create=True)
    calls: list[asyncio.Future[Sequence[int]]] = []

    def copy(messages: Sequence[Message]) -> None:
        answer = log.read(messages[0].offset)
        assert not isinstance(answer, Batch) or answer.messages == list(messages)
        store.refresh()
        calls.append(asyncio.ensure_future(other.append(messages)))

    log.watch(copy)
    await log.append(some(2))
    await log.append(some(1))
    await asyncio.gather(*calls)
    assert other.head == 3


async def test_watching_ends(log: TopicLog) -> None:
    heard: list[str] = []
    ends: dict[str, Callable[[], None]] = {}

    def first(_: Sequence[Message]) -> None:
        heard.append("first")
        ends["second"]()

    ends["first"] = log.watch(first)
    ends["second"] = log.watch(lambda _: heard.append("second"))
    await log.append(some(1))
    ends["first"]()
    ends["first"]()
    await log.append(some(1))
    assert heard == ["first"]


async def test_a_failing_watcher_disturbs_nobody(log: TopicLog, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[int] = []

    def fail(_: Sequence[Message]) -> None:
        raise ZeroDivisionError

    log.watch(fail)
    log.watch(lambda messages: heard.append(len(messages)))
    assert list(await log.append([Message(b"secret")])) == [0]
    assert heard == [1]
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text


async def test_a_cancelled_publish_disturbs_nobody(log: TopicLog) -> None:
    calls = [asyncio.ensure_future(log.append(some(1))) for _ in range(3)]
    calls[1].cancel()
    assert list(await calls[0]) == [0]
    assert list(await calls[2])[0] in (1, 2)
    (last,) = await log.append(some(1))
    assert log.head == last + 1
    assert [message.offset for message in (await read(log, 0)).messages] == list(range(log.head))


async def test_topics_are_found_by_name(store: Store, log: TopicLog) -> None:
    assert await store.topic(TOPIC, create=False) is log
    with pytest.raises(StoreNotFound, match="/default/none"):
        await store.topic("/default/none", create=False)
    made = await asyncio.gather(*(store.topic("/default/a", create=True) for _ in range(5)))
    assert len(set(map(id, made))) == 1
    assert await store.topics() == ["/default/a", TOPIC]


async def test_nothing_is_outstanding_when_all_is_answered(store: Store, log: TopicLog) -> None:
    await asyncio.gather(*(log.append(some(300)) for _ in range(10)))
    assert store.outstanding == 0


async def test_without_other_processes_there_is_nothing_to_refresh_for_long(store: Store, log: TopicLog) -> None:
    heard: list[int] = []
    log.watch(lambda messages: heard.append(len(messages)))
    await log.append(some(2))
    store.refresh()
    assert store.refresh() is False
    assert (heard, log.head) == ([2], 2)


async def test_closing_finishes_what_was_handed_in(store: Store, log: TopicLog) -> None:
    heard: list[int] = []
    log.watch(lambda messages: heard.extend(message.offset for message in messages))
    calls = [asyncio.ensure_future(log.append(some(100))) for _ in range(50)]
    await asyncio.gather(store.close(), store.close())
    assert [list(call.result())[0] for call in calls] == list(range(0, 5000, 100))
    assert heard == list(range(5000))
    assert store.outstanding == 0


async def test_after_close_everything_says_so(store: Store, log: TopicLog) -> None:
    lease = await store.acquire(TOPIC, "s", owner="me", seconds=10, new=Spec("shared", -1))
    assert isinstance(lease, Lease)
    await store.close()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: log.append(some(1)),
        lambda: read(log, 0),
        lambda: store.topic(TOPIC, create=True),
        store.topics,
        lambda: store.load(lease),
        lambda: store.store(lease, Progress()),
        lambda: store.acquire(TOPIC, "s", owner="me", seconds=10, new=None),
        lambda: store.renew({lease: None}, seconds=10),
        lambda: store.remove(lease),
        store.rows,
        lambda: store.ask(TOPIC, "s", "x"),
        store.asked,
        lambda: store.answer(1, "x"),
        lambda: store.answered(1),
    ]
    for call in calls:
        with pytest.raises(Closed):
            await call()
    with pytest.raises(Closed):
        store.refresh()
    await store.close()
