"""A slice of what the long runs do, and what they rest on: that a seed says everything."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys

import pytest

from danube_dispatcher import InvalidArgument
from danube_dispatcher.simulation.rates import KINDS
from danube_dispatcher.simulation.run import campaign, simulate

HOURS = 0.2

ELSEWHERE = """
import json, sys
from danube_dispatcher.simulation.run import simulate
print(json.dumps(simulate(int(sys.argv[1]), float(sys.argv[2])).sha256))
"""


@pytest.mark.parametrize("seed", range(6))
def test_every_rule_is_kept(seed: int) -> None:
    outcome = simulate(seed, HOURS)
    assert outcome.violation is None, outcome.violation
    assert outcome.hours >= HOURS
    assert outcome.deliveries > outcome.messages > 100
    assert sum(outcome.faults.values()) > 100
    assert outcome.fired


def test_a_seed_gives_the_same_history_in_any_process() -> None:
    file = io.StringIO()
    outcome = simulate(7, HOURS, file=file)
    history = file.getvalue()
    assert history.count("\n") == outcome.lines
    assert hashlib.sha256(history.encode()).hexdigest() == outcome.sha256
    for hash_seed in ("0", "4711"):
        command = [sys.executable, "-c", ELSEWHERE, "7", str(HOURS)]
        done = subprocess.run(command, env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True, timeout=120)
        assert json.loads(done.stdout) == outcome.sha256
    assert simulate(8, HOURS).sha256 != outcome.sha256


def test_without_faults_nothing_goes_wrong() -> None:
    outcome = simulate(1, HOURS, factors={"all": 0.0})
    assert outcome.violation is None
    assert not outcome.faults


def test_rates_are_multiplied() -> None:
    outcome = simulate(1, HOURS, factors={"all": 0.0, "nack": 5.0})
    assert not outcome.faults  # "all" holds for all
    outcome = simulate(1, HOURS, factors={kind: 0.0 for kind in KINDS if kind != "nack"})
    assert set(outcome.faults) == {"nack"}
    for factors in ({"sharks": 1.0}, {"nack": -1.0}, {"nack": float("nan")}):
        with pytest.raises(InvalidArgument, match="rate: "):
            simulate(1, HOURS, factors=factors)


def test_a_campaign_goes_from_seed_to_seed_until_its_time_is_over() -> None:
    told: list[float] = []
    outcome = campaign(5, HOURS, 0.0, progress=lambda total, hours: told.append(total.hours + hours))
    assert (outcome.seeds, outcome.violation) == ([], None)
    outcome = campaign(5, 10.0, 0.05, progress=lambda total, hours: told.append(total.hours + hours))
    assert outcome.seeds == [5]
    assert outcome.hours < 1.0  # it is enough after the first look
    assert told
    one, other = simulate(5, HOURS), simulate(6, HOURS)
    messages = one.messages
    one.add(other)
    assert (one.seeds, one.messages, one.sha256) == ([5, 6], messages + other.messages, other.sha256)
    assert json.loads(json.dumps(one.report()))["faults"] == dict(one.faults)
