"""A wrong declaration is refused when it is made, with everything that is wrong; a right one runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from transitions import MachineError

from danube_statemachines import DanubeError, Declaration, DefinitionError, IllegalEvent, RoundRobin, RowSpec, declare_reliable, row

OUT, IN, STUCK, BROKEN = "Out", "In", "Stuck", "Broken"
STATES = (OUT, IN, STUCK, BROKEN)


class Log:
    def __init__(self) -> None:
        self.lines: list[object] = []

    def transition(self, trigger: str, source: str, dest: str, row: int) -> None:
        self.lines.append((trigger, source, dest, row))


class Turnstile:
    """A machine of a user's own."""

    __slots__ = ("coins", "port", "state")

    insert: Callable[[int], bool]
    turn: Callable[[None], bool]
    settle: Callable[[None], bool]
    smash: Callable[[None], bool]

    def __init__(self, port: Log) -> None:
        self.port = port
        self.state = OUT
        self.coins = 0

    def enough(self, coins: int) -> bool:
        return self.coins + coins >= 2

    def paid(self, _: object) -> bool:
        return self.coins >= 2

    def keep(self, coins: int) -> None:
        self.coins += coins

    def let_in(self, _: object) -> None:
        self.coins -= 2
        self.port.lines.append("in")

    def ring(self, _: object) -> None:
        self.port.lines.append("ring")


TABLE = [
    row("insert", OUT, IN, when=["enough"], do=["keep"]),
    row("insert", (OUT, IN), None, do=["keep"], why="a credit"),
    row("turn", IN, STUCK, do=["let_in"]),
    row("turn", OUT, None, do=["ring"], why="not paid"),
    row("settle", STUCK, IN, when=["paid"]),
    row("settle", STUCK, OUT),
    row("smash", (OUT, IN), BROKEN),
    row("smash", BROKEN, None, why="it is broken"),
]


def declare(table: Sequence[Any] = TABLE, *, states: Sequence[str] = STATES, base: type[Any] = Turnstile, **more: Any) -> Declaration[Any]:
    completion: Mapping[str, str] = more.pop("completion", {STUCK: "settle"})
    return Declaration("turn_stile", base, table, states=states, initial=OUT, final=BROKEN, completion=completion, **more)


def test_a_right_machine_of_your_own_runs() -> None:
    log = Log()
    machine = declare().lean(log)
    assert type(machine).__name__ == "TurnStile"
    assert (machine.variant, machine.__doc__) == ("turn_stile", Turnstile.__doc__)
    assert machine.turn(None) is True
    assert (machine.state, log.lines) == (OUT, ["ring"])
    assert [machine.insert(1), machine.state] == [True, OUT]
    assert [machine.insert(3), machine.state] == [True, IN]
    assert machine.turn(None) is True
    assert (machine.state, machine.coins) == (IN, 2), "the completion went on in the same step"
    assert machine.turn(None) is True
    assert (machine.state, machine.coins) == (OUT, 0)
    assert machine.smash(None) is True
    with pytest.raises(IllegalEvent):
        machine.turn(None)
    assert (machine.state, log.lines) == (BROKEN, ["ring", "in", "in"])


def test_an_observed_machine_tells_each_row_before_its_effects() -> None:
    log = Log()
    machine = declare().observed(log)
    machine.insert(2)
    machine.turn(None)
    assert log.lines == [("insert", OUT, IN, 0), ("turn", IN, STUCK, 2), "in", ("settle", STUCK, OUT, 5)]


def test_a_lean_machine_has_no_room_for_flags_beside_its_state() -> None:
    machine: Any = declare().lean(Log())
    with pytest.raises(AttributeError):
        machine.waiting = True


def test_attributes_are_given_to_every_machine() -> None:
    declared = declare(attributes={"limit": 3})
    assert declared.lean.limit == declared.observed.limit == 3


def test_a_row_keeps_its_reason() -> None:
    (entry,) = declare().events["turn"].transitions[OUT]
    assert entry.why == "not paid"


def test_a_row_knows_its_place_in_the_table_in_each_of_its_states() -> None:
    declared = declare()
    for event in declared.events.values():
        for state, rows in event.transitions.items():
            for entry in rows:
                spec = declared.table[entry.number]
                assert (spec["trigger"], spec["dest"], spec["why"]) == (event.name, entry.dest, entry.why)
                assert state in spec["source"]


def with_row(*extra: RowSpec) -> Declaration[Any]:
    return declare([*TABLE, *extra])


def without(trigger: str) -> list[RowSpec]:
    return [entry for entry in TABLE if entry["trigger"] != trigger]


def raw(**changes: Any) -> Declaration[Any]:
    """With a row in the words of `transitions` that `row()` does not offer."""
    return declare([*without("turn"), {**row("turn", IN, STUCK, do=["let_in"]), **changes}])


class Hidden(Turnstile):
    def smash(self, _: object) -> bool:
        return False


def hidden() -> Declaration[Any]:
    return declare(base=Hidden)


def unguarded_completion() -> Declaration[Any]:
    return declare([entry for entry in TABLE if entry != TABLE[5]])


WRONG: dict[str, tuple[Callable[[], Declaration[Any]], str]] = {
    "unknown source": (lambda: with_row(row("kick", "Outt", OUT)), "the row 'kick' names an unknown state 'Outt'"),
    "unknown source beside a known one": (lambda: with_row(row("kick", (OUT, "Outt"), None)), "the row 'kick' names an unknown state 'Outt'"),
    "unknown destination": (lambda: with_row(row("kick", OUT, "Inn")), "the row 'kick' names an unknown state 'Inn'"),
    "a wildcard for states": (lambda: with_row(row("kick", "*", OUT)), "the row 'kick' names an unknown state '*'"),
    "shadowed row": (lambda: with_row(row("turn", OUT, IN, do=["ring"])), "'turn' in Out: a row without guards shadows 1 below it"),
    "two shadowed rows": (lambda: with_row(row("turn", OUT, IN), row("turn", OUT, None)), "'turn' in Out: a row without guards shadows 2 below it"),
    "last row guarded": (lambda: with_row(row("kick", OUT, IN, when=["paid"])), "'kick' in Out: the last row has guards, so an event can fall through"),
    "last row of a completion guarded": (unguarded_completion, "'settle' in Stuck: the last row has guards, so an event can fall through"),
    "unreachable state": (lambda: declare(states=(*STATES, "Limbo")), "Limbo cannot be reached"),
    "unreachable state that can be left": (lambda: declare([*TABLE, row("kick", "Limbo", OUT)], states=(*STATES, "Limbo")), "Limbo cannot be reached"),
    "trap state": (lambda: declare([*TABLE, row("kick", OUT, "Trap")], states=(*STATES, "Trap")), "Trap is a trap: Broken cannot be reached from it"),
    "trap of two states": (
        lambda: declare([*TABLE, row("kick", OUT, "A"), row("kick", "A", "B"), row("kick", "B", "A")], states=(*STATES, "A", "B")),
        "B is a trap: Broken cannot be reached from it",
    ),
    "unresolved guard": (lambda: with_row(row("kick", OUT, IN, when=["pade"]), row("kick", OUT, None)), "'kick' in Out: 'pade' is not a method of Turnstile"),
    "unresolved action": (lambda: with_row(row("kick", OUT, None, do=["rign"])), "'kick' in Out: 'rign' is not a method of Turnstile"),
    "action that is no method": (lambda: raw(before=[print]), f"'turn' in In: {print!r} is not a method of Turnstile"),
    "guard that is no method": (lambda: raw(conditions=[bool], dest=None), f"'turn' in In: {bool!r} is not a method of Turnstile"),
    "guard that is data": (lambda: with_row(row("kick", OUT, None, do=["__doc__"])), "'kick' in Out: '__doc__' is not a method of Turnstile"),
    "trigger hidden by a method": (hidden, "the trigger 'smash' is hidden by a method of Hidden"),
    "trigger named as an action": (lambda: with_row(row("ring", OUT, None)), "the trigger 'ring' is hidden by a method of Turnstile"),
    "completion of an unknown state": (lambda: declare(completion={"Stock": "settle"}), "the completion 'settle' of 'Stock' is unknown"),
    "completion with an unknown trigger": (lambda: declare(completion={STUCK: "setle"}), "the completion 'setle' of 'Stuck' is unknown"),
    "completion with rows elsewhere": (lambda: with_row(row("settle", OUT, None)), "the completion 'settle' has rows outside of Stuck"),
    "prepare": (lambda: raw(prepare=["ring"]), "'turn' in In: only guards and actions before the change are executed"),
    "after": (lambda: raw(after=["ring"]), "'turn' in In: only guards and actions before the change are executed"),
    "final state that can be left": (lambda: with_row(row("repair", BROKEN, OUT)), "Broken is final, but can be left"),
}


@pytest.mark.parametrize(("wrong", "problem"), WRONG.values(), ids=WRONG)
def test_a_wrong_declaration_is_refused_and_the_mistake_named(wrong: Callable[[], Declaration[Any]], problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        wrong()
    assert caught.value.machine == "turn_stile"
    assert problem in caught.value.problems
    assert str(caught.value) == "machine turn_stile: " + "; ".join(caught.value.problems)


@pytest.mark.parametrize("when", ["on_enter", "on_exit"])
def test_callbacks_of_states_are_refused(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Declared by a subclass, since a declaration takes names of states only."""

    class Calling(Declaration[Any]):
        def add_transitions(self, transitions: Any) -> None:
            super().add_transitions(transitions)
            getattr(self.get_state(IN), when).append("ring")

    with pytest.raises(DefinitionError) as caught:
        Calling("turn_stile", Turnstile, TABLE, states=STATES, initial=OUT, final=BROKEN, completion={STUCK: "settle"})
    assert caught.value.problems == ["In: callbacks of states are not executed; put them into the rows"]


@pytest.mark.parametrize("which", ["initial", "final"])
def test_an_unknown_first_or_last_state_is_refused(which: str) -> None:
    ends: dict[str, Any] = {"initial": OUT, "final": BROKEN, which: "Nowhere"}
    with pytest.raises(DefinitionError) as caught:
        Declaration("turn_stile", Turnstile, TABLE, states=STATES, completion={STUCK: "settle"}, **ends)
    assert any("Nowhere" in problem for problem in caught.value.problems)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(DefinitionError) as caught:
        with_row(row("kick", OUT, "Inn"), row("smash", IN, None, do=["rign"]))
    assert caught.value.problems == [
        "the row 'kick' names an unknown state 'Inn'",
        "'smash' in In: a row without guards shadows 1 below it",
        "'smash' in In: 'rign' is not a method of Turnstile",
    ]


def test_the_shipped_tables_are_not_touched_by_declaring_them_again() -> None:
    shipped = copy.deepcopy(declare_reliable(RoundRobin()).table)
    assert declare_reliable(RoundRobin()).table == shipped


def test_an_illegal_event_says_where_and_what_and_is_an_error_of_ours() -> None:
    machine = declare().lean(Log())
    with pytest.raises(IllegalEvent) as caught:
        machine.settle(None)
    error = caught.value
    assert (error.machine, error.state, error.event) == ("turn_stile", OUT, "settle")
    assert str(error) == "turn_stile: 'settle' is not an event of the state Out"
    assert isinstance(error, DanubeError)
    assert isinstance(error, MachineError)
