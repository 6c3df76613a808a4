"""What is wanted, in one place, and whether a run has reached it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from . import busy
from .limits import COMMITS, LIMIT_A, LIMIT_A_TIMED, LIMIT_C, LIMIT_C_SHARED
from .limits_sqlite import GROUP_COMMIT, GROUP_COMMIT_MANY
from .measured import Measured
from .ours import (
    AT_ONCE_EXCLUSIVE,
    AT_ONCE_SHARED,
    EACH_ACK,
    EXCLUSIVE_MEMORY,
    EXCLUSIVE_SQLITE,
    MANY_PUBLISHERS,
    ONE_PUBLISHER,
    SHARED_MEMORY,
    TIMED_MEMORY,
)
from .peers import EMBEDDED
from .start import HELP_RATIO, IMPORT_RATIO

STUDIES: tuple[str, ...] = ("busy", "choices", "flat", "layers", "many", "start")
"""Modules of this package that measure something of their own: those that have a `measure`."""
NOISE = 1.2
"""What counts as equal: the best of a few rounds differ by as much on a machine that others use."""


@dataclass(frozen=True, slots=True)
class Target:
    """A figure of a scenario as a ratio to that of another; or the value of a study's row, if `to` is empty."""

    subject: str
    to: Sequence[str] = ()
    """Of several, the best."""
    figure: Literal["rate", "p50", "p99"] = "rate"
    at_least: float | None = None
    at_most: float | None = None

    def wanted(self, measured: Measured) -> str:
        row = measured.row(self.subject)
        unit = "×" if self.to else row.unit if row else ""
        return (f"≥ {self.at_least:,.10g} {unit}" if self.at_least is not None else f"≤ {self.at_most:,.10g} {unit}").rstrip()

    @property
    def title(self) -> str:
        what = self.subject if self.figure == "rate" else f"{self.subject}: {self.figure}"
        if not self.to:
            return what
        return f"{what}, to the fastest embedded queue" if self.to == EMBEDDED else f"{what}, to {self.to[0].partition(':')[0]}"

    def value(self, measured: Measured) -> float | None:
        """None: it was not measured."""
        if not self.to:
            row = measured.row(self.subject)
            return row.value if row is not None else None
        ours = _best(measured, self.figure, [self.subject])
        theirs = _best(measured, self.figure, self.to)
        return ours / theirs if ours is not None and theirs is not None else None

    def reached(self, value: float) -> bool:
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)


def _best(measured: Measured, figure: str, names: Sequence[str]) -> float | None:
    """The best round of the best of them."""
    found = [value for name in names if (line := measured.line(name)) and (value := line.best(figure)) is not None]
    return (max if figure == "rate" else min)(found, default=None)


TARGETS: tuple[Target, ...] = (
    Target(EXCLUSIVE_MEMORY, [LIMIT_A], at_least=4.0),
    Target(SHARED_MEMORY, [LIMIT_A], at_least=1.2),
    Target(EXCLUSIVE_SQLITE, [LIMIT_A], at_least=2.5),
    Target(EXCLUSIVE_SQLITE, EMBEDDED, at_least=50.0),
    Target(ONE_PUBLISHER, [GROUP_COMMIT], at_least=0.85),
    Target(MANY_PUBLISHERS, [GROUP_COMMIT_MANY], at_least=0.6),
    Target(TIMED_MEMORY, [LIMIT_A_TIMED], "p50", at_most=2.0),
    Target(TIMED_MEMORY, [LIMIT_A_TIMED], "p99", at_most=2.0),
    Target(EACH_ACK, [COMMITS], at_least=0.8),
    Target(AT_ONCE_EXCLUSIVE, [LIMIT_C], at_least=0.4),
    Target(AT_ONCE_SHARED, [LIMIT_C_SHARED], at_least=0.3),
    Target("a message to one of 64 consumers, failover, to one of 1", at_most=NOISE),
    Target("a message to one of 64 consumers, shared, to one of 4", at_most=NOISE),
    Target("attempt 5 of a message to its attempt 2", at_most=NOISE),
    *(Target(f"opening on a long backlog, {scheme} to a short one", at_most=NOISE) for scheme in ("memory:", "sqlite:")),
    *(Target(f"a message of a long backlog, {scheme} to one of a short one", at_most=NOISE) for scheme in ("memory:", "sqlite:")),
    *(Target(f"memory that draining takes, {scheme}", at_most=16 << 20) for scheme in ("memory:", "sqlite:")),
    *(Target(f"10,000 idle subscriptions, {scheme} CPU", at_most=1.0) for scheme in ("memory:", "sqlite:")),
    *(Target(f"an idle subscription, {scheme} memory", at_most=8_192) for scheme in ("memory:", "sqlite:")),
    *(Target(f"publishing beside them to another topic, {scheme} CPU", at_most=NOISE) for scheme in ("memory:", "sqlite:")),
    Target(IMPORT_RATIO, at_most=2.0),
    Target(HELP_RATIO, at_most=3.0),
    Target(busy.PUBLISH, at_most=10.0),
    Target(busy.PUBLISH_MANY, at_most=0.3),
)
"""Where "best" is said, it is the best of the interleaved rounds, of the limit and of ours alike: a neighbour on a core slows whole rounds."""
