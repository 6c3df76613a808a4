"""Every interleaving of a machine, its engine, a log, a disk and competing processes, and whether it would notice if one of them were wrong."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import pytest

from danube_statemachines import (
    LATER,
    RELIABLE_EXCLUSIVE,
    RELIABLE_SHARED,
    Declaration,
    EngineCore,
    FailurePolicy,
    Held,
    InvalidArgument,
    Progress,
    Refusal,
    Reliable,
    Resumed,
    RowSpec,
    SingleActive,
    declare_reliable,
)
from danube_statemachines.exploration import InvariantBroken, explore, replay, subscribed
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
    "two of each": {"messages": 2, "consumers": 2, "owners": 2, "policy": DROP, "faults": 1},
    "three messages": {"messages": 3, "consumers": 2, "owners": 2, "policy": DROP, "faults": 1},
}
SHARED = ("two of each",)


@pytest.mark.parametrize(
    ("machine", "size"),
    [*((RELIABLE_EXCLUSIVE, size) for size in SIZES), *((RELIABLE_SHARED, size) for size in SHARED)],
    ids=lambda value: getattr(value, "title", value),
)
def test_nothing_that_can_happen_breaks_a_subscription(machine: Declaration[Reliable], size: str) -> None:
    found = explore(subscribed(machine, **SIZES[size]))
    assert found.finished
    assert [check.split()[0] for check in found.checks] == CHECKS
    assert found.states > 1_000


# would it notice?


def without_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads on though its lease has run out."""
    refusal = EngineCore.refusal

    def wrong(core: EngineCore[Any], now: float) -> Refusal | None:
        return None if (found := refusal(core, now)) == "lease" else found

    monkeypatch.setattr(EngineCore, "refusal", wrong)


def settled_unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cursor moves when a message is given out."""
    poll = EngineCore.poll

    def wrong(core: EngineCore[Any], now: float) -> Any:
        answer = poll(core, now)
        core.cursor = core.cursor if answer is None or answer is LATER else core.cursor + 1
        return answer

    monkeypatch.setattr(EngineCore, "poll", wrong)


def careless(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not careful after an unclean end."""
    init = EngineCore.__init__

    def wrong(core: EngineCore[Any], *arguments: Any, **named: Any) -> None:
        init(core, *arguments, **named)
        core.careful = 0

    monkeypatch.setattr(EngineCore, "__init__", wrong)


def unmarked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark is not waited for."""
    monkeypatch.setattr(EngineCore, "strict", property(lambda core: False))


def forgiving(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark that is found is charged to nobody."""
    init = EngineCore.__init__

    def wrong(core: EngineCore[Any], progress: Progress, **named: Any) -> None:
        held = progress.held
        init(core, progress if held is None else progress._replace(held=held._replace(sent=False)), **named)

    monkeypatch.setattr(EngineCore, "__init__", wrong)


def unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More is given out, however much is not durable."""
    monkeypatch.setattr(EngineCore, "_behind", property(lambda core: False))


def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """A close keeps no history."""
    end = EngineCore.end
    monkeypatch.setattr(EngineCore, "end", lambda core, how, now, held=None: end(core, how, now)._replace(held=None))


def slack(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure waits until something else is written."""

    def wrong(core: EngineCore[Any], held: Held, now: float) -> None:
        core.held = held
        core._judge(now)

    monkeypatch.setattr(EngineCore, "save_failure", wrong)


def without_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is given out as if it were new."""
    poll = EngineCore.poll

    def wrong(core: EngineCore[Any], now: float) -> Any:
        answer = poll(core, now)
        return answer.message if isinstance(answer, Resumed) else answer

    monkeypatch.setattr(EngineCore, "poll", wrong)


def discouraged(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be read is not tried again."""

    def wrong(core: EngineCore[Any], now: float) -> None:
        core.reading = False
        core.read_retry_at = float("inf")

    monkeypatch.setattr(EngineCore, "read_failed", wrong)


def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody hears that a write is done."""
    done = EngineCore.write_done

    def wrong(core: EngineCore[Any], now: float) -> None:
        done(core, now)
        core.news = False

    monkeypatch.setattr(EngineCore, "write_done", wrong)


PLANTS: dict[Callable[[pytest.MonkeyPatch], None], tuple[str, dict[str, Any]]] = {
    without_a_lease: ("S16", {"messages": 1}),
    settled_unsettled: ("S2", {"messages": 1}),
    careless: ("S15", {"messages": 1}),
    unmarked: ("S15", {"messages": 1}),
    forgiving: ("S13", {"messages": 1}),
    unbounded: ("S14", {"messages": 3, "faults": 1}),
    forgetful: ("Promises", {"messages": 1}),
    slack: ("Promises", {"messages": 1, "policy": FIRST}),
    without_history: ("S13", {"messages": 1}),
    discouraged: ("L1", {"messages": 1, "faults": 1}),
    silent: ("L1", {"messages": 1, "faults": 1}),
}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_wrong_engine_is_found_out(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    invariant, size = PLANTS[plant]
    scene = subscribed(RELIABLE_EXCLUSIVE, **{"policy": DROP, **size})
    with monkeypatch.context() as planted:
        plant(planted)
        with pytest.raises(InvariantBroken) as caught:
            explore(scene)
        assert caught.value.invariant.split()[0] == invariant
        with pytest.raises(InvariantBroken) as again:
            replay(subscribed(RELIABLE_EXCLUSIVE, **{"policy": DROP, **size}), caught.value.story)
        assert (again.value.invariant, again.value.problem, again.value.story) == (caught.value.invariant, caught.value.problem, caught.value.story)


def test_a_dead_letter_that_is_not_durable_yet_settles_nothing() -> None:
    table: list[RowSpec] = [
        {**row, "before": [*row["before"], "settle_dead_lettered", "poll"], "dest": "Dispatching"}
        if row["dest"] == "DeadLettering" and row["trigger"] == "proceed"
        else row
        for row in RELIABLE_EXCLUSIVE.table
    ]
    with pytest.raises(InvariantBroken) as caught:
        explore(subscribed(declare_reliable(SingleActive(), table), messages=1, policy=DEAD_LETTER))
    assert caught.value.invariant == "S3 settlement is earned"


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


@pytest.mark.parametrize(("owners", "depth"), [(1, 13), (2, 10)])
def test_nothing_is_lost_by_merging_worlds(owners: int, depth: int) -> None:
    environment = SubscriptionEnvironment(RELIABLE_SHARED, FIRST, messages=1, consumers=2, processes=owners, flush_interval=5.0, faults=3)
    apart, found = levels(environment, lambda world: world, depth)
    merged, expected = levels(environment, environment.key, depth)
    assert found == expected
    assert apart > 2 * merged, "there is something to merge"


@pytest.mark.parametrize("argument", [{"messages": 0}, {"consumers": 0}, {"owners": -1}, {"faults": -1}, {"faults": 1.5}, {"flush_interval": -1.0}])
def test_a_size_that_makes_no_sense_is_refused(argument: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(argument))):
        subscribed(RELIABLE_EXCLUSIVE, **argument)
