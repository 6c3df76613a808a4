"""Bugs to plant in a process that is killed. Each must be found: a campaign that finds nothing has shown nothing before."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from typing import Any

from crash import points
from danube_dispatcher import adapter, dead_letters
from danube_dispatcher.storage.protocols import Lease
from danube_dispatcher.storage.sqlite import writer
from danube_dispatcher.storage.sqlite.store import SqliteStore
from danube_statemachines import EngineCore, Held, Progress


def early_append() -> None:
    """A publisher hears that its messages are durable before they are committed."""
    commit = writer.Writer._commit

    def early(self: writer.Writer, connection: sqlite3.Connection, group: writer.Group) -> None:
        def answer() -> None:
            for job in group.jobs:
                if isinstance(job, writer.Append) and not job.future.done():
                    job.answer()

        class Early(points.Connection):
            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                if sql == "COMMIT":
                    loop.call_soon_threadsafe(answer)
                    time.sleep(0.002)
                return super().execute(sql, *arguments)

        loop = self._loop
        commit(self, Early(connection, lambda _: None), group)  # type: ignore[arg-type]  # it answers like one

    writer.Writer._commit = early  # type: ignore[method-assign]


def early_cursor() -> None:
    """The cursor that is written has passed a message that nobody has settled."""
    store = SqliteStore.store

    def early(self: SqliteStore, lease: Lease, progress: Progress, *, let_go: bool = False) -> Any:
        head = self._topics[lease.topic].head
        return store(self, lease, progress._replace(cursor=min(progress.cursor + 1, head - 1)), let_go=let_go)

    SqliteStore.store = early  # type: ignore[method-assign]


def hasty_ack() -> None:
    """With flush_interval=0 an ack returns before the cursor is durable."""

    async def hasty(self: adapter.ReliableAdapter, delivery: Any) -> bool:
        stale = self.counts.stale_acks
        self.step(self.machine.ack, delivery)
        return self.counts.stale_acks == stale

    adapter.ReliableAdapter.ack_message = hasty  # type: ignore[method-assign]


def no_marks() -> None:
    """Nobody is careful after a crash."""
    init = EngineCore.__init__

    def careless(self: EngineCore[Any], *arguments: Any, unclean: bool = False, **named: Any) -> None:
        init(self, *arguments, **named)

    EngineCore.__init__ = careless  # type: ignore[method-assign]


def forgotten_failure() -> None:
    """A charged failure is not written."""

    def forget(self: EngineCore[Any], held: Held, now: float) -> None:
        pass

    EngineCore.save_failure = forget  # type: ignore[method-assign]


def late_flush() -> None:
    """The cursor is written long after its interval and its bound."""
    init = EngineCore.__init__

    def late(self: EngineCore[Any], *arguments: Any, flush_interval: float, flush_messages: int, **named: Any) -> None:
        init(self, *arguments, flush_interval=4 * flush_interval, flush_messages=4 * flush_messages, **named)

    EngineCore.__init__ = late  # type: ignore[method-assign,assignment]


def no_dead_letter() -> None:
    """An exhausted message is settled without a dead letter."""

    def skip(self: dead_letters.DeadLetters, message: Any, held: Held) -> None:
        asyncio.get_running_loop().call_soon(self._driver.step, self._driver.machine.dead_lettered, None)

    dead_letters.DeadLetters.write = skip  # type: ignore[method-assign]


PLANTS: dict[str, Callable[[], None]] = {
    "early-append": early_append,
    "early-cursor": early_cursor,
    "hasty-ack": hasty_ack,
    "no-marks": no_marks,
    "forgotten-failure": forgotten_failure,
    "late-flush": late_flush,
    "no-dead-letter": no_dead_letter,
}
