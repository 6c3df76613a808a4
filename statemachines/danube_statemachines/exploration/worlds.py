"""What can happen to a machine, at any moment and in any order: the worlds that the search walks through.

A *world* is all that decides what may happen next, as one value: the machine's snapshot, the answers that are owed to it, what its consumers
did, and what fairness must remember. There are finitely many, for any number of messages, because worlds that no machine can tell apart are
merged (`key`):

- *Messages.* A machine compares offsets for equality and does nothing else with them. So the log needs no contents: a poll is answered
  with a message or with nothing, whichever, and with every number of failures and a delay that a message can bring from an earlier run.
- *Deliveries.* An answer names the open delivery or it does not. So nobody remembers what consumers still hold: in each world, answers
  come that differ from the open delivery in any one part. Old, foreign and forged ones look like this, and like nothing else.
- *Attempts, epochs and reasons* only grow, or are passed on: what depends on them is checked at each step, and not remembered.
- *Sessions* are compared for equality, and a selection knows them by their places in the roster. So a session is its place, and a newcomer
  takes the lowest number that nobody remembers, though real ones are never used again.
- *Time* is early or due. A deadline lies ahead when a world is left (`later`); in the next it has come, or it has not.
- *A crash* loses all but what was durable, and the next owner's first poll is answered with whatever that is. So it leads back to the start.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

from ..errors import DefinitionError, IllegalEvent
from ..identity import Lost, Replaced
from ..port import Recorder
from ..roster import RosterMachine
from ..selection import Roster

EARLY, DUE = 10.0, 100.0
"""When things happen that are early, and when whatever waits has waited long enough."""

Effect = tuple[Any, ...]
Turns = frozenset[tuple[int, int, int]]
"""(a, b, n): since a was served last, b was served n times (2: or more), and both could have been served throughout."""

W = TypeVar("W")
M = TypeVar("M", bound=RosterMachine)


@dataclass(slots=True)
class Step(Generic[W]):
    """One thing that happened, the world before it and the world after it."""

    label: str
    """What happened. No other step from the same world has it."""
    event: str
    """The trigger; empty where nothing reaches the machine."""
    argument: Any
    now: float
    before: W
    after: W
    effects: tuple[Effect, ...] = ()
    fair: bool = False
    """Whether it happens, sooner or later, while consumers acknowledge and storage answers."""
    fault: bool = False
    """Whether something went wrong, of which there may be a bounded number."""
    where: str = ""
    """Which machine, where there are several."""


class Stopped(Exception):
    """A machine raised where it must not."""

    def __init__(self, step: Step[Any], error: Exception) -> None:
        what = "an event that can come here is not listed" if isinstance(error, IllegalEvent) else "the machine broke"
        super().__init__(f"{what}: {error!r}")
        self.step = step


class Environment(Protocol[W]):
    """A kind of world: where it begins, what can happen in it, and which are the same."""

    def start(self) -> W: ...

    def steps(self, world: W) -> Iterator[Step[W]]: ...

    def later(self, world: W) -> W:
        """The world some time after a step."""
        ...

    def key(self, world: W) -> Hashable: ...

    def state(self, world: W) -> str:
        """The machine's."""
        ...

    def settles(self, step: Step[W]) -> bool:
        """Whether a message was done with."""
        ...


class Driver(Generic[M]):
    """Takes a machine through one step from any of its snapshots."""

    def __init__(self, machine: M, port: Recorder) -> None:
        self.machine = machine
        self._port = port

    @property
    def snapshot(self) -> tuple[Any, ...]:
        return self.machine.snapshot()

    def run(self, step: Step[Any], snapshot: tuple[Hashable, ...]) -> tuple[Any, ...]:
        """The snapshot after it. Raises Stopped."""
        machine = self.machine
        machine.restore(snapshot)
        machine.now = step.now
        self._port.effects = []
        try:
            getattr(machine, step.event)(step.argument)
        except DefinitionError:  # of a selection that is none
            raise
        except Exception as error:
            raise Stopped(step, error) from error
        step.effects = tuple(self._port.effects)
        return self.snapshot


def places(roster: Roster) -> Callable[[int | None], int | None]:
    """What stands for a session: its place, nothing for nobody, and for one that is gone a number that is no place."""
    place: dict[int | None, int | None] = {session: nth for nth, session in enumerate(roster)}
    place[None] = None
    return lambda session: place.get(session, -1)


def consumer_events(roster: Roster, most: int, holder: int | None = None, *, taken: bool = False, gone: Roster = ()) -> Iterator[tuple[str, str, Any]]:
    """(label, event, argument) of what consumers do, at most so many at once; `holder` has `taken` what it was given, or not. `gone` are remembered."""
    new = next(session for session in count() if session not in roster and session not in gone)
    if len(roster) < most:
        yield f"consumer {new} joins", "consumer_added", new
    for session in roster:
        had = taken and session == holder
        yield f"consumer {session} is lost", "consumer_lost", Lost(session, had)
        yield f"consumer {new} takes over from {session}", "consumer_replaced", Replaced(session, new, had)


def served(turns: Turns, session: int, eligible: Roster) -> Turns:
    """`session` was served, and all of `eligible` could have been."""
    kept = ((a, b, min(n + 1, 2) if b == session else n) for a, b, n in turns if a != session)
    return frozenset((*kept, *((session, other, 0) for other in eligible if other != session)))


def without(turns: Turns, session: int) -> Turns:
    """`session` is gone, or has no room."""
    return frozenset(turn for turn in turns if session not in turn[:2])
