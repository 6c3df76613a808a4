"""The named points at which a process can kill itself: around the calls of the store, the transactions of the writer's thread and the adapter's effects."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from crash.journal import Journal
from crash.workload import DEAD, FLUSH_MESSAGES
from danube_dispatcher import Message, dispatcher, engine
from danube_dispatcher.adapter import ReliableAdapter
from danube_dispatcher.storage.protocols import Lease, Occupied, Spec
from danube_dispatcher.storage.sqlite import schema
from danube_dispatcher.storage.sqlite import store as sqlite_store
from danube_dispatcher.storage.sqlite.store import SqliteStore
from danube_dispatcher.storage.sqlite.writer import Append, Group, Log, Writer
from danube_statemachines import DeliveryId, EngineCore, Held, Progress, Settlement

T = TypeVar("T")

WRITES = ("append", "dead letter", "acquire", "cursor", "mark", "failure", "renewal", "let go")
"""Writes to the store. "mark": a careful owner's, before it sends; "failure": a charged one; "let go": the last of a subscription that closes."""
STAGES = ("before", "begun", "written", "committed", "after")
""" "before" and "after" the call, on the event loop; in the writer's thread after BEGIN, before COMMIT and after it."""
EFFECTS = ("send", "settle", "save failure", "move to dead letters", "withdraw")
CALLS = ("take", "ack", "nack", "fence", "build", "topic close", "store close")
"""What else has a before and an after. "fence": the read of the progress under a new lease; "build": the making of a new file."""
POINTS = (
    *(f"{write} {stage}" for write in WRITES for stage in STAGES),
    *(f"{call} {when}" for call in (*EFFECTS, *CALLS) for when in ("before", "after")),
)


class Killer:
    """Ends its process, without a word but to the journal, at the n-th passage of one point."""

    def __init__(self, point: str | None, nth: int, journal: Journal) -> None:
        self._point = point
        self._left = nth
        self._journal = journal

    def __call__(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                self.kill(point)

    def kill(self, why: str) -> None:
        self._journal("killed", why)
        os.kill(os.getpid(), signal.SIGKILL)


class Tagged:
    """A write that says what it is."""

    def __init__(self, kind: str, run: Callable[[sqlite3.Connection], Any]) -> None:
        self.kind = kind
        self._run = run

    def __call__(self, connection: sqlite3.Connection) -> Any:
        return self._run(connection)


class Connection:
    """The writer's, with points around a transaction's beginning and end."""

    def __init__(self, connection: sqlite3.Connection, passing: Callable[[str], None]) -> None:
        self._connection = connection
        self._passing = passing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            self._passing("written")
        result = self._connection.execute(sql, *arguments)
        if sql == "BEGIN IMMEDIATE":
            self._passing("begun")
        elif sql == "COMMIT":
            self._passing("committed")
        return result


class PointedWriter(Writer):
    killer: Killer
    kind = ""
    """Of the call that is being handed in."""

    def append(self, log: Log, messages: Sequence[Message]) -> asyncio.Future[Sequence[int]]:
        return self._around(kind_of(log), lambda: super(PointedWriter, self).append(log, messages))

    def call(self, run: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        if not self.kind:
            return super().call(run)
        return self._around(self.kind, lambda: super(PointedWriter, self).call(Tagged(self.kind, run)))

    def _around(self, kind: str, call: Callable[[], asyncio.Future[Any]]) -> asyncio.Future[Any]:
        self.killer(f"{kind} before")
        future = call()
        future.add_done_callback(lambda _: self.killer(f"{kind} after"))
        return future

    def _commit(self, connection: sqlite3.Connection, group: Group) -> None:
        kinds = {kind_of(job.log) for job in group.jobs if isinstance(job, Append)}
        kinds |= {run.kind for job in group.jobs if not isinstance(job, Append) and isinstance(run := job.run, Tagged)}

        def passing(stage: str) -> None:
            for kind in sorted(kinds):
                self.killer(f"{kind} {stage}")

        super()._commit(Connection(connection, passing), group)  # type: ignore[arg-type]  # it answers like one


def kind_of(log: Log) -> str:
    return "dead letter" if log.topic == DEAD else "append"


class PointedStore(SqliteStore):
    """Says to its writer what each write is."""

    writer: PointedWriter
    killer: Killer
    journal: Journal

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._failures: dict[Lease, tuple[int, int]] = {}

    def _tagged(self, kind: str, call: Callable[[], T]) -> T:
        self.writer.kind = kind
        try:
            return call()
        finally:
            self.writer.kind = ""

    def store(self, lease: Lease, progress: Progress, *, let_go: bool = False) -> asyncio.Future[None]:
        held = progress.held
        if let_go:
            kind = "let go"
        elif held is not None and held.failures and self._failures.get(lease) != (held.offset, held.failures):
            kind = "failure"
            self._failures[lease] = (held.offset, held.failures)
        else:
            kind = "mark" if held is not None and held.sent else "cursor"
        return self._tagged(kind, lambda: super(PointedStore, self).store(lease, progress, let_go=let_go))

    def acquire(
        self, topic: str, subscription: str, *, owner: str, seconds: float, new: Spec | None, stamp: int | None = None
    ) -> asyncio.Future[Lease | Occupied]:
        def call() -> asyncio.Future[Lease | Occupied]:
            return super(PointedStore, self).acquire(topic, subscription, owner=owner, seconds=seconds, new=new, stamp=stamp)

        self.journal("acquire", subscription)
        return self._tagged("acquire", call)

    def renew(self, leases: Mapping[Lease, str | None], *, seconds: float) -> asyncio.Future[set[Lease]]:
        self.journal("renew", [lease.subscription for lease in leases])
        return self._tagged("renewal", lambda: super(PointedStore, self).renew(leases, seconds=seconds))

    async def load(self, lease: Lease) -> Progress:
        self.killer("fence before")
        progress = await super().load(lease)
        self.killer("fence after")
        return progress

    async def close(self) -> None:
        self.killer("store close before")
        await super().close()
        self.killer("store close after")


class PointedAdapter(ReliableAdapter):
    killer: Killer

    def send(self, delivery: DeliveryId) -> None:
        self.killer("send before")
        super().send(delivery)
        self.killer("send after")

    def settle(self, offset: int, outcome: Settlement) -> None:
        self.killer("settle before")
        super().settle(offset, outcome)
        self.killer("settle after")

    def save_failure(self, held: Held) -> None:
        self.killer("save failure before")
        super().save_failure(held)
        self.killer("save failure after")

    def dead_letter(self, held: Held) -> None:
        self.killer("move to dead letters before")
        super().dead_letter(held)
        self.killer("move to dead letters after")

    def withdraw(self, delivery: DeliveryId) -> None:
        self.killer("withdraw before")
        super().withdraw(delivery)
        self.killer("withdraw after")


def arm(killer: Killer, journal: Journal) -> None:
    """From now on everything that this process opens has its points."""
    build = schema._build

    def pointed_build(path: str) -> None:
        killer("build before")
        build(path)
        killer("build after")

    for pointed in (PointedWriter, PointedStore, PointedAdapter):
        pointed.killer = killer
    PointedStore.journal = journal
    for module, name, value in (
        (engine, "EngineCore", partial(EngineCore, flush_messages=FLUSH_MESSAGES)),
        (sqlite_store, "SqliteStore", PointedStore),
        (sqlite_store, "Writer", PointedWriter),
        (dispatcher, "ReliableAdapter", PointedAdapter),
        (schema, "_build", pointed_build),
    ):
        setattr(module, name, value)
