"""A store whose calls fail, lag or hang where a test says so, and which can die like a process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from danube_dispatcher import Message, StoreUnavailable
from danube_dispatcher.storage.protocols import READ_BYTES, READ_MESSAGES, Batch, Lease, Occupied, Request, Row, Spec, Store, TopicLog, Watcher
from danube_dispatcher.storage.rules import Watchers
from danube_statemachines import Progress

T = TypeVar("T")

TROUBLE = StoreUnavailable("test", "the disk is on fire")
"""What passes."""


@dataclass
class Fault:
    call: str
    """The name of a method, or "*"."""
    error: Exception | None = None
    before: float = 0.0
    """Seconds until the call is carried out."""
    after: float = 0.0
    """Seconds until a call that was carried out is answered."""
    done: bool = False
    """The error is the answer to a call that was carried out."""
    times: int | None = None
    """How many calls it meets; None: all."""


@dataclass(frozen=True)
class Call:
    name: str
    at: float
    arguments: tuple[object, ...]


class FaultStore:
    """What one process sees of a store. `shared`: others see the same object and not, as with a file, one of their own."""

    def __init__(self, inner: Store, *, shared: bool = False) -> None:
        self.inner = inner
        self.url = inner.url
        self.shared = shared
        self.deaf = False
        """Notifications are lost: heads move, and no watcher hears of it."""
        self.dead = False
        self.calls: list[Call] = []
        """All that were made, in order."""
        self.suffered_at = float("-inf")
        """When a call last met a fault."""
        self._faults: list[Fault] = []
        self._logs: dict[str, FaultLog] = {}
        self._never: list[asyncio.Future[None]] = []

    # what a test arranges

    def fail(self, call: str, error: Exception, *, before: float = 0.0, times: int | None = None, done: bool = False) -> None:
        self._faults.append(Fault(call, error, before=before, done=done, times=times))

    def lag(self, call: str, *, before: float = 0.0, after: float = 0.0, times: int | None = None) -> None:
        self._faults.append(Fault(call, before=before, after=after, times=times))

    def hang(self, call: str, *, times: int | None = None) -> None:
        self._faults.append(Fault(call, before=float("inf"), times=times))

    def heal(self) -> None:
        """Calls from now on are carried out; what hangs goes on hanging."""
        self._faults.clear()

    def kill(self) -> None:
        """The process is gone: nothing it does reaches the store any more, and it hears of nothing."""
        self.dead = True

    def wake(self) -> None:
        """It was not dead, only stopped: what hangs is carried out now, late."""
        self.dead = False
        never, self._never = self._never, []
        for each in never:
            if not each.done():
                each.set_result(None)

    @property
    def armed(self) -> bool:
        """Whether a fault waits for a call."""
        return any(fault.times != 0 for fault in self._faults)

    def made(self, name: str) -> list[Call]:
        """The calls of that name."""
        return [call for call in self.calls if call.name == name]

    # how

    def fault(self, name: str, *arguments: object) -> Fault | None:
        """Note a call; say what is to become of it."""
        self.calls.append(Call(name, asyncio.get_running_loop().time(), arguments))
        if self.dead:
            return Fault(name, before=float("inf"))
        for fault in self._faults:
            if fault.call in (name, "*") and fault.times != 0:
                if fault.times is not None:
                    fault.times -= 1
                self.suffered_at = self.calls[-1].at
                return fault
        return None

    def _call(self, name: str, work: Callable[[], Awaitable[T]], *arguments: object) -> Awaitable[T]:
        fault = self.fault(name, *arguments)
        return work() if fault is None else asyncio.ensure_future(self.suffer(fault, work))

    async def suffer(self, fault: Fault, work: Callable[[], Awaitable[T]]) -> T:
        if 0 < fault.before < float("inf"):
            await asyncio.sleep(fault.before)
        if self.dead or fault.before == float("inf"):
            self._never.append(asyncio.get_running_loop().create_future())
            await self._never[-1]
        if fault.error is not None and not fault.done:
            raise fault.error
        answer = await work()
        if fault.after:
            await asyncio.sleep(fault.after)
        if fault.error is not None:
            raise fault.error
        return answer

    # the protocol

    @property
    def outstanding(self) -> int:
        return self.inner.outstanding

    def now(self) -> float:
        return self.inner.now()

    async def topic(self, name: str, *, create: bool) -> TopicLog:
        log = await self._call("topic", lambda: self.inner.topic(name, create=create), name)
        return self._logs.setdefault(name, FaultLog(self, log))

    def topics(self) -> Awaitable[list[str]]:
        return self._call("topics", self.inner.topics)

    def refresh(self) -> bool:
        if self.dead:
            return False
        fault = self.fault("refresh")
        if fault is not None and fault.error is not None:
            raise fault.error
        changed = self.inner.refresh()
        for log in self._logs.values():
            log.look()
        return changed or self.shared

    def load(self, lease: Lease) -> Awaitable[Progress]:
        return self._call("load", lambda: self.inner.load(lease), lease)

    def store(self, lease: Lease, progress: Progress, *, let_go: bool = False) -> Awaitable[None]:
        return self._call("store", lambda: self.inner.store(lease, progress, let_go=let_go), lease, progress, let_go)

    def acquire(self, topic: str, subscription: str, *, owner: str, seconds: float, new: Spec | None, stamp: int | None = None) -> Awaitable[Lease | Occupied]:
        work = lambda: self.inner.acquire(topic, subscription, owner=owner, seconds=seconds, new=new, stamp=stamp)  # noqa: E731
        return self._call("acquire", work, topic, subscription)

    def renew(self, leases: Mapping[Lease, str | None], *, seconds: float) -> Awaitable[set[Lease]]:
        return self._call("renew", lambda: self.inner.renew(leases, seconds=seconds), dict(leases))

    def remove(self, lease: Lease) -> Awaitable[None]:
        return self._call("remove", lambda: self.inner.remove(lease), lease)

    def rows(self, topic: str | None = None) -> Awaitable[list[Row]]:
        return self._call("rows", lambda: self.inner.rows(topic), topic)

    def ask(self, topic: str, subscription: str, action: str) -> Awaitable[int]:
        return self._call("ask", lambda: self.inner.ask(topic, subscription, action), topic, subscription, action)

    def asked(self) -> Awaitable[list[Request]]:
        return self._call("asked", self.inner.asked)

    def answer(self, request: int, answer: str) -> Awaitable[None]:
        return self._call("answer", lambda: self.inner.answer(request, answer), request, answer)

    def answered(self, request: int, *, withdraw: bool = False) -> Awaitable[str | None]:
        return self._call("answered", lambda: self.inner.answered(request, withdraw=withdraw), request)

    async def close(self) -> None:
        """The store is its machine's to close."""


class FaultLog:
    """What one process sees of a topic. Offsets in `hidden` are gaps."""

    def __init__(self, store: FaultStore, inner: TopicLog) -> None:
        self.topic = inner.topic
        self.head = inner.head
        self.hidden: set[int] = set()
        self._store = store
        self._inner = inner
        self._watchers = Watchers()
        self._appending = False
        inner.watch(self._moved)

    def append(self, messages: Sequence[Message]) -> Awaitable[Sequence[int]]:
        return self._store._call("append", lambda: self._append(messages), len(messages))

    def _append(self, messages: Sequence[Message]) -> Awaitable[Sequence[int]]:
        self._appending = True
        try:
            return self._inner.append(messages)
        finally:
            self._appending = False

    def _moved(self, messages: Sequence[Message]) -> None:
        if not self._store.shared or self._appending:  # otherwise another process appended, which this one sees when it looks
            self._move(messages)

    def look(self) -> None:
        if self.head != self._inner.head:
            self._move(())

    def _move(self, messages: Sequence[Message]) -> None:
        if not self._store.dead:
            self.head = self._inner.head
            if not self._store.deaf:
                self._watchers.call(messages)

    def read(self, start: int, *, messages: int = READ_MESSAGES, size: int = READ_BYTES) -> Batch | Awaitable[Batch]:
        fault = self._store.fault("read", start)
        if fault is None:
            return self._read(start, messages, size)
        if fault.error is not None and not fault.before:
            raise fault.error

        async def read() -> Batch:
            return self._read(start, messages, size)

        return asyncio.ensure_future(self._store.suffer(fault, read))

    def _read(self, start: int, messages: int, size: int) -> Batch:
        batch = self._inner.read(start, messages=messages, size=size)
        assert isinstance(batch, Batch)
        return Batch(
            [message for message in batch.messages if message.offset < self.head and message.offset not in self.hidden], min(batch.next_offset, self.head)
        )

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        return self._watchers.add(watcher)
