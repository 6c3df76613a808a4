"""How the writer's thread gets to run beside a busy event loop.

Whoever waits for the GIL asks for it only when nobody has let go of it for 5 ms. A loop that is never idle lets go for a microsecond in
each round: too short to be taken by a thread that must wake up first, yet the 5 ms start anew. With rounds of less than 5 ms a
commit, for which the thread needs the GIL ten times, was seen to take ten seconds: longer than a lease. So while the thread has
work, the loop stands aside now and then, until the thread next waits for the disk: about one turn for each commit.
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

    def rest(self) -> None:
        self._resting = True
        if self._mark.locked():
            self._mark.release()

    def go_on(self) -> None:
        self._resting = False

    def give(self) -> None:
        """In the loop's thread: stand aside while the thread works, but not while it rests."""
        if self._resting:
            moment()  # it may just want to go on, and cannot say so without the GIL
        self._mark.acquire(blocking=False)  # left from an earlier rest
        if not self._resting and not self._mark.acquire(timeout=LONGEST):
            self._resting = True  # it waits for something else, perhaps another process: no more than moments until it has rested
