"""The disk that all simulated processes share, and what each of them sees of it: a back end whose calls fail, lag, or are done and reported as failed.

What is durable is a `MemoryStore` that no process owns. A process has a `DiskStore` on it, which hears of what others wrote when it looks, as with
a file, and which is as dead as its process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Never, TypeVar, cast

from danube_statemachines import Progress

from ..errors import DanubeError, StoreBusy, StoreDamaged, StoreError, StoreFull, StoreUnavailable
from ..messages import Message
from ..storage.memory import MemoryStore
from ..storage.protocols import APPEND_BYTES, READ_BYTES, READ_MESSAGES, Batch, Lease, Occupied, Request, Row, Spec, TopicLog, Watcher
from ..storage.rules import Watchers, closed
from .rates import Faults
from .scenario import SLOWEST

T = TypeVar("T")

URL = "simulated:"
TROUBLES: tuple[type[StoreError], ...] = (StoreUnavailable, StoreBusy, StoreFull)

Write = Callable[..., None]
"""Of a line of the history: (what, …)."""


class Disk:
    """The durable state. Make it on a loop that outlives all processes."""

    def __init__(self) -> None:
        self.wall = 0.0
        self.writes = 0
        self.inner = MemoryStore(clock=lambda: self.wall)

    def rows(self) -> list[Row]:
        """What is stored at this moment."""
        return at_once(self.inner.rows())

    def head(self, topic: str) -> int:
        return at_once(self.inner.topic(topic, create=True)).head


class DiskStore:
    """The `Store` of one process."""

    url = URL

    def __init__(
        self, disk: Disk, loop: asyncio.AbstractEventLoop, faults: Faults, write: Write, *, clock: Callable[[], float], dead: Callable[[], bool] = lambda: False
    ) -> None:
        """`dead`: whether its process is gone; `clock`: the wall clock of that."""
        self.disk = disk
        self.now = clock
        self.outstanding = 0
        self.outage_until = 0.0
        """Seconds on the loop's clock until which every call fails."""
        self.deaf_until = 0.0
        """Until which it sees nothing of what other processes wrote."""
        self.write = write
        self._loop = loop
        self._dead = dead
        self._closed = False
        self._seen = disk.writes
        self._faults = faults
        self._logs: dict[str, DiskLog] = {}

    # how

    def work(self, call: Callable[[], Awaitable[T]]) -> T:
        """Carry out a call on what is durable, now. Raises what it raises."""
        self.disk.wall = self.now()
        return at_once(call())

    def change(self, call: Callable[[], Awaitable[T]]) -> T:
        """The same of a call that writes: others see that something was written."""
        self._seen += self._seen == self.disk.writes
        self.disk.writes += 1
        return self.work(call)

    def fault(self, name: str) -> str | None:
        """What goes wrong with a call; it is written down."""
        kind = "outage" if self._loop.time() < self.outage_until else self._faults.draw(self._faults.per_call)
        if kind == "damaged" and name != "read":
            kind = "failed"
        if kind is not None:
            self.write("fault", kind, name)
        return kind

    def trouble(self) -> Exception:
        return self._faults.random.choice(TROUBLES)(URL, "it does not answer as it should")  # a new one each time: it will keep its traceback

    @property
    def deaf(self) -> bool:
        return self._loop.time() < self.deaf_until

    def call(self, name: str, work: Callable[[], T]) -> asyncio.Future[T]:
        """One call. It is carried out when it is made, unless something goes wrong with it."""
        if self._dead():
            return self._loop.create_future()
        self.check()
        kind = self.fault(name)
        if kind is None:
            future: asyncio.Future[T] = self._loop.create_future()
            resolve(future, work)
            return future
        if kind in ("failed", "outage"):
            return self.later(partial(throw, self.trouble()))
        if kind == "slow" and self._faults.random.random() < 0.5:
            return self.later(work)  # it comes late to the disk; otherwise its answer comes late
        return self.later(attempted(work, self.trouble() if kind == "undecided" else None))

    def later(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Carried out some time from now, whether or not anybody still waits for it."""
        future: asyncio.Future[T] = self._loop.create_future()
        self.outstanding += 1
        self._loop.call_later(self._faults.random.random() ** 3 * SLOWEST, self._due, future, work)
        return future

    def _due(self, future: asyncio.Future[T], work: Callable[[], T]) -> None:
        self.outstanding -= 1
        resolve(future, work)

    # the protocol

    def topic(self, name: str, *, create: bool) -> Awaitable[TopicLog]:
        def work() -> TopicLog:
            inner = self.work(lambda: self.disk.inner.topic(name, create=create))
            if name not in self._logs:
                self._logs[name] = DiskLog(self, inner)
            return self._logs[name]

        return self.call("topic", work)

    def topics(self) -> Awaitable[list[str]]:
        return self.call("topics", lambda: self.work(self.disk.inner.topics))

    def refresh(self) -> bool:
        self.check()
        if self._loop.time() < self.outage_until:
            raise self.trouble()
        if self.deaf:
            return False
        for log in self._logs.values():
            log.look()
        seen, self._seen = self._seen, self.disk.writes
        return seen != self._seen

    async def close(self) -> None:
        """What is durable stays; nothing is held."""
        self._closed = True

    def check(self) -> None:
        if self._closed:
            raise closed(self.url)

    def load(self, lease: Lease) -> Awaitable[Progress]:
        return self.call("load", lambda: self.work(lambda: self.disk.inner.load(lease)))

    def store(self, lease: Lease, progress: Progress, *, let_go: bool = False) -> Awaitable[None]:
        def work() -> None:
            self.change(lambda: self.disk.inner.store(lease, progress, let_go=let_go))
            self.write("durable", name_of(lease.topic, lease.subscription), lease.epoch, *flat(progress))
            if let_go:
                self.write("let_go", name_of(lease.topic, lease.subscription), lease.epoch)

        return self.call("store", work)

    def acquire(self, topic: str, subscription: str, *, owner: str, seconds: float, new: Spec | None, stamp: int | None = None) -> Awaitable[Lease | Occupied]:
        def work() -> Lease | Occupied:
            taken = self.change(lambda: self.disk.inner.acquire(topic, subscription, owner=owner, seconds=seconds, new=new, stamp=stamp))
            if isinstance(taken, Lease):
                cursor = new.cursor if new is not None and taken.created else -1
                self.write("owns", name_of(topic, subscription), taken.epoch, int(taken.unclean), int(taken.created), cursor)
            return taken

        return self.call("acquire", work)

    def renew(self, leases: Mapping[Lease, str | None], *, seconds: float) -> Awaitable[set[Lease]]:
        asked = dict(leases)

        def work() -> set[Lease]:
            held = self.change(lambda: self.disk.inner.renew(asked, seconds=seconds))
            self.write("renewed", int(seconds * 1000), *(lease.epoch for lease in asked if lease in held))
            return held

        return self.call("renew", work)

    def remove(self, lease: Lease) -> Awaitable[None]:
        def work() -> None:
            self.change(lambda: self.disk.inner.remove(lease))
            self.write("removed", name_of(lease.topic, lease.subscription), lease.epoch)

        return self.call("remove", work)

    def rows(self, topic: str | None = None) -> Awaitable[list[Row]]:
        return self.call("rows", lambda: self.work(lambda: self.disk.inner.rows(topic)))

    def ask(self, topic: str, subscription: str, action: str) -> Awaitable[int]:
        return self.call("ask", lambda: self.change(lambda: self.disk.inner.ask(topic, subscription, action)))

    def asked(self) -> Awaitable[list[Request]]:
        return self.call("asked", lambda: self.work(self.disk.inner.asked))

    def answer(self, request: int, answer: str) -> Awaitable[None]:
        return self.call("answer", lambda: self.change(lambda: self.disk.inner.answer(request, answer)))

    def answered(self, request: int, *, withdraw: bool = False) -> Awaitable[str | None]:
        return self.call("answered", lambda: self.work(lambda: self.disk.inner.answered(request, withdraw=withdraw)))


class DiskLog:
    """What one process sees of a topic."""

    def __init__(self, store: DiskStore, inner: TopicLog) -> None:
        self.topic = inner.topic
        self.head = inner.head
        self._store = store
        self.inner = inner
        self._watchers = Watchers()

    def append(self, messages: Sequence[Message]) -> Awaitable[Sequence[int]]:
        def work() -> Sequence[int]:
            offsets = self._store.change(lambda: self.inner.append(messages))
            for offset, message in zip(offsets, messages, strict=True):
                payload = message.payload.decode(errors="backslashreplace")
                if "x-original-topic" in message.attributes:
                    whose = name_of(message.attributes["x-original-topic"], message.attributes["x-original-subscription"])
                    self._store.write("buried", self.topic, offset, payload, whose, int(message.attributes["x-original-topic-offset"]))
                else:
                    self._store.write("appended", self.topic, offset, payload)
            self._move(self._read(offsets[0], len(offsets), APPEND_BYTES).messages)
            return offsets

        return self._store.call("append", work)

    def look(self) -> None:
        if self.head != self.inner.head:
            self._move(())

    def _move(self, messages: Sequence[Message]) -> None:
        self.head = self.inner.head
        if not self._store.deaf:
            self._watchers.call(messages)

    def read(self, start: int, *, messages: int = READ_MESSAGES, size: int = READ_BYTES) -> Batch | Awaitable[Batch]:
        self._store.check()
        kind = self._store.fault("read")
        if kind is None:
            return self._read(start, messages, size)
        if kind == "damaged":
            raise StoreDamaged(URL, "what was read is not what was written")
        if kind in ("failed", "outage"):
            raise self._store.trouble()
        return self._store.later(partial(throw, self._store.trouble()) if kind == "undecided" else lambda: self._read(start, messages, size))

    def _read(self, start: int, messages: int, size: int) -> Batch:
        batch = self.inner.read(start, messages=messages, size=size)
        assert isinstance(batch, Batch)
        return batch

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        return self._watchers.add(watcher)


def name_of(topic: str, subscription: str) -> str:
    """A subscription, as the history calls it."""
    return f"{topic}:{subscription}"


def flat(progress: Progress) -> tuple[int, ...]:
    """cursor, paused; offset (-1: none), attempt, failures and mark of the message with a history."""
    held = progress.held
    return (progress.cursor, int(progress.paused), *((-1, 0, 0, 0) if held is None else (held.offset, held.attempt, held.failures, int(held.sent))))


def resolve(future: asyncio.Future[T], work: Callable[[], T]) -> None:
    """Answer a call with what comes of the work; nobody hears it when it was cancelled."""
    try:
        result = work()
    except DanubeError as error:
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(result)


def attempted(work: Callable[[], T], error: Exception | None) -> Callable[[], T]:
    """Work that is done now; what gives its answer, or raises the error instead of the answer."""
    try:
        result = work()
    except DanubeError as problem:
        return partial(throw, problem)
    return (lambda: result) if error is None else partial(throw, error)


def throw(error: Exception) -> Never:
    raise error


def at_once(answer: Awaitable[T]) -> T:
    """The answer of a call that waits for nothing. Raises what it raises."""
    if isinstance(answer, asyncio.Future):
        result: T = answer.result()
        return result
    coroutine = cast("Coroutine[Any, Any, T]", answer)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise AssertionError("it waits")
