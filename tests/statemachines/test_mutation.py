"""Does anybody notice? Every row of the four tables is broken in every small way, and each of these mutants must be noticed:

refused by the definition check, or killed by exploration. A mutant that explores to the very same graph, effects included, is no other
machine; those are listed, each with its reason (mutation/equivalent.py).
"""

from __future__ import annotations

import pytest

from danube_statemachines import VARIANTS
from mutation import equivalent
from mutation.tables import exploring, judge, mutants


@pytest.mark.parametrize("name", VARIANTS)
def test_every_mutant_of_a_table_is_noticed(name: str) -> None:
    variant, reasons = VARIANTS[name], equivalent.TABLES[name]
    unchanged = tuple(found.fingerprint for found in exploring(variant))
    survivors: dict[str, bool] = {}
    for mutant in mutants(variant):
        verdict = judge(variant, mutant)
        if not verdict.refused and not verdict.killed:
            survivors[mutant.name] = verdict.fingerprints == unchanged
    assert {name for name, same in survivors.items() if not same} == set(), "they do something else, and nobody objects"
    listed = {mutant.name for mutant in mutants(variant) if equivalent.reason(mutant.name, reasons)}
    assert set(survivors) == listed
    assert all(any(equivalent.matches(pattern, name) for name in survivors) for pattern in reasons), "a reason for nothing"


@pytest.mark.parametrize("name", VARIANTS)
def test_rows_sources_guards_actions_destinations_and_completions_are_broken(name: str) -> None:
    variant = VARIANTS[name]
    names = [mutant.name for mutant in mutants(variant)]
    assert len(names) == len(set(names))
    for spec in variant.table:
        of_it = [each for each in names if each.startswith(f"{spec['trigger']} in ")]
        ways = ("drop it", *spec["before"], *spec["conditions"], *(f"from {source}" for source in spec["source"] if len(spec["source"]) > 1))
        assert all(any(way in each for each in of_it) for way in ways)
    assert {each for each in names if each.startswith("the completion of ")} >= {"the completion of Failover: drop it"}
