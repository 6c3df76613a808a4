"""How the writer's thread gets to run beside a busy event loop.

Whoever waits for the GIL asks for it only when nobody has let go of it for 5 ms. A loop that is never idle lets go for a microsecond in
each round: too short to be taken by a thread that must wake up first, yet the 5 ms start anew. With rounds of less than 5 ms a
commit, for which the thread needs the GIL ten times, was seen to take ten seconds: longer than a lease. So while the thread has
work, the loop stands aside now and then, until the thread next waits for the disk: about one turn for each commit.

Whoever awaits a write on a loop that has no moment to spare gets one more, long enough for a quick disk: otherwise each of its rounds would add to
how long the write takes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

EVERY = 0.001
"""Seconds between two turns."""
MOMENT = 1e-6
"""Seconds that the system makes some 60 µs of (measured): time for a thread to wake up."""
LONGEST = 0.002
"""Seconds of a turn at most; the work of a full commit is less."""
BUSY = 0.8
"""The part of its time, turns left out, from which on a loop is busy; one that only waits for the writer uses up to half."""


def lend(loop: asyncio.AbstractEventLoop, needed: Callable[[], bool], turn: Callable[[], None]) -> None:
    """From now on take a `turn` every so often, as long as it is `needed`."""

    def take() -> None:
        if needed():
            turn()
            loop.call_later(EVERY, take)

    loop.call_later(EVERY, take)


def moment() -> None:
    """A turn for any thread."""
    time.sleep(MOMENT)


class Turns:
    """Turns for one thread, which says when it rests: what it waits for then is not the GIL."""

    def __init__(self) -> None:
        self._resting = False
        self._mark = threading.Lock()
        self._mark.acquire()
        self._busy = False
        self._since, self._used = time.perf_counter(), time.thread_time()

    def rest(self) -> None:
        self._resting = True
        if self._mark.locked():
            self._mark.release()

    def go_on(self) -> None:
        self._resting = False

    def busy(self) -> bool:
        """In the loop's thread: whether it had hardly a moment to spare since this was last judged, or when it was, if that is not long ago."""
        passed = time.perf_counter() - self._since
        if passed >= EVERY:
            used = time.thread_time()
            self._busy = used - self._used > BUSY * passed
            self._since += passed
            self._used = used
        return self._busy

    def give(self) -> None:
        """In the loop's thread: stand aside while the thread works, but not while it rests."""
        began = time.perf_counter()
        if self._resting:
            moment()  # it may just want to go on, and cannot say so without the GIL
        self._mark.acquire(blocking=False)  # left from an earlier rest
        if not self._resting:
            self._wait()
        self._since += time.perf_counter() - began

    def give_more(self) -> None:
        """Until it rests again."""
        began = time.perf_counter()
        self._wait()
        self._since += time.perf_counter() - began

    def _wait(self) -> None:
        if not self._mark.acquire(timeout=LONGEST):
            self._resting = True  # it waits for something else, perhaps another process: no more than moments until it has rested
