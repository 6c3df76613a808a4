"""Every interleaving of a machine, its engine, a log, a disk and competing processes, and whether it would notice if one of them were wrong."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import pytest

from danube_statemachines import (
    RELIABLE_EXCLUSIVE,
    RELIABLE_SHARED,
    Declaration,
    FailurePolicy,
    InvalidArgument,
    Reliable,
)
from danube_statemachines.exploration import explore, subscribed
from danube_statemachines.exploration.subscription import SubscriptionEnvironment, SubscriptionWorld

CHECKS = ["S2", "S3", "S4", "S7", "S13", "S14", "S15", "S16", "Promises", "L1"]
FIRST = FailurePolicy(max_redeliveries=0)
"""The first failure exhausts."""
DROP = FailurePolicy(max_redeliveries=0, poison_policy="drop")
DEAD_LETTER = FailurePolicy(max_redeliveries=0, poison_policy="dead_letter", dead_letter_topic="/test/dead")
SIZES: dict[str, dict[str, Any]] = {
    "any number of faults": {"messages": 1, "policy": FIRST},
    "any number of faults, dropping": {"messages": 1, "policy": DROP},
    "any number of faults, every ack durable": {"messages": 1, "policy": DROP, "flush_interval": 0.0},
    "dead letters": {"messages": 1, "policy": DEAD_LETTER, "faults": 1},
    "redeliveries": {"messages": 1, "policy": FailurePolicy(max_redeliveries=1), "faults": 1},
    "paused at any time": {"messages": 1, "policy": DROP, "faults": 1, "pauses": True},
    "at a rate": {"messages": 2, "policy": DROP, "faults": 1, "throttled": True},
    "three messages": {"messages": 3, "consumers": 2, "owners": 2, "policy": DROP, "faults": 1},
}
SHARED: dict[str, dict[str, Any]] = {"two messages": {"messages": 2, "consumers": 2, "owners": 2, "policy": DROP, "faults": 1}}
CASES = [*((RELIABLE_EXCLUSIVE, size) for size in SIZES.values()), *((RELIABLE_SHARED, size) for size in SHARED.values())]


@pytest.mark.parametrize(("machine", "size"), CASES, ids=[*SIZES, *(f"shared, {name}" for name in SHARED)])
def test_nothing_that_can_happen_breaks_a_subscription(machine: Declaration[Reliable], size: dict[str, Any]) -> None:
    found = explore(subscribed(machine, **size))
    assert found.finished
    assert [check.split()[0] for check in found.checks] == CHECKS
    assert found.states > 1_000


# the worlds that stand for all others


def levels(environment: SubscriptionEnvironment, same: Callable[[SubscriptionWorld], Hashable], depth: int) -> tuple[int, set[Hashable]]:
    """How many worlds are so many steps from the start, if those of one key are one; and what they are."""
    seen, level = {same(environment.start())}, [environment.start()]
    known = {environment.key(level[0])}
    for _ in range(depth):
        following: list[SubscriptionWorld] = []
        for world in level:
            for step in environment.steps(world):
                if (key := same(step.after)) not in seen:
                    seen.add(key)
                    known.add(environment.key(step.after))
                    following.append(step.after)
        level = following
    return len(seen), known


@pytest.mark.parametrize(("owners", "depth", "held_back"), [(1, 13, False), (2, 10, False), (1, 10, True)])
def test_nothing_is_lost_by_merging_worlds(owners: int, depth: int, held_back: bool) -> None:
    sizes: dict[str, Any] = {"messages": 1, "consumers": 2, "processes": owners, "flush_interval": 5.0, "faults": 3}
    environment = SubscriptionEnvironment(RELIABLE_SHARED, FIRST, **sizes, pauses=held_back, throttled=held_back)
    apart, found = levels(environment, lambda world: world, depth)
    merged, expected = levels(environment, environment.key, depth)
    assert found == expected
    assert apart > 2 * merged, "there is something to merge"


@pytest.mark.parametrize("argument", [{"messages": 0}, {"consumers": 0}, {"owners": -1}, {"faults": -1}, {"faults": 1.5}, {"flush_interval": -1.0}])
def test_a_size_that_makes_no_sense_is_refused(argument: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(argument))):
        subscribed(RELIABLE_EXCLUSIVE, **argument)
