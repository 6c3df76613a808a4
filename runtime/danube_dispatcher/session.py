"""The open stores of an event loop, and the heartbeat of each."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Coroutine, MutableMapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from .clock import HEARTBEAT, LEASE, NEVER, RENEWAL, forget_watchdog, watchdog
from .errors import StoreError
from .hub import Holdings, Hub
from .storage import identity, open_store
from .storage.protocols import Lease, Store

if TYPE_CHECKING:
    from .subscription import Subscription

log = logging.getLogger(__package__)


class Sessions:
    """Those of one event loop."""

    def __init__(self) -> None:
        self.open: dict[object, Session] = {}
        self.changing = asyncio.Lock()
        """Held while one is opened or closed."""


_sessions: MutableMapping[asyncio.AbstractEventLoop, Sessions] = WeakKeyDictionary()


def stores_of(loop: asyncio.AbstractEventLoop) -> list[Store]:
    """The stores that are open on a loop."""
    return [session.store for session in _sessions[loop].open.values()] if loop in _sessions else []


def abandon(loop: asyncio.AbstractEventLoop) -> None:
    """Forget what is open on a loop that is never run again, as that of a process that has crashed in a simulation."""
    _sessions.pop(loop, None)
    forget_watchdog(loop)


class Session:
    """One open store. One that was opened by its URL closes with the last topic on it; one that was given is its giver's to close."""

    def __init__(self, key: object, store: Store, home: Sessions, *, ours: bool) -> None:
        self.store = store
        self._ours = ours
        self.holdings = Holdings()
        self.subscriptions: dict[tuple[str, str], Subscription] = {}
        self.locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self.armed = NEVER
        self._key = key
        self._home = home
        self._users = 0
        self._hubs: dict[str, Hub] = {}
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._renewal_due = asyncio.get_running_loop().time() + RENEWAL
        self._changed = False
        self._asking = False
        self._answers: dict[int, asyncio.Task[str]] = {}
        """Requests whose answer may not be written yet: each is carried out once, however long that takes and however often its answer fails."""
        self._calls: set[asyncio.Task[None]] = set()
        self._watchdog = watchdog()
        self._watchdog.arm(self, asyncio.get_running_loop().time() + HEARTBEAT)

    @classmethod
    async def open(cls, store: str | Store, *, create: bool) -> Session:
        """The session of a store, opened by its URL or given; `close` it once for each `open`."""
        home = _sessions.setdefault(asyncio.get_running_loop(), Sessions())
        async with home.changing:
            key = id(store) if hasattr(store, "acquire") else identity(store)
            session = next((each for each in home.open.values() if each._key == key or each.store is store), None)
            if session is None:
                opened = await open_store(store, create=create) if isinstance(store, str) else store
                session = home.open[key] = cls(key, opened, home, ours=isinstance(store, str))
            session._users += 1
            return session

    async def close(self) -> None:
        async with self._home.changing:
            self._users -= 1
            if self._users:
                return
            del self._home.open[self._key]
            self._watchdog.arm(self, NEVER)
            for hub in self._hubs.values():
                hub.unwatch()
            for call in self._calls:
                call.cancel()
            if self._ours:
                await self.store.close()  # who opens it again waits until it is closed

    async def hub(self, topic: str, *, create: bool = True) -> Hub:
        if topic not in self._hubs:
            opened = await self.store.topic(topic, create=create)
            if topic not in self._hubs:  # nobody else was faster
                self._hubs[topic] = Hub(opened, self.store, self._owner, self.holdings, self.hub, self.look)
        return self._hubs[topic]

    def lock(self, topic: str, subscription: str) -> asyncio.Lock:
        """Held while a subscription is opened or removed."""
        return self.locks.setdefault((topic, subscription), asyncio.Lock())

    # the heartbeat

    def look(self) -> None:
        """See what other processes have written."""
        try:
            self._changed = self.store.refresh() or self._changed
        except StoreError as error:
            log.warning("store %s cannot be looked at: %s", self.store.url, error)

    def on_alarm(self, now: float) -> None:
        self._watchdog.arm(self, now + HEARTBEAT)
        self.look()
        for hub in self._hubs.values():
            hub.beat()
        if self._changed and self.holdings.engines and not self._asking:
            self._changed, self._asking = False, True
            self._start(self._take_requests())
        if now >= self._renewal_due and self.holdings.engines:
            self._renewal_due = now + RENEWAL
            self._start(self._renew(now))

    def _start(self, call: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _renew(self, began: float) -> None:
        """One write for all leases, with the status of those whose status is another one than last time. Nobody asks the idle ones."""
        holdings = self.holdings
        leases: dict[Lease, str | None] = dict.fromkeys(holdings.engines)
        stirred, holdings.stirred = holdings.stirred, {}
        marks: dict[Lease, object] = {}
        for lease, engine in stirred.items():
            engine.host.watch()
            mark = engine.host.mark()
            if mark != engine.told:
                leases[lease], marks[lease] = engine.host.report(), mark
        try:
            held = await self.store.renew(leases, seconds=LEASE)
        except StoreError as error:
            log.warning("store %s: leases could not be renewed, trying again: %s", self.store.url, error)
            self._renewal_due = began + HEARTBEAT
            holdings.stirred.update({lease: engine for lease, engine in stirred.items() if lease in holdings.engines})
            return
        lapsed = asyncio.get_running_loop().time() >= holdings.renewed_at + LEASE
        holdings.renewed_at = max(holdings.renewed_at, began)  # a slow one may end after the next
        if len(held) < len(leases):
            for lease in leases:
                if lease not in held and lease in holdings.engines:
                    holdings.engines[lease].lose()
        for lease in leases if lapsed else stirred:
            if lease in holdings.engines:
                engine = holdings.engines[lease]
                engine.told = marks.get(lease, engine.told)
                engine.renewed()

    async def _take_requests(self) -> None:
        try:
            requests = await self.store.asked()
        except StoreError as error:
            log.warning("store %s: requests could not be read, trying again: %s", self.store.url, error)
            self._changed = True
            return
        finally:
            self._asking = False
        answers, self._answers = self._answers, {}
        by_epoch = {lease.epoch: engine for lease, engine in self.holdings.engines.items()} if requests else {}
        for request in requests:
            if request.epoch not in by_epoch:
                continue  # it is another process's to carry out
            known = answers.get(request.id)
            work = known or asyncio.ensure_future(by_epoch[request.epoch].host.request(request.action))
            self._answers[request.id] = work
            if known is None or known.done():  # one that is under way has somebody who waits for it
                self._start(self._answer(request.id, work))

    async def _answer(self, request: int, work: asyncio.Task[str]) -> None:
        answer = await work
        try:
            await self.store.answer(request, answer)
        except StoreError as error:
            log.warning("store %s: a request could not be answered, trying again: %s", self.store.url, error)
            self._changed = True
