"""One declaration, executed in four ways that must not differ.

The generated triggers (lean, and observed), stock `transitions` driving a plain object by the same rows, and a machine that is restored
from its snapshot before every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transitions import MachineError

from danube_statemachines import VARIANTS, FailurePolicy, IllegalEvent, Recorder, Reliable
from danube_statemachines.coverage import Fired, unfired, unfired_sources
from modelling import ARGUMENTS, POLICIES, Effects, Variant, argument, likely, make


class Step(NamedTuple):
    """A random step. `wild`: any event at all, instead of one that the state lists."""

    event: int
    pick: int
    more: int
    passed: int
    wild: bool


steps = st.builds(
    Step,
    event=st.integers(0, 99),
    pick=st.integers(0, 11),
    more=st.integers(0, 5),
    passed=st.sampled_from([0, 0, 0, 1, 10, 40, 100]),
    wild=st.integers(0, 11).map(lambda number: number == 11),
)
scripts = st.lists(steps, min_size=30, max_size=60)  # a short one gets nowhere


class Outcome(NamedTuple):
    refused: bool
    effects: Effects
    snapshot: tuple[object, ...]


class Stock:
    """A plain object of the base class, driven by `transitions` alone; the completion is triggered from here."""

    def __init__(self, variant: Variant, policy: FailurePolicy) -> None:
        base: type = variant.lean.__mro__[1]
        self.variant: Any = variant
        self.port = Recorder()
        plain = type("Plain", (base,), {"__slots__": (), "selection": variant.lean.selection})
        self.machine: Any = make(variant, self.port, policy, plain)
        assert not hasattr(self.machine, "close"), "it has triggers of its own"
        assert self.machine.state == variant.initial

    def __call__(self, event: str, value: object) -> Outcome:
        trigger = event
        try:
            assert self.variant.events[trigger].trigger(self.machine, value) is True
            while self.variant.completion.get(self.machine.state, trigger) != trigger:
                trigger = self.variant.completion[self.machine.state]
                assert self.variant.events[trigger].trigger(self.machine, value) is True
        except MachineError:
            return Outcome(True, self.port.take(), self.machine.snapshot())
        return Outcome(False, self.port.take(), self.machine.snapshot())


class Generated:
    def __init__(self, variant: Variant, policy: FailurePolicy, kind: type[Any]) -> None:
        self.port = Recorder()
        self.machine: Any = make(variant, self.port, policy, kind)

    def __call__(self, event: str, value: object) -> Outcome:
        try:
            assert getattr(self.machine, event)(value) is True
        except IllegalEvent:
            return Outcome(True, self.port.take(), self.machine.snapshot())
        return Outcome(False, self.port.take(), self.machine.snapshot())


class Restored:
    """Knows nothing between two steps but a snapshot."""

    def __init__(self, variant: Variant, policy: FailurePolicy) -> None:
        self.variant, self.policy = variant, policy
        self.snapshot = make(variant, Recorder(), policy).snapshot()

    def __call__(self, event: str, value: object, now: float) -> Outcome:
        hash(self.snapshot)
        fresh = Generated(self.variant, self.policy, self.variant.lean)
        fresh.machine.restore(self.snapshot)
        fresh.machine.now = now
        outcome = fresh(event, value)
        self.snapshot = outcome.snapshot
        return outcome


def check_rows(variant: Variant, told: Effects, before: str, event: str, after: str) -> None:
    """What an observed machine tells is a path of rows from the state before to the state after."""
    for nth, (_, trigger, source, dest, number) in enumerate(told):
        assert trigger == (variant.completion[before] if nth else event)
        assert source == before
        assert isinstance(dest, str)
        assert isinstance(number, int)
        spec = variant.table[number]
        assert spec["trigger"] == trigger
        assert source in spec["source"]
        assert (spec["dest"] or source) == dest
        before = dest
    assert before == after


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@given(script=scripts)
def test_however_it_is_executed_a_table_means_the_same(variant: Variant, policy: FailurePolicy, script: list[Step]) -> None:
    events = list(variant.events)
    stock = Stock(variant, policy)
    lean, observed = Generated(variant, policy, variant.lean), Generated(variant, policy, variant.observed)
    restored = Restored(variant, policy)
    now = 0.0
    for step in script:
        now += step.passed
        for machine in (stock.machine, lean.machine, observed.machine):
            machine.now = now
        before = lean.machine.state
        names = events if step.wild else likely(variant, before)
        event = names[step.event % len(names)]
        value = argument(lean.machine, event, step.pick, step.more)

        outcome = lean(event, value)
        assert stock(event, value) == outcome
        assert restored(event, value, now) == outcome
        seen = observed(event, value)
        told = [effect for effect in seen.effects if effect[0] == "transition"]
        assert seen._replace(effects=[effect for effect in seen.effects if effect[0] != "transition"]) == outcome
        check_rows(variant, told, before, event, lean.machine.state)
        assert bool(told) != outcome.refused


PICKS = [(pick, more) for pick in (0, 1, 3, 5) for more in (0, 1)]
FAR = 150
"""Snapshots to go on from."""


def crossroads(variant: Variant, policy: FailurePolicy) -> Iterator[tuple[Any, float, str, object]]:
    """Every event in every state, from snapshots that differ in what decides: (machine before, now, event, argument)."""
    first = make(variant, Recorder(), policy)
    seen, todo = {"": first.snapshot()}, [(first.snapshot(), 0.0)]
    while todo:
        snapshot, now = todo.pop(0)
        for event in variant.events:
            for pick, more in PICKS if event in ARGUMENTS else [(0, 0)]:
                for later in (now, now + 100.0):
                    machine = make(variant, Recorder(), policy)
                    machine.restore(snapshot)
                    machine.now = later
                    value = argument(machine, event, pick, more)
                    yield snapshot, later, event, value
                    with suppress(IllegalEvent):
                        getattr(machine, event)(value)
                    more_of_it = (machine.failures, machine.due_at is None) if isinstance(machine, Reliable) else len(machine.candidates)
                    key = f"{machine.state} {len(machine.roster)} {more_of_it}"
                    if len(machine.roster) <= 2 and len(seen) < FAR and key not in seen:
                        seen[key] = machine.snapshot()
                        todo.append((machine.snapshot(), later))


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_it_means_the_same_in_every_row(variant: Variant) -> None:
    """Without chance: every row, in every state that it is for, but for those that nothing fires."""
    fired = Fired()
    for policy in POLICIES.values() if issubclass(variant.lean, Reliable) else [POLICIES["block"]]:
        stock = Stock(variant, policy)
        lean, observed = Generated(variant, policy, variant.lean), Generated(variant, policy, variant.observed)
        for snapshot, now, event, value in crossroads(variant, policy):
            for machine in (stock.machine, lean.machine, observed.machine):
                machine.restore(snapshot)
                machine.now = now
            outcome = lean(event, value)
            assert stock(event, value) == outcome
            seen = observed(event, value)
            assert seen._replace(effects=[effect for effect in seen.effects if effect[0] != "transition"]) == outcome
            for effect in seen.effects:
                if effect[0] == "transition":
                    _, _, source, _, row = effect
                    fired[variant.title, row, source] += 1  # type: ignore[index]
    assert unfired(variant, fired) == []
    # a non-reliable machine never rests in Failover
    assert {source for _, source in unfired_sources(variant, fired)} == (set() if issubclass(variant.lean, Reliable) else {"Failover"})
