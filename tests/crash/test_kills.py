"""A slice of the two campaigns, and the bugs that they must find. The commands run in a process of their own: it forks, and must have no other thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crash.kills import main
from crash.plants import PLANTS
from crash.points import POINTS

HERE = Path(__file__).parent
ENOUGH = 400
"""Kills in which a planted bug must be found; each is found in some dozen."""


def run(command: str, *options: object, code: int) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, str(HERE / command), *map(str, options)], env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    assert "never retrieved" not in done.stderr  # asyncio, of an error that nobody asked for
    return done.stdout


def test_sixty_kills_lose_nothing_and_repeat_no_more_than_promised(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    said = run("kills.py", "--kills", 60, "--seed", 1, "--json", file, code=0)
    assert said.endswith("nothing was lost\n")
    report: dict[str, Any] = json.loads(file.read_text())
    assert report["killed"] >= 60
    assert sum(report["kills"].values()) == report["killed"]
    assert report["tally"]["published"] > 100
    assert report["tally"]["acked"] > report["tally"]["published"]
    assert report["tally"]["worst"].get("exact", 0) == report["tally"]["worst"].get("turns", 0) == 0


@pytest.mark.parametrize(
    ("plant", "points"),
    [
        ("early-append", "append written"),
        ("early-cursor", ""),
        ("hasty-ack", "cursor written"),
        ("no-marks", "take"),
        ("forgotten-failure", "nack after"),
        ("late-flush", "cursor before"),
        ("no-dead-letter", "move to dead letters after"),
    ],
)
def test_a_planted_bug_is_found(plant: str, points: str) -> None:
    kills = 4 if plant == "no-dead-letter" else ENOUGH  # what a file must hold is judged when it is settled
    said = run("kills.py", "--kills", kills, "--seed", 4, "--plant", plant, "--points", points, code=1)
    assert "\nFOUND file" in said


def test_every_planted_bug_is_tried() -> None:
    tried = next(mark for mark in test_a_planted_bug_is_found.pytestmark if mark.name == "parametrize").args[1]  # type: ignore[attr-defined]
    assert {plant for plant, _ in tried} == PLANTS.keys()


def test_stops_and_kills_of_three_rivals_lose_nothing() -> None:
    said = run("stops.py", "--rounds", 1, "--events", 8, "--seed", 1, code=0)
    assert said.endswith("nothing was lost, and no late write counted\n")


def test_a_store_without_fences_is_found() -> None:
    said = run("stops.py", "--rounds", 12, "--events", 8, "--seed", 1, "--plant", "no-fence", code=1)
    assert "(S4)" in said


def test_a_point_that_does_not_exist_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["kills.py", "--points", "nowhere"])
    with pytest.raises(SystemExit):
        main()
    assert "'nowhere'" in capsys.readouterr().err
    assert len(POINTS) == len(set(POINTS))
