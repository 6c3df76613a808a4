"""Rule-based state machines as tests: what a failing one prints, and which rows of the tables they have fired.

A failure prints its seed, the shortest rules that lead to it (Hypothesis does), and what the machine under test did as a sequence diagram.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterable
from typing import Any

from hypothesis import HealthCheck, note, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from danube_dispatcher.sequence import sequence
from danube_statemachines import VARIANTS, Declaration, FailurePolicy
from danube_statemachines.coverage import Fired, FiredRow, fired_report, unfired, unfired_sources
from danube_statemachines.errors import StoryLine
from danube_statemachines.trace import Trace

Call = tuple[str, dict[str, Any]]
"""A rule and its arguments."""

FIRED: dict[str, Fired] = {}
"""By what was driven ("model", "runtime"): the rows that were fired in this session."""

seed_given: str | None = None
"""On the command line."""


class Story:
    """What a machine under test did, step by step, as a value that is only drawn when somebody looks at it."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.lines: list[StoryLine] = []

    def add(self, line: StoryLine) -> None:
        self.lines.append(line)

    def add_effect(self, name: str, arguments: tuple[object, ...]) -> None:
        """To the last step."""
        last = self.lines[-1]
        self.lines[-1] = last._replace(effects=(*last.effects, (name, *arguments)))

    def __repr__(self) -> str:
        return sequence(self.title, self.lines)


def watch(variant: Declaration[Any], group: str, policy: FailurePolicy | None = None) -> Trace:
    """A trace of one machine whose rows count for the report of the group."""
    trace = Trace(variant, policy)
    trace.fired = FIRED.setdefault(group, Fired())
    return trace


class Rules(RuleBasedStateMachine):
    """A base for those whose `story` a failure shows."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.story = Story(title)

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.finish()
        finally:
            self.clean_up()
            note(self.story)  # shown for the shortest failure alone

    def walk(self, *calls: Call) -> None:
        """Rules that are not left to chance, with what always holds after each; those whose preconditions do not hold are passed over."""
        rules = {each.function.__name__: each for each in (*self._initialize_rules_to_run, *self.rules)}
        for name, arguments in calls:
            if all(holds(self) for holds in rules[name].preconditions):
                rules[name].function(self, **arguments)
                for each in self.invariants:
                    if all(holds(self) for holds in each.preconditions):
                        each.function(self)

    def finish(self) -> None:
        """What must hold when nothing has failed so far and no more rules come."""

    def clean_up(self) -> None:
        """Whatever has happened."""


def play(rules: type[Rules], *, examples: int, steps: int) -> None:
    """Run one as a test. When it fails, the error says by which seed, and Hypothesis by which blob, it is found again."""
    chosen = settings(max_examples=examples, stateful_step_count=steps, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
    number = seed_given
    if number is None and not chosen.derandomize:
        number = str(secrets.randbits(32))
        seed(int(number))(rules)
    try:
        run_state_machine_as_test(rules, settings=chosen)
    except BaseException as error:
        error.add_note("without chance: every run finds it" if chosen.derandomize else f"pytest --hypothesis-seed={number} finds it again")
        raise


def missed(group: str, variant: str) -> list[tuple[int, str]]:
    """(row, source) of what was not fired in this session so far."""
    return unfired_sources(VARIANTS[variant], FIRED.get(group, Fired()))


def summary() -> list[str]:
    """One line a machine: how many of its rows were fired, and of its rows told apart by source state."""
    lines: list[str] = []
    for title, variant in VARIANTS.items():
        rows = len(variant.table)
        places = len(unfired_sources(variant, {}))
        counts = [
            f"{group} {rows - len(unfired(variant, fired))} of {rows} ({places - len(unfired_sources(variant, fired))} of {places} with their states)"
            for group, fired in sorted(FIRED.items())
            if any(machine == title for machine, _, _ in fired)
        ]
        if counts:
            lines.append(f"{title:22} {', '.join(counts)}")
    return lines


def told() -> list[tuple[str, str, int, str, int]]:
    """What this process has fired, as plain values for another one: group, machine, row, source, times."""
    return [(group, *place, times) for group, fired in FIRED.items() for place, times in fired.items()]


def hear(told: Iterable[tuple[str, str, int, str, int]]) -> None:
    for group, machine, row, source, times in told:
        FIRED.setdefault(group, Fired())[machine, row, source] += times


def report() -> dict[str, dict[str, list[FiredRow]]]:
    """Group → machine → rows."""
    return {group: fired_report(VARIANTS.values(), fired) for group, fired in FIRED.items()}
