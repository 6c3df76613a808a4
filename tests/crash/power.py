"""Cuts the power: records what a worker does to its disk, and replays it cut at any point.

    python tests/crash/power.py --minutes 10 --seed 1

A recording is a few lives of power_worker.py under the shim, some of which end as if they were killed. Each cut is a point between two of its
calls and one of the ways in which the disk may then look (power_disk.py), chosen by the seed; the library opens it and is compared with what had
been said by then (power_check.py). In some lives two processes publish and consume at once.

`--durability normal` lowers SQLite's `synchronous` in the worker: it must lose acknowledged messages, or this could not see a loss.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))

from crash import shim
from crash.power_check import Found, Said, check
from crash.power_disk import HOW, Disk
from crash.power_worker import SAID, STORE
from delivering import store_loop

WORKER = Path(__file__).with_name("power_worker.py")
CHECKPOINTS = (1000, 1000, 4, 40)
"""Pages in the WAL after which SQLite moves them: its default, and fewer, so that short recordings have many."""
LIVES = 3
"""Of the worker, in one recording."""
SHOWN = 10
"""Losses that are told in words."""


@dataclass
class Totals:
    recordings: int = 0
    calls: int = 0
    cuts: int = 0
    """Of them without a store: the cut came while it was made."""
    without_store: int = 0
    messages: int = 0
    positions: int = 0
    losses: int = 0
    """Cuts after which something was lost."""
    ways: dict[str, int] = field(default_factory=lambda: dict.fromkeys(HOW, 0))
    told: list[str] = field(default_factory=list)

    def add(self, how: str, where: str, found: Found) -> None:
        self.cuts += 1
        self.ways[how] += 1
        self.without_store += found.missing
        self.messages += found.messages
        self.positions += found.acks
        if found.lost:
            self.losses += 1
            if len(self.told) < SHOWN:
                self.told.append(f"{where}: {found.lost[0]}" + (f" (and {len(found.lost) - 1} more)" if len(found.lost) > 1 else ""))


@dataclass
class Recording:
    seed: int
    directory: str
    calls: list[shim.Call]


def record(place: Path, library: Path, seed: int, random: Random, *, messages: int, durability: str, lives: int = LIVES) -> Recording:
    """One life is one process; of several, some are two at once."""
    directory, log = place / "recorded", place / "log"
    directory.mkdir()
    options = ["--messages", messages, "--durability", durability.upper(), "--checkpoint", random.choice(CHECKPOINTS)]
    for life in range(lives):
        command = [sys.executable, str(WORKER), str(directory), str(seed), str(life), *map(str, options)]
        alone: list[list[str]] = [[]]
        teams = random.choice((alone, [["--team", "0"], ["--team", "1"]])) if lives > 1 else alone
        ends = [random.choice((["--unclean"], [])) for _ in teams]
        workers = [subprocess.Popen(command + team + end, env=shim.environment(library, directory, log)) for team, end in zip(teams, ends, strict=True)]
        assert [worker.wait() for worker in workers] == [0] * len(teams)
    calls = list(shim.recorded(log))
    shutil.rmtree(directory)
    log.unlink()
    return Recording(seed, str(directory), calls)


def some_points(recording: Recording, random: Random, count: int) -> list[int]:
    """A tenth of them while the store is made."""
    made = next(point for point, call in enumerate(recording.calls, 1) if call.first.startswith(b'{"what": "opened"'))
    early = count // 10
    return random.choices(range(made + 1), k=early) + random.choices(range(len(recording.calls) + 1), k=count - early)


def cuts(recording: Recording, points: Iterable[int]) -> Iterator[tuple[int, Disk, Said]]:
    """The disk and what was said, at those points of the recording in order."""
    disk, said = Disk(recording.directory), Said(recording.seed)
    words: set[tuple[int, int]] = set()
    done = 0
    for point in sorted(points):
        for call in recording.calls[done:point]:
            opened = call.process, call.descriptor
            if call.kind == shim.Kind.OPEN and call.first.endswith(f"/{SAID}".encode()):
                words.add(opened)
            elif opened not in words:
                disk.carry_out(call)
            elif call.kind == shim.Kind.WRITE:
                said.hear(call.first)
        done = point
        yield point, disk, said


async def look(place: Path, recording: Recording, disk: Disk, said: Said, point: int, how: str, random: Random, totals: Totals) -> None:
    """Cut there, open what is left, add to the totals what comes of it."""
    directory = place / "after"
    directory.mkdir()
    for name, content in disk.after_cut(how, random).items():
        (directory / name).write_bytes(content)
    if random.random() < 0.2:
        (directory / f"{STORE}-shm").write_bytes(random.randbytes(32768))  # what was left of the index is never believed
    totals.add(how, f"recording {recording.seed}, cut at call {point} of {len(recording.calls)}, {how}", await check(directory, said, random))
    shutil.rmtree(directory)


async def replay(place: Path, recording: Recording, points: Iterable[int], ways: Sequence[str] | None, random: Random, totals: Totals, until: float) -> None:
    """Cut at each point, in each of those ways; None: in one that the seed chooses."""
    totals.recordings += 1
    totals.calls += len(recording.calls)
    for point, disk, said in cuts(recording, points):
        for how in ways or [random.choice([*HOW])]:
            await look(place, recording, disk, said, point, how, random, totals)
        if time.monotonic() > until:
            return


def campaign(seed: int, *, durability: str, minutes: float, recordings: int | None = None, each: int = 400, messages: int = 100) -> Totals:
    """Until the minutes are over or so many recordings were made, with `each` cuts of each."""
    totals = Totals()
    until = time.monotonic() + minutes * 60
    with tempfile.TemporaryDirectory(dir=shim.scratch()) as name, asyncio.Runner(loop_factory=store_loop) as runner:
        place = Path(name).resolve()
        library = shim.build(place)
        while time.monotonic() < until and (recordings is None or totals.recordings < recordings):
            random = Random(f"{seed}:{totals.recordings}")
            recording = record(place, library, seed * 1000 + totals.recordings, random, messages=messages, durability=durability)
            runner.run(replay(place, recording, some_points(recording, random, each), None, random, totals, until))
    return totals


def main() -> int:
    parser = argparse.ArgumentParser(description="Record what a worker does to its disk, cut the power at any point, and look for what is lost.")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--durability", choices=["full", "normal"], default="full", help="SQLite's synchronous; ours is full")
    parser.add_argument("--json", type=Path, help="write the totals there, too")
    arguments = parser.parse_args()
    if shim.MISSING:
        print(shim.MISSING, file=sys.stderr)
        return 2
    began = time.monotonic()
    totals = campaign(arguments.seed, durability=arguments.durability, minutes=arguments.minutes)
    seconds = time.monotonic() - began
    print(f"{totals.recordings} recordings of {totals.calls} calls, synchronous={arguments.durability}, seed {arguments.seed}, {seconds:.0f} s")
    print(f"{totals.cuts} cuts, {totals.without_store} of them before there was a store: " + ", ".join(f"{n} {how}" for how, n in totals.ways.items()))
    print(f"{totals.messages} acknowledged messages and {totals.positions} positions checked; losses after {totals.losses} cuts")
    for line in totals.told:
        print(f"  {line}")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"seed": arguments.seed, "durability": arguments.durability, "seconds": round(seconds), **asdict(totals)}, indent=2)
        )
    return 1 if totals.losses else 0


if __name__ == "__main__":
    sys.exit(main())
