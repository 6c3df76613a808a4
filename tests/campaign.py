"""Every campaign, one after the other, within a budget: `make campaign MINUTES=30 SEED=1`.

What each one does, and what it found, stands in docs/assurance.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CRASH = Path(__file__).parent / "crash"
SHARES = {"simulate": 0.4, "kills": 0.2, "stops": 0.1, "power": 0.2, "failing": 0.1}
"""Parts of the budget."""
ALL_FAILING = 400
"""Seconds that failing every call once takes; with less time, some of them."""


def commands(minutes: float, seed: int) -> Iterator[list[str]]:
    """The command lines, each with its part of the time."""
    for name, share in SHARES.items():
        part = minutes * share
        if name == "simulate":
            yield [sys.executable, "-m", "danube_dispatcher", "simulate", "--seed", str(seed), "--hours", "5", "--minutes", f"{part:g}"]
        elif name == "failing":
            yield [sys.executable, str(CRASH / "failing.py"), "--seed", str(seed), "--every", str(max(1, round(ALL_FAILING / (part * 60))))]
        else:
            yield [sys.executable, str(CRASH / f"{name}.py"), "--seed", str(seed), "--minutes", f"{part:g}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all together (%(default)g)")
    parser.add_argument("--seed", type=int, default=1, help="what chance begins with (%(default)s)")
    arguments = parser.parse_args()
    if not arguments.minutes > 0:
        parser.error(f"--minutes needs a number above zero, not {arguments.minutes:g}")
    failed: list[str] = []
    for command in commands(arguments.minutes, arguments.seed):
        shown = " ".join(["python", *(word.replace(f"{CRASH.parent.parent}/", "") for word in command[1:])])
        print(f"\n$ {shown}", flush=True)
        if subprocess.run(command, check=False).returncode:
            failed.append(shown)
    print("\nfailed:" if failed else "\nall campaigns found nothing", *failed, sep="\n  " if failed else "")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
