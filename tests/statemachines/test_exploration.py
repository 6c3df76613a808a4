"""Every interleaving of the machines that ship, and whether the exploration itself can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from random import Random
from typing import Any, TypeVar

import pytest

from danube_statemachines import (
    NON_RELIABLE_EXCLUSIVE,
    NON_RELIABLE_SHARED,
    RELIABLE_EXCLUSIVE,
    RELIABLE_SHARED,
    VARIANTS,
    Declaration,
    DeliveryId,
    Extend,
    FailurePolicy,
    Held,
    InvalidArgument,
    Lost,
    Nack,
    NonReliable,
    Recorder,
    Reliable,
    Replaced,
    Roster,
    RoundRobin,
    SingleActive,
    declare_reliable,
    reliable,
)
from danube_statemachines.exploration import InvariantBroken, explore
from danube_statemachines.exploration.non_reliable import NonReliableEnvironment
from danube_statemachines.exploration.non_reliable import Snapshot as NonReliableSnapshot
from danube_statemachines.exploration.reliable import ReliableEnvironment, ReliableWorld
from danube_statemachines.exploration.reliable import Snapshot as ReliableSnapshot
from danube_statemachines.exploration.worlds import Environment, served, without
from modelling import NON_RELIABLE, RELIABLE, Variant, make

LETTER: dict[str, Any] = {"poison_policy": "dead_letter", "dead_letter_topic": "/test/dead", "max_hold": 45.0}
POLICIES = {
    "block": FailurePolicy(max_redeliveries=1),
    "drop": FailurePolicy(max_redeliveries=1, poison_policy="drop", redelivery_delay=20.0),
    "dead_letter": FailurePolicy(max_redeliveries=1, max_redelivery_delay=5.0, **LETTER),
}
"""A consumer asks for a delay that is longer than the policy's, for a shorter one, and for one that is longer than the most."""
W = TypeVar("W")


@pytest.mark.parametrize("sessions", [1, 2, 3, 4])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", RELIABLE)
def test_nothing_that_can_happen_breaks_a_reliable_machine(name: str, policy: str, sessions: int) -> None:
    found = explore(VARIANTS[name], sessions=sessions, policy=POLICIES[policy])
    assert found.finished
    assert (found.machine, found.sessions) == (name, sessions)
    numbers = [check.split()[0] for check in found.checks]
    assert numbers == ["S1", "S2", "S3", "S5", "S6", "S7", "S8", "S11", "S12", "S13", "L2", "Promises", "L1"]
    assert found.states > 9 * sessions


@pytest.mark.parametrize("sessions", [1, 2, 3, 4])
@pytest.mark.parametrize("name", NON_RELIABLE)
def test_nothing_that_can_happen_breaks_a_non_reliable_machine(name: str, sessions: int) -> None:
    found = explore(VARIANTS[name], sessions=sessions)
    assert found.finished
    assert [check.split()[0] for check in found.checks] == ["S5", "S6", "S9", "S11", "S12", "L1"]
    assert found.states > 4 * sessions


@pytest.mark.parametrize("limit", [0, 5])
def test_any_number_of_redeliveries(limit: int) -> None:
    assert explore(RELIABLE_SHARED, policy=FailurePolicy(max_redeliveries=limit)).finished


def test_the_same_machine_has_the_same_graph_and_another_policy_another() -> None:
    first = explore(RELIABLE_EXCLUSIVE)
    assert explore(RELIABLE_EXCLUSIVE) == first
    assert explore(RELIABLE_EXCLUSIVE, policy=FailurePolicy(max_redeliveries=2)).fingerprint != first.fingerprint


def test_a_limit_is_kept_and_said() -> None:
    whole = explore(RELIABLE_SHARED)
    part = explore(RELIABLE_SHARED, limit=30)
    assert (part.finished, part.states) == (False, 30)
    assert part.checks == whole.checks[:-1], "liveness cannot be judged from a part"
    assert part.depth <= whole.depth
    assert explore(RELIABLE_SHARED, limit=whole.states).finished


@pytest.mark.parametrize("argument", [{"sessions": 0}, {"limit": 0}, {"sessions": True}])
def test_numbers_that_make_no_sense_are_refused(argument: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        explore(RELIABLE_EXCLUSIVE, **argument)
    assert caught.value.name in argument


# what is wrong is found, and told


def declared(wrong: type[Reliable], *, exclusive: bool = True, table: list[Any] = reliable.TABLE) -> Declaration[Reliable]:
    selection = SingleActive() if exclusive else RoundRobin()
    return Declaration("wrong", wrong, table, **reliable.SHAPE, attributes={"selection": selection})


class AckByOffset(Reliable):
    """An acknowledgement is matched by its offset alone."""

    __slots__ = ()

    def current(self, delivery: DeliveryId) -> bool:
        return self.delivery is not None and delivery[2] == self.delivery[2]


class Broken(Reliable):
    __slots__ = ()

    def forgive(self, _: object) -> None:
        raise ZeroDivisionError


WRONG: dict[type[Reliable], str] = {AckByOffset: "S3 settlement is earned", Broken: "S12 state is meaning"}
"""test_contract.py has many more."""


@pytest.mark.parametrize(("wrong", "invariant"), WRONG.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_machine_is_found_out(wrong: type[Reliable], invariant: str) -> None:
    with pytest.raises(InvariantBroken) as caught:
        for policy in POLICIES.values():
            explore(declared(wrong), policy=policy)
    assert caught.value.invariant == invariant
    assert caught.value.machine == "wrong"
    assert str(caught.value).startswith(f"wrong: {invariant}: {caught.value.problem}\n")


def test_the_right_machine_declared_as_those_is_right() -> None:
    class Right(Reliable):
        __slots__ = ()

    for policy in POLICIES.values():
        assert explore(declared(Right), policy=policy).fingerprint == explore(RELIABLE_EXCLUSIVE, policy=policy).fingerprint


def test_a_violation_is_told_as_the_shortest_story() -> None:
    with pytest.raises(InvariantBroken) as caught:
        explore(declared(AckByOffset))
    assert str(caught.value).splitlines() == [
        "wrong: S3 settlement is earned: acknowledged if and only if the open delivery's acknowledgement came",
        "   1  consumer 0 joins      Dispatching   active_changed(0), poll()",
        "   2  message 6             AwaitingAck   send((1, 0, 6, 1))",
        "   3  ack of another epoch  Dispatching   settle(6, 'acked'), poll()",
        "again: replay(machine, ['consumer 0 joins', 'message 6', 'ack of another epoch'])",
    ]
    assert [line.what for line in caught.value.story] == ["consumer 0 joins", "message 6", "ack of another epoch"]


class Unmoved(RoundRobin):
    """A rotation that does not turn."""

    name = "unmoved"

    @staticmethod
    def served(roster: Roster, session: int) -> Roster:
        return roster


class Ring(RoundRobin):
    """A turning ring, as Danube's: whoever was skipped is passed over for a whole round."""

    name = "ring"

    @staticmethod
    def served(roster: Roster, session: int) -> Roster:
        at = roster.index(session) + 1
        return roster[at:] + roster[:at]


def test_a_selection_of_your_own_is_held_to_fairness() -> None:
    with pytest.raises(InvariantBroken) as caught:
        explore(declare_reliable(Unmoved()))
    assert caught.value.invariant == "S6 fair rotation"
    assert caught.value.problem == "0 is served again, and 1 was not"
    assert explore(declare_reliable(Ring()), sessions=3).finished, "with one in flight nobody is skipped"


# the worlds that stand for all others


def test_a_world_holds_all_that_a_machine_knows() -> None:
    assert ReliableSnapshot._fields == Reliable.fields
    assert NonReliableSnapshot._fields == NonReliable.fields


class Walk:
    """A long random life of a machine among real things: sessions and offsets that only grow, a clock, a network that keeps every delivery
    and gives it back at any time, and a disk from which the next owner reads what was saved."""

    def __init__(self, variant: Variant, policy: FailurePolicy, most: int, chance: Random) -> None:
        self.variant, self.policy, self.most, self.chance = variant, policy, most, chance
        self.port = Recorder()
        self.sessions = self.head = 0
        self.epoch = 0
        self.saved: Held | None = None
        self.network: list[tuple[int, int, int, int]] = [(0, 0, 0, 1)]
        self.environment = ReliableEnvironment(variant, policy, most)  # type: ignore[arg-type]
        self.restart()

    def restart(self) -> None:
        self.epoch += 1
        self.machine: Reliable = make(self.variant, self.port, self.policy)
        self.machine.epoch = self.epoch
        self.world = ReliableWorld(ReliableSnapshot(*self.values()), self.epoch, 0, 0, None, False, frozenset())

    def values(self) -> tuple[Any, ...]:
        return self.machine.snapshot()

    def events(self) -> list[tuple[str, object]]:
        machine, world = self.machine, self.world
        found: list[tuple[str, object]] = [("wake", None), ("recover", None), ("tick", world.taken), ("sleep", 1.0), *[("sleep", 100.0)] * 3]
        holder = machine.delivery and machine.delivery[1]
        for session in machine.roster:
            taken = world.taken and session == holder
            found += [("consumer_lost", Lost(session, taken)), ("consumer_replaced", Replaced(session, self.sessions, taken))]
        if len(machine.roster) < self.most:
            found += [("consumer_added", self.sessions)] * 3
        if world.polls:
            found += [("poll_empty", None), ("polled", self.head), ("polled", self.head)]
            if self.saved is not None:
                found += [("resumed", self.saved)] * 3
        if machine.delivery is not None and not world.taken:
            found += [("take", None)] * 4
        for answer in self.chance.sample(self.network, min(2, len(self.network))):
            if answer != machine.delivery or world.taken:
                found += [("ack", answer), ("nack", Nack(answer, 7.0, "no")), ("extend", Extend(answer, 9.0))]
        if machine.delivery is not None and world.taken:
            found += [("ack", machine.delivery), ("nack", Nack(machine.delivery, 50.0))] * 6
        if world.letters:
            found += [("dead_lettered", None), ("dead_letter_failed", 0.5), ("dead_letter_failed", 0.5), ("dead_letter_refused", None)]
        if machine.state == reliable.BLOCKED:
            found += [("release_retry", None), ("release_drop", None), ("release_dead_letter", None)]
        if self.chance.random() < 0.01:
            found += [("close", None)]
        return found

    def step(self) -> None:
        if self.machine.state == reliable.CLOSED or self.chance.random() < 0.005:
            return self.restart()
        event, argument = self.chance.choice(self.events())
        world, machine = self.world, self.machine
        if event == "sleep":
            assert isinstance(argument, float)
            machine.now += argument
            return None
        if event == "take":
            self.world = world._replace(taken=True)
            return None
        self.sessions += event in ("consumer_added", "consumer_replaced")
        self.head += event == "polled"
        if event == "resumed":
            self.saved = None
        getattr(machine, event)(argument)
        self.follow(event, argument)
        return None

    def follow(self, event: str, argument: Any) -> None:
        world, machine = self.world, self.machine
        polls = world.polls - (event in ("polled", "resumed", "poll_empty"))
        letters = world.letters - event.startswith("dead_letter")
        announced, turns = world.announced, world.turns
        if event in ("consumer_lost", "consumer_replaced"):
            turns = without(turns, argument.session)
        for name, *rest in self.port.take():
            value: Any = rest[0] if rest else None
            polls += name == "poll"
            letters += name == "dead_letter"
            if name == "active_changed":
                announced = value
            elif name == "save_failure":
                self.saved = value
            elif name == "send":
                self.network = [*self.network[-5:], value]
                if not machine.selection.announces:
                    turns = served(turns, value[1], machine.roster)
        taken = world.taken and machine.delivery == world.machine.delivery
        self.world = ReliableWorld(ReliableSnapshot(*self.values()), self.epoch, polls, letters, announced, taken, turns)
        if machine.state == reliable.CLOSED:
            self.world = ReliableWorld(self.world.machine, self.epoch, 0, 0, None, False, frozenset())


def worlds_of(environment: Environment[W], key: Callable[[W], Hashable]) -> list[W]:
    """All that an exploration visits that takes the worlds of one key for one."""
    todo = [environment.start()]
    seen = {key(todo[0])}
    for world in todo:
        for step in environment.steps(world):
            after = environment.later(step.after)
            if key(after) not in seen:
                seen.add(key(after))
                todo.append(after)
    return todo


def the_same(environment: Environment[W], unmerged: Callable[[W], Hashable]) -> tuple[int, int]:
    """How many worlds there are with less merging and with all of it, once the former are found to be no others."""
    apart, merged = worlds_of(environment, unmerged), worlds_of(environment, environment.key)
    assert set(map(environment.key, apart)) == set(map(environment.key, merged))
    return len(apart), len(merged)


def with_numbers(world: ReliableWorld) -> Hashable:
    """Everything that the key has, with the numbers of the sessions."""
    state, roster, offset, _, failures, _, delivery, _, due_at = world.machine
    return (state, roster, offset is None, failures, delivery and delivery[1], due_at is None, *world[2:])


@pytest.mark.parametrize(("name", "sessions", "apart", "merged"), [("reliable_exclusive", 3, 449, 42), ("reliable_shared", 3, 4_529, 224)])
def test_a_session_of_a_reliable_machine_is_no_more_than_its_place(name: str, sessions: int, apart: int, merged: int) -> None:
    environment = ReliableEnvironment(RELIABLE_EXCLUSIVE if name == "reliable_exclusive" else RELIABLE_SHARED, POLICIES["dead_letter"], sessions)
    assert the_same(environment, with_numbers) == (apart, merged)


@pytest.mark.parametrize("name", NON_RELIABLE)
def test_a_session_of_a_non_reliable_machine_is_no_more_than_its_place(name: str) -> None:
    environment = NonReliableEnvironment(NON_RELIABLE_EXCLUSIVE if name == "non_reliable_exclusive" else NON_RELIABLE_SHARED, 3)
    apart, merged = the_same(environment, lambda world: world)
    assert apart > 5 * merged


@pytest.mark.parametrize("policy", ["block", "dead_letter"])
@pytest.mark.parametrize("name", RELIABLE)
def test_nothing_is_lost_by_merging_worlds(name: str, policy: str) -> None:
    """A life without any merging visits the worlds of the exploration: no other one, and each of them."""
    walk = Walk(VARIANTS[name], POLICIES[policy], 2, Random(3))
    explored = {walk.environment.key(world) for world in worlds_of(walk.environment, walk.environment.key)}
    missing = set(explored)
    for _ in range(300_000):
        walk.step()
        visited = walk.environment.key(walk.world)
        assert visited in explored
        missing.discard(visited)
        if not missing:
            break
    assert missing == set()
