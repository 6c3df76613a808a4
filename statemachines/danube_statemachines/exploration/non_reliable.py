"""Publisher, boxes and consumers around a non-reliable machine."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

from ..declaration import Declaration
from ..non_reliable import CLOSED, NonReliable
from ..port import Recorder
from ..selection import Roster
from .worlds import EARLY, Driver, Step, Turns, consumer_events, places, served, without

FOREIGN = -1
"""The session of a box that nobody offered anything."""
NOBODY: frozenset[int] = frozenset()
OUTCOMES = ("sent", "dropped", "no_consumer")


class Snapshot(NamedTuple):
    """`NonReliable.fields`"""

    state: str
    roster: Roster
    candidates: Roster


class NonReliableWorld(NamedTuple):
    machine: Snapshot
    offered: int | None
    """The session whose box owes an answer."""
    untried: Roster
    """Who was lined up when the message came, is still there, and was not tried yet."""
    full: frozenset[int]
    """Who had no room for the message."""
    announced: int | None
    """Who was last said to be active."""
    turns: Turns


class NonReliableEnvironment:
    def __init__(self, declaration: Declaration[NonReliable], sessions: int) -> None:
        port = Recorder()
        self._driver = Driver(declaration.lean(port), port)
        self._blank = Snapshot(*self._driver.snapshot)
        self._most = sessions
        self.selection = self._driver.machine.selection

    def start(self) -> NonReliableWorld:
        return NonReliableWorld(self._blank, offered=None, untried=(), full=NOBODY, announced=None, turns=frozenset())

    def later(self, world: NonReliableWorld) -> NonReliableWorld:
        return world

    def key(self, world: NonReliableWorld) -> Hashable:
        state, roster, candidates = world.machine
        place = places(roster)
        turns = frozenset((place(first), place(other), times) for first, other, times in world.turns)
        others = tuple(map(place, candidates)), place(world.offered), tuple(map(place, world.untried)), frozenset(map(place, world.full))
        return state, len(roster), *others, place(world.announced), turns

    def state(self, world: NonReliableWorld) -> str:
        return world.machine.state

    def settles(self, step: Step[NonReliableWorld]) -> bool:
        return any(effect[0] in OUTCOMES for effect in step.effects)

    def steps(self, world: NonReliableWorld) -> Iterator[Step[NonReliableWorld]]:
        machine = world.machine
        for label, event, argument in consumer_events(machine.roster, self._most, gone=machine.candidates):
            yield self._step(world, label, event, argument)
        if world.offered is None:
            yield self._step(world, "a message", "message", fair=True)
        else:
            yield self._step(world, f"box {world.offered} has room", "accepted", world.offered, fair=True)
            yield self._step(world, f"box {world.offered} is full", "refused", world.offered)
        for session in (*machine.roster, FOREIGN):
            if session != world.offered:
                yield self._step(world, f"box {session}, not asked, has room", "accepted", session)
                yield self._step(world, f"box {session}, not asked, is full", "refused", session)
        yield self._step(world, "close", "close")

    def _step(self, world: NonReliableWorld, label: str, event: str, argument: Any = None, *, fair: bool = False) -> Step[NonReliableWorld]:
        step = Step(label, event, argument, EARLY, world, world, fair=fair)
        step.after = self._after(step, Snapshot(*self._driver.run(step, world.machine)))
        return step

    def _after(self, step: Step[NonReliableWorld], machine: Snapshot) -> NonReliableWorld:
        world, event, argument = step.before, step.event, step.argument
        if machine.state == CLOSED:
            return NonReliableWorld(machine, None, (), NOBODY, None, frozenset())
        offered, untried, full, announced, turns = world[1:]
        if event == "message":
            untried = machine.roster[: self.selection.tries(machine.roster)]
        elif event == "refused" and offered is not None and argument == offered:
            full, turns = full | ({offered} & set(machine.roster)), without(turns, offered)
        elif event in ("consumer_lost", "consumer_replaced"):
            left = argument.session
            untried, full, turns = tuple(session for session in untried if session != left), full - {left}, without(turns, left)
        for effect in step.effects:
            if effect[0] == "offer":
                offered = effect[1]
                untried = tuple(session for session in untried if session != offered)
            elif effect[0] == "active_changed":
                announced = effect[1]
            elif effect[0] in OUTCOMES:
                if effect[0] == "sent" and effect[1] in machine.roster and not self.selection.announces:
                    turns = served(turns, effect[1], tuple(session for session in machine.roster if session not in full))
                offered, untried, full = None, (), NOBODY
        return NonReliableWorld(machine, offered, untried, full, announced, turns)
