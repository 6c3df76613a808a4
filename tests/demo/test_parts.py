"""The parts of the demo: what it works on, what it writes down, how it judges, and what it shows."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

from danube_dispatcher.demo import parent, screen
from danube_dispatcher.demo.corpus import ROLES, Corpus, compiled, lines, package
from danube_dispatcher.demo.faults import Faults
from danube_dispatcher.demo.parent import PATIENCE, Patience
from danube_dispatcher.demo.process import WorkerProcess
from danube_dispatcher.demo.records import Recorder, Records
from danube_dispatcher.demo.reports import Event, Failed, Report, Snapshot, State, Waiting, decode, encode
from danube_dispatcher.demo.screen import Screen, View, table
from danube_dispatcher.demo.verdict import Tally, problems, tally

SNAPSHOT = Snapshot("AwaitingAck", "compiler-1", 1789, 1790, 1788, 12345, 12345, 12345, 1.5, "message 1789 is with consumer compiler-1; " * 3)


# the files


def test_the_files_are_the_standard_librarys_own() -> None:
    corpus = Corpus.find(None)
    assert "json/decoder.py" in corpus.paths
    assert not [path for path in corpus.paths if "site-packages" in path]
    assert list(corpus.paths) == sorted(set(corpus.paths))
    few = Corpus.find(10)
    assert len(few.paths) == 10
    assert set(few.paths) < set(corpus.paths)
    assert Corpus.find(10**9) == corpus


def test_a_file_becomes_a_message(tmp_path: Path) -> None:
    corpus = Corpus(Path(Corpus.find(1).root), ("json/decoder.py",))
    message = corpus.message(0)
    assert message.key == "json"
    assert message.payload == (corpus.root / "json" / "decoder.py").read_bytes()
    assert message.attributes == {"path": "json/decoder.py", "size": str(len(message.payload))}
    corpus.save(tmp_path / "corpus.json")
    assert Corpus.load(tmp_path / "corpus.json") == corpus


def test_what_is_found_out_about_a_file() -> None:
    assert compiled(b"x = 1\n", "x.py") == "compiled"
    assert compiled(b"x = \n", "x.py") == "SyntaxError"
    assert compiled(b"x is 1\n", "x.py") == "compiled", "a warning is no failure"
    assert lines(b"a\nb\n", "x.py") == "2"
    assert (package("os.py"), package("json/decoder.py")) == ("os", "json")


@pytest.mark.parametrize("messages", [1, 5, 1790])
def test_faults_are_the_same_for_the_same_seed_and_hit_messages_that_exist(messages: int) -> None:
    faults = Faults(messages, 7)
    hit = faults.deaths | faults.stalls | faults.nacks
    assert hit
    assert all(0 <= offset < messages for offset in hit)
    assert vars(faults) == vars(Faults(messages, 7))
    assert not faults.stalls & faults.nacks


# the records


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "lines", 1)
    recorder.taken(0, 1)
    recorder.done(0, "17")
    recorder.taken(1, 2)
    assert Records.read(tmp_path, "lines", 1) == Records([1, 2], [(0, "17")])
    assert Records.read(tmp_path, "lines", 2) == Records()


def test_a_record_that_a_kill_cut_off_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "lines.1").write_text("taken 0 1\ndone 0 17\ntaken 1 1\ndone 1 1")
    assert Records.read(tmp_path, "lines", 1).results == [(0, "17")]


# the verdict


def did(*results: tuple[int, str], attempts: tuple[int, ...] = ()) -> Records:
    return Records(list(attempts or (1,) * len(results)), list(results))


def judged(*tallies: Tally, files: int = 3, killed: bool = False) -> str:
    return "; ".join(problems(tallies, files=files, killed=killed))


EXPECTED = ["a", "b", "c"]


def test_all_is_well() -> None:
    tallied = tally("lines", [did((0, "a"), (1, "b"), (2, "c"))], EXPECTED, published=3, seconds=2.0)
    assert tallied == Tally("lines", 3, 3, 0, 0, 0, 0, 0, (), 2.0)
    assert tallied.rate == 1.5
    assert judged(tallied) == ""


def test_a_message_that_was_never_processed_is_lost() -> None:
    tallied = tally("lines", [did((0, "a")), did((2, "c"))], EXPECTED, published=3)
    assert tallied.lost == 1
    assert "lines: 1 of 3 messages were never processed" in judged(tallied, killed=True)


def test_duplicates_are_told_apart_by_whether_the_kill_lay_between() -> None:
    runs = [did((0, "a"), (1, "b"), (1, "b"), attempts=(1, 1, 2)), did((1, "b"), (2, "c"))]
    tallied = tally("compile", runs, EXPECTED, published=3)
    assert (tallied.late, tallied.replayed, tallied.duplicates, tallied.redelivered, tallied.delivered) == (1, 1, 2, 1, 5)
    assert judged(tallied, killed=True) == ""


@pytest.mark.parametrize("results", [[(0, "a"), (1, "x"), (2, "c")], [(0, "a"), (1, "x"), (1, "b"), (2, "c")]])
def test_any_result_that_differs_is_wrong(results: list[tuple[int, str]]) -> None:
    tallied = tally("lines", [did(*results)], EXPECTED, published=3)
    assert tallied.wrong == (1,)
    assert "results differ" in judged(tallied)


def test_a_message_that_nobody_published_is_wrong() -> None:
    tallied = tally("lines", [did((0, "a"), (1, "b"), (2, "c"), (3, "d"))], EXPECTED, published=3)
    assert tallied.wrong == (3,)


def test_files_published_twice_or_not_at_all_are_found() -> None:
    tallied = tally("lines", [did((0, "a"), (1, "b"), (2, "c"))], EXPECTED, published=3)
    assert "3 messages are in the topic, but there are 4 files" in judged(tallied, files=4)


def test_at_most_once_may_drop_what_it_counts() -> None:
    tallied = tally("live-bytes", [did((0, "a"))], EXPECTED, published=3, dropped=2)
    assert (tallied.dropped, tallied.lost) == (2, 0)
    assert judged(tallied) == ""


def test_at_most_once_is_never_twice() -> None:
    tallied = tally("live-bytes", [did((0, "a"), (1, "b")), did((1, "b"), (2, "c"))], EXPECTED, published=3)
    assert "came twice" in judged(tallied, killed=True)


@pytest.mark.parametrize(("dropped", "killed", "wrong"), [(1, False, True), (1, True, False), (3, True, True)])
def test_at_most_once_loses_uncounted_only_by_a_kill(dropped: int, killed: bool, wrong: bool) -> None:
    tallied = tally("live-bytes", [did((0, "a"))], EXPECTED, published=3, dropped=dropped)
    assert ("neither delivered nor counted" in judged(tallied, killed=killed)) == wrong


# between the processes


@pytest.mark.parametrize("report", [State(3, {"compile": SNAPSHOT}), Event("it “happens”"), Waiting("host:1", 2.5), Failed("no\nroom")])
def test_reports_arrive_as_they_were_sent(report: Report) -> None:
    line = encode(report)
    assert line.count(b"\n") == 1
    assert decode(line) == report


@pytest.mark.real_time
def test_a_killed_worker_ends_what_it_tells(tmp_path: Path) -> None:
    Corpus.find(None).save(tmp_path / "corpus.json")
    with WorkerProcess(tmp_path, f"sqlite:{tmp_path / 'demo.db'}", 1, 0) as process:
        reports = process.reports(0.1)
        assert any(isinstance(report, State) for report in reports)
        process.kill()
        assert all(report is None or isinstance(report, (State, Event)) for report in reports)
        assert process.code
        assert process.complaints() == ""


def test_patience_counts_what_was_seen_and_not_what_was_slept_through(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    patience = Patience()
    assert not patience.ends("here")
    now += 1000 * PATIENCE
    assert not patience.ends("here")
    for _ in range(int(PATIENCE) - 1):
        now += 1.0
        assert not patience.ends("here")
    now += 1.0
    assert patience.ends("here")
    assert not patience.ends("there")


# what is shown


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name, value in {"COLUMNS": columns, "LINES": 40, "TERM": "xterm"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("NO_COLOR", raising=False)


def view() -> View:
    cursors = {role: 800 for role, kind in ROLES.items() if kind.reliable}
    return View(1790, 900, dict.fromkeys(ROLES, SNAPSHOT), "going on", cursors=cursors)


@pytest.mark.parametrize("columns", [80, 120])
def test_the_block_fits_and_is_drawn_over_itself(columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal(monkeypatch, columns)
    shown = Screen()
    shown.draw(view())
    first = capsys.readouterr().out
    visible = re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", first).splitlines()
    assert max(map(len, visible)) <= columns
    assert "801 processed, 900 published, 1790 files" in first
    assert sum(role in first for role in ROLES) == len(ROLES)
    shown.draw(view())
    assert capsys.readouterr().out.startswith(f"\x1b[{len(visible)}A")
    shown.event("something")
    assert capsys.readouterr().out.startswith(f"\x1b[{len(visible)}A\x1b[J"), "the block makes room for a line that stays"
    shown.event("more")
    assert not capsys.readouterr().out.startswith("\x1b")


@pytest.mark.parametrize("why", ["NO_COLOR", "TERM", "LINES", "no terminal"])
def test_without_a_terminal_there_are_lines(why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if why != "no terminal":
        terminal(monkeypatch, 120)
        monkeypatch.setenv(why, {"NO_COLOR": "1", "TERM": "dumb", "LINES": "10"}[why])
    shown = Screen()
    shown.draw(view())
    shown.draw(view())
    shown.say("the end", "bold red")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3, "the phase, the numbers once, and the end"
    assert "900/1790 published" in lines[1]
    assert not [line for line in lines if "\x1b" in line]


def test_both_tables_fit_into_80_columns() -> None:
    wide = table(parent.HEADINGS, parent.WIDTHS, [parent.HEADINGS])
    live = table(screen.HEADINGS, screen.WIDTHS, [screen.HEADINGS])
    assert max(map(len, wide + live)) <= 80
