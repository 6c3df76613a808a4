"""A reliable machine on its engine's core: one event, and everything that follows from it.

The runtime drives its subscriptions with this loop, and the exploration walks through it: what is checked is what runs.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from .engine import LATER, EngineCore, Readable, Resumed
from .port import Settlement
from .progress import Held
from .reliable import Reliable

T = TypeVar("T", bound=Readable)


class Coupling(Generic[T]):
    """Base of what drives the two. It is the part of the machine's port that is the core's business; a subclass is the rest of it."""

    machine: Reliable
    core: EngineCore[T]
    message: T
    """The one in hand, if any."""
    asked = False
    """Whether a poll is to be answered."""

    # what a subclass knows and does

    def taken(self) -> bool:
        """Whether the open delivery was taken out of its box."""
        raise NotImplementedError

    def read(self, now: float) -> None:
        """The core wants to read."""
        raise NotImplementedError

    def write(self, now: float) -> None:
        """The core may want to write, and wants to be ticked at another time."""
        raise NotImplementedError

    # effects of the machine

    def poll(self) -> None:
        self.asked = True

    def settle(self, offset: int, outcome: Settlement) -> None:
        self.core.settle(offset, self.machine.now)

    def save_failure(self, held: Held) -> None:
        self.core.save_failure(held, self.machine.now)

    # what follows

    def catch_up(self, now: float) -> None:
        """Answer the machine's poll, and tell it the core's news, until neither has anything to say to the other."""
        machine, core = self.machine, self.core
        decided = False
        while True:
            while self.asked:
                self.asked = False
                if core.plain and core.buffer:
                    message = self.message = core.buffer.popleft()
                    machine.polled(message.offset)
                    continue
                answer = core.poll(now)
                if answer is None:
                    machine.poll_empty(None)
                elif type(answer) is Resumed:
                    self.message = answer.message
                    machine.resumed(answer.held)
                elif answer is not LATER:
                    self.message = answer
                    machine.polled(answer.offset)
            if core.attention:
                core.attention = False
                decided = True
                if core.wants_read:
                    self.read(now)
            elif not core.news:
                break
            news = core.take_news()
            if news == "poll":
                self.asked = True
            elif news == "wake":
                (machine.recover if self.exhausted and not machine.roster else machine.wake)(None)
        if decided:
            self.write(now)

    def time_is_up(self, now: float) -> None:
        """Time has passed the core's alarm or the machine's `due_at`."""
        self.core.tick(now)
        if self.machine.due_at is not None and now >= self.machine.due_at:
            self.machine.tick(self.taken())
        self.catch_up(now)

    def alarm(self, now: float) -> float:
        """The next time at which `time_is_up` matters."""
        alarm = self.core.alarm(now)
        return alarm if self.machine.due_at is None else min(alarm, self.machine.due_at)

    @property
    def exhausted(self) -> bool:
        """Whether the next message has met its verdict in an earlier run, so that it needs nobody to be polled for."""
        held = self.core.held
        return held is not None and self.machine.policy.exhausted(held.failures)

    @property
    def unsettled(self) -> Held | None:
        """The message in hand, or the history of the one that is next."""
        return self.machine.held or (self.core.held if self.core.returning else None)
