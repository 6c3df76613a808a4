"""Engine, consumers, network, clock, dead-letter topic and operator around a reliable machine."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

from ..declaration import Declaration
from ..identity import DeliveryId, Extend, Nack
from ..policy import FailurePolicy
from ..port import Recorder
from ..progress import Held
from ..reliable import BLOCKED, CLOSED, Reliable
from ..selection import Roster
from .worlds import DUE, EARLY, Driver, Step, Turns, consumer_events, places, served, without

SENT = 0.0
"""When the open delivery was sent, in every world that is left."""
ASKED, LONGER, RETRY = 7.0, 1e6, 0.5
"""Seconds: the delay that a nack asks for, an extension, and until a dead letter is tried again."""
HEAD = 5
"""The offset before the next message's."""


class Snapshot(NamedTuple):
    """`Reliable.fields`"""

    state: str
    roster: Roster
    offset: int | None
    attempt: int
    failures: int
    reason: str
    delivery: DeliveryId | None
    sent_at: float | None
    due_at: float | None


class ReliableWorld(NamedTuple):
    machine: Snapshot
    epoch: int
    polls: int
    """Answers that the engine owes."""
    letters: int
    """Answers that the dead-letter topic owes."""
    announced: int | None
    """Who was last said to be active."""
    taken: bool
    """Whether the open delivery was taken out of its box."""
    turns: Turns


class ReliableEnvironment:
    def __init__(self, declaration: Declaration[Reliable], policy: FailurePolicy, sessions: int) -> None:
        port = Recorder()
        self._driver = Driver(declaration.lean(port, policy), port)
        self._blank = Snapshot(*self._driver.snapshot)
        self._most = sessions
        self._policy = policy
        self.selection = self._driver.machine.selection

    def start(self) -> ReliableWorld:
        return ReliableWorld(self._blank, epoch=1, polls=0, letters=0, announced=None, taken=False, turns=frozenset())

    def later(self, world: ReliableWorld) -> ReliableWorld:
        machine = world.machine
        sent_at = None if machine.sent_at is None else SENT
        due_at = None if machine.due_at is None else DUE
        return world._replace(machine=machine._replace(sent_at=sent_at, due_at=due_at))

    def key(self, world: ReliableWorld) -> Hashable:
        state, roster, offset, _, failures, _, delivery, _, due_at = world.machine
        place = places(roster)
        holder = place(delivery and delivery[1])
        turns = frozenset((place(first), place(other), times) for first, other, times in world.turns)
        return state, len(roster), offset is None, failures, holder, due_at is None, world.polls, world.letters, place(world.announced), world.taken, turns

    def state(self, world: ReliableWorld) -> str:
        return world.machine.state

    def settles(self, step: Step[ReliableWorld]) -> bool:
        return any(effect[0] == "settle" for effect in step.effects)

    # what can happen

    def steps(self, world: ReliableWorld) -> Iterator[Step[ReliableWorld]]:
        machine = world.machine
        holder = machine.delivery and machine.delivery[1]
        for label, event, argument in consumer_events(machine.roster, self._most, holder, taken=world.taken):
            yield self._step(world, label, event, argument, fair=event == "consumer_added")
        yield self._step(world, "the engine has news", "wake", fair=True)
        yield self._step(world, "the engine has an exhausted message", "recover")
        if world.polls or machine.state == CLOSED:
            yield from self._polled(world)
        yield from self._answers(world)
        yield self._step(world, "an early tick", "tick", world.taken)
        if machine.due_at is not None:
            yield self._step(world, "time is up", "tick", world.taken, now=DUE, fair=True)
        if world.letters or machine.state == CLOSED:
            yield self._step(world, "the dead letter is durable", "dead_lettered", fair=True)
            yield self._step(world, "the dead letter fails", "dead_letter_failed", RETRY)
            yield self._step(world, "the dead letter is refused", "dead_letter_refused")
        if machine.state == BLOCKED:
            for action in ("retry", "drop", "dead_letter"):
                yield self._step(world, f"release({action})", f"release_{action}", fair=action == "drop")
        yield self._step(world, "close", "close")
        yield Step("crash", "", None, EARLY, world, self.start()._replace(epoch=world.epoch + 1))

    def _polled(self, world: ReliableWorld) -> Iterator[Step[ReliableWorld]]:
        offset = HEAD + 1
        yield self._step(world, "nothing to read", "poll_empty")
        yield self._step(world, f"message {offset}", "polled", offset, fair=True)
        for failures in range(self._policy.max_redeliveries + 2):
            for due_at, waits in ((None, ""), (DUE, ", still in its delay"))[: 1 + (failures > 0)]:
                held = Held(offset, 1, failures, "earlier", due_at)
                yield self._step(world, f"message {offset} with {failures} failures{waits}", "resumed", held, fair=True)

    def _answers(self, world: ReliableWorld) -> Iterator[Step[ReliableWorld]]:
        machine = world.machine
        named = machine.delivery
        if named is None:
            offset = HEAD if machine.offset is None else machine.offset
            named = (world.epoch, machine.roster[0] if machine.roster else 0, offset, machine.attempt)
            yield from self._answer(world, ", late", named)
        elif world.taken:
            yield from self._answer(world, "", named, fair=True)
        else:
            yield Step("it is taken", "", None, EARLY, world, world._replace(taken=True), fair=True)
        epoch, session, offset, attempt = named
        yield from self._answer(world, " of another epoch", (epoch - 1, session, offset, attempt))
        yield from self._answer(world, " of another session", (epoch, session + 1, offset, attempt))
        yield from self._answer(world, " of another message", (epoch, session, offset - 1, attempt))
        yield from self._answer(world, " of another attempt", (epoch, session, offset, attempt - 1))

    def _answer(self, world: ReliableWorld, which: str, named: DeliveryId, *, fair: bool = False) -> Iterator[Step[ReliableWorld]]:
        yield self._step(world, f"ack{which}", "ack", named, fair=fair)
        yield self._step(world, f"nack{which}", "nack", Nack(named, ASKED, "no"))
        yield self._step(world, f"extend{which}", "extend", Extend(named, LONGER))

    # one step

    def _step(self, world: ReliableWorld, label: str, event: str, argument: Any = None, *, now: float = EARLY, fair: bool = False) -> Step[ReliableWorld]:
        step = Step(label, event, argument, now, world, world, fair=fair)
        self._driver.machine.epoch = world.epoch
        step.after = self._after(step, Snapshot(*self._driver.run(step, world.machine)))
        return step

    def _after(self, step: Step[ReliableWorld], machine: Snapshot) -> ReliableWorld:
        world, event = step.before, step.event
        if machine.state == CLOSED:
            return ReliableWorld(machine, world.epoch, 0, 0, None, False, frozenset())
        polls = world.polls - (event in ("polled", "resumed", "poll_empty"))
        letters = world.letters - (event in ("dead_lettered", "dead_letter_failed", "dead_letter_refused"))
        announced, turns = world.announced, world.turns
        if event in ("consumer_lost", "consumer_replaced"):
            turns = without(turns, step.argument.session)
        for effect in step.effects:
            if effect[0] == "poll":
                polls += 1
            elif effect[0] == "dead_letter":
                letters += 1
            elif effect[0] == "active_changed":
                announced = effect[1]
            elif effect[0] == "send" and not self.selection.announces:
                turns = served(turns, effect[1][1], machine.roster)
        return ReliableWorld(machine, world.epoch, polls, letters, announced, world.taken and machine.delivery == world.machine.delivery, turns)
