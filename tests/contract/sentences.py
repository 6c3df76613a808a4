"""A sentence of the documentation, a bug that breaks it, and the check of the exploration that is to notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import pytest

from danube_statemachines import (
    RELIABLE_EXCLUSIVE,
    Declaration,
    FailurePolicy,
    NonReliable,
    Reliable,
    RowSpec,
    declare_reliable,
    reliable,
)
from danube_statemachines.exploration import Scene, subscribed

Plant = Callable[[pytest.MonkeyPatch], None]

BLOCK = FailurePolicy(max_redeliveries=1)
HOLD = FailurePolicy(max_redeliveries=1, max_hold=45.0)
SLOW = FailurePolicy(max_redeliveries=1, redelivery_delay=20.0)
"""It waits longer than a consumer asks for."""
SHORT = FailurePolicy(max_redeliveries=1, max_redelivery_delay=5.0)
"""A consumer asks for more than the most."""
LETTER = FailurePolicy(max_redeliveries=0, poison_policy="dead_letter", dead_letter_topic="/test/dead")
FIRST = FailurePolicy(max_redeliveries=0)
"""The first failure exhausts."""
DROP = FailurePolicy(max_redeliveries=0, poison_policy="drop")


class Sentence(NamedTuple):
    says: str
    plant: Plant
    check: str
    """The number of the invariant that notices."""
    problem: str
    """How what it says begins."""
    machine: Declaration[Reliable] | Declaration[NonReliable]
    policy: FailurePolicy
    sizes: dict[str, Any] | None
    """Of a subscription; None: of a machine alone, with two sessions."""

    def scene(self) -> Declaration[Reliable] | Declaration[NonReliable] | Scene[Any]:
        """What is explored: a subscription anew, for it may know what was planted before."""
        if self.sizes is None:
            return self.machine
        return subscribed(cast("Declaration[Reliable]", self.machine), policy=self.policy, **self.sizes)


def alone(
    says: str, check: str, problem: str, machine: Declaration[Reliable] | Declaration[NonReliable] = RELIABLE_EXCLUSIVE, policy: FailurePolicy = BLOCK
) -> Callable[[Plant], Sentence]:
    """A sentence that a machine can break by itself."""
    return lambda plant: Sentence(says, plant, check, problem, machine, policy, None)


def on_a_disk(
    says: str, check: str, problem: str, policy: FailurePolicy = DROP, machine: Declaration[Reliable] = RELIABLE_EXCLUSIVE, **sizes: Any
) -> Callable[[Plant], Sentence]:
    """A sentence that a machine and its core break together."""
    return lambda plant: Sentence(says, plant, check, problem, machine, policy, {"messages": 1, **sizes})


def rows(p: pytest.MonkeyPatch, trigger: str, words: set[str], *changed: dict[str, Any], machine: Declaration[Reliable] = RELIABLE_EXCLUSIVE) -> None:
    """Others stand in place of the first row of the trigger that has these words."""

    def found(row: RowSpec) -> bool:
        return row["trigger"] == trigger and words <= {*row["source"], *row["conditions"], *row["before"]}

    nth = next(nth for nth, row in enumerate(reliable.TABLE) if found(row))
    others = [RowSpec(**{**reliable.TABLE[nth], **change}) for change in changed]  # type: ignore[typeddict-item]
    wrong = declare_reliable(machine.lean.selection, [*reliable.TABLE[:nth], *others, *reliable.TABLE[nth + 1 :]])
    p.setattr(machine.lean, trigger, getattr(wrong.lean, trigger))
