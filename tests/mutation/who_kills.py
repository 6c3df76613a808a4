"""Who kills the mutants of the tables: exploration, the stateful tests of core and runtime, the differential test, the simulation.

    python tests/mutation/who_kills.py --sample 80 --seed 1 --write

Exploration judges every mutant. The other means run on a sample of those that are other machines and pass the definition check: each runs its own
tests, as often as the test command does, in a process in which the mutant stands in the place of the machine.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

sys.path[:0] = [str(Path(__file__).parents[1])]

import hypothesis
import pytest

from danube_dispatcher.simulation.run import simulate
from danube_statemachines import VARIANTS, Declaration
from modelling import Variant
from mutation import page
from mutation.forks import Died, OutOfTime, forked, limit_memory
from mutation.tables import Mutant, Verdict, declare, exploring, judge, mutants

EXPLORATION = "exploration"
SIMULATED = 0.25
"""Hours."""
SECONDS = 30
"""Of computing, for one means and one mutant. A mutant that takes longer is noticed, too: the tests do not end."""


class Bounded:
    """A plugin: the tests have so much memory and no more."""

    def pytest_runtestloop(self) -> None:
        limit_memory()


def failing(path: str, *, named: bool = True, chosen: str = "") -> Callable[[str, int], bool]:
    """Whether tests fail on a machine; those which have its name in theirs, unless `named` is False, and `chosen`."""

    def fail(machine: str, seed: int) -> bool:
        hypothesis.settings.register_profile("mutants", phases=[hypothesis.Phase.generate], database=None)
        hypothesis.settings.load_profile("mutants")
        options = ["-x", "-p", "no:terminal", "--assert=plain", "-p", "no:cacheprovider", f"--rootdir={page.ROOT}", f"--hypothesis-seed={seed}"]
        names = f"{machine}{'' if machine.startswith('non_') else ' and not non_reliable'}{chosen}"
        code = pytest.main([*options, str(page.ROOT / "tests" / path), *(["-k", names] if named else [])], plugins=[Bounded()])
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
            raise RuntimeError(f"pytest ended with {code}")
        return code != pytest.ExitCode.OK

    return fail


def simulation(_: str, seed: int) -> bool:
    """Whether something is wrong in a simulation, in which all machines have a part."""
    try:
        return simulate(seed, SIMULATED).violation is not None
    except Exception:
        return True


@dataclass(frozen=True, slots=True)
class Means:
    name: str
    fails: Callable[[str, int], bool]
    """On the machine of that name as it stands in this process, with that seed."""
    reliable_only: bool = False


MEANS = (
    Means("core stateful", failing("statemachines/test_stateful.py")),
    Means("differential", failing("statemachines/test_differential.py", chosen=" and block")),
    Means("runtime stateful", failing("runtime/test_stateful.py", named=False), reliable_only=True),
    Means("simulation", simulation),
)


def install(machine: Variant) -> None:
    """Put a declaration in the place of the one of its name, wherever the two packages hold it."""
    name = machine.title
    replaced = VARIANTS[name]
    VARIANTS[name] = machine
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("danube_"):
            for key, value in list(vars(module).items()):
                if isinstance(value, Declaration) and value is replaced:
                    setattr(module, key, machine)


def notices(means: Means, machine: Variant, seed: int) -> bool:
    def work() -> bool:
        install(machine)
        return means.fails(machine.title, seed)

    try:
        return bool(forked(work, 300, SECONDS))
    except (OutOfTime, Died):
        return True


@dataclass(slots=True)
class Findings:
    """What came of the mutants of one machine."""

    machine: str
    means: list[str]
    mutants: int = 0
    refused: int = 0
    same: list[str] = field(default_factory=list)
    survivors: list[str] = field(default_factory=list)
    invariants: Counter[str] = field(default_factory=Counter)
    sample: dict[str, list[str]] = field(default_factory=dict)
    """Who noticed each mutant of the sample."""

    @property
    def killed(self) -> int:
        return sum(self.invariants.values())

    def by(self, means: str) -> int:
        return sum(means in who for who in self.sample.values())

    def only(self, means: str) -> int:
        return sum(who == [means] for who in self.sample.values())


def judged(variant: Variant) -> tuple[Findings, list[tuple[Mutant, Verdict]]]:
    """Every mutant by exploration, and those that others may look at."""
    means = [EXPLORATION, *(each.name for each in MEANS if variant.title.startswith("reliable") or not each.reliable_only)]
    findings, others = Findings(variant.title, means), []
    unchanged = tuple(found.fingerprint for found in exploring(variant))
    for mutant in mutants(variant):
        verdict = judge(variant, mutant)
        findings.mutants += 1
        if verdict.refused:
            findings.refused += 1
        elif verdict.fingerprints == unchanged:
            findings.same.append(mutant.name)
        else:
            others.append((mutant, verdict))
            if verdict.invariant:
                findings.invariants[verdict.invariant] += 1
            else:
                findings.survivors.append(mutant.name)
    return findings, others


def find(machine: str, sample: int | None, seed: int, minutes: float) -> Findings:
    variant = VARIANTS[machine]
    findings, others = judged(variant)
    used = [means for means in MEANS if means.name in findings.means]
    for means in used:
        if notices(means, variant, seed):
            raise SystemExit(f"{means.name} fails on {machine} itself")
    chosen = others if sample is None else Random(seed).sample(others, min(sample, len(others)))
    end = time.monotonic() + 60 * minutes
    for mutant, verdict in chosen:
        if time.monotonic() > end:
            break
        changed = declare(variant, mutant)
        who = [EXPLORATION] if verdict.killed else []
        findings.sample[mutant.name] = who + [means.name for means in used if notices(means, changed, seed)]
        print(f"{machine}: {mutant.name}: {', '.join(findings.sample[mutant.name]) or 'NOBODY'}", flush=True)
    return findings


def markdown(found: list[Findings], command: str) -> str:
    columns = [EXPLORATION, *(means.name for means in MEANS)]
    every = page.table(
        ["machine", "mutants", "refused by the definition check", "no other machine", "killed by exploration", "survivors"],
        [[each.machine, each.mutants, each.refused, len(each.same), each.killed, len(each.survivors)] for each in found],
    )
    invariants = sum((each.invariants for each in found), Counter[str]())
    sampled = page.table(
        ["machine", "sampled", *columns, "by nobody"],
        [
            [
                each.machine,
                len(each.sample),
                *(f"{each.by(name)} ({each.only(name)})" if name in each.means else "–" for name in columns),
                sum(not who for who in each.sample.values()),
            ]
            for each in found
        ],
    )
    broken = page.table(["invariant that broke first", "mutants"], invariants.most_common())
    missed = [f"- {each.machine}: {name}" for each in found for name, who in each.sample.items() if not who]
    return "\n\n".join(
        [
            "## The tables of the four machines",
            f"`{command}`",
            "Every row is broken: dropped, without or against one of its guards, without one of its actions or with two of them swapped, to another"
            " destination, from one of its sources, before the row above it; and the completion. Exploration judges every mutant; so does the test command.",
            every,
            "A mutant that is *no other machine* has the very same graph, effects included; tests/mutation/equivalent.py lists each with its reason.",
            broken,
            "The other means run on a sample of the mutants that are other machines: killed by each, and in brackets those that it alone killed.",
            sampled,
            "The differential test compares four executions of one table, so it notices only mutants that cannot be executed."
            f" A simulation is {SIMULATED} hours of one seed.",
            *(["Noticed by nobody:", "\n".join(missed)] if missed else []),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Who kills the mutants of the tables?")
    parser.add_argument("--machine", choices=list(VARIANTS), action="append", help="all, unless told")
    parser.add_argument("--sample", type=int, metavar="N", help="mutants of each machine that go to all means (all)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the sample and of Hypothesis")
    parser.add_argument("--minutes", type=float, default=float("inf"), metavar="M", help="for the sample of each machine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything that was found")
    parser.add_argument("--write", action="store_true", help="write the page docs/mutation.md")
    asked = parser.parse_args()
    found = [find(machine, asked.sample, asked.seed, asked.minutes) for machine in asked.machine or VARIANTS]
    chosen = "".join(f" --machine {machine}" for machine in asked.machine or ())
    sampled = "" if asked.sample is None else f" --sample {asked.sample}"
    sampled += "" if math.isinf(asked.minutes) else f" --minutes {asked.minutes:g}"
    text = markdown(found, f"python tests/mutation/who_kills.py{chosen}{sampled} --seed {asked.seed}")
    print(text)
    if asked.json:
        names = ("machine", "mutants", "refused", "same", "killed", "survivors", "invariants", "sample")
        asked.json.write_text(json.dumps([{name: getattr(each, name) for name in names} for each in found], indent=1), encoding="utf-8")
    if asked.write:
        page.write("tables", text)


if __name__ == "__main__":
    main()
