"""What a message costs on each path, counted, and the record of it: `python tests/performance/record.py [--write]`.

The record is what the test of the same folder holds the code to. It is written with Python 3.11, whose instructions it counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self, TypedDict

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from performance.counting import Calls, Instructions
from performance.paths import PATHS, walk

RECORD = Path(__file__).with_name("record.json")
COMMAND = "python tests/performance/record.py --write"
VERSION = (3, 11)
"""The Python whose instructions are in the record. The calls are the same in all."""
OFTEN = Fraction(1, 32)
"""Of what is called less often than that, a message, only the sum is recorded, and that may grow by less."""
ONE = Fraction(1)
"""Instructions of a message may grow by less than that: what is done once for a batch has none to itself."""


class Entry(TypedDict):
    """A path in the record; each number a message, as a fraction."""

    calls: str
    instructions: str
    functions: dict[str, str]


@dataclass(frozen=True)
class Cost:
    """Of one message."""

    functions: Mapping[str, Fraction]
    """How often each is called."""
    instructions: Fraction

    @classmethod
    def measured(cls, path: str) -> Self:
        calls, instructions = Calls(), Instructions()
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            walk(path, calls, Path(one))
            walk(path, instructions, Path(two))
        return cls(calls.each, instructions.each)

    @property
    def calls(self) -> Fraction:
        return sum(self.functions.values(), Fraction(0))

    @property
    def entry(self) -> Entry:
        often = {name: str(calls) for name, calls in self.functions.items() if calls >= OFTEN}
        return {"calls": str(self.calls), "instructions": str(self.instructions), "functions": often}

    def grown(self, entry: Entry) -> Iterator[str]:
        """How this is not what was recorded: other functions, or more of anything."""
        recorded = entry["functions"]
        for name in sorted({*recorded, *self.entry["functions"]}):
            before, now = Fraction(recorded.get(name, 0)), self.functions.get(name, Fraction(0))
            if before != now and max(before, now) >= OFTEN:
                yield f"{name}: {_short(before)} → {_short(now)} calls a message"
        if self.calls - Fraction(entry["calls"]) >= OFTEN:
            yield f"all calls: {_short(Fraction(entry['calls']))} → {_short(self.calls)} a message"
        if sys.version_info[:2] == VERSION and self.instructions - Fraction(entry["instructions"]) >= ONE:
            yield f"instructions: {_short(Fraction(entry['instructions']))} → {_short(self.instructions)} a message"

    def lines(self) -> Iterator[str]:
        """Everything that is called, the most often called first."""
        for name, calls in sorted(self.functions.items(), key=lambda item: (-item[1], item[0])):
            yield f"{_short(calls):>8}  {name}"


def recorded() -> dict[str, Entry]:
    entries: dict[str, Entry] = json.loads(RECORD.read_text(encoding="utf-8"))
    return entries


def _short(number: Fraction) -> str:
    return str(number) if number.denominator == 1 or number < 1 else f"{float(number):.4g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help="make what the code does now the record")
    parser.add_argument("--functions", action="store_true", help="name the functions, too")
    options = parser.parse_args()
    if options.write and sys.version_info[:2] != VERSION:
        parser.error(f"the record is written with Python {'.'.join(map(str, VERSION))}")
    costs = {path: Cost.measured(path) for path in PATHS}
    print(f"{'a message':32}{'calls':>10}{'instructions':>14}")
    for path, cost in costs.items():
        print(f"{path:32}{float(cost.calls):>10.2f}{float(cost.instructions):>14.1f}")
        if options.functions:
            print("\n".join(cost.lines()))
    if options.write:
        RECORD.write_text(json.dumps({path: cost.entry for path, cost in costs.items()}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
