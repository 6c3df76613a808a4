"""What a failing stateful test prints: by which seed it is found again, the shortest rules, and what the machine did as a sequence diagram."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
PLANTED = """
from hypothesis import settings

from danube_statemachines import RoundRobin
from modelling import POLICIES
from stateful import play
from test_stateful import ReliableRules

settings.register_profile("planted", settings(), derandomize={derandomize})
settings.load_profile("planted")
RoundRobin.served = staticmethod(lambda roster, session: roster)  # whoever was served is next again


class Planted(ReliableRules):
    name = "reliable_shared"
    policy = POLICIES["block"]


def test_planted():
    play(Planted, examples=100, steps=40)
"""


def plant(directory: Path, *, derandomize: bool) -> None:
    """Whatever Hypothesis chooses where this runs: in CI, for one, it leaves nothing to chance."""
    (directory / "test_planted.py").write_text(PLANTED.format(derandomize=derandomize), encoding="utf-8")
    (directory / "pytest.ini").write_text(f"[pytest]\npythonpath = {TESTS} {TESTS / 'statemachines'}\n", encoding="utf-8")
    (directory / "conftest.py").write_text((TESTS / "conftest.py").read_text(encoding="utf-8"), encoding="utf-8")


def run(directory: Path, *options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_a_failure_prints_its_seed_the_shortest_rules_and_the_sequence_diagram(tmp_path: Path) -> None:
    plant(tmp_path, derandomize=False)
    told = run(tmp_path, "--rows=rows.json")
    seed = re.search(r"pytest --hypothesis-seed=(\d+) finds it again", told)
    assert seed is not None, told
    assert "@reproduce_failure(" in told
    rules = [name for name in re.findall(r"state\.(\w+)\(", told) if not re.match(r"s\d", name)]  # those are invariants
    assert rules[-1] == "teardown"
    assert rules.count("join") >= 2, "with one consumer nothing is wrong"
    assert len(rules) <= 20, "of 40: how far it is shortened depends on the time that Hypothesis has"
    diagram = told[told.index("sequenceDiagram") :]
    assert re.search(r"participant p\d as consumer \d", diagram)
    assert re.search(r"p\d->>p\d: send message \d, attempt", diagram)

    # and which rows were fired on the way
    assert re.search(r"^reliable_shared +model \d+ of \d+ ", told, re.MULTILINE)
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))["model"]["reliable_shared"]
    assert rows[0]["trigger"] == "wake"
    assert any(row["times"] for row in rows)

    shutil.rmtree(tmp_path / ".hypothesis", ignore_errors=True)  # what it remembers of the first run
    assert f"pytest --hypothesis-seed={seed[1]} finds it again" in run(tmp_path, f"--hypothesis-seed={seed[1]}")


def test_a_failure_without_chance_says_that_every_run_finds_it(tmp_path: Path) -> None:
    plant(tmp_path, derandomize=True)
    told = run(tmp_path)
    assert "without chance: every run finds it" in told
    assert "--hypothesis-seed" not in told
    assert "sequenceDiagram" in told
