"""Every invariant has one number, one line in the docs, and the checks that docs/assurance.md says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from danube_statemachines.exploration import non_reliable_invariants, reliable_invariants, subscription_invariants
from danube_statemachines.exploration.stories import LIVENESS

DOCS = Path(__file__).parents[2] / "docs"


def numbers(checks: Iterable[Callable[[Any], Any]]) -> set[str]:
    return {check.__name__.split("_")[0].capitalize() for check in checks} | {LIVENESS.split()[0]}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def matrix() -> dict[str, dict[str, bool]]:
    """What assurance.md says: invariant → means → whether it checks it."""
    lines = (DOCS / "assurance.md").read_text(encoding="utf-8").splitlines()
    head = next(nth for nth, line in enumerate(lines) if line.startswith("| | explored alone"))
    means = cells(lines[head])[1:]
    rows = [cells(line) for line in lines[head + 2 : next(nth for nth in range(head, len(lines)) if not lines[nth])]]
    return {row[0].split()[0].capitalize(): dict(zip(means, (cell == "✓" for cell in row[1:]), strict=True)) for row in rows}


def test_the_two_pages_list_the_same_invariants() -> None:
    listed = re.findall(r"^\| ([SL]\d+) \|", (DOCS / "model" / "invariants.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [*listed, "Promises"] == list(matrix())
    assert listed == [*(f"S{nth}" for nth in range(1, 17)), *(f"L{nth}" for nth in range(1, 5))]


def test_what_is_explored_is_what_the_page_says() -> None:
    said = matrix()
    alone = numbers((*reliable_invariants.INVARIANTS, *non_reliable_invariants.INVARIANTS))
    assert {name for name, means in said.items() if means["explored alone"]} == alone
    assert {name for name, means in said.items() if means["explored together"]} == numbers(subscription_invariants.INVARIANTS)


def test_nothing_is_checked_by_nobody() -> None:
    assert {name for name, means in matrix().items() if not any(means.values())} == set()
