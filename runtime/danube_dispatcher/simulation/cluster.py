"""Several simulated processes in one thread: an event loop for each, and one clock for all.

A process that *stalls* is a loop that is not run for a while, as one that was stopped or lies in a long call: time goes on, and what comes due meanwhile
comes late. A process that *crashes* is a loop that is never run again: nothing in it hears of its end, no clean-up reaches anything.

What is ready is run in the order in which it became ready, whoever's it is; then the clock moves to the next timer. Time is an integer number of
nanoseconds. Nothing here depends on threads, on real time, or on the order of a set.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from itertools import count
from typing import Any, TypeVar

from ..errors import Deadlock
from ..virtual_time import SECOND

T = TypeVar("T")

FEWEST_CANCELLED = 256
"""Cancelled timers that are not worth a look at the whole heap."""
TIRELESS = 16
"""How often a coroutine is told to end that awaits something instead."""


class ProcessLoop(asyncio.AbstractEventLoop):
    """The event loop of one process; its cluster runs it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.name = name
        self.dead = False
        self.stalled = False
        self._cluster = cluster

    def __repr__(self) -> str:
        return f"<loop of {self.name}>"

    def time(self) -> float:
        return self._cluster.now / SECOND

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self.dead

    def is_closed(self) -> bool:
        return self.dead

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None, **_: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_soon(self, callback: Callable[..., object], *args: object, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._cluster.ready.append((self, handle))
        return handle

    def call_later(self, delay: float, callback: Callable[..., object], *args: object, context: Context | None = None) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., object], *args: object, context: Context | None = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._cluster.schedule(self, handle, when)
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dead:
            what = context.get("exception") or context.get("task") or context.get("future")
            self._cluster.strays.append(f"{self.name}: {context['message']}: {what!r}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._cluster.cancelled += 1


class Cluster:
    """The clock, and what is to be run when."""

    def __init__(self, on_death: Callable[[ProcessLoop], object]) -> None:
        """`on_death` is told of each loop that is never run again."""
        self.now = 0
        """Nanoseconds since the beginning."""
        self.ready: deque[tuple[ProcessLoop, asyncio.Handle]] = deque()
        self.strays: list[str] = []
        """Errors that nobody caught in a process that lives."""
        self.stopped = False
        self.cancelled = 0
        self._on_death = on_death
        self._loops: list[ProcessLoop] = []
        self._timers: list[tuple[int, int, ProcessLoop, asyncio.Handle]] = []
        self._numbers = count()
        self._parked: dict[ProcessLoop, list[tuple[ProcessLoop, asyncio.Handle]]] = {}
        self._doomed: list[ProcessLoop] = []

    def process(self, name: str) -> ProcessLoop:
        """The loop of a new process."""
        loop = ProcessLoop(self, name)  # type: ignore[abstract]  # what has to do with the outside stays unimplemented
        self._loops.append(loop)
        return loop

    def schedule(self, loop: ProcessLoop, handle: asyncio.Handle, when: float) -> None:
        due = int(when * SECOND)
        while due / SECOND < when:  # who asks the time when it is due must find that it has come
            due += 1
        heapq.heappush(self._timers, (due, next(self._numbers), loop, handle))

    def kill(self, loop: ProcessLoop) -> None:
        """Nothing of it runs any more from now on, not even what runs just now, once it has awaited something."""
        if not loop.dead:
            loop.dead = True
            self._doomed.append(loop)

    def stall(self, loop: ProcessLoop) -> None:
        """Do not run it until `resume`."""
        loop.stalled = True
        self._parked.setdefault(loop, [])

    def resume(self, loop: ProcessLoop) -> None:
        loop.stalled = False
        self.ready.extend(self._parked.pop(loop, ()))

    def run(self, home: ProcessLoop, main: Coroutine[Any, Any, T]) -> T | None:
        """Run everything until `main`, in the loop `home`, is done; None when it was stopped before."""
        before = asyncio._get_running_loop()
        enter = asyncio._set_running_loop
        task = home.create_task(main)
        ready = self.ready
        try:
            while not self.stopped and not task.done():
                if not ready:
                    self._pass()
                loop, handle = ready.popleft()
                if loop.dead:
                    continue
                if loop.stalled:
                    self._parked[loop].append((loop, handle))
                elif not handle.cancelled():
                    enter(loop)
                    handle._run()
                    if self._doomed:
                        self._reap()
            return task.result() if task.done() else None
        finally:
            for loop in self._loops:
                self.kill(loop)
            self._reap()
            self.ready.clear()
            self._timers.clear()
            enter(before)

    def _pass(self) -> None:
        """Let time pass until something is due."""
        timers, ready = self._timers, self.ready
        if self.cancelled > FEWEST_CANCELLED and 2 * self.cancelled > len(timers):
            timers[:] = [timer for timer in timers if not timer[3].cancelled() and not timer[2].dead]
            heapq.heapify(timers)
            self.cancelled = 0
        while not ready:
            if not timers:
                raise Deadlock("nothing is ready and nothing is scheduled in any process", [])
            self.now = max(self.now, timers[0][0])
            while timers and timers[0][0] <= self.now:
                _, _, loop, handle = heapq.heappop(timers)
                if not loop.dead and not handle.cancelled():
                    ready.append((loop, handle))

    def _reap(self) -> None:
        """Take apart what a dead process has left, so that the collector finds nothing that still wants to say something."""
        doomed, self._doomed = self._doomed, []
        for loop in doomed:
            self._loops.remove(loop)
            self._parked.pop(loop, None)
            asyncio._set_running_loop(loop)
            ended: set[asyncio.Task[Any]] = set()
            while left := asyncio.all_tasks(loop) - ended:  # one that is ended may start others
                for task in left:
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    _end(task.get_coro())
                ended |= left
            self._on_death(loop)


def _end(coroutine: Any) -> None:
    for _ in range(TIRELESS):
        try:
            coroutine.close()
        except RuntimeError:  # it awaits something in a `finally`
            continue
        except Exception:
            return
        return
