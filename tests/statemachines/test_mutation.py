"""Does anybody notice? Every row of the four tables is broken in every small way, and each of these mutants must be noticed:

refused by the definition check, or killed by exploration. A mutant that explores to the very same graph, effects included, is no other
machine; those are listed below, each with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from danube_statemachines import VARIANTS, DefinitionError, FailurePolicy, RoundRobin, RowSpec, SingleActive, declare_non_reliable, declare_reliable
from danube_statemachines.exploration import InvariantBroken, explore
from modelling import Variant

POLICIES = [
    FailurePolicy(max_redeliveries=1),
    FailurePolicy(max_redeliveries=1, poison_policy="dead_letter", dead_letter_topic="/test/dead", max_hold=45.0),
    FailurePolicy(max_redeliveries=1, poison_policy="drop"),
]
DECLARE: dict[str, Callable[[list[RowSpec]], Variant]] = {
    "reliable_exclusive": lambda table: declare_reliable(SingleActive(), table),
    "reliable_shared": lambda table: declare_reliable(RoundRobin(), table),
    "non_reliable_exclusive": lambda table: declare_non_reliable(SingleActive(), table),
    "non_reliable_shared": lambda table: declare_non_reliable(RoundRobin(), table),
}


class Mutant(NamedTuple):
    name: str
    table: list[RowSpec]


def shown(row: RowSpec, states: tuple[str, ...]) -> str:
    """A row in one line, by which people find it."""
    sources = row["source"]
    where = "anywhere" if set(sources) == set(states) else "anywhere open" if set(sources) == set(states) - {"Closed"} else "|".join(sources)
    guards = f" [{', '.join(row['conditions'])}]" if row["conditions"] else ""
    return f"{row['trigger']} in {where}{guards}"


def broken(row: RowSpec, states: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """(how, the row), None for a row that is gone."""
    yield "drop it", None
    for part in ("conditions", "before"):
        names: list[str] = row[part]
        for name in names:
            yield f"without {name}", {**row, part: [each for each in names if each != name]}
    for guard in row["conditions"]:
        yield f"unless {guard}", {**row, "conditions": [each for each in row["conditions"] if each != guard], "unless": [guard]}
    if len(row["before"]) > 1:
        yield "actions reversed", {**row, "before": row["before"][::-1]}
    for dest in (None, *states):
        if dest != row["dest"] and not (row["dest"] is None and [dest] == row["source"]):
            yield f"go to {dest}" if dest else "stay", {**row, "dest": dest}


def mutants(variant: Variant) -> Iterator[Mutant]:
    table, states = list(variant.table), tuple(variant.states)
    for nth, row in enumerate(table):
        for how, changed in broken(row, states):
            yield Mutant(f"{shown(row, states)}: {how}", table[:nth] + ([changed] if changed else []) + table[nth + 1 :])


def graph(variant: Variant) -> list[int]:
    """What explorations see. Raises InvariantBroken."""
    policies = POLICIES if variant.title in ("reliable_exclusive", "reliable_shared") else POLICIES[:1]
    found = [explore(variant, policy=policy, limit=2_000) for policy in policies]
    assert all(each.finished for each in found)
    return [each.fingerprint for each in found]


SWAPPED = "the roster and what is in hand know nothing of each other, and only one of the two says anything"
ALONE = "there is never a second candidate to strike"
RELIABLE = {
    "polled in Dispatching [anyone]: drop it": "proceed would send it just so; the row saves the path of every message one trigger",
    "consumer_lost in AwaitingAck [holder, had_taken]: without holder": "nobody but the holder can have taken the open delivery",
    "consumer_lost in AwaitingAck [holder]: actions reversed": SWAPPED,
    "consumer_replaced in AwaitingAck [holder, had_taken]: without holder": "nobody but the holder can have taken the open delivery",
    "consumer_replaced in AwaitingAck [holder]: actions reversed": SWAPPED,
    "dead_letter_refused in DeadLettering: without disarm": "no time is set while a dead letter is being written",
}
SAME = {
    "reliable_exclusive": RELIABLE,
    "reliable_shared": {**RELIABLE, "consumer_added in Idle: actions reversed": "a shared newcomer is not announced, so only the poll says anything"},
    "non_reliable_exclusive": {
        "refused in Dispatching [offered]: without pass_over": "the only candidate goes with the message",
        "consumer_lost in anywhere open: without strike": ALONE,
        "consumer_lost in anywhere open: actions reversed": SWAPPED,
        "consumer_replaced in anywhere open: without strike": ALONE,
        "consumer_replaced in anywhere open: actions reversed": SWAPPED,
    },
    "non_reliable_shared": {
        "consumer_lost in anywhere open: actions reversed": SWAPPED,
        "consumer_replaced in anywhere open: actions reversed": SWAPPED,
    },
}
"""Mutants that are no other machine, and why."""


@pytest.mark.parametrize("name", VARIANTS)
def test_every_mutant_of_a_table_is_noticed(name: str) -> None:
    unchanged = graph(VARIANTS[name])
    survivors: dict[str, bool] = {}
    for mutant in mutants(VARIANTS[name]):
        try:
            survivors[mutant.name] = graph(DECLARE[name](mutant.table)) == unchanged
        except (DefinitionError, InvariantBroken):
            continue
    assert {mutant for mutant, same in survivors.items() if not same} == set(), "they do something else, and nobody objects"
    assert set(survivors) == set(SAME[name])
