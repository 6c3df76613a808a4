"""What a study hands over: figures with their names and units."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure."""

    name: str
    """What it is, in words that stay: bench/targets.py refers to it by them."""
    value: float
    unit: str
    """"ms", "bytes", "messages/s", "% of a core", "×" for a ratio."""
    detail: str = ""
    """What a reader needs to judge it: the absolute figures behind a ratio, the spread, how often it was measured."""


def study(measure: Callable[[bool], list[Row]]) -> None:
    """The command line of a study: prints its rows, with --json for programs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure(options.quick)
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        for row in rows:
            print(f"{row.name:60}{row.value:>14,.4g} {row.unit:14}{row.detail}")
