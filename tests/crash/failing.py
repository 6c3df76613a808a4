"""Makes each call to the disk fail once, at each place of a scenario with everything that can be done to a store.

    python tests/crash/failing.py --seed 1

failing_worker.py does it, in a process of its own for each case; here are the cases and the table. In each of them the caller must get an error of ours,
or nothing where the trouble passes unseen; then the same process goes on, or, in every second case, ends at once; nothing acknowledged is lost.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from crash import shim
from crash.failing_case import BEGIN, Case, Result

WORKER = Path(__file__).with_name("failing_worker.py")
ERRORS = {
    "write": ("EIO", "ENOSPC"),
    "sync": ("EIO",),
    "read": ("EIO", "ENOMEM"),
    "truncate": ("EIO",),
    "open": ("EMFILE",),
    "link": ("EIO",),
    "unlink": ("EIO",),
    BEGIN: ("EBUSY",),
}
"""By the kind of call; EBUSY is a lock that somebody else keeps for longer than we wait."""
SEVERAL = 4
"""Calls that fail in a row, in the cases where trouble lasts."""


@dataclass
class Totals:
    cases: int = 0
    met: int = 0
    """Those in which the call was made and failed."""
    table: dict[str, dict[str, int]] = field(default_factory=dict)
    """By what was being done and how what failed: how often the caller got which error."""
    wrong: list[str] = field(default_factory=list)

    def add(self, case: Case, result: Result) -> None:
        self.cases += 1
        if result.step:
            self.met += 1
            heard = result.heard[0] if result.heard else "nothing"
            line = self.table.setdefault(f"{result.step} × {case.call} {case.error}", {})
            line[heard] = line.get(heard, 0) + 1
        self.wrong += [f"{case}: {each} (while: {result.step}; heard: {result.heard})" for each in result.wrong]


def carried_out(cases: Iterator[Case] | Sequence[Case], place: Path, library: Path) -> Iterator[tuple[Case, Result]]:
    disk, words = place / "disk", place / "words"
    for each in (disk, words):
        each.mkdir(exist_ok=True)
    command = [sys.executable, str(WORKER), str(words)]
    with subprocess.Popen(command, env=shim.environment(library, disk), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        for case in cases:
            worker.stdin.write(json.dumps(asdict(case)) + "\n")
            worker.stdin.flush()
            yield case, Result(**json.loads(worker.stdout.readline()))
        worker.stdin.close()


def all_cases(counts: dict[str, int], *, times: int) -> list[Case]:
    return [
        Case(call, error, number, times, die)
        for call, errors in ERRORS.items()
        for error in errors
        for number in range(1, counts[call] + 1)
        for die in (False, True)
    ]


def campaign(seed: int, *, every: int = 1, times: Sequence[int] = (1,)) -> Totals:
    """Every so many-th case, beginning with one that the seed chooses."""
    totals = Totals()
    with tempfile.TemporaryDirectory(dir=shim.scratch()) as name:
        place = Path(name).resolve()
        library = shim.build(place)
        ((_, undisturbed),) = carried_out([Case("write", "EIO", 0)], place, library)
        assert not undisturbed.wrong, undisturbed
        assert not undisturbed.heard, undisturbed
        cases = [case for each in times for case in all_cases(undisturbed.counts, times=each)][seed % every :: every]
        for case, result in carried_out(cases, place, library):
            totals.add(case, result)
    return totals


def main() -> int:
    parser = argparse.ArgumentParser(description="Make each call to the disk fail once, and look for what goes wrong.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, metavar="K", help="only every K-th case, beginning with the seed's")
    parser.add_argument("--json", type=Path, help="write the totals there, too")
    arguments = parser.parse_args()
    if shim.MISSING:
        print(shim.MISSING, file=sys.stderr)
        return 2
    began = time.monotonic()
    totals = campaign(arguments.seed, every=arguments.every, times=(1, SEVERAL))
    for what, heard in sorted(totals.table.items()):
        print(f"{what:<45}" + ", ".join(f"{error} {count}" for error, count in sorted(heard.items())))
    for line in totals.wrong:
        print(line)
    seconds = time.monotonic() - began
    print(f"{totals.cases} cases, {totals.met} met a failing call, {len(totals.wrong)} went wrong; seed {arguments.seed}, {seconds:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps({"seed": arguments.seed, "every": arguments.every, "seconds": round(seconds), **asdict(totals)}, indent=2))
    return 1 if totals.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
