"""What the event loop and the disk allow at best: nothing remembered, nothing promised beyond what the row says."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

from .scenarios import FEW, MANY, PAYLOAD, SOME, Group, Result, Run, Survives, scenario, timed

# what stands before the colon is how a table refers to it
LIMIT_A = "LIMIT-A: two tasks, two asyncio.Queues"
LIMIT_A_TIMED = "LIMIT-A timed: each round trip"
LIMIT_C = "LIMIT-C: asyncio.Queue(1000)"
LIMIT_C_SHARED = "LIMIT-C × 4: four of them in turn"
COMMITS = "commit: SQLite, one row each, synchronous=FULL"
APPENDS = "append: plain file, fdatasync each"


@scenario(LIMIT_A, Group.IN_MEMORY, messages=MANY)
async def limit_a(messages: int, folder: Path) -> AsyncIterator[Run]:
    async def run() -> Result:
        out: asyncio.Queue[bytes] = asyncio.Queue()
        back: asyncio.Queue[int] = asyncio.Queue()

        async def consumer() -> int:
            taken = 0
            while taken < messages:
                back.put_nowait(len(await out.get()))
                taken += 1
            return taken

        with timed() as result:
            task = asyncio.create_task(consumer())
            for _ in range(messages):
                out.put_nowait(PAYLOAD)
                await back.get()
            result.messages = await task
        return result

    yield run


@scenario(LIMIT_A_TIMED, Group.LATENCY, messages=SOME)
async def limit_a_timed(messages: int, folder: Path) -> AsyncIterator[Run]:
    async def run() -> Result:
        out: asyncio.Queue[bytes] = asyncio.Queue()
        back: asyncio.Queue[int] = asyncio.Queue()
        latencies: list[float] = []

        async def consumer() -> None:
            for _ in range(messages):
                back.put_nowait(len(await out.get()))

        with timed() as result:
            task = asyncio.create_task(consumer())
            for _ in range(messages):
                began = time.perf_counter()
                out.put_nowait(PAYLOAD)
                await back.get()
                latencies.append(time.perf_counter() - began)
            await task
        result.messages, result.latencies = len(latencies), latencies
        return result

    yield run


def _fire_and_forget(name: str, consumers: int) -> None:
    @scenario(name, Group.AT_MOST_ONCE, messages=MANY)
    async def fire_and_forget(messages: int, folder: Path) -> AsyncIterator[Run]:
        async def run() -> Result:
            queues: list[asyncio.Queue[bytes | None]] = [asyncio.Queue(1000) for _ in range(consumers)]

            async def consumer(queue: asyncio.Queue[bytes | None]) -> int:
                taken = 0
                while await queue.get() is not None:
                    taken += 1
                return taken

            with timed() as result:
                tasks = [asyncio.create_task(consumer(queue)) for queue in queues]
                for nth in range(messages):
                    await queues[nth % consumers].put(PAYLOAD)
                for queue in queues:
                    await queue.put(None)
                result.messages = sum(await asyncio.gather(*tasks))
            return result

        yield run


_fire_and_forget(LIMIT_C, 1)
_fire_and_forget(LIMIT_C_SHARED, 4)


@scenario(COMMITS, Group.EACH, messages=FEW, kill=Survives.EVERYTHING, power=Survives.EVERYTHING)
async def commits(messages: int, folder: Path) -> AsyncIterator[Run]:
    connection = sqlite3.connect(folder / "rows.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE position (id INTEGER PRIMARY KEY, cursor INTEGER NOT NULL)")
    connection.execute("INSERT INTO position VALUES (1, -1)")

    async def run() -> Result:
        with timed() as result:
            for nth in range(messages):
                connection.execute("UPDATE position SET cursor = ? WHERE id = 1", (nth,))
        result.messages = connection.execute("SELECT cursor + 1 FROM position").fetchone()[0]
        return result

    yield run
    connection.close()


@scenario(APPENDS, Group.EACH, messages=FEW, kill=Survives.EVERYTHING, power=Survives.EVERYTHING)
async def appends(messages: int, folder: Path) -> AsyncIterator[Run]:
    file = os.open(folder / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    async def run() -> Result:
        os.ftruncate(file, 0)
        os.fsync(file)
        with timed() as result:
            for _ in range(messages):
                os.write(file, PAYLOAD)
                os.fdatasync(file)
        result.messages = os.fstat(file).st_size // len(PAYLOAD)
        return result

    yield run
    os.close(file)
