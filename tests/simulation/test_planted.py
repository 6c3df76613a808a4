"""Each planted bug is noticed, by the rule that is meant for it."""

from __future__ import annotations

import pytest

from danube_dispatcher.simulation.run import simulate
from plants import PLANTS
from rewriting import rewrite


@pytest.mark.parametrize("what", PLANTS)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    put, rule, hours, factors = PLANTS[what]
    rewrite(monkeypatch)
    put(monkeypatch)
    outcome = simulate(1, hours, factors=factors)
    assert outcome.violation is not None
    assert outcome.violation.rule in rule.split(" | "), outcome.violation.problem
    assert outcome.violation.lines
