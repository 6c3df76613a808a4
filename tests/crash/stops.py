"""Several processes and one file: `python tests/crash/stops.py --minutes M --seed N`.

Processes publish to one file and compete for its two subscriptions (rivals.py). Owners are stopped (SIGSTOP) for less and for more than a lease and woken
(SIGCONT), and killed, at random. In the end every message must have been acknowledged, and no late write may have counted; how much two owners overlapped
is measured (referee.py).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from random import Random

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from crash.journal import Journal, Reader
from crash.kills import MEMORY
from crash.referee import Overlaps, Referee
from crash.rivals import FLUSH, PLANTS, SHORT, Rival, audit, compete

PROCESSES = 3
EVENTS = 12
"""Stops and kills of one round, which takes some five seconds."""
PATIENCE = 60.0
"""Seconds after which a round that is not settled is given up."""


class Round:
    """One file. Use it as a context: no process is left behind."""

    def __init__(self, seed: str, plant: str | None, events: int = EVENTS) -> None:
        self.referee = Referee()
        self._events = events
        self.stops = self.kills = 0
        self._seed = seed
        self._plant = plant
        self._chance = Random(seed)
        self._folder = Path(tempfile.mkdtemp(prefix="danube-stops-", dir=MEMORY if MEMORY.is_dir() else None))
        self._journal = Journal(self._folder / "journal", time.monotonic)
        self._reader = Reader(self._folder / "journal")
        self._started = 0
        self._awake: set[int] = set()
        self._asleep: dict[int, float] = {}
        """When each is to be woken."""

    def __enter__(self) -> Round:
        return self

    def __exit__(self, *_: object) -> None:
        for child in [*self._awake, *self._asleep]:
            self._kill(child)
        shutil.rmtree(self._folder)

    def run(self) -> None:
        for _ in range(PROCESSES):
            self._start()
        for _ in range(self._events):
            self._wait(self._chance.uniform(0.02, 0.4))
            self._disturb()
        while self._asleep:
            self._wait(0.05)
        (self._folder / "enough").touch()
        began = time.monotonic()
        while self.referee.audited != "" and not self.referee.findings and time.monotonic() < began + PATIENCE:
            self._wait(0.1)
            self._audit()
        self.referee.close()

    def _audit(self) -> None:
        child = os.fork()
        if child == 0:
            audit(Rival(self._folder, ""))
        os.waitpid(child, 0)
        self._wait(0)

    def _start(self) -> None:
        self._started += 1
        child = os.fork()
        if child == 0:
            compete(Rival(self._folder, f"{self._seed}.{self._started}", self._plant))
        self._awake.add(child)

    def _wait(self, seconds: float) -> None:
        """Wake who is to be woken, and hear what is said."""
        until = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            for child in [child for child, when in self._asleep.items() if when <= now]:
                del self._asleep[child]
                self._awake.add(child)
                self._journal("woken", child)
                os.kill(child, signal.SIGCONT)
            for record in self._reader.news():
                self.referee.hear(record)
            if now >= until:
                return
            time.sleep(min(0.02, until - now))

    def _disturb(self) -> None:
        owner = self.referee.owner[self._chance.choice(list(FLUSH))]
        children = sorted([*self._awake, *self._asleep])
        child = owner[1] if owner is not None and self._chance.random() < 0.8 else self._chance.choice(children)
        if child not in children:
            return
        if self._chance.random() < 0.25:
            self._kill(child)
            self._start()
            self.kills += 1
        elif child in self._awake:
            self._awake.discard(child)
            os.kill(child, signal.SIGSTOP)
            self._journal("stopped", child)
            self._asleep[child] = time.monotonic() + self._chance.uniform(0.2, 3.0) * SHORT["LEASE"]
            self.stops += 1

    def _kill(self, child: int) -> None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        self._awake.discard(child)
        self._asleep.pop(child, None)
        self._journal("killed", child)


class Report:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rounds = self.stops = self.kills = 0
        self.seconds = 0.0
        self.overlaps = Overlaps()
        self.findings: list[str] = []

    def take(self, done: Round) -> None:
        self.stops += done.stops
        self.kills += done.kills
        self.overlaps.add(done.referee.overlaps)
        self.findings += [f"round {self.rounds}: {finding}" for finding in done.referee.findings]
        self.rounds += 1


def show(report: Report) -> None:
    seen = report.overlaps
    print(f"seed {report.seed}, {report.seconds:.0f} s: {report.stops} stops and {report.kills} kills, {report.rounds} rounds of {PROCESSES} processes")
    print(f"  lease {SHORT['LEASE']:g} s, renewed every {SHORT['RENEWAL']:g} s, heartbeat {SHORT['HEARTBEAT']:g} s: a twentieth of what they are otherwise")
    print(f"  {seen.published} messages, {seen.taken} deliveries taken, {seen.accepted} acks accepted, {seen.refused} refused")
    print(f"  {seen.takeovers} takeovers from an owner that was alive; {seen.noticed} of those lived to notice")
    print(f"  overlap: {seen.both} messages in hand of both")
    print(f"  taken by an old owner after a new one owned: {seen.late_takes}, at most {seen.worst_late_takes} in a takeover")
    print(f"  from the takeover until the old owner noticed: {times(seen.unaware)}; from its waking: {times(seen.waking)}")
    print(f"  acks that an old owner accepted after a new one owned, and that come again: {seen.accepted_late}")
    for name, count in seen.duplicates.items():
        print(f"  {name} (flush_interval={FLUSH[name]:g}): {count} came again though an ack had been accepted{'; promised: none' if not FLUSH[name] else ''}")
    for finding in report.findings[:20]:
        print(f"FOUND {finding}")
    print("nothing was lost, and no late write counted" if not report.findings else "see above")


def times(seconds: list[float]) -> str:
    if not seconds:
        return "never"
    middle = sorted(seconds)[len(seconds) // 2]
    return f"{middle * 1000:.0f} ms in the middle, {max(seconds) * 1000:.0f} ms at most"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1); the round under way is finished")
    parser.add_argument("--rounds", type=int, help="end after so many rounds instead")
    parser.add_argument("--events", type=int, default=EVENTS, help=f"stops and kills of a round (default: {EVENTS})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--plant", choices=PLANTS, help="plant this bug, to see that it is found")
    arguments = parser.parse_args()
    began = time.monotonic()
    report = Report(arguments.seed)
    gc.freeze()  # children share what is there
    while not report.findings and (report.rounds < arguments.rounds if arguments.rounds is not None else time.monotonic() - began < 60 * arguments.minutes):
        with Round(f"{arguments.seed}.{report.rounds}", arguments.plant, arguments.events) as now:
            now.run()
        report.take(now)
    report.seconds = time.monotonic() - began
    show(report)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({**vars(report), "overlaps": vars(report.overlaps)}, indent=1) + "\n")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
