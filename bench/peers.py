"""Embedded queues of others: each drains a backlog one by one, with its own acknowledgement, at the durability that it has by default or by name.

A fresh file each round: what they have acknowledged stays in the file, and would slow the next. The backlog is filled before the clock starts.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

from .limits import APPENDS, LIMIT_A
from .scenarios import PAYLOAD, Group, Result, Run, Survives, package, scenario, timed

PERSIST_QUEUE = "persist-queue SQLiteAckQueue"
LITEQUEUE = "litequeue"
LOCALQUEUE = "localqueue"
LOCALQUEUE_DURABLE = "localqueue, DurabilityMode.DURABLE"
EMBEDDED = (PERSIST_QUEUE, LITEQUEUE, LOCALQUEUE, LOCALQUEUE_DURABLE)
BACKLOG = 5_000
"""Messages; some get slower with more."""


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder / "queue", ignore_errors=True)
    (folder / "queue").mkdir()
    return folder / "queue"


# both a get and an ack are a commit with SQLite's default, synchronous=FULL
@scenario(PERSIST_QUEUE, Group.EACH, messages=BACKLOG, limit=APPENDS, kill=Survives.EVERYTHING, power=Survives.EVERYTHING, needs=[package("persistqueue")])
async def persist_queue(messages: int, folder: Path) -> AsyncIterator[Run]:
    from persistqueue import SQLiteAckQueue

    async def run() -> Result:
        with closing(SQLiteAckQueue(str(_fresh(folder)))) as queue:
            for _ in range(messages):
                queue.put(PAYLOAD)
            with timed() as result:
                while result.messages < messages:
                    item = queue.get(block=False, raw=True)
                    queue.ack(id=item["pqid"])
                    result.messages += 1
        return result

    yield run


# it sets synchronous=NORMAL
@scenario(LITEQUEUE, Group.BACKLOG, messages=BACKLOG, limit=LIMIT_A, kill=Survives.EVERYTHING, power=Survives.LATEST, needs=[package("litequeue")])
async def litequeue(messages: int, folder: Path) -> AsyncIterator[Run]:
    from litequeue import LiteQueue

    async def run() -> Result:
        queue = LiteQueue(_fresh(folder) / "queue.db")
        with closing(queue.conn):
            for _ in range(messages):
                queue.put(PAYLOAD.decode())
            with timed() as result:
                while (message := queue.pop()) is not None:
                    queue.done(message.message_id)
                    result.messages += 1
        return result

    yield run


class _Bytes:
    """Payloads as they are."""

    def dumps(self, payload: bytes) -> bytes:
        return payload

    def loads(self, payload: bytes) -> bytes:
        return payload


def _localqueue(name: str, mode: str, group: Group, limit: str, power: Survives) -> None:
    @scenario(name, group, messages=BACKLOG, limit=limit, kill=Survives.EVERYTHING, power=power, needs=[package("localqueue")])
    async def localqueue(messages: int, folder: Path) -> AsyncIterator[Run]:
        from localqueue import DurabilityMode, SimpleQueue

        async def run() -> Result:
            with SimpleQueue(str(_fresh(folder)), durability=DurabilityMode(mode), serializer=_Bytes()) as queue:
                queue.put_many([PAYLOAD] * messages)
                with timed() as result:
                    while result.messages < messages:
                        queue.ack(queue.get_nowait())
                        result.messages += 1
            return result

        yield run


_localqueue(LOCALQUEUE, "relaxed", Group.BACKLOG, LIMIT_A, Survives.LATEST)
_localqueue(LOCALQUEUE_DURABLE, "durable", Group.EACH, APPENDS, Survives.EVERYTHING)
