"""Every state and every event: what a state lists is taken, anything else is an IllegalEvent and changes nothing.

events.txt is the agreed table. When a change of it is meant, write it anew: PYTHONPATH=tests python tests/statemachines/test_events.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from danube_statemachines import VARIANTS, Held, IllegalEvent, Lost, Nack, Recorder
from modelling import EPOCH, NON_RELIABLE, POLICIES, RELIABLE, Variant, argument, listed, make

GOLDEN = Path(__file__).with_name("events.txt")
Way = list[tuple[str, object]]

JOINED: Way = [("consumer_added", 1), ("consumer_added", 2)]
GIVEN: Way = [*JOINED, ("polled", 5)]
POISON = Held(5, attempt=3, failures=3, reason="earlier")
RELIABLE_WAYS: dict[str, Way] = {
    "Idle": [],
    "Dispatching": JOINED,
    "AwaitingAck": GIVEN,
    "Failover": [*GIVEN, ("consumer_lost", Lost(1, taken=True)), ("consumer_lost", Lost(2))],
    "Redelivering": [*GIVEN, ("nack", Nack((EPOCH, 1, 5, 1)))],
    "DeadLettering": [*JOINED, ("resumed", POISON)],
    "Blocked": [*JOINED, ("resumed", POISON)],
    "Closed": [*GIVEN, ("close", None)],
}
NON_RELIABLE_WAYS: dict[str, Way] = {
    "Idle": JOINED,
    "Dispatching": [*JOINED, ("message", None)],
    "Closed": [*JOINED, ("close", None)],
}


def table(variant: Variant) -> list[str]:
    """The table of a machine, as people read it."""
    inner = set(variant.completion.values())
    width = max(map(len, variant.events))
    lines = ["", f"{variant.title}", "", " " * width + "".join(f"  {state}" for state in variant.states)]
    for name, event in variant.events.items():
        marks = ("-" if state not in event.transitions else "inner" if name in inner else "takes" for state in variant.states)
        lines.append(name.ljust(width) + "".join(f"  {mark:{len(state)}}" for state, mark in zip(variant.states, marks, strict=True)).rstrip())
    return lines


def agreed() -> str:
    lines = [
        "Which event each state takes. - is an IllegalEvent that changes nothing; inner is triggered by the machine itself.",
        "Written by test_events.py; a change here is a change of what the machines promise.",
        *(line for variant in VARIANTS.values() for line in table(variant)),
    ]
    return "\n".join(lines) + "\n"


MACHINES = [*((name, state) for name in RELIABLE for state in RELIABLE_WAYS), *((name, state) for name in NON_RELIABLE for state in NON_RELIABLE_WAYS)]
"""Each state in which a machine can be between two steps."""


def brought_to(name: str, state: str) -> tuple[Any, Recorder]:
    """A machine in that state."""
    port = Recorder()
    machine = make(VARIANTS[name], port, POLICIES["dead_letter" if state == "DeadLettering" else "block"])
    for event, value in (RELIABLE_WAYS if name in RELIABLE else NON_RELIABLE_WAYS)[state]:
        getattr(machine, event)(value)
    assert machine.state == state
    port.take()
    return machine, port


def destinations(variant: Variant, state: str, event: str) -> set[str]:
    """Where the rows lead from there, the completion included."""
    found = {row.dest or state for row in variant.events[event].transitions[state]}
    for rest, completion in variant.completion.items():
        if rest in found:
            found = found - {rest} | {row.dest or rest for row in variant.events[completion].transitions[rest]}
    return found


def test_every_state_takes_the_events_that_were_agreed() -> None:
    assert agreed() == GOLDEN.read_text(encoding="utf-8")


def test_every_state_that_can_be_is_tried() -> None:
    for name, variant in VARIANTS.items():
        rests_never = set() if name in RELIABLE else {"Failover"}  # its completion has no row that stays
        assert {state for each, state in MACHINES if each == name} == set(variant.states) - rests_never


@pytest.mark.parametrize(("name", "state"), MACHINES)
def test_a_state_takes_what_it_lists_and_refuses_the_rest_untouched(name: str, state: str) -> None:
    variant = VARIANTS[name]
    for event in variant.events:
        for pick in range(12):
            for more in range(6):
                machine, port = brought_to(name, state)
                value = argument(machine, event, pick, more)
                before = machine.snapshot()
                if event in listed(variant, state):
                    assert getattr(machine, event)(value) is True
                    assert machine.state in destinations(variant, state, event)
                elif event not in variant.completion.values():
                    with pytest.raises(IllegalEvent) as caught:
                        getattr(machine, event)(value)
                    assert (caught.value.machine, caught.value.state, caught.value.event) == (name, state, event)
                    assert machine.snapshot() == before
                    assert port.take() == []


@pytest.mark.parametrize("name", VARIANTS)
def test_the_completion_is_illegal_wherever_no_step_rests(name: str) -> None:
    variant = VARIANTS[name]
    for each, state in MACHINES:
        if each == name and state not in variant.completion:
            machine, port = brought_to(name, state)
            before = machine.snapshot()
            with pytest.raises(IllegalEvent):
                machine.proceed(None)
            assert (machine.snapshot(), port.take()) == (before, [])


@pytest.mark.parametrize(("name", "state"), [each for each in MACHINES if each[1] == "Closed"])
def test_closed_takes_everything_that_was_under_way_and_does_nothing(name: str, state: str) -> None:
    variant = VARIANTS[name]
    for event in listed(variant, state):
        machine, port = brought_to(name, state)
        before = machine.snapshot()
        assert getattr(machine, event)(argument(machine, event, 0)) is True
        assert machine.snapshot() == before
        assert [effect for effect in port.take() if effect[0] != "stale"] == []


if __name__ == "__main__":
    sys.stdout.write(f"{GOLDEN.name}: {GOLDEN.write_text(agreed(), encoding='utf-8')} characters\n")
