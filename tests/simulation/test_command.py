"""`danube-dispatcher simulate`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from danube_dispatcher.__main__ import main
from danube_statemachines import EngineCore


def test_it_says_what_it_did(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report, history = tmp_path / "report.json", tmp_path / "history.txt"
    assert main(["simulate", "--seed", "3", "--hours", "0.05", "--rate", "crash=2", "--json", str(report), "--history", str(history)]) == 0
    out, err = capsys.readouterr()
    assert err == ""  # no progress without a terminal
    for word in ("simulated", "seed 3", "messages", "deliveries", "faults", "slow", "rows fired  non_reliable_exclusive", "simulated hours and", "sha256"):
        assert word in out
    told = json.loads(report.read_text())
    assert told["violation"] is None
    assert told["sha256"] in out
    assert told["lines"] == history.read_text().count("\n")
    assert sum(row["times"] for row in told["rows"]["reliable_shared"]) > 100


def test_a_violation_is_told_with_what_came_before_it_and_how_to_repeat_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EngineCore, "_tokens", lambda self, now: 1000.0)
    assert main(["simulate", "--minutes", "5", "--seed", "1", "--rate", "nack=0", "--hours", "2"]) == 1
    out = capsys.readouterr().out
    assert "breaks a rule: rate limit: /sim/events:limited message " in out
    found = re.search(r"danube-dispatcher simulate --seed (\d+) --hours 2 --rate nack=0 --history", out)
    assert found is not None
    assert main(["simulate", "--seed", found[1], "--hours", "2", "--rate", "nack=0"]) == 1
    again = capsys.readouterr().out
    assert again[again.index("breaks a rule") :] == out[out.index("breaks a rule") :]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--hours", "0"], "needs a number above 0"),
        (["--minutes", "many"], "needs a number above 0"),
        (["--rate", "crash"], "needs KIND=FACTOR"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *arguments])
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


def test_what_cannot_be(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["simulate", "--rate", "sharks=1"]) == 1
    assert "there is no fault 'sharks'" in capsys.readouterr().err
    assert main(["simulate", "--minutes", "1", "--history", str(tmp_path / "h")]) == 1
    assert "leave out --minutes" in capsys.readouterr().err
