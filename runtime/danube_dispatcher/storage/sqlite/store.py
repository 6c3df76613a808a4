"""A store in one SQLite file: reads in place on the loop's own connection, writes by the writer thread."""

from __future__ import annotations

import asyncio
import functools
import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from danube_statemachines import Progress

from ...errors import StoreDamaged, StoreUnavailable
from ..protocols import Lease, Occupied, Request, Row, Spec
from ..rules import closed, no_topic
from .errors import MOVED, translate
from .leases import Leases, Shared
from .log import SqliteLog, insert_group
from .schema import Opened, connect_writer, identity, open_file
from .turns import lend, moment
from .writer import Group, Writer

T = TypeVar("T")

WRITER_BUSY = 5.0
"""Seconds that a write waits for another process's lock before it raises StoreBusy."""


async def open_sqlite(path: str, *, create: bool, clock: Callable[[], float] = time.time, busy: float = WRITER_BUSY) -> SqliteStore:
    """Open the store at `path`; see `open_store`. `busy` seconds a write waits for other processes."""
    url = f"sqlite:{path}"
    loop = asyncio.get_running_loop()
    opening = loop.run_in_executor(None, functools.partial(open_file, url, path, create=create, busy=busy))
    lend(loop, lambda: not opening.done(), moment)
    try:
        opened = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_discard)
        raise
    return SqliteStore(url, opened, clock=clock, busy=busy)


def _discard(opening: asyncio.Future[Opened]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opened = opening.result()
        opened.reader.close()
        opened.writer.close()


class SqliteStore:
    """One opened file. Writes are futures, handed in when called; reads are done in place."""

    def __init__(self, url: str, opened: Opened, *, clock: Callable[[], float], busy: float) -> None:
        self.url = url
        self.now = clock
        self.seed = opened.seed
        self.reader = opened.reader
        self._path = opened.path
        self._identity = opened.identity
        self._open = True
        self._topics: dict[str, SqliteLog] = {}
        self._version = -1
        self._leases = Leases(url, opened.seed)
        self._shared = Shared()
        """Whose leases share this process's term, as of a renewal that was committed."""
        self.writer = Writer(
            url, (opened.writer, opened.reader), connect=functools.partial(connect_writer, opened.path, busy), check=self._check_place, insert=self._insert
        )

    @property
    def outstanding(self) -> int:
        return self.writer.outstanding

    def check(self) -> None:
        if not self._open:
            raise closed(self.url)

    async def close(self) -> None:
        self._open = False
        await self.writer.stop()

    # ---- topics ----

    async def topic(self, name: str, *, create: bool) -> SqliteLog:
        self.check()
        found = self._topics.get(name) or self._read(lambda reader: _find_topic(reader, name))
        if not found:
            if not create:
                raise no_topic(self.url, name)
            found = await self._write(lambda connection: _create_topic(connection, name))
        if isinstance(found, tuple):
            found = self._topics.setdefault(name, SqliteLog(self, name, *found))
        return found

    async def topics(self) -> list[str]:
        return self._read(lambda reader: [name for (name,) in reader.execute("SELECT name FROM topics ORDER BY name").fetchall()])

    def refresh(self) -> bool:
        if self.writer.delivering:  # asked by a watcher, half-way through telling of a commit
            return False
        return self._read(self._refresh)

    def _refresh(self, reader: sqlite3.Connection) -> bool:
        ((version,),) = reader.execute("PRAGMA data_version").fetchall()
        if version == self._version:
            return False
        logs = {log.id: (log, log.head) for log in self._topics.values()}
        heads = reader.execute("SELECT id, head FROM topics WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(list(logs)),)).fetchall()
        committing = self.writer.committing  # looked at after the heads: what of ours they contain is in it, or finished
        self.writer.deliver()
        look_again = False
        for number, head in heads:
            log, before = logs[number]
            if head < before:
                raise StoreDamaged(
                    self.url, f"topic {log.topic} had {before} messages and now has {head}: a part of its file was lost or replaced; open it again"
                )
            if head > log.head:
                if log in committing:
                    look_again = True  # ours will be announced with its messages; what is beyond them, then
                else:
                    log.move(head)
        self._version = -1 if look_again else version
        return True

    # ---- subscriptions ----

    async def load(self, lease: Lease) -> Progress:
        progress = self._read(lambda reader: self._leases.load(reader, lease))
        log = self._topics.get(lease.topic)
        if log is not None and progress.cursor >= log.head:
            # the owner before has seen more of the topic than this process; none of it is ours, or it would be announced by now
            found = self._read(lambda reader: _find_topic(reader, lease.topic))
            if found is not None and found[1] > progress.cursor:
                log.move(progress.cursor + 1)
        return progress

    def store(self, lease: Lease, progress: Progress, *, let_go: bool = False) -> asyncio.Future[None]:
        return self._write(lambda connection: self._leases.store(connection, lease, progress, let_go))

    def acquire(
        self, topic: str, subscription: str, *, owner: str, seconds: float, new: Spec | None, stamp: int | None = None
    ) -> asyncio.Future[Lease | Occupied]:
        return self._write(lambda connection: self._leases.acquire(connection, topic, subscription, owner, self.now(), seconds, new, stamp))

    def renew(self, leases: Mapping[Lease, str | None], *, seconds: float) -> asyncio.Future[set[Lease]]:
        known, wanted, now_shared = self._shared, dict(leases), list[Shared]()  # the caller's may change before the thread looks

        def renew(connection: sqlite3.Connection) -> set[Lease]:
            held, shared = self._leases.renew(connection, known, wanted, self.now() + seconds)
            now_shared.append(shared)
            return held

        def committed(renewal: asyncio.Future[set[Lease]]) -> None:
            if not renewal.cancelled() and renewal.exception() is None:
                self._shared = now_shared[0]

        renewal = self._write(renew)
        renewal.add_done_callback(committed)
        return renewal

    def remove(self, lease: Lease) -> asyncio.Future[None]:
        return self._write(lambda connection: self._leases.remove(connection, lease))

    async def rows(self, topic: str | None = None) -> list[Row]:
        return self._read(lambda reader: self._leases.rows(reader, topic))

    def ask(self, topic: str, subscription: str, action: str) -> asyncio.Future[int]:
        return self._write(lambda connection: self._leases.ask(connection, topic, subscription, action))

    async def asked(self) -> list[Request]:
        return self._read(self._leases.asked)

    def answer(self, request: int, answer: str) -> asyncio.Future[None]:
        return self._write(lambda connection: self._leases.answer(connection, request, answer))

    async def answered(self, request: int, *, withdraw: bool = False) -> str | None:
        if not withdraw and self._read(lambda reader: self._leases.answered(reader, request)) is None:
            return None
        return await self._write(lambda connection: self._leases.take_answer(connection, request))

    # ---- how ----

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        self.check()
        try:
            return read(self.reader)
        except sqlite3.Error as error:
            raise translate(self.url, error) from error

    def _write(self, write: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        self.check()
        return self.writer.call(write)

    def _insert(self, connection: sqlite3.Connection, group: Group) -> None:
        insert_group(connection, group, self.url, self.now())

    def _check_place(self) -> None:
        """SQLite goes on writing to a file that was deleted, and all of it would be gone with this process."""
        try:
            same = identity(self._path) == self._identity
        except OSError:
            same = False
        if not same:
            raise StoreUnavailable(self.url, f"{self._path} {MOVED}; put it back, or close the store")


def _find_topic(connection: sqlite3.Connection, name: str) -> tuple[int, int] | None:
    found = connection.execute("SELECT id, head FROM topics WHERE name = ?", (name,)).fetchall()
    return found[0] if found else None


def _create_topic(connection: sqlite3.Connection, name: str) -> tuple[int, int]:
    connection.execute("INSERT INTO topics (name, head) VALUES (?, 0) ON CONFLICT DO NOTHING", (name,))
    found = _find_topic(connection, name)
    assert found is not None
    return found
