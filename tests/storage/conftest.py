"""All back ends, for the conformance suite; files, for what only SQLite has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random

import pytest

from danube_dispatcher.simulation.disk import Disk, DiskLog, DiskStore
from danube_dispatcher.simulation.rates import Faults
from danube_dispatcher.storage import open_store
from danube_dispatcher.storage.memory import MemoryLog
from danube_dispatcher.storage.protocols import Store, TopicLog
from danube_dispatcher.storage.sqlite import SqliteStore
from danube_dispatcher.storage.sqlite.schema import OFFSET_BITS
from danube_dispatcher.virtual_time import VirtualLoop


class Clock:
    """A wall clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.5

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture(params=["memory", "sqlite", "simulated"])
async def store(request: pytest.FixtureRequest, path: Path, clock: Clock) -> AsyncIterator[Store]:
    if request.param == "simulated":  # the disk of simulations, when nothing goes wrong with it
        opened: Store = DiskStore(Disk(), asyncio.get_running_loop(), Faults(Random(0), {"all": 0.0}), lambda *_: None, clock=clock)
    else:
        opened = await open_store("memory:" if request.param == "memory" else f"sqlite:{path}", create=True, clock=clock)
    yield watched(opened)
    await opened.close()


Open = Callable[[], Awaitable[SqliteStore]]


@pytest.fixture
async def open_file(path: Path, clock: Clock) -> AsyncIterator[Open]:
    """Opens the file, each time as another process would."""
    stores: list[SqliteStore] = []

    async def opened() -> SqliteStore:
        store = await open_store(f"sqlite:{path}", create=True, clock=clock)
        assert isinstance(store, SqliteStore)
        stores.append(store)
        watched(store)
        return store

    yield opened
    for store in stores:
        await store.close()


def watched(store: Store) -> Store:
    """Virtual time stands still while the store works."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, VirtualLoop):
        loop.busy.append(lambda: store.outstanding > 0)
    return store


async def forget(store: Store, log: TopicLog, *offsets: int) -> None:
    """Take messages out of a log, as retention will: they leave a gap."""
    if isinstance(log, DiskLog):
        log = log.inner
    if isinstance(log, MemoryLog):
        log._messages = [message for message in log._messages if message.offset not in offsets]
        return
    assert isinstance(store, SqliteStore)
    first = (await store.writer.call(lambda writer: writer.execute("SELECT id FROM topics WHERE name = ?", (log.topic,)).fetchall()))[0][0] << OFFSET_BITS
    for offset in offsets:
        row = first + offset
        await store.writer.call(lambda writer, row=row: writer.execute("DELETE FROM messages WHERE id = ?", (row,)).rowcount)  # type: ignore[misc]
