"""One timer for all deadlines and heartbeats of an event loop."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, MutableMapping
from itertools import count
from typing import Final, Protocol
from weakref import WeakKeyDictionary, ref

NEVER: Final = float("inf")
HEARTBEAT = 0.5
"""Seconds between two looks at a store for what other processes did (the Danube broker's watchdog)."""

LEASE = 10.0
"""Seconds for which a lease holds. A process that dies is replaced after so long."""
RENEWAL = 3.0
"""Seconds between two renewals of the leases: two may fail before a lease runs out."""


def countdown(seconds: float | None) -> Callable[[], float | None]:
    """What is left of so many seconds, from now on; None: no limit."""
    clock = asyncio.get_running_loop().time
    end = None if seconds is None else clock() + seconds
    return lambda: None if end is None else max(0.0, end - clock())


class Alarmed(Protocol):
    """Something that time matters to. `armed` is the watchdog's: when it will call."""

    armed: float

    def on_alarm(self, now: float) -> None: ...


class Watchdog:
    """Calls each target at the time it asked for last. A target may be called early, and then arms again."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)  # it is kept by its loop, and must not keep it
        self._heap: list[tuple[float, int, Alarmed]] = []
        self._numbers = count()
        self._handle: asyncio.TimerHandle | None = None
        self._live = 0

    def arm(self, target: Alarmed, when: float) -> None:
        """Call the target at `when` and not before; NEVER ends it."""
        if when == target.armed:
            return
        self._live += (when != NEVER) - (target.armed != NEVER)
        target.armed = when
        if when != NEVER:
            heapq.heappush(self._heap, (when, next(self._numbers), target))
        if len(self._heap) > 2 * self._live + 64:  # what was armed anew leaves its old entry behind
            self._heap = [entry for entry in self._heap if entry[2].armed == entry[0]]
            heapq.heapify(self._heap)
        self._schedule()

    def _schedule(self) -> None:
        if not self._live:
            self._heap.clear()
        when = self._heap[0][0] if self._heap else NEVER
        if self._handle is not None:
            if self._handle.when() == when:
                return
            self._handle.cancel()
            self._handle = None
        if when != NEVER:
            self._handle = self._running().call_at(when, self._fire)

    def _running(self) -> asyncio.AbstractEventLoop:
        loop = self._loop()
        assert loop is not None
        return loop

    def _fire(self) -> None:
        self._handle = None
        now = self._running().time()
        try:
            while self._heap and self._heap[0][0] <= now:
                when, _, target = heapq.heappop(self._heap)
                if target.armed == when:
                    self._live -= 1
                    target.armed = NEVER
                    target.on_alarm(now)
        finally:
            self._schedule()  # one that fails stops no other


_watchdogs: MutableMapping[asyncio.AbstractEventLoop, Watchdog] = WeakKeyDictionary()


def watchdog() -> Watchdog:
    """The running loop's."""
    loop = asyncio.get_running_loop()
    if loop not in _watchdogs:
        _watchdogs[loop] = Watchdog(loop)
    return _watchdogs[loop]


def forget_watchdog(loop: asyncio.AbstractEventLoop) -> None:
    """The loop is never run again, though something may still be armed on it."""
    _watchdogs.pop(loop, None)
