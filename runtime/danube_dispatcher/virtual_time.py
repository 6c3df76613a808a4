"""An event loop whose time passes only when nothing else can happen.

A day of sleeping takes no time, the same program always takes the same course, and one that waits for something that can never come fails at once
with `Deadlock` instead of hanging. Test your own programs on it:

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())

Time is an integer number of nanoseconds: with floating-point seconds a clock can be moved by less than it can represent, and the loop then spins
for ever before a timer that never comes due. It begins at 0. A store that is to keep leases and delays in it takes its clock as an argument.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from concurrent.futures import Executor
from types import CoroutineType
from typing import Final, TypeVar

from .errors import Deadlock, InvalidArgument

__all__ = ["Deadlock", "VirtualLoop", "advance"]

T = TypeVar("T")

SECOND: Final = 1_000_000_000
"""Nanoseconds."""
SMALLEST_STEP = 1_000
"""Nanoseconds that time moves at least when it moves."""
LATEST = 4e6
"""Seconds up to which a float tells nanoseconds apart. Beyond it asyncio finds a timer due and yet never runs it."""
BUSY_SLICE = 0.02
"""Real seconds after which what is busy is asked again, in case it ended without waking the loop."""
BUSY_LIMIT = 60.0
"""Real seconds after which something busy is taken for stuck: far longer than a storage call of any test."""
LIMIT = 48 * 3600.0
"""Virtual seconds that a program may take, unless `VirtualLoop.limit` says otherwise."""


class _Clock(selectors.DefaultSelector):
    """A selector that moves the time on instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.limit = LIMIT
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
                raise Deadlock(f"something outside the loop has been busy for {BUSY_LIMIT:g} real seconds", _waiting())
        if waited and (events := super().select(0)):  # it woke the loop after the last look
            return events
        if timeout is None:
            raise Deadlock("nothing is ready and nothing is scheduled", _waiting())
        self.now += max(round(timeout * SECOND), SMALLEST_STEP)
        if self.now > self.limit * SECOND:  # a heartbeat alone keeps a stuck program going for ever
            raise Deadlock(f"{self.limit:g} virtual seconds have passed; what needs more sets loop.limit", _waiting())
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """Give it to `asyncio.Runner(loop_factory=VirtualLoop)`, or to a test framework's setting for the loop.

    Calls in an executor (`asyncio.to_thread`) are waited for in earnest while the time stands still. For what else is under way outside the loop,
    such as the threads of a store, add a call to `busy` that says so.
    """

    def __init__(self) -> None:
        self._clock = _Clock()
        self._calls = 0
        self.busy.append(lambda: self._calls > 0)
        super().__init__(self._clock)

    @property
    def busy(self) -> list[Callable[[], bool]]:
        """While any of these says True, the loop waits and its time stands still."""
        return self._clock.busy

    @property
    def limit(self) -> float:
        """Virtual seconds after which Deadlock is raised (48 hours): a heartbeat would keep a stuck program going for ever.

        Setting it beyond 4,000,000 raises InvalidArgument.
        """
        return self._clock.limit

    @limit.setter
    def limit(self, seconds: float) -> None:
        if seconds > LATEST:
            raise InvalidArgument("limit", f"{seconds:g} seconds is beyond {LATEST:g}, where a float no longer holds a nanosecond and timers could starve")
        self._clock.limit = seconds

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._clock.now / SECOND

    def work(self, seconds: float) -> None:
        """Let so much time pass as work on the loop would take, during which nothing else runs."""
        self._clock.now += round(seconds * SECOND)

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


def _waiting() -> list[str]:
    """What each task waits for, the first twenty."""
    return [f"{task.get_name()} waits in {_place(task.get_coro())}" for task in list(asyncio.all_tasks())[:20]]


def _place(coroutine: object) -> str:
    """Where the innermost coroutine that a task awaits stands."""
    place = "?"
    while isinstance(coroutine, CoroutineType) and coroutine.cr_frame is not None:
        place = f"{coroutine.__qualname__} ({coroutine.cr_code.co_filename}:{coroutine.cr_frame.f_lineno})"
        coroutine = coroutine.cr_await
    return place
