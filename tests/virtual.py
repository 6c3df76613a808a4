"""An event loop for tests whose time passes only when nothing else can happen.

A day of sleeping takes no time, the same test always takes the same course, and a test that waits for something that can
never come fails at once with `Deadlock` instead of hanging.

Time is an integer number of nanoseconds: with floating-point seconds a clock can be moved by less than it can represent,
and the loop then spins for ever before a timer that never comes due.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from concurrent.futures import Executor
from types import CoroutineType
from typing import TypeVar

T = TypeVar("T")

SMALLEST_STEP = 1_000
"""Nanoseconds that time moves at least when it moves."""
LATEST = 4e6
"""Seconds up to which a float tells nanoseconds apart. Beyond it asyncio finds a timer due and yet never runs it."""
BUSY_SLICE = 0.02
"""Real seconds after which what is busy is asked again, in case it ended without waking the loop."""
BUSY_LIMIT = 60.0
"""Real seconds after which something busy is taken for stuck: far longer than any storage call of a test."""


class Deadlock(RuntimeError):
    """Nothing is ready, nothing is scheduled, and nothing outside is under way: this loop would wait for ever."""


class _Clock(selectors.DefaultSelector):
    """A selector that moves the time on instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.limit = 48 * 3600.0
        self.busy: list[Callable[[], bool]] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        stuck_at = time.monotonic() + BUSY_LIMIT
        waited = False
        while any(busy() for busy in self.busy):
            waited = True
            if events := super().select(BUSY_SLICE):
                return events
            if time.monotonic() > stuck_at:
                raise Deadlock(_waiting(f"something outside the loop has been busy for {BUSY_LIMIT:g} real seconds"))
        if waited and (events := super().select(0)):  # it woke the loop after the last look
            return events
        if timeout is None:
            raise Deadlock(_waiting("nothing is ready and nothing is scheduled"))
        self.now += max(round(timeout * 1e9), SMALLEST_STEP)
        if self.now > self.limit * 1e9:  # a heartbeat alone keeps a stuck test going for ever
            raise Deadlock(_waiting(f"{self.limit:g} virtual seconds have passed; a test that needs more sets loop.limit"))
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """Register in `busy` what is under way outside the loop: while any of it says True, the loop waits in earnest and its time stands still.

    Calls in an executor (`asyncio.to_thread`) are looked after. `limit` ends a test after so many virtual seconds.
    """

    def __init__(self) -> None:
        self._clock = _Clock()
        self._calls = 0
        self.busy.append(lambda: self._calls > 0)
        super().__init__(self._clock)

    @property
    def busy(self) -> list[Callable[[], bool]]:
        return self._clock.busy

    @property
    def limit(self) -> float:
        return self._clock.limit

    @limit.setter
    def limit(self, seconds: float) -> None:
        if seconds > LATEST:
            raise ValueError(f"limit: {seconds:g} seconds is beyond {LATEST:g}, where a float no longer holds a nanosecond and timers could starve")
        self._clock.limit = seconds

    def time(self) -> float:
        return self._clock.now / 1e9

    def work(self, seconds: float) -> None:
        """Let so much time pass as work on the loop would take, during which nothing else runs."""
        self._clock.now += round(seconds * 1e9)

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: object) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._calls += 1
        future.add_done_callback(self._call_done)
        return future

    def _call_done(self, _: object) -> None:
        self._calls -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        self._calls += 1  # a thread of asyncio's own, which run_in_executor does not see
        try:
            await super().shutdown_default_executor()
        finally:
            self._calls -= 1


async def advance(seconds: float) -> None:
    """Let so much virtual time pass. What is due at that very instant may come before or after: go a little beyond it."""
    await asyncio.sleep(seconds)


def _waiting(problem: str) -> str:
    lines = [f"{task.get_name()} waits in {_place(task.get_coro())}" for task in asyncio.all_tasks()]
    return "\n  ".join([problem, *lines[:20]])


def _place(coroutine: object) -> str:
    """Where the innermost coroutine that a task awaits stands."""
    place = "?"
    while isinstance(coroutine, CoroutineType) and coroutine.cr_frame is not None:
        place = f"{coroutine.__qualname__} ({coroutine.cr_code.co_filename}:{coroutine.cr_frame.f_lineno})"
        coroutine = coroutine.cr_await
    return place
