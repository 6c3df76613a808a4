"""What is handed to the writer of a file at once is bounded in bytes, too."""

from __future__ import annotations

import asyncio
import threading

import pytest

from danube_dispatcher import Message
from danube_dispatcher.storage.sqlite import writer

from .conftest import Open


async def test_what_waits_for_a_commit_is_bounded_in_bytes(open_file: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "QUEUE_BYTES", 1000)
    store = await open_file()
    log = await store.topic("/default/orders", create=True)
    go_on = threading.Event()
    held_up = store.writer.call(lambda _: go_on.wait(60))
    calls = [log.append([Message(bytes(300))]) for _ in range(10)]
    handed = store.writer._jobs.qsize()
    go_on.set()
    assert handed <= 4, "three of them, and the call that is held up"
    assert await held_up
    assert [list(call) for call in await asyncio.gather(*calls)] == [[offset] for offset in range(10)]


async def test_what_is_long_is_read_one_by_one(open_file: Open) -> None:
    """All bodies of a batch are fetched at once only if they fit into its bound together."""
    store = await open_file()
    log = await store.topic("/default/orders", create=True)
    lengths = [10, 100, 101, 10, 300, 600, 10, 10]
    await log.append([Message(bytes(length)) for length in lengths])
    fetched: list[str] = []
    store.reader.set_trace_callback(fetched.append)
    batch = log.read(0, messages=8, size=8 * 128)
    assert [len(message.payload) for message in batch.messages] == lengths[:5], "the sixth would have been too much"
    assert len(fetched) == 1 + 3, "one for all, and one for each that is longer than an eighth, the one that was too much with them"
    assert [len(message.payload) for message in log.read(batch.next_offset, messages=8, size=8 * 128).messages] == lengths[5:]
    store.reader.set_trace_callback(None)
