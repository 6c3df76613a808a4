"""`verify`: what it explores, what it says of that, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from danube_dispatcher.cli import verify
from danube_dispatcher.cli.running import main
from danube_dispatcher.cli.verify import GIB, resident
from danube_statemachines import RELIABLE_EXCLUSIVE, RELIABLE_SHARED, VARIANTS, Declaration, SingleActive, declare_reliable, reliable
from danube_statemachines.exploration import InvariantBroken, explore, replay, subscribed

from .conftest import Cli

pytestmark = pytest.mark.real_time

Here = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """Run `verify` in this process: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(["verify", *arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return run  # type: ignore[return-value]


def rows(out: str) -> list[list[str]]:
    """The lines of the table, split where its columns are."""
    head, *lines = out.partition("\n\n")[0].splitlines()
    assert head.split() == ["MACHINE", "POLICY", "SIZE", "STATES", "STEPS", "DEPTH", "SECONDS"]
    return [re.split(" {2,}", line) for line in lines]


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> Declaration[Any]:
    """One machine ships, and it is wrong: nobody tries a dead letter again once it has failed."""
    again = next(row for row in reliable.TABLE if row["trigger"] == "tick" and row["source"] == [reliable.DEAD_LETTERING])
    machine = declare_reliable(SingleActive(), [row for row in reliable.TABLE if row is not again])
    monkeypatch.setattr(verify, "VARIANTS", {"reliable_exclusive": machine})
    return machine


def test_everything_that_ships_is_explored(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verify.SESSIONS == (1, 2, 3, 4), "those with more sessions are explored elsewhere"
    monkeypatch.setattr(verify, "SESSIONS", (1, 2))
    code, out, err = here()
    assert (code, err) == (0, "")
    found = rows(out)
    policies = {name: ["block", "drop", "dead_letter"] if name.startswith("reliable") else ["-"] for name in VARIANTS}
    assert [row[:3] for row in found] == [
        [name, policy, f"sessions {sessions}"] for name, several in policies.items() for policy in several for sessions in (1, 2)
    ]
    assert all(row[-1].startswith("finished: S") and row[-1].endswith(" L1") for row in found)
    checks = out.split("\n\nchecks made\n  ")[1].splitlines()
    assert [check.split()[0] for check in checks] == re.findall(r"\w+", "S1 S2 S3 S5 S6 S7 S8 S9 S11 S12 S13 L1 L2 Promises")


def test_the_figures_are_those_of_the_exploration(here: Here) -> None:
    code, out, _ = here("reliable_shared", "--sessions", "3", "--policy", "block", "--max-redeliveries", "1", "--json", "report.json")
    assert code == 0
    (row,) = rows(out)
    found = explore(RELIABLE_SHARED, sessions=3)
    assert row[3:6] == [f"{found.states:,}", f"{found.steps:,}", f"{found.depth}"]
    report = json.loads(Path("report.json").read_text())
    (told,) = report["explorations"]
    assert report["violation"] is None
    assert (told["machine"], told["sessions"], told["states"], told["steps"], told["depth"]) == ("reliable_shared", 3, found.states, found.steps, found.depth)
    assert (told["finished"], told["checks"], told["policy"]["max_redeliveries"]) == (True, list(found.checks), 1)
    assert told["seconds"] >= 0


def test_more_redeliveries_are_more_states(here: Here) -> None:
    few, many = (rows(here("reliable_exclusive", "--sessions", "1", "--policy", "drop", "--max-redeliveries", number)[1]) for number in "03")
    assert int(few[0][3]) < int(many[0][3])


def test_machine_and_engine_together(here: Here) -> None:
    code, out, err = here("reliable_exclusive", "--messages", "1", "--faults", "0", "--policy", "drop", "--json", "report.json")
    assert (code, err) == (0, "")
    (row,) = rows(out)
    assert row[:3] == ["reliable_exclusive", "drop", "messages 1, consumers 1, owners 1, faults 0"]
    found = explore(subscribed(RELIABLE_EXCLUSIVE, messages=1, faults=0, policy=verify.policy_named("drop", 1)))
    assert row[3:6] == [f"{found.states:,}", f"{found.steps:,}", f"{found.depth}"]
    assert "S4" in out
    assert json.loads(Path("report.json").read_text())["explorations"][0]["checks"] == list(found.checks)


def test_only_reliable_machines_have_an_engine(here: Here) -> None:
    code, out, _ = here("--owners", "2", "--limit", "20", "--policy", "block")
    assert code == verify.UNFINISHED
    assert [row[:3] for row in rows(out)] == [[name, "block", "messages 2, consumers 1, owners 2"] for name in VARIANTS if name.startswith("reliable")]


# not finished


def test_a_limit_of_states_ends_it_as_not_finished(here: Here) -> None:
    code, out, _ = here("reliable_shared", "--sessions", "2", "--limit", "20", "--policy", "drop", "--json", "report.json")
    assert code == verify.UNFINISHED == 3
    assert [row[3] for row in rows(out)] == ["20"]
    assert "  not finished: 20 states are kept; liveness was not judged: S1 S2 " in out
    assert "L1" not in out
    assert json.loads(Path("report.json").read_text())["explorations"][0]["finished"] is False


def test_one_that_is_not_finished_among_others_decides(here: Here) -> None:
    code, out, _ = here("non_reliable_shared", "--limit", "30")
    assert code == 3
    assert ["not finished" in row[-1] for row in rows(out)] == [False, False, True, True]


def test_a_limit_of_memory_ends_it_as_not_finished(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([GIB, GIB, 3 * GIB])
    monkeypatch.setattr(verify, "resident", lambda: next(taken))
    code, out, _ = here("reliable_shared", "--sessions", "4", "--policy", "drop")
    assert code == 3
    assert "  not finished: 2 GiB are in use; liveness was not judged: S1 S2 " in out
    whole = explore(RELIABLE_SHARED, sessions=4)
    assert 200 < int(rows(out)[0][3]) < whole.states


def test_memory_in_use_is_what_the_system_says() -> None:
    before = resident()
    assert 2**20 < before < 2**40
    block = bytearray(2**26)
    block[::4096] = b"x" * len(block[::4096])
    assert resident() > before + 2**25


def test_a_system_that_tells_only_the_most_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    pytest.importorskip("resource")
    assert 2**20 < resident() < 2**40
    monkeypatch.setitem(sys.modules, "resource", None)
    assert resident() == 0


# a violation


def test_a_violation_is_told_and_drawn_and_can_be_replayed(here: Here, wrong: Declaration[Any]) -> None:
    code, out, err = here("--story", "story.mmd", "--json", "report.json", "--sessions", "1")
    assert (code, err) == (1, "")
    with pytest.raises(InvariantBroken) as caught:
        explore(wrong, sessions=1, policy=verify.policy_named("block", 1))
    broken = caught.value
    assert rows(out)[0][-1] == "a violation"
    assert out.endswith(f"{broken}\n")
    assert out.splitlines()[-1].startswith("again: replay(RELIABLE_EXCLUSIVE, ['consumer 0 joins', ")
    assert Path("story.mmd").read_text().startswith("sequenceDiagram\n")
    assert f"{len(broken.story)}. the dead letter fails" in Path("story.mmd").read_text()
    told = json.loads(Path("report.json").read_text())["violation"]
    assert (told["machine"], told["invariant"], told["problem"]) == (broken.machine, broken.invariant, broken.problem)
    labels = [line["what"] for line in told["story"]]
    with pytest.raises(InvariantBroken, match="L1"):
        replay(wrong, labels, policy=verify.policy_named("block", 1))


def test_no_story_is_written_of_what_holds(here: Here) -> None:
    assert here("non_reliable_exclusive", "--story", "story.mmd")[0] == 0
    assert not Path("story.mmd").exists()


# usage, progress, interruption


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nothing"], "invalid choice: 'nothing'"),
        (["--sessions", "0"], "needs a whole number, 1 or more, not '0'"),
        (["--limit", "x"], "needs a whole number, 1 or more, not 'x'"),
        (["--policy", "forget"], "invalid choice: 'forget'"),
        (["--memory", "0"], "needs a number of GiB, more than zero, not '0'"),
        (["--memory", "nan"], "needs a number of GiB, more than zero, not 'nan'"),
        (["--memory", "much"], "needs a number of GiB, more than zero, not 'much'"),
        (["--story", "nowhere/story.mmd"], "needs a file in a directory that exists, not 'nowhere/story.mmd'"),
        (["--sessions", "2", "--owners", "2"], "--sessions is for a machine by itself, --owners for one with its engine"),
        (["non_reliable_shared", "--messages", "2"], "non_reliable_shared has no engine: --messages is for reliable machines"),
        (["--faults", "-1"], "needs a whole number, 0 or more, not '-1'"),
        (["--json", "."], "needs a file in a directory that exists, not '.'"),
    ],
    ids=str,
)
def test_wrong_usage(here: Here, arguments: list[str], problem: str) -> None:
    code, out, err = here(*arguments)
    assert (code, out) == (2, "")
    assert problem in err.splitlines()[-1]


def test_a_number_of_redeliveries_that_makes_no_sense(here: Here) -> None:
    code, out, err = here("--max-redeliveries", "-1")
    assert (code, out) == (1, "")
    assert err.startswith("danube-dispatcher: max_redeliveries: needs a whole number")


def test_progress_is_shown_on_a_terminal_only(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    assert here("non_reliable_shared", "--sessions", "4")[2] == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, out, err = here("non_reliable_shared", "--sessions", "4")
    shown = r"\rnon_reliable_shared - sessions 4: 1 states, 1 to go into, depth 0, 0 steps/s, \d+\.\d GiB\x1b\[K"
    assert re.match(shown, err)
    assert err.endswith("\n")
    assert "finished" in out


def test_ctrl_c_ends_it_and_says_what_was_seen(cli: Cli) -> None:
    running = cli.start("verify", "reliable_shared", "--sessions", "9", "--json", "report.json")
    assert running.line().startswith("MACHINE")
    code, out, err = running.end(signal.SIGINT)
    assert (code, err) == (130, "")
    assert out.endswith("interrupted, and no violation so far; liveness was not judged\n")
    assert json.loads((cli.directory / "report.json").read_text()) == {"explorations": [], "violation": None}
