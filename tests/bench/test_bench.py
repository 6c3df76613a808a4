"""The bench: each scenario passes what it says, and the tables say what was measured. No test looks at how long anything took."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench.limits import LIMIT_A, LIMIT_C
from bench.measured import Line, Measured, Round, machine
from bench.memory import growth
from bench.ours import AT_ONCE_EXCLUSIVE, EXCLUSIVE_MEMORY, EXCLUSIVE_SQLITE, SHARED_MEMORY
from bench.rows import Row
from bench.scenarios import Group, Result, Run, Scenario, Survives, timed

from bench import plot, report, run, scenarios, targets

DOCS = Path(__file__).parents[2] / "docs"
OURS = [each for each in scenarios.scenarios() if each.whose != "others"]
FEW = 128


def no_words(text: str) -> None:
    pass


def line(name: str, *rates: float, limit: str | None = None, group: Group = Group.IN_MEMORY, skipped: str | None = None) -> Line:
    rounds = [Round(rate, 2.0, 1e6 / rate, 3e6 / rate) for rate in rates]
    return Line(name, group, limit, "ours" if limit else "limit", Survives.NOTHING, Survives.NOTHING, 100, rounds, 3 << 20, skipped)


@pytest.fixture
def measured() -> Measured:
    """Two rounds in which the machine was slow in the second; and a peer that is not installed."""
    lines = [
        line(LIMIT_A, 100_000, 50_000),
        line(EXCLUSIVE_MEMORY, 390_000, 300_000, limit=LIMIT_A),
        line(SHARED_MEMORY, 121_000, 10_000, limit=LIMIT_A),
        line("somebody's queue", limit=LIMIT_A, group=Group.EACH, skipped="package somebody is not installed"),
    ]
    return Measured({"Python": "CPython 3"}, True, lines, {"start": [Row("import", 1.5, "×", "of 60 ms")]}, {"busy": "failed: it said nothing"})


@pytest.mark.real_time
@pytest.mark.parametrize("scenario", OURS, ids=lambda scenario: scenario.name)
async def test_a_scenario_passes_as_many_messages_as_it_says(scenario: Scenario, tmp_path: Path) -> None:
    async with scenario.open(FEW, tmp_path) as once:
        for _ in range(2):
            result = await once()
            assert result.messages == FEW
            assert result.seconds > 0
            assert len(result.latencies) in {0, FEW}
    assert (scenario.whose == "limit") == (scenario.limit is None)


def test_what_is_compared_and_wanted_is_measured() -> None:
    names = {scenario.name for scenario in scenarios.scenarios()}
    assert {scenario.limit for scenario in scenarios.scenarios()} - {None} <= names
    assert {name for target in targets.TARGETS if target.to for name in (target.subject, *target.to)} <= names
    for study in targets.STUDIES:
        assert callable(importlib.import_module(f"bench.{study}").measure)


@pytest.fixture
def no_others(monkeypatch: pytest.MonkeyPatch) -> dict[str, Scenario]:
    found: dict[str, Scenario] = {}
    monkeypatch.setattr(scenarios, "SCENARIOS", found)
    return found


def add(name: str, *, arrives: bool = True, opens: bool = True, limit: str | None = None, need: str | None = None) -> None:
    """A scenario is added by one registration."""

    @scenarios.scenario(name, Group.IN_MEMORY, messages=1_000, limit=limit, needs=[lambda: need])
    async def something(messages: int, folder: Path) -> AsyncIterator[Run]:
        if not opens:
            raise OSError("no room")

        async def once() -> Result:
            with timed() as result:
                await asyncio.sleep(0)
            result.messages = messages if arrives else messages - 1
            return result

        assert folder.is_dir()
        yield once


@pytest.mark.real_time
async def test_rounds_are_run_in_turns_and_what_is_not_there_says_why(no_others: dict[str, Scenario]) -> None:
    add("a limit")
    add("another", limit="a limit")
    add("not there", need="package somebody is not installed")
    add("does not open", opens=False)
    add("loses one", arrives=False)
    lines = {each.name: each for each in await run.measure(list(no_others.values()), rounds=3, part=10, say=no_words)}
    assert {name: len(each.rounds) for name, each in lines.items()} == {"a limit": 3, "another": 3, "not there": 0, "does not open": 0, "loses one": 0}
    assert {name: each.skipped for name, each in lines.items() if each.skipped} == {
        "not there": "package somebody is not installed",
        "does not open": "failed: OSError: no room",
        "loses one": "failed: RuntimeError: 999 messages arrived, not 1000",
    }


def test_a_name_is_registered_once(no_others: dict[str, Scenario]) -> None:
    add("a limit")
    with pytest.raises(AssertionError, match="a limit is registered twice"):
        add("a limit")


def test_what_is_missing_is_named() -> None:
    assert scenarios.package("asyncio")() is None
    assert scenarios.package("no_such_package")() == "package no_such_package is not installed; `make bench` installs it"
    assert scenarios.program("no-such-program", "build it")() == "no-such-program is not there; build it"


def test_a_round_has_percentiles_where_it_has_latencies() -> None:
    each = Round.of(Result(100, 0.5, 0.25, [nth / 1e6 for nth in reversed(range(100))]))
    assert (each.messages_per_second, each.cpu_ms_per_1000) == (200, 2500)
    assert (each.p50_us, each.p99_us) == pytest.approx((50, 99))
    assert Round.of(Result(100, 0.5, 0.25)).p50_us is None


def test_ratios_are_of_the_best_rounds_and_the_spread_of_each(measured: Measured) -> None:
    assert measured.ratios(measured.lines[1]) == pytest.approx((3.9, 3.9, 6.0))
    assert measured.ratios(measured.lines[2]) == pytest.approx((1.21, 0.2, 1.21))
    assert measured.ratios(measured.lines[0]) is None
    assert measured.ratios(measured.lines[3]) is None


def test_the_page_says_what_was_measured_skipped_and_reached(measured: Measured) -> None:
    page = report.page(measured)
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in page.splitlines() if row.startswith("|")]
    by_name = {row[0]: row[1:] for row in cells}
    assert by_name[EXCLUSIVE_MEMORY] == ["345,000", "390,000", "3.9", "3.9–6", "LIMIT-A", "2.95", "8.85", "2", "3", "nothing", "nothing"]
    assert by_name["somebody's queue"] == ["skipped", *["–"] * 8, "nothing", "nothing"]
    assert "- *somebody's queue* was skipped: package somebody is not installed" in page
    assert by_name["import"] == ["1.5", "×", "of 60 ms"]
    assert by_name["busy"] == ["skipped", "", "failed: it said nothing"]
    assert by_name[f"{EXCLUSIVE_MEMORY}, to LIMIT-A"] == ["≥ 4 ×", "3.9", "**no**"]
    assert by_name[f"{SHARED_MEMORY}, to LIMIT-A"] == ["≥ 1.2 ×", "1.21", "yes"]
    assert by_name[f"{EXCLUSIVE_SQLITE}, to LIMIT-A"] == ["≥ 2.5 ×", "–", "not measured"]


def test_a_target_is_a_ratio_of_the_best_or_a_row_of_a_study(measured: Measured) -> None:
    latency = targets.Target(EXCLUSIVE_MEMORY, [LIMIT_A, SHARED_MEMORY], "p99", at_most=0.3)
    assert latency.value(measured) == pytest.approx((3 / 390_000) / (3 / 121_000))
    assert not latency.reached(0.31)
    assert latency.reached(0.3)
    rate = targets.Target(EXCLUSIVE_MEMORY, [LIMIT_A, SHARED_MEMORY], at_least=3.0)
    assert rate.value(measured) == pytest.approx(390_000 / 121_000)
    assert targets.Target("import", at_most=2.0).value(measured) == 1.5
    assert targets.Target("somebody's queue", [LIMIT_A], at_least=1.0).value(measured) is None


def test_the_picture_has_a_bar_for_each_and_names_what_was_skipped(measured: Measured) -> None:
    picture = ElementTree.fromstring(plot.svg(measured))
    bars = picture.findall("{*}rect[@y]")
    texts = [text.text for text in picture.findall("{*}text")]
    assert [bar.get("class") for bar in bars if bar.get("rx")] == ["limit", "ours", "ours"]
    assert "somebody's queue" in texts
    assert texts.count("skipped") == 1
    assert plot.place(1) == plot.place(1_000) < plot.place(10_000) < plot.place(10**9) == plot.place(10**7)


def test_a_page_keeps_what_is_around_its_figures(measured: Measured, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    report.write(page, measured)
    report.write(page, measured)
    assert page.read_text(encoding="utf-8") == f"before\n{report.BEGIN}\n\n{report.page(measured)}\n\n{report.END}\nafter\n"
    page.write_text("no marker", encoding="utf-8")
    with pytest.raises(ValueError, match="put them where the tables shall stand"):
        report.write(page, measured)


def test_results_are_the_same_when_read_again(measured: Measured) -> None:
    assert Measured.from_json(measured.to_json()) == measured


def test_the_committed_page_and_picture_are_those_of_the_committed_figures() -> None:
    measured = Measured.from_json((DOCS / "benchmarks.json").read_text(encoding="utf-8"))
    again = "run `.venv/bin/python -m bench --again`"
    assert report.page(measured) in (DOCS / "benchmarks.md").read_text(encoding="utf-8"), again
    assert plot.svg(measured) == (DOCS / "benchmarks.svg").read_text(encoding="utf-8"), again


def test_the_machine_is_described_without_its_name() -> None:
    found = machine(["pytest", "no-such-package"])
    assert {"Python", "system", "cores", "CPU", "SQLite", "pytest"} == set(found)
    assert not any("/" in value and Path(value).exists() for value in found.values())


@pytest.mark.real_time
async def test_memory_is_what_a_round_takes_at_most(no_others: dict[str, Scenario]) -> None:
    @scenarios.scenario("greedy", Group.IN_MEMORY, messages=1)
    async def greedy(messages: int, folder: Path) -> AsyncIterator[Run]:
        async def once() -> Result:
            await asyncio.sleep(0.02)
            held = bytearray(32 << 20)
            await asyncio.sleep(0.02)
            return Result(len(held[:1]), 1.0)

        yield once

    assert await growth("greedy", 1) == pytest.approx(32 << 20, rel=0.1)


def test_a_study_that_fails_says_why() -> None:
    reason = run.study("no_such_study", quick=True)
    assert isinstance(reason, str)
    assert reason.startswith("failed: ")
    assert reason.endswith("No module named bench.no_such_study")


def test_a_cell_keeps_its_column() -> None:
    assert report.table(["what", "n"], [["a|b", "1"], ["c", "22"]]) == "| what |  n |\n| ---- | -: |\n| a\\|b |  1 |\n| c    | 22 |"
    assert [report.number(value) for value in (None, 0, 0.01234, 1.236, 99.96, 123.4, 123456.7)] == ["–", "0", "0.0123", "1.24", "100", "123", "123,457"]


def test_the_command_measures_what_is_asked_for_with_its_limit() -> None:
    options = ["--quick", "--rounds", "1", "--only", "^non-reliable exclusive$"]
    done = subprocess.run([sys.executable, "-m", "bench", *options], cwd=DOCS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["warming up", "round 1 of 1", "memory"]
    measured = [row.split(" | ") for row in done.stdout.splitlines() if row.startswith(("| LIMIT", "| non-reliable")) and row.count("|") > 6]
    assert [row[0].strip("| ") for row in measured] == [LIMIT_C, AT_ONCE_EXCLUSIVE]
    assert all(row[9].strip() != "–" for row in measured), "its memory is missing"
