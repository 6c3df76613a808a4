"""The back end `memory:`: the contract of the protocols and nothing durable. Every call is done when it returns."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TypeVar

from danube_statemachines import DanubeError, Progress, advanced

from ..messages import Message
from .protocols import READ_BYTES, READ_MESSAGES, Batch, Lease, Occupied, Request, Row, Spec, Watcher
from .rules import Tenure, Watchers, closed, fenced, frozen, no_subscription, no_topic, occupied, sound

T = TypeVar("T")

_offset = itemgetter(Message._fields.index("offset"))


class MemoryLog:
    """The messages of one topic, by offset."""

    def __init__(self, store: MemoryStore, topic: str) -> None:
        self.topic = topic
        self.head = 0
        self._store = store
        self._messages: list[Message] = []
        self._watchers = Watchers()

    def append(self, messages: Sequence[Message]) -> asyncio.Future[Sequence[int]]:
        return self._store.done(self._append, messages)

    def _append(self, messages: Sequence[Message]) -> Sequence[int]:
        now = self._store.now()
        offsets = range(self.head, self.head + len(messages))
        kept = [
            Message(payload, key, frozen(attributes), self.topic, offset, now) for offset, (payload, key, attributes, *_) in zip(offsets, messages, strict=True)
        ]
        self._messages += kept
        self.head = offsets.stop
        self._watchers.call(kept)
        return offsets

    def read(self, start: int, *, messages: int = READ_MESSAGES, size: int = READ_BYTES) -> Batch:
        self._store.check()
        kept = self._messages
        first = bisect_left(kept, start, key=_offset)
        found = kept[first : first + messages]
        for count, message in enumerate(found):
            size -= len(message[0])
            if size < 0 and count:
                del found[count:]
                break
        at_end = first + len(found) == len(kept)
        return Batch(found, max(start, self.head) if at_end else found[-1].offset + 1)

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        return self._watchers.add(watcher)


class _Subscription:
    """One stored subscription."""

    __slots__ = ("epoch", "owner", "progress", "renewals", "status", "subscription", "topic", "type", "until")

    def __init__(self, topic: str, subscription: str, type: str, progress: Progress) -> None:
        self.topic = topic
        self.subscription = subscription
        self.type = type
        self.owner = ""
        self.until = 0.0
        self.epoch = self.renewals = 0
        self.progress = progress
        self.status = ""

    @property
    def tenure(self) -> Tenure:
        return Tenure(self.type, self.owner, self.until, self.epoch, self.renewals)


class MemoryStore:
    """One store; it lives as long as somebody holds it."""

    url = "memory:"
    outstanding = 0

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.now = clock
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._epoch = 0
        self._request = 0
        self._topics: dict[str, MemoryLog] = {}
        self._subscriptions: dict[tuple[str, str], _Subscription] = {}
        self._requests: dict[int, tuple[Request, str | None]] = {}

    def check(self) -> None:
        if not self._open:
            raise closed(self.url)

    def done(self, call: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        """A future that is done: writes are futures on every back end, handed in when called, not when awaited."""
        self.check()
        future: asyncio.Future[T] = self._loop.create_future()
        try:
            future.set_result(call(*arguments))
        except DanubeError as error:
            future.set_exception(error)
        return future

    async def topic(self, name: str, *, create: bool) -> MemoryLog:
        self.check()
        if name not in self._topics:
            if not create:
                raise no_topic(self.url, name)
            self._topics[name] = MemoryLog(self, name)
        return self._topics[name]

    async def topics(self) -> list[str]:
        self.check()
        return sorted(self._topics)

    def refresh(self) -> bool:
        self.check()
        return False

    async def close(self) -> None:
        self._open = False

    def _owned(self, lease: Lease) -> _Subscription:
        row = self._subscriptions.get((lease.topic, lease.subscription))
        if row is None or row.epoch != lease.epoch or not row.owner:
            raise fenced(self.url, lease)
        return row

    async def load(self, lease: Lease) -> Progress:
        self.check()
        return self._owned(lease).progress

    def store(self, lease: Lease, progress: Progress, *, let_go: bool = False) -> asyncio.Future[None]:
        return self.done(self._store, lease, progress, let_go)

    def _store(self, lease: Lease, progress: Progress, let_go: bool) -> None:
        row = self._owned(lease)
        row.progress = advanced(row.progress, progress)
        if let_go:
            row.owner = ""

    def acquire(
        self, topic: str, subscription: str, *, owner: str, seconds: float, new: Spec | None, stamp: int | None = None
    ) -> asyncio.Future[Lease | Occupied]:
        return self.done(self._acquire, topic, subscription, owner, seconds, new, stamp)

    def _acquire(self, topic: str, subscription: str, owner: str, seconds: float, new: Spec | None, stamp: int | None) -> Lease | Occupied:
        now = self.now()
        row = self._subscriptions.get((topic, subscription))
        created = row is None
        if row is None:
            if new is None:
                raise no_subscription(topic, subscription)
            if topic not in self._topics:
                raise no_topic(self.url, topic)
            row = _Subscription(topic, subscription, new.type, Progress(new.cursor))
            self._subscriptions[topic, subscription] = row
        before = row.tenure
        other = occupied(topic, subscription, before, new, now=now, stamp=stamp)
        if other is not None:
            return other
        self._forget_requests(before.epoch, answered=False)
        self._epoch += 1
        row.owner, row.until, row.epoch, row.renewals = owner, now + seconds, self._epoch, 0
        row.status = ""
        return Lease(topic, subscription, self._epoch, unclean=bool(before.owner), created=created)

    def renew(self, leases: Mapping[Lease, str | None], *, seconds: float) -> asyncio.Future[set[Lease]]:
        return self.done(self._renew, leases, seconds)

    def _renew(self, leases: Mapping[Lease, str | None], seconds: float) -> set[Lease]:
        until = self.now() + seconds
        held: set[Lease] = set()
        for lease, status in leases.items():
            row = self._subscriptions.get((lease.topic, lease.subscription))
            if row is None or row.epoch != lease.epoch or not row.owner:
                continue
            row.until = until
            row.renewals += 1
            row.status = row.status if status is None else status
            held.add(lease)
        return held

    def remove(self, lease: Lease) -> asyncio.Future[None]:
        return self.done(self._remove, lease)

    def _remove(self, lease: Lease) -> None:
        self._owned(lease)
        del self._subscriptions[lease.topic, lease.subscription]
        self._forget_requests(lease.epoch, answered=True)

    async def rows(self, topic: str | None = None) -> list[Row]:
        self.check()
        return [
            Row(row.topic, row.subscription, row.type, row.owner, row.until, row.epoch, row.progress, row.status)
            for _, row in sorted(self._subscriptions.items())
            if topic is None or row.topic == topic
        ]

    def ask(self, topic: str, subscription: str, action: str) -> asyncio.Future[int]:
        return self.done(self._ask, topic, subscription, action)

    def _ask(self, topic: str, subscription: str, action: str) -> int:
        row = self._subscriptions.get((topic, subscription))
        if row is None:
            raise no_subscription(topic, subscription)
        self._request += 1
        self._requests[self._request] = Request(self._request, row.epoch, sound(action)), None
        return self._request

    async def asked(self) -> list[Request]:
        self.check()
        return [request for request, answer in self._requests.values() if answer is None]

    def answer(self, request: int, answer: str) -> asyncio.Future[None]:
        return self.done(self._answer, request, answer)

    def _answer(self, request: int, answer: str) -> None:
        if request in self._requests:
            self._requests[request] = self._requests[request][0], sound(answer)

    async def answered(self, request: int, *, withdraw: bool = False) -> str | None:
        self.check()
        answer = self._requests[request][1] if request in self._requests else None
        if answer is not None or withdraw:
            self._requests.pop(request, None)
        return answer

    def _forget_requests(self, epoch: int, *, answered: bool) -> None:
        """An old request must not be carried out on whatever a later owner happens to hold."""
        for request, answer in tuple(self._requests.values()):
            if request.epoch == epoch and (answered or answer is None):
                del self._requests[request.id]
