"""One simulation from a seed, and many under a budget: what came of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from danube_statemachines import VARIANTS
from danube_statemachines.coverage import Fired, fired_report, unfired

from .checker import Checker
from .history import Line, shown
from .rules import RULES
from .world import World

STORY = 40
"""Lines of a history that are shown of a violation."""
DULL = {"waits", "joined", "unopened", "opened"}
"""What is left out of them."""
OWNING = {"owns", "let_go", "releasing", "released", "paused", "resuming", "closing", "disconnecting"}
"""What belongs to the story of any message of its subscription; of the openings, those that led to an ownership."""


@dataclass(frozen=True)
class Violation:
    """A rule that was broken: the seed, the rule, how, and the last lines of the history that concern it."""

    seed: int
    rule: str
    problem: str
    lines: tuple[str, ...]


@dataclass
class Outcome:
    """Of one simulation, or of several."""

    seeds: list[int] = field(default_factory=list[int])
    hours: float = 0.0
    """Simulated ones."""
    messages: int = 0
    deliveries: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])
    """Injected, by kind."""
    fired: Fired = field(default_factory=Counter[tuple[str, int, str]])
    """Rows of the machines' tables, in those subscriptions that were observed: every second one."""
    seconds: float = 0.0
    """Real ones."""
    lines: int = 0
    sha256: str = ""
    """Of the history of the last one."""
    violation: Violation | None = None

    def add(self, other: Outcome) -> None:
        self.seeds += other.seeds
        self.hours += other.hours
        self.messages += other.messages
        self.deliveries += other.deliveries
        self.faults.update(other.faults)
        self.fired.update(other.fired)
        self.seconds += other.seconds
        self.lines += other.lines
        self.sha256 = other.sha256
        self.violation = self.violation or other.violation

    def report(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "seeds": self.seeds,
            "hours": round(self.hours, 3),
            "messages": self.messages,
            "deliveries": self.deliveries,
            "faults": dict(sorted(self.faults.items())),
            "lines": self.lines,
            "sha256": self.sha256,
            "seconds": round(self.seconds, 3),
            "rows": fired_report(VARIANTS.values(), self.fired),
            "violation": None if self.violation is None else {name: getattr(self.violation, name) for name in ("seed", "rule", "problem", "lines")},
        }

    def __str__(self) -> str:
        faults = sum(self.faults.values())
        seconds = max(self.seconds, 1e-9)
        rows = [f"{name} {len(variant.table) - len(unfired(variant, self.fired))} of {len(variant.table)}" for name, variant in VARIANTS.items()]
        missing = [f"  not {name}: {', '.join(map(str, unfired(variant, self.fired)))}" for name, variant in VARIANTS.items()]
        seeds = f"seed {self.seeds[0]}" if len(self.seeds) == 1 else f"{len(self.seeds)} seeds from {self.seeds[0]} on"
        return "\n".join(
            [
                f"simulated   {self.hours:,.2f} hours, {seeds}",
                f"messages    {self.messages:,} published, {self.deliveries:,} deliveries",
                f"faults      {faults:,}: " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.faults.items())),
                f"rows fired  {', '.join(rows)}",
                *missing,
                f"wall        {self.seconds:,.1f} s: {self.hours / seconds:,.2f} simulated hours and {faults / seconds:,.0f} faults a second",
                f"history     {self.lines:,} lines" + (f", sha256 {self.sha256}" if len(self.seeds) == 1 else ""),
            ]
        )


Progress = Callable[[float], bool]
"""Is told the simulated hours so far; False ends the simulation after the next calm."""


def simulate(
    seed: int, hours: float, *, factors: Mapping[str, float] | None = None, file: TextIO | None = None, progress: Progress = lambda _: True
) -> Outcome:
    """Simulate so many hours from a seed. The same arguments give the same history; `file` gets it.

    `factors` multiply the rates of faults (rates.py), by kind or "all". Ends with the first rule that is broken. Raises InvalidArgument.
    """
    started = time.perf_counter()
    checker = Checker(lambda: world.stop())  # noqa: PLW0108 - there is no world yet
    world = World(seed, factors or {}, checker.read, file)
    world.run(hours, progress)
    outcome = Outcome(
        [seed],
        world.hours,
        world.messages,
        checker.deliveries,
        world.faults.counts,
        world.observer.fired,
        time.perf_counter() - started,
        world.history.length,
        world.history.sha256,
    )
    if checker.problem is not None:
        problem = checker.problem
        outcome.violation = Violation(seed, problem.rule, str(problem), story(list(world.history.recent), problem.subject, problem.offset))
    elif world.problems:
        text = f"no surprise: {world.problems[0]} ({RULES['no surprise']})"
        outcome.violation = Violation(seed, "no surprise", text, tuple(shown(line) for line in list(world.history.recent)[-STORY:]))
    return outcome


def story(lines: list[Line], subject: str, offset: int) -> tuple[str, ...]:
    """The last lines that concern a message of a subscription, or of a topic."""
    told: list[Line] = []
    openings: dict[str, Line] = {}
    for line in lines:
        _, process, what, *details = line
        if subject not in details:
            continue
        if what == "opening":
            openings[process] = line
        elif what in OWNING or (what not in DULL and (offset < 0 or offset in details[1:])):
            if what == "owns" and process in openings:
                told.append(openings[process])
            told.append(line)
    return tuple(map(shown, told[-STORY:]))


def campaign(seed: int, hours: float, seconds: float, *, factors: Mapping[str, float] | None = None, progress: Callable[[Outcome, float], None]) -> Outcome:
    """Simulate seed after seed, so many hours each, until so many real seconds are over or a rule is broken."""
    total = Outcome()
    end = time.monotonic() + seconds

    def told(so_far: float) -> bool:
        progress(total, so_far)
        return time.monotonic() < end

    while time.monotonic() < end and total.violation is None:
        total.add(simulate(seed + len(total.seeds), hours, factors=factors, progress=told))
    return total
