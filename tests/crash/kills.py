"""The kill campaign: `python tests/crash/kills.py --minutes M --seed N`.

A process publishes to a store in a file and consumes from it by six subscriptions (workload.py), until it is killed by SIGKILL: at a random moment, at a
named point (points.py), or by a payload. Another one goes on where the file says. What was acknowledged stands in a record outside (journal.py), and a
judge that knows nothing of the code compares (judge.py). After some dozens of kills everything is settled, and the file must hold it all.
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
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from crash.book import HEARTBEAT, LEASE, Tally
from crash.journal import Reader
from crash.judge import Judge
from crash.life import Life, live
from crash.plants import PLANTS
from crash.points import POINTS
from crash.workload import FLUSH_MESSAGES, PROFILES
from danube_statemachines import VARIANTS

KILLS_PER_FILE = 40
MEMORY = Path("/dev/shm")
"""Where files lie if there is such a place: a killed process leaves what it wrote to the system, so no disk need be waited for."""
LAST_LIVES = 60
"""Lives at most until everything is settled: each deadly payload ends some of them."""
AFTER_REFUSALS = ("dead letter", "failure", "save failure", "move to dead letters", "nack")
"""Points that are reached when consumers refuse."""
RANDOM, NOTHING = "a random moment", "nothing"


@dataclass
class Report:
    seed: int
    files: int = 0
    lives: int = 0
    clean: int = 0
    """Lives that ended by themselves."""
    seconds: float = 0.0
    kills: Counter[str] = field(default_factory=Counter[str])
    tally: Tally = field(default_factory=Tally)
    findings: list[str] = field(default_factory=list[str])

    @property
    def killed(self) -> int:
        return self.kills.total()


class Campaign:
    def __init__(self, seed: int, plant: str | None = None, points: str = "") -> None:
        self.report = Report(seed)
        self._plant = plant
        self._points = [point for point in POINTS if points in point]
        """Where to kill."""
        self._usual = 0.05
        """Real seconds that a life takes, about."""

    def file(self, kills: int) -> None:
        """One store's file: killed so often, then settled, then compared."""
        report, judge = self.report, Judge()
        chance = Random(f"{report.seed}.{report.files}")
        folder = Path(tempfile.mkdtemp(prefix="danube-kills-", dir=MEMORY if MEMORY.is_dir() else None))
        reader = Reader(folder / "journal")
        lives = last_lives = killed = 0
        settled = False
        try:
            while not judge.findings and not settled:
                last = killed >= kills
                last_lives += last
                life, delay = self._plan(chance, folder, lives, judge.at, last=last)
                lives += 1
                killed += (dead := self._live(life, delay, judge, reader))
                settled = last and not dead
                judge.must(last_lives < LAST_LIVES, f"not settled after {last_lives} lives in which only payloads kill")
            if settled:
                judge.close()
        finally:
            shutil.rmtree(folder)
        report.files += 1
        report.lives += lives
        report.clean += lives - killed
        report.kills.update(judge.kills)
        report.tally.add(judge.tally)
        if judge.findings:
            report.findings = [f"file {report.files - 1}, life {lives - 1}: {finding}" for finding in judge.findings] + judge.story

    def _plan(self, chance: Random, folder: Path, number: int, at: float, *, last: bool) -> tuple[Life, float | None]:
        """The next life, and after how many real seconds it is killed, if that is how it ends."""
        how = NOTHING if last else chance.choices(("point", RANDOM, NOTHING), (65, 25 if len(self._points) == len(POINTS) else 0, 10))[0]
        reached = [point for point in self._points if point.startswith("build") == (number == 0)]
        point = chance.choice(reached or [None]) if how == "point" else None
        life = Life(
            number=number,
            folder=folder,
            seed=f"{self.report.seed}.{self.report.files}.{number}",
            # some wait for the lease of the dead, to others it is over
            begins=at + (LEASE + 1 if chance.random() < 0.5 else chance.uniform(0, 3)) if number else 1e9,
            lasts=chance.choice((2.0, 8.0, 20.0)),
            profiles=PROFILES if last else tuple(chance.sample(PROFILES, chance.randint(1, 4))),
            publishes=0 if last else chance.choice((0, 5, 10, 15, 70)),
            observed=chance.random() < 0.7,
            refuses=0.3 if chance.random() < 0.1 or (point or "").startswith(AFTER_REFUSALS) else 0.05,
            point=point,
            nth=1 + int(chance.expovariate(1 / 1.5)),
            last=last,
            plant=self._plant,
        )
        return life, chance.uniform(0, 1.5 * self._usual) if how == RANDOM else None

    def _live(self, life: Life, delay: float | None, judge: Judge, reader: Reader) -> bool:
        """Whether it was killed."""
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            live(life)
        if delay is not None:
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        dead = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not dead:
            self._usual += (time.monotonic() - began - self._usual) / 10
        records = reader.news()
        for record in records:
            judge.hear(record)
        if dead and not any(record.what == "killed" for record in records):
            judge.kills[RANDOM] += 1
        judge.must(dead or status == 0, f"it ended with status {status}")
        judge.died()
        return dead


def show(report: Report) -> None:
    tally = report.tally
    print(
        f"{report.killed} kills in {report.lives} lives ({report.clean} ended by themselves), {report.files} files, {report.seconds:.0f} s, seed {report.seed}"
    )
    print("  kills by point:")
    for what, counts in by_place(report.kills).items():
        print(f"    {what:21} {', '.join(f'{count} {when}'.rstrip() for when, count in counts.items())}")
    missed = [point for point in POINTS if not report.kills[point]]
    print(f"  points at which nobody was killed: {', '.join(missed) or 'none'}")
    print(f"  {tally.published} messages acknowledged to publishers, {tally.taken} deliveries taken, {tally.acked} acks accepted; {tally.records} records")
    print(f"  {tally.redelivered} redeliveries (attempt > 1), {tally.duplicates} duplicates (an ack had been accepted); most after one kill, and the promise:")
    for profile in PROFILES:
        print(f"    {profile.name:8} {tally.worst.get(profile.name, 0):4} of {bound(profile.flush_interval)}")
    print(f"  {tally.dropped} dropped, {tally.dead_letters} dead letters and {tally.dead_letter_copies} copies of them, {tally.released} releases")
    print(f"  {tally.deadly} deadly payloads killed {tally.deadly_crashes} times; at most {tally.worst_crashes} beyond max_redeliveries, promised: 2")
    print(
        f"  {tally.takeovers} leases of dead owners waited out; at most {tally.worst_takeover:.2f} s after their last renewal, promised: {LEASE + HEARTBEAT:g}"
    )
    for machine, rows in fired(report).items():
        table = VARIANTS[machine].table
        print(f"  {machine}: {len(rows)} of {len(table)} rows fired; not: {'; '.join(missing(machine, rows)) or 'none'}")
    print("  clock: virtual, so a lease takes no real time; file, locks, threads, processes and kills: real")
    for finding in report.findings:
        print(f"FOUND {finding}")
    print("nothing was lost" if not report.findings else f"seed {report.seed}: the first findings, then the last records before them")


def by_place(kills: Counter[str]) -> dict[str, dict[str, int]]:
    """The parts of a call together."""
    places: dict[str, dict[str, int]] = {}
    for point in (*POINTS, *(kills.keys() - set(POINTS))):
        what, _, when = point.rpartition(" ") if point in POINTS else (point, "", "")
        places.setdefault(what, {})[when] = kills[point]
    return places


def bound(flush_interval: float) -> str:
    return "0" if flush_interval == 0 else f"{FLUSH_MESSAGES}, and what was acked in the last {flush_interval:g} s"


def fired(report: Report) -> dict[str, set[int]]:
    return {machine: {row for name, row in report.tally.rows if name == machine} for machine in ("reliable_exclusive", "reliable_shared")}


def missing(machine: str, rows: set[int]) -> list[str]:
    table = VARIANTS[machine].table
    return [f"{number} {row['trigger']} {'/'.join(row['source'])}" for number, row in enumerate(table) if number not in rows]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1); the file under way is finished")
    parser.add_argument("--kills", type=int, help="end after so many kills instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--points", metavar="TEXT", default="", help=f"kill only at points with TEXT in their name: {', '.join(POINTS)}")
    parser.add_argument("--plant", choices=PLANTS, help="plant this bug, to see that it is found")
    arguments = parser.parse_args()
    began = time.monotonic()
    if not any(arguments.points in point for point in POINTS):
        parser.error(f"argument --points: there is no point with {arguments.points!r} in its name")
    campaign = Campaign(arguments.seed, arguments.plant, arguments.points)
    report = campaign.report
    gc.freeze()  # children share what is there
    while not report.findings and (report.killed < arguments.kills if arguments.kills is not None else time.monotonic() - began < 60 * arguments.minutes):
        campaign.file(KILLS_PER_FILE if arguments.kills is None else min(KILLS_PER_FILE, arguments.kills - report.killed))
    report.seconds = time.monotonic() - began
    show(report)
    if arguments.json is not None:
        figures = {**vars(report), "tally": {**vars(report.tally), "rows": sorted(report.tally.rows)}, "killed": report.killed}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
