"""A story is a test: it breaks the machine it was told of again, and none that is right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any, NamedTuple, TypeVar

import pytest

import danube_statemachines
from danube_statemachines import (
    NON_RELIABLE_EXCLUSIVE,
    NON_RELIABLE_SHARED,
    RELIABLE_EXCLUSIVE,
    RELIABLE_SHARED,
    VARIANTS,
    Declaration,
    DefinitionError,
    FailurePolicy,
    InvalidArgument,
    Lost,
    Reliable,
    Roster,
    RoundRobin,
    RowSpec,
    SingleActive,
    declare_non_reliable,
    declare_reliable,
    non_reliable,
    reliable,
)
from danube_statemachines.exploration import InvariantBroken, StoryLine, explore, replay, subscribed
from danube_statemachines.exploration.non_reliable import NonReliableEnvironment
from danube_statemachines.exploration.reliable import ReliableEnvironment
from danube_statemachines.exploration.worlds import Environment

W = TypeVar("W")
DEAD_LETTER = FailurePolicy(max_redeliveries=1, poison_policy="dead_letter", dead_letter_topic="/test/dead")


def without(table: list[RowSpec], trigger: str, source: str) -> list[RowSpec]:
    """A table that lacks the first such row."""
    first = next(row for row in table if row["trigger"] == trigger and row["source"] == [source])
    return [row for row in table if row is not first]


def doing(table: list[RowSpec], trigger: str, source: str, actions: list[str]) -> list[RowSpec]:
    """A table whose first such row does something else."""
    first = next(row for row in table if row["trigger"] == trigger and row["source"] == [source])
    return [row if row is not first else {**row, "before": actions} for row in table]


class Broken(Reliable):
    __slots__ = ()

    def leave(self, lost: Lost) -> None:
        raise ZeroDivisionError


class Planted(NamedTuple):
    wrong: Declaration[Any]
    right: Declaration[Any]
    policy: FailurePolicy | None
    invariant: str


PLANTED = {
    "a failure that is not charged": Planted(
        declare_reliable(SingleActive(), doing(reliable.TABLE, "nack", reliable.AWAITING_ACK, ["give_up", "back_off_as_asked", "save"])),
        RELIABLE_EXCLUSIVE,
        FailurePolicy(max_redeliveries=1, poison_policy="drop"),
        "S13 blame is just",
    ),
    "a box that is asked twice": Planted(
        declare_non_reliable(RoundRobin(), doing(non_reliable.TABLE, "refused", non_reliable.DISPATCHING, [])), NON_RELIABLE_SHARED, None, "S9 at most once"
    ),
    "a machine that breaks": Planted(
        Declaration("broken", Broken, reliable.TABLE, **reliable.SHAPE, attributes={"selection": RoundRobin()}), RELIABLE_SHARED, None, "S12 state is meaning"
    ),
    "a wait without an end": Planted(
        declare_reliable(SingleActive(), without(reliable.TABLE, "tick", reliable.DEAD_LETTERING)),
        RELIABLE_EXCLUSIVE,
        DEAD_LETTER,
        "L1 every message is eventually settled",
    ),
}


def violation(planted: Planted) -> InvariantBroken:
    with pytest.raises(InvariantBroken) as caught:
        explore(planted.wrong, policy=planted.policy)
    return caught.value


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_a_story_breaks_the_machine_it_was_told_of_again_and_not_the_right_one(planted: Planted) -> None:
    found = violation(planted)
    assert found.invariant == planted.invariant
    with pytest.raises(InvariantBroken) as caught:
        replay(planted.wrong, found.story, policy=planted.policy)
    assert str(caught.value) == str(found)
    assert (caught.value.invariant, caught.value.problem, caught.value.story) == (found.invariant, found.problem, found.story)
    went = replay(planted.right, found.story, policy=planted.policy)
    assert [line.what for line in went] == [line.what for line in found.story]
    assert all(line.state for line in went)


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_the_error_ends_in_a_line_that_can_be_pasted_into_a_test(planted: Planted) -> None:
    """As it is printed, with the shipped machine's name where the wrong one has it too."""
    found = violation(planted)
    assert str(found).splitlines()[-1] == f"again: {found.again}"
    pasted = {**vars(danube_statemachines), "replay": replay, "machine": planted.right}
    assert [line.what for line in eval(found.again, pasted)] == [line.what for line in found.story]
    named = pasted | dict.fromkeys(("machine", *(title.upper() for title in VARIANTS)), planted.wrong)
    with pytest.raises(InvariantBroken, match=found.invariant):
        eval(found.again, named)


def test_a_line_tells_all_that_went_in_and_came_out() -> None:
    joins, sent, taken, acked = replay(RELIABLE_EXCLUSIVE, ["consumer 0 joins", "message 6", "it is taken", "ack"])
    assert joins == StoryLine("consumer 0 joins", "Dispatching", (("active_changed", 0), ("poll",)), "consumer_added", 0, 10.0)
    assert sent == StoryLine("message 6", "AwaitingAck", (("send", (1, 0, 6, 1)),), "polled", 6, 10.0)
    assert taken == StoryLine("it is taken", "AwaitingAck", (), "", None, 10.0)
    assert acked == StoryLine("ack", "Dispatching", (("settle", 6, "acked"), ("poll",)), "ack", (1, 0, 6, 1), 10.0)


def test_a_story_of_machine_and_engine_together_is_replayed() -> None:
    scene = subscribed(RELIABLE_EXCLUSIVE, messages=1)
    labels = ["message 0 is published", "process 1 takes the lease", "process 1 reads its position", "process 1 has a new consumer 0"]
    went = replay(scene, labels)
    assert [line.what for line in went] == labels
    assert (went[-1].where, went[-1].event, went[-1].effects) == ("process 1", "consumer_added", (("active_changed", 0), ("poll",)))


def test_more_sessions_than_usual_are_no_matter() -> None:
    assert len(replay(RELIABLE_SHARED, [f"consumer {session} joins" for session in range(9)])) == 9


def test_a_story_that_cannot_happen_says_where_it_ends_and_what_could() -> None:
    with pytest.raises(InvalidArgument) as caught:
        replay(RELIABLE_EXCLUSIVE, ["consumer 0 joins", "ack"])
    assert str(caught.value).startswith("story: step 2, 'ack', cannot happen in Dispatching; what can: consumer 1 joins; ")
    assert "; ack, late; " in str(caught.value)


def test_an_invariant_that_a_machine_does_not_promise() -> None:
    """A selection need not be fair, if its user says so; and nothing else is waived by that."""

    class Sticky(RoundRobin):
        name = "sticky"

        @staticmethod
        def served(roster: Roster, session: int) -> Roster:
            return roster

    sticky = declare_reliable(Sticky())
    with pytest.raises(InvariantBroken) as caught:
        explore(sticky)
    unfair = caught.value
    assert unfair.invariant == "S6 fair rotation"
    found = explore(sticky, without={"S6"})
    assert found.finished
    assert not any(check.startswith("S6") for check in found.checks)
    assert len(found.checks) == len(explore(RELIABLE_SHARED).checks) - 1
    assert replay(sticky, unfair.story, without={"S6"})
    with pytest.raises(InvariantBroken):
        replay(sticky, unfair.story, without={"S5"})
    forgetful = declare_reliable(Sticky(), doing(reliable.TABLE, "nack", reliable.AWAITING_ACK, ["give_up", "back_off_as_asked", "save"]))
    with pytest.raises(InvariantBroken, match="S13") as caught:
        explore(forgetful, without=["S6"])
    assert caught.value.again.endswith(", without=['S6'])")


def test_an_unknown_invariant_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"without: needs numbers of invariants \(L2, .*S13.*\), not 'S4'"):
        explore(RELIABLE_SHARED, without={"S4"})


# every step has a name of its own in its world


def labels_of(environment: Environment[W]) -> Iterator[list[str]]:
    """Of each world."""
    todo = [environment.start()]
    seen = {environment.key(todo[0])}
    for world in todo:  # which grows meanwhile
        steps = list(environment.steps(world))
        yield [step.label for step in steps]
        for step in steps:
            after = environment.later(step.after)
            if (key := environment.key(after)) not in seen:
                seen.add(key)
                todo.append(after)


@pytest.mark.parametrize(
    "environment",
    [
        *(ReliableEnvironment(machine, DEAD_LETTER, 2) for machine in (RELIABLE_EXCLUSIVE, RELIABLE_SHARED)),
        *(NonReliableEnvironment(machine, 3) for machine in (NON_RELIABLE_EXCLUSIVE, NON_RELIABLE_SHARED)),
        subscribed(RELIABLE_SHARED, messages=2, consumers=2, owners=2, faults=1, policy=DEAD_LETTER).environment,
    ],
    ids=["reliable exclusive", "reliable shared", "non-reliable exclusive", "non-reliable shared", "subscribed"],
)
def test_no_two_steps_from_a_world_have_the_same_label(environment: Environment[Any]) -> None:
    worlds = list(islice(labels_of(environment), 2_000))
    assert len(worlds) > 10
    for labels in worlds:
        assert len(set(labels)) == len(labels)


# how far it is, and when to stop


def test_progress_is_told_and_grows() -> None:
    told: list[tuple[int, int, int, int]] = []
    found = explore(RELIABLE_SHARED, sessions=4, progress=lambda *seen: told.append(seen))
    assert found.finished
    assert told[0] == (1, 0, 0, 1)
    assert len(told) > 3
    for earlier, later in pairwise(told):
        assert all(a <= b for a, b in zip(earlier[:3], later[:3], strict=True))
    for states, steps, depth, left in told:
        assert 0 < left <= states <= found.states
        assert steps <= found.steps
        assert depth <= found.depth
    assert found == explore(RELIABLE_SHARED, sessions=4), "telling changes nothing"


def test_progress_can_stop_it_and_the_result_says_so() -> None:
    whole = explore(RELIABLE_SHARED, sessions=4)
    part = explore(RELIABLE_SHARED, sessions=4, progress=lambda states, steps, depth, left: states < 200)
    assert not part.finished
    assert 200 <= part.states < whole.states
    assert part.checks == whole.checks[:-1], "liveness cannot be judged from a part"


# a selection that is none


class Stranger(RoundRobin):
    name = "stranger"

    @staticmethod
    def served(roster: Roster, session: int) -> Roster:
        return (*roster, 99)


class Loser(RoundRobin):
    name = "loser"

    @staticmethod
    def served(roster: Roster, session: int) -> Roster:
        return roster[1:]


class Lister(RoundRobin):
    name = "lister"

    @staticmethod
    def served(roster: Roster, session: int) -> Roster:
        return [*roster]  # type: ignore[return-value]


class Forgetter(RoundRobin):
    name = "forgetter"

    @staticmethod
    def served(roster: Roster, session: int) -> Roster:
        return None  # type: ignore[return-value]


class Sorter(RoundRobin):
    name = "sorter"

    @staticmethod
    def served(roster: Roster, session: int) -> Roster:
        return tuple(sorted(roster, reverse=True))


class Counting(RoundRobin):
    """As an atomic counter would."""

    name = "counting"

    def __init__(self) -> None:
        self._count = 0

    def served(self, roster: Roster, session: int) -> Roster:  # type: ignore[override]
        self._count += 1
        at = self._count % len(roster)
        return roster[at:] + roster[:at]


@pytest.mark.parametrize(
    ("selection", "problem"),
    [
        (Stranger(), "served((0,), 0) is (0, 99): it needs a tuple of the same sessions, in any order"),
        (Loser(), "served((0,), 0) is (): it needs a tuple of the same sessions, in any order"),
        (Lister(), "served((0,), 0) is [0]: it needs a tuple of the same sessions, in any order"),
        (Forgetter(), "served((0,), 0) is None: it needs a tuple of the same sessions, in any order"),
        (Sorter(), "is something else when the sessions have other numbers: only their places may count, and nothing is remembered"),
        (Counting(), "is something else when the sessions have other numbers: only their places may count, and nothing is remembered"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.parametrize("declare", [declare_reliable, declare_non_reliable])
def test_a_selection_that_does_more_than_order_is_refused(declare: Any, selection: RoundRobin, problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        explore(declare(selection))
    assert str(caught.value).startswith(f"machine {caught.value.machine}: selection {selection.name!r}: ")
    assert str(caught.value).endswith(problem)


class Tries(RoundRobin):
    name = "tries"

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def tries(self, roster: Roster) -> int:  # type: ignore[override]
        return self._answer if roster else 0


@pytest.mark.parametrize("answer", [0, 2, -1, True, None, 1.0])
def test_a_selection_that_tries_what_is_not_there_is_refused(answer: Any) -> None:
    with pytest.raises(DefinitionError, match=re.escape(f"selection 'tries': tries((0,)) is {answer!r}: it needs a whole number from 1 to 1")):
        explore(declare_non_reliable(Tries(answer)))


def test_a_selection_that_fails_is_told_as_a_story() -> None:
    class Failing(RoundRobin):
        name = "failing"

        @staticmethod
        def served(roster: Roster, session: int) -> Roster:
            raise IndexError("no such place")

    with pytest.raises(InvariantBroken) as caught:
        explore(declare_reliable(Failing()))
    assert caught.value.problem == "the machine broke: IndexError('no such place')"
    assert [line.what for line in caught.value.story] == ["consumer 0 joins", "message 6"]


# a policy of your own


class Linear(FailurePolicy):
    """Each wait is a second longer than the one before."""

    def delay(self, offset: int, failures: int, asked: float = 0.0) -> float:
        return max(float(failures), asked)


class Endless(FailurePolicy):
    """No message is ever exhausted."""

    def exhausted(self, failures: int) -> bool:
        return False


class Silent(FailurePolicy):
    """It says nothing of the wait."""

    def delay(self, offset: int, failures: int, asked: float = 0.0) -> float:
        return None  # type: ignore[return-value]


def test_a_policy_of_your_own_is_explored() -> None:
    assert explore(RELIABLE_SHARED, policy=Linear(max_redeliveries=2)).finished


def test_a_policy_that_never_ends_is_never_finished() -> None:
    """Failures grow without a bound, and so do the states."""
    assert not explore(RELIABLE_EXCLUSIVE, sessions=1, policy=Endless(), limit=500).finished


def test_a_policy_that_fails_is_told_as_a_story_and_replayed() -> None:
    policy = Silent(max_redeliveries=1)
    with pytest.raises(InvariantBroken) as caught:
        explore(RELIABLE_EXCLUSIVE, policy=policy)
    assert caught.value.problem.startswith("the machine broke: TypeError(")
    assert [line.what for line in caught.value.story][-1] == "nack"
    assert caught.value.again.endswith(", policy=Silent(max_redeliveries=1))")
    with pytest.raises(InvariantBroken, match="the machine broke"):
        replay(RELIABLE_EXCLUSIVE, caught.value.story, policy=policy)
    assert replay(RELIABLE_EXCLUSIVE, caught.value.story, policy=Linear(max_redeliveries=1))
