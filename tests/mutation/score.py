"""Ordinary mutation testing of ordinary code: what do the tests of a module notice?

    python tests/mutation/score.py policy selection --seed 1 --sample 100 --write

The tests are collected once. Each mutant is a fork in which the changed function has taken the place of the real one; it runs the tests that come
through the changed statement, the quickest first, until one fails.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from types import CodeType, FrameType, FunctionType
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1])]

import hypothesis
import pytest

from danube_statemachines import VARIANTS, inlining
from mutation import equivalent, page
from mutation.forks import Died, OutOfTime, forked, limit_memory
from mutation.sources import Mutant, compiled, mutants


def _in(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/test_{name}.py" for name in names)


TABLES = _in("statemachines", "selection", "reliable", "reliable_poison", "non_reliable", "stateful")
ENGINE = _in("runtime", "engine", "flushing", "careful", "throttling", "gating", "ownership", "release", "restart", "explain", "danube_defects_engine")
STORAGE = _in("storage", "conformance_leases", "conformance_log", "conformance_edges", "urls")
SQLITE = (*STORAGE, *_in("storage", "sqlite_bounds", "sqlite_files", "sqlite_format", "sqlite_writing"))
MODULES: dict[str, tuple[str, tuple[str, ...]]] = {
    "policy": ("danube_statemachines.policy", _in("statemachines", "policy", "reliable", "reliable_poison")),
    "selection": ("danube_statemachines.selection", TABLES),
    "roster": ("danube_statemachines.roster", TABLES),
    "progress": ("danube_statemachines.progress", STORAGE),
    "core": (
        "danube_statemachines.engine",
        (
            *_in("statemachines", "engine_core", "engine_writing", "engine_careful", "engine_edges", "engine_stateful"),
            *_in("runtime", "engine", "flushing", "careful"),
        ),
    ),
    "checks": ("danube_statemachines.checks", (*_in("statemachines", "policy", "checks"), "test_validation.py", *_in("runtime", "bad_input"))),
    "adapter": (
        "danube_dispatcher.adapter",
        _in("runtime", "dispatcher", "consumers", "non_reliable", "failure_policy", "observer", "gating", "dead_letters", "restart", "selection", "context"),
    ),
    "engine": ("danube_dispatcher.engine", (*ENGINE, *_in("runtime", "subscribing", "closing"))),
    "consumer": ("danube_dispatcher.consumer", _in("runtime", "consumers", "consumer_turns", "run", "non_reliable", "closing", "selection")),
    "delivery": ("danube_dispatcher.delivery", _in("runtime", "consumers", "run", "gating", "context", "failure_policy")),
    "dead_letters": ("danube_dispatcher.dead_letters", _in("runtime", "dead_letters", "dead_letters_edges")),
    "rules": ("danube_dispatcher.storage.rules", (*STORAGE, *_in("runtime", "ownership", "release", "subscribing", "restart"))),
    "memory": ("danube_dispatcher.storage.memory", (*STORAGE, *_in("runtime", "topics", "publishing", "subscribing"))),
    **{name: (f"danube_dispatcher.storage.sqlite.{name}", SQLITE) for name in ("codec", "leases", "log", "writer")},
}
"""What is mutated, and which tests hold it."""


@dataclass(slots=True)
class Score:
    """What came of the mutants of one module."""

    module: str
    options: str
    """Of the command."""
    mutants: int = 0
    tried: int = 0
    killed: int = 0
    timeouts: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    """Survivors that are no other program, by mutation/equivalent.py."""
    survivors: list[str] = field(default_factory=list)
    seconds: float = 0.0
    names: list[str] = field(default_factory=list)
    """Of those that were tried last."""

    @property
    def percent(self) -> str:
        judged = self.tried - len(self.same)
        return f"{100 * (self.killed + len(self.timeouts)) / judged:.1f} %" if judged else "–"


def traced(filename: str, seen: set[int]) -> Any:
    """A trace function that notes which lines of a file are run."""

    def line(frame: FrameType, event: str, _: object) -> Any:
        seen.add(frame.f_lineno)
        return line

    def call(frame: FrameType, event: str, _: object) -> Any:
        return line if frame.f_code.co_filename == filename else None

    return call


class Campaign:
    """Takes the place of pytest's own loop over the tests."""

    def __init__(self, name: str, sample: int | None, seed: int, only: list[str] | None, budget: float, score: Score) -> None:
        self.module = importlib.import_module(MODULES[name][0])
        assert self.module.__file__ is not None
        self.filename = self.module.__file__
        self.tree = ast.parse(Path(self.filename).read_text(encoding="utf-8"))
        self.original = compiled(self.tree, self.filename)
        setattr(inlining, "_method", lambda base, name: None)  # noqa: B010 - what stands inside its callers is not seen to run, and cannot be changed
        for declaration in VARIANTS.values():
            vars(declaration).pop("lean", None)
            vars(declaration).pop("observed", None)
        self.budget = budget
        self.score = score
        found = [mutant for mutant in mutants(self.tree) if only is None or mutant.name in only]
        score.mutants = len(found)
        self.chosen = found if sample is None else sorted(Random(seed).sample(found, min(sample, len(found))), key=lambda mutant: mutant.lines.start)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        covering, seconds = self.baseline(session)
        reasons = equivalent.CODE.get(self.module.__name__, {})
        places: defaultdict[tuple[str, int], list[FunctionType]] = defaultdict(list)
        for each in gc.get_objects():
            if isinstance(each, FunctionType) and each.__code__.co_filename == self.filename:
                places[each.__code__.co_qualname, each.__code__.co_firstlineno].append(each)
        for mutant in self.chosen:
            tests = sorted({nth for line in mutant.lines for nth in covering.get(line, ())}, key=seconds.__getitem__)
            outcome = self.outcome(session, mutant, places, tests, int(2 + min(self.budget, sum(seconds[nth] for nth in tests))))
            self.score.tried += 1
            self.score.names.append(mutant.name)
            if outcome == "killed":
                self.score.killed += 1
                continue
            if outcome in ("survived", "not finished") and equivalent.reason(mutant.name, reasons):
                outcome = "same"
            {"timeout": self.score.timeouts, "same": self.score.same}.get(outcome, self.score.survivors).append(mutant.name)
            print(f"{self.module.__name__}:{mutant.lines.start}: {outcome} ({len(tests)} tests): {mutant.name}", flush=True)
        return True

    def baseline(self, session: pytest.Session) -> tuple[dict[int, list[int]], list[float]]:
        """Which tests come through each line, and how long each takes. They pass."""

        def work() -> tuple[dict[int, list[int]], list[float], int]:
            covering: defaultdict[int, list[int]] = defaultdict(list)
            seconds = []
            for nth, _ in enumerate(session.items):
                seen: set[int] = set()
                begun = time.perf_counter()
                threading.settrace(trace := traced(self.filename, seen))
                sys.settrace(trace)
                run(session, nth, nth + 1 if nth + 1 < len(session.items) else None)
                sys.settrace(None)
                seconds.append(time.perf_counter() - begun)
                for line in seen:
                    covering[line].append(nth)
            return covering, seconds, session.testsfailed

        covering, seconds, failed = forked(work, 900)
        if failed:
            pytest.exit(f"{failed} tests fail without any mutant", 1)
        return {int(line): tests for line, tests in covering.items()}, seconds

    def outcome(self, session: pytest.Session, mutant: Mutant, places: dict[tuple[str, int], list[FunctionType]], tests: list[int], limit: int) -> str:
        changed = compiled(self.tree, self.filename, mutant)
        where = next(key for key, code in self.original.items() if key[0] == mutant.function and key[1] <= mutant.lines.start <= last_line(code))

        def work() -> str:
            limit_memory()
            for function in places[where]:
                function.__code__ = changed[where]
            end = time.process_time() + self.budget
            for nth, following in zip(tests, [*tests[1:], None], strict=True):
                run(session, nth, following)
                if session.testsfailed:
                    return "killed"
                if time.process_time() > end and following is not None:
                    return "not finished"
            return "survived"

        if not tests:
            return "survived"
        try:
            found: str = forked(work, 30 + 10 * limit, limit)  # one that waits for ever computes nothing
        except OutOfTime:
            return "timeout"
        except Died:
            return "killed"
        return found


def last_line(code: CodeType) -> int:
    inner = (last_line(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return max(*(line for _, _, line in code.co_lines() if line), *inner, code.co_firstlineno)


def run(session: pytest.Session, nth: int, following: int | None) -> None:
    """One test; the one that follows says what may be torn down."""
    after = None if following is None else session.items[following]
    session.config.hook.pytest_runtest_protocol(item=session.items[nth], nextitem=after)


def tests_of(name: str) -> Iterator[str]:
    for path in MODULES[name][1]:
        yield str(page.ROOT / "tests" / path)


def measure(name: str, asked: argparse.Namespace, options: str, only: list[str] | None = None) -> Score:
    score = Score(MODULES[name][0], options)
    hypothesis.settings.register_profile("mutants", phases=[hypothesis.Phase.generate], database=None)
    hypothesis.settings.load_profile("mutants")
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        ways = [
            "-p",
            "no:terminal",
            "--assert=plain",
            "-p",
            "no:cacheprovider",
            f"--rootdir={page.ROOT}",
            f"--basetemp={place}/t",
            f"--hypothesis-seed={asked.seed}",
        ]
        campaign = Campaign(name, None if only else asked.sample, asked.seed, only, asked.budget, score)
        code = pytest.main([*ways, *tests_of(name)], plugins=[campaign])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) or not score.tried:
        raise SystemExit(f"{name}: pytest ended with {code}")
    score.seconds = round(time.perf_counter() - begun, 1)
    return score


def joined(before: Score, again: Score) -> Score:
    """What is known once the survivors of an earlier run have been tried again. One that is not in the module any more stays one."""
    again.survivors += [name for name in before.survivors if name not in again.names]
    again.mutants, again.tried, again.options = before.mutants, before.tried, before.options
    again.killed += before.killed
    again.timeouts += before.timeouts
    again.same += before.same
    again.seconds += before.seconds
    return again


def markdown(scores: dict[str, Score]) -> str:
    rows = [
        [each.module, each.mutants, each.tried, each.killed, len(each.timeouts), len(each.same), len(each.survivors), each.percent] for each in scores.values()
    ]
    together = defaultdict(list)
    for name, each in scores.items():
        together[each.options].append(name)
    survivors = [f"- {each.module}: `{name}`" for each in scores.values() for name in each.survivors]
    return "\n\n".join(
        [
            "## Ordinary code",
            "Functions are changed: a comparison, a condition, a number, a sum or a result is another one, or a statement is missing. A mutant runs the"
            " tests that come through the changed statement, the quickest first, until one fails or its budget of computing is spent. Timeouts count as"
            " noticed: the tests do not end. Where tests were added since, the survivors were tried again (`--again`).",
            "\n".join(f"- `python tests/mutation/score.py {' '.join(names)} {options}`" for options, names in together.items()),
            page.table(["module", "mutants", "tried", "killed", "timeouts", "no other program", "survivors", "score"], rows),
            "Survivors that are *no other program* are listed in tests/mutation/equivalent.py, each with its reason, and do not count. The others:",
            "\n".join(survivors) or "none.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="What do the tests of a module notice?")
    parser.add_argument("module", nargs="*", metavar="MODULE", help=f"of {', '.join(MODULES)}; all, unless told")
    parser.add_argument("--sample", type=int, metavar="N", help="mutants of each module (all)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the sample and of Hypothesis")
    parser.add_argument("--again", action="store_true", help="run only what survived by the results, after tests were added")
    parser.add_argument("--budget", type=float, default=3.0, metavar="SECONDS", help="of computing, for one mutant; what is not noticed by then survives")
    parser.add_argument("--results", type=Path, metavar="FILE", help="keep what was found, beside what earlier runs found of other modules")
    parser.add_argument("--write", action="store_true", help="write the page docs/mutation.md")
    asked = parser.parse_args()
    for name in asked.module:
        if name not in MODULES:
            parser.error(f"no module {name!r}: one of {', '.join(MODULES)}")
    options = f"--seed {asked.seed} --budget {asked.budget:g}{f' --sample {asked.sample}' if asked.sample else ''}"
    known = json.loads(asked.results.read_text(encoding="utf-8")) if asked.results and asked.results.exists() else {}
    for name in asked.module or MODULES:
        before = Score(**known[name]) if asked.again else None
        if before is None:
            known[name] = asdict(measure(name, asked, options))
        elif before.survivors:
            known[name] = asdict(joined(before, measure(name, asked, options, before.survivors)))
        if asked.results:
            asked.results.write_text(json.dumps(known, indent=1), encoding="utf-8")
    text = markdown({name: Score(**known[name]) for name in MODULES if name in known})
    print(text)
    if asked.write:
        page.write("code", text)


if __name__ == "__main__":
    main()
