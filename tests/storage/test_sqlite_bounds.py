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
