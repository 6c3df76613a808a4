"""What a thread that commits in groups allows at best: it appends, and does nothing else. Nobody reads, nobody acknowledges."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from .scenarios import FEW, PAYLOAD, SOME, Group, Result, Run, Survives, scenario, timed

GROUP_COMMIT = "thread: group commit, 1 publisher"
THREAD_COMMITS = "thread: SQLite, one row a commit"
GROUP_COMMIT_MANY = "thread × 100: group commit, 100 publishers"

MOST = 256
"""Rows of one commit, as in the store."""

J = TypeVar("J")
Job = tuple[bytes, asyncio.Future[None]]


def _answer(jobs: Sequence[Job]) -> None:
    for _, future in jobs:
        future.set_result(None)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


@contextmanager
def _thread(work: Callable[[Path, SimpleQueue[J | None], asyncio.AbstractEventLoop], None], path: Path) -> Iterator[SimpleQueue[J | None]]:
    """Works on what is put into the queue, until nothing is."""
    jobs: SimpleQueue[J | None] = SimpleQueue()
    thread = threading.Thread(target=work, args=(path, jobs, asyncio.get_running_loop()))
    thread.start()
    try:
        yield jobs
    finally:
        jobs.put(None)
        thread.join()


def _write(path: Path, jobs: SimpleQueue[Job | None], loop: asyncio.AbstractEventLoop) -> None:
    connection = _connect(path)
    connection.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, payload BLOB NOT NULL)")
    job = jobs.get()
    while job is not None:
        group = [job]
        try:
            while len(group) < MOST and (job := jobs.get_nowait()) is not None:
                group.append(job)
        except Empty:
            pass
        connection.execute(f"INSERT INTO messages (payload) VALUES {', '.join(['(?)'] * len(group))}", [payload for payload, _ in group])
        loop.call_soon_threadsafe(_answer, group)
        if job is not None:
            job = jobs.get()
    connection.close()


def _publishing(name: str, publishers: int, messages: int) -> None:
    @scenario(name, Group.PUBLISHING, messages=messages, kill=Survives.MESSAGES, power=Survives.MESSAGES)
    async def publishing(messages: int, folder: Path) -> AsyncIterator[Run]:
        loop = asyncio.get_running_loop()
        with _thread(_write, folder / "rows.db") as jobs:

            async def publish(number: int) -> int:
                for _ in range(number):
                    future = loop.create_future()
                    jobs.put((PAYLOAD, future))
                    await future
                return number

            async def run() -> Result:
                with timed() as result:
                    result.messages = sum(await asyncio.gather(*(publish((messages + nth) // publishers) for nth in range(publishers))))
                return result

            yield run


_publishing(GROUP_COMMIT, 1, FEW)
_publishing(GROUP_COMMIT_MANY, 100, 5 * SOME)


def _update(path: Path, jobs: SimpleQueue[asyncio.Future[None] | None], loop: asyncio.AbstractEventLoop) -> None:
    connection = _connect(path)
    connection.execute("CREATE TABLE position (id INTEGER PRIMARY KEY, cursor INTEGER NOT NULL)")
    connection.execute("INSERT INTO position VALUES (1, 0)")
    while (job := jobs.get()) is not None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE position SET cursor = cursor + 1 WHERE id = 1")
        connection.execute("COMMIT")
        loop.call_soon_threadsafe(job.set_result, None)
    connection.close()


@scenario(THREAD_COMMITS, Group.EACH, messages=FEW, kill=Survives.EVERYTHING, power=Survives.EVERYTHING)
async def thread_commits(messages: int, folder: Path) -> AsyncIterator[Run]:
    """What the loop can have of one-row commits without waiting for the disk itself."""
    loop = asyncio.get_running_loop()
    with _thread(_update, folder / "positions.db") as jobs:

        async def run() -> Result:
            with timed() as result:
                for _ in range(messages):
                    future = loop.create_future()
                    jobs.put(future)
                    await future
                    result.messages += 1
            return result

        yield run
