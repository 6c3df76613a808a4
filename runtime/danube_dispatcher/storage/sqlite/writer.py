"""The one thread that writes to a store, and its group commit.

Everything that writes is handed in from the event loop as a job. The thread takes whatever is there, up to the bounds of one commit, as
one transaction, so the more callers wait, the more share a commit. A commit has as few statements as can be, and its results come back in one
call: beside a busy loop each crossing between the threads costs milliseconds.

Jobs beyond the bounds of the queue wait their turn on the loop's side, so that a renewal never stands behind more than a few commits.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from ...errors import DanubeError
from ...messages import Message
from ..protocols import APPEND_BYTES, READ_MESSAGES
from .errors import name_of, translate
from .turns import Turns, lend

T = TypeVar("T")

QUEUE_MESSAGES = 4 * READ_MESSAGES
"""Messages handed to the thread at most: it never waits for the loop between two commits, and nothing waits behind more than four."""
QUEUE_BYTES = 4 * APPEND_BYTES
"""Payload bytes handed to the thread at most, though always one append."""


class Log(Protocol):
    """What the writer needs of a topic's log."""

    id: int
    topic: str
    seed: int
    head: int

    def announce(self, first: int, appends: Sequence[Append], published_at: float) -> None:
        """In the loop's thread: these were committed, from offset `first` on."""
        ...


class Append:
    """Messages to commit."""

    __slots__ = ("count", "first", "future", "log", "messages", "size")

    def __init__(self, log: Log, messages: Sequence[Message], future: asyncio.Future[Sequence[int]]) -> None:
        self.log = log
        self.messages = messages
        self.future = future
        self.count = len(messages)
        self.size = len(messages[0][0]) if self.count == 1 else sum([len(message[0]) for message in messages])
        self.first = -1

    def answer(self) -> None:
        self.future.set_result(range(self.first, self.first + self.count))


class Call:
    """Any other write: a function of the connection, which raises a DanubeError before it has written anything, or not at all."""

    __slots__ = ("future", "result", "run")
    count = 1
    size = 0

    def __init__(self, run: Callable[[sqlite3.Connection], Any], future: asyncio.Future[Any]) -> None:
        self.run = run
        self.future = future
        self.result: Any = None

    def answer(self) -> None:
        if isinstance(self.result, DanubeError):
            self.future.set_exception(self.result)
        else:
            self.future.set_result(self.result)


class Group:
    """What one commit takes, and what came of it."""

    def __init__(self) -> None:
        self.jobs: list[Append | Call] = []
        self.logs: dict[Log, list[Append]] = {}
        self.published_at = 0.0
        self.error: Exception | None = None

    def add(self, job: Append | Call) -> None:
        self.jobs.append(job)
        if isinstance(job, Append):
            if job.log in self.logs:
                self.logs[job.log].append(job)
            else:
                self.logs[job.log] = [job]


class Hurried(asyncio.Future[T]):
    """An answer that a busy loop waits for: awaiting it stands aside first, and gives the loop a turn in any case."""

    def __init__(self, hurry: Callable[[], None]) -> None:
        super().__init__()
        self._hurry = hurry

    def __await__(self) -> Generator[Any, None, T]:
        self._hurry()
        if self.done():
            yield
        return (yield from super().__await__())


class Writer:
    """The thread, and the loop's side of it. `outstanding` counts what was handed in and is not answered."""

    def __init__(
        self,
        url: str,
        connections: tuple[sqlite3.Connection, sqlite3.Connection],
        *,
        connect: Callable[[], sqlite3.Connection],
        check: Callable[[], None],
        insert: Callable[[sqlite3.Connection, Group], None],
    ) -> None:
        self.outstanding = 0
        self.commits = 0
        self.committing: Collection[Log] = ()
        """Whose new messages others may see already though they are not announced here."""
        self.delivering = False
        self._lending = False
        self._seen = 0
        self._turns = Turns()
        self._url = url
        self._connect = connect
        self._check = check
        self._insert = insert
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Append | Call | None] = SimpleQueue()
        self._waiting: deque[Append] = deque()
        self._handed_messages = 0
        self._handed_bytes = 0
        self._finished: deque[Group] = deque()
        self._stopped: asyncio.Future[None] | None = None
        self._thread = threading.Thread(target=self._run, args=connections, name=f"danube writer {url}", daemon=True)
        self._thread.start()

    # ---- in the loop's thread ----

    def append(self, log: Log, messages: Sequence[Message]) -> asyncio.Future[Sequence[int]]:
        future: asyncio.Future[Sequence[int]] = self._loop.create_future() if self.outstanding or not self._turns.busy() else Hurried(self._hurry)
        append = Append(log, messages, future)
        self._count()
        if self._waiting or not self._room(append):
            self._waiting.append(append)
        else:
            self._hand(append)
        return future

    def call(self, run: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._loop.create_future()
        self._count()
        self._jobs.put(Call(run, future))
        return future

    async def stop(self) -> None:
        """Finish what was handed in, close the connections, end the thread."""
        if self._stopped is None:
            self._stopped = self._loop.create_future()
            self._count()
            while self._waiting:
                self._hand(self._waiting.popleft())
            self._jobs.put(None)
        await asyncio.shield(self._stopped)
        self._thread.join()  # it has nothing left to do but return

    def deliver(self) -> None:
        """Announce and answer what was committed since; what the thread calls after each commit, and `refresh` before it compares."""
        if self.delivering:
            return
        self.delivering = True
        try:
            while self._finished:
                self._deliver(self._finished.popleft())
        finally:
            self.delivering = False

    def _deliver(self, group: Group) -> None:
        if group.error is None:
            for log, appends in group.logs.items():
                log.announce(appends[0].first, appends, group.published_at)
        for job in group.jobs:
            self.outstanding -= 1
            if isinstance(job, Append):
                self._handed_messages -= job.count
                self._handed_bytes -= job.size
            if job.future.done():  # whoever waited was cancelled
                continue
            if group.error is None:
                job.answer()
            else:
                job.future.set_exception(translate(self._url, group.error))  # one for each: tracebacks are written into them
        while self._waiting and self._room(self._waiting[0]):
            append = self._waiting.popleft()
            if append.future.cancelled():
                self.outstanding -= 1
            else:
                self._hand(append)

    def _count(self) -> None:
        self.outstanding += 1
        if not self._lending:
            self._lending = True
            lend(self._loop, self._busy, self._turn)

    def _busy(self) -> bool:
        self._lending = self.outstanding > 0
        return self._lending

    def _hurry(self) -> None:
        self._turns.give()
        if not self._finished:
            self._turns.give_more()
        self.deliver()

    def _turn(self) -> None:
        """One in which the thread came to no end is when it needs the next; what it has brought to an end by then is told at once."""
        if self._seen == self.commits:
            self._turns.give()
            self.deliver()
        self._seen = self.commits

    def _room(self, append: Append) -> bool:
        messages, size = self._handed_messages + append.count, self._handed_bytes + append.size
        return not self._handed_messages or (messages <= QUEUE_MESSAGES and size <= QUEUE_BYTES)

    def _hand(self, append: Append) -> None:
        self._handed_messages += append.count
        self._handed_bytes += append.size
        self._jobs.put(append)

    def _end(self) -> None:
        self.deliver()
        assert self._stopped is not None
        self.outstanding -= 1
        self._stopped.set_result(None)

    # ---- in the writer's thread ----

    def _run(self, writer: sqlite3.Connection, reader: sqlite3.Connection) -> None:
        # In the child of a fork this frame is never left, so the connections it holds are never closed there: closing one could wait for
        # ever for a lock of SQLite's that this thread held at that moment.
        connection: sqlite3.Connection | None = writer
        ahead: Append | Call | None = None
        with suppress(RuntimeError):  # the loop was closed before the store: nobody is left to hear
            while True:
                job = ahead or self._next()
                if job is None:
                    break
                group, ahead, last = self._gather(job)
                connection = self._work(connection, group)
                self._finished.append(group)
                self.committing = ()
                self._loop.call_soon_threadsafe(self.deliver)
                if last:
                    break
        reader.close()
        if connection is not None:
            connection.close()  # the last one: it moves what is in the WAL into the file
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end)

    def _next(self) -> Append | Call | None:
        with suppress(Empty):
            return self._jobs.get_nowait()
        self._turns.rest()
        job = self._jobs.get()
        self._turns.go_on()
        return job

    def _gather(self, job: Append | Call) -> tuple[Group, Append | Call | None, bool]:
        """What the next commit takes, the job that did not go in any more, and whether the end was reached."""
        group = Group()
        messages = size = 0
        while True:
            messages += job.count
            size += job.size
            if group.jobs and (messages > READ_MESSAGES or size > APPEND_BYTES):
                return group, job, False
            group.add(job)
            try:
                following = self._jobs.get_nowait()
            except Empty:
                return group, None, False
            if following is None:
                return group, None, True
            job = following

    def _work(self, connection: sqlite3.Connection | None, group: Group) -> sqlite3.Connection | None:
        """Commit a group, or note in it why not; return the connection to go on with."""
        try:
            connection = connection or self._connect()
            self._commit(connection, group)
        except Exception as error:  # whatever it is, it is for those who wait to hear, and the thread goes on
            group.error = error
            if connection is not None and isinstance(error, sqlite3.Error) and name_of(error).startswith("SQLITE_IOERR"):
                # what this connection holds of the file may not be what the disk has; after a failed fsync the outcome is unknown
                with suppress(sqlite3.Error):
                    connection.close()
                return None
        return connection

    def _commit(self, connection: sqlite3.Connection, group: Group) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._check()
            if group.logs:
                self._insert(connection, group)
            for job in group.jobs:
                if isinstance(job, Call):
                    try:
                        job.result = job.run(connection)
                    except DanubeError as refusal:
                        job.result = refusal
            self.committing = group.logs.keys()
            self._turns.rest()
            connection.execute("COMMIT")
            self._turns.go_on()
        except BaseException:
            if connection.in_transaction:  # after FULL and IOERR it is gone already, and a ROLLBACK would hide the cause
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise
        self.commits += 1
