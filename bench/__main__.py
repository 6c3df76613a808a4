"""python -m bench: see bench/__init__.py."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from pathlib import Path

from . import plot, report, run
from .measured import Measured, machine
from .scenarios import scenarios
from .targets import STUDIES

DOCS = Path(__file__).parents[1] / "docs"
ROUNDS, QUICK_ROUNDS = 9, 5
QUICK_PART = 5
"""A quick run passes so much less in each round."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def write(measured: Measured) -> None:
    (DOCS / "benchmarks.json").write_text(measured.to_json(), encoding="utf-8")
    (DOCS / "benchmarks.svg").write_text(plot.svg(measured), encoding="utf-8")
    report.write(DOCS / "benchmarks.md", measured)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="How fast the dispatchers are, beside limits and others.")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds of a {QUICK_PART}th of the messages, and quick studies")
    parser.add_argument("--rounds", type=int, help=f"by default {ROUNDS}")
    parser.add_argument("--only", metavar="PATTERN", default="", help="scenarios and studies whose names this regular expression finds, and their limits")
    parser.add_argument("--no-memory", action="store_true", help="leave out the rounds that show the memory")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.json, .svg and .md")
    parser.add_argument("--again", action="store_true", help="measure nothing: write the pages anew from docs/benchmarks.json")
    options = parser.parse_args()
    if options.again:
        write(Measured.from_json((DOCS / "benchmarks.json").read_text(encoding="utf-8")))
        return 0

    chosen = [each for each in scenarios() if re.search(options.only, each.name)]
    limits = {each.limit for each in chosen}
    chosen = [each for each in scenarios() if each in chosen or each.name in limits]
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    lines = asyncio.run(run.measure(chosen, rounds=rounds, part=QUICK_PART if options.quick else 1, say=say))
    if not options.no_memory:
        run.memory(lines, say)
    measured = Measured(machine(), options.quick, lines)
    for name in STUDIES:
        if re.search(options.only, name):
            say(f"study {name}")
            rows = run.study(name, quick=options.quick)
            if isinstance(rows, str):
                measured.skipped[name] = rows
            else:
                measured.rows[name] = rows
    print(report.page(measured))
    if options.write:
        write(measured)
    reasons = [*measured.skipped.values(), *(line.skipped or "" for line in measured.lines)]
    return int(any(reason.startswith("failed") for reason in reasons))


if __name__ == "__main__":
    sys.exit(main())
