"""`danube-dispatcher verify`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from danube_statemachines import VARIANTS, Declaration, FailurePolicy, PoisonPolicy, Reliable
from danube_statemachines.exploration import Exploration, InvariantBroken, explore, subscribed
from danube_statemachines.policy import POISON_POLICIES

from ..sequence import sequence
from .arguments import positive
from .running import FAILED, INTERRUPTED
from .terminal import Progress

UNFINISHED = 3
GIB = 2**30
MEMORY = 2
"""GiB that are used at most, unless told otherwise."""
SESSIONS = (1, 2, 3, 4)
"""Explored one after the other, unless told otherwise: seconds, all in all."""
SIZES: dict[str, int | None] = {"messages": 2, "consumers": 1, "owners": 1, "faults": None}
"""Of a machine and its engine together, unless told otherwise."""
ALL = "all"

DESCRIPTION = """\
Explore the machines that ship: every interleaving of what consumers, network, clock, storage and crashes can do, for any
number of messages. Each step is held to every invariant, and from every state a message must still be able to get done.

With --messages, --consumers, --owners or --faults: reliable machines with their engine, a log, a disk, and processes that
crash, stall and outlive one another; so many of each.
"""
EPILOG = """\
A violation is told as the shortest story that leads to it, step by step: what happened, the state after it, the effects;
and as a line that replays it in a test. An exploration that met a limit says so: then no violation was found in what was
seen, and whether everything gets done was not judged.

exit codes:
  0    all of it was explored, and everything holds
  1    a violation
  3    not finished, and no violation in what was seen
  130  ended by Ctrl-C; what was seen so far is printed
"""
HEADINGS = ("MACHINE", "POLICY", "SIZE", "STATES", "STEPS", "DEPTH", "SECONDS")


class Task(NamedTuple):
    """One exploration."""

    machine: str
    policy: FailurePolicy | None
    """None: a non-reliable machine has none."""
    size: str
    explore: Callable[..., Exploration]

    @property
    def named(self) -> tuple[str, str, str]:
        return self.machine, self.policy.poison_policy if self.policy else "-", self.size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    parser.set_defaults(usage_error=parser.error)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("variant", metavar="VARIANT", nargs="?", choices=VARIANTS, help=f"{', '.join(VARIANTS)}; all of them by default")
    parser.add_argument("--sessions", metavar="N", type=positive, help=f"consumers at once, at most; from {SESSIONS[0]} to {SESSIONS[-1]} by default")
    parser.add_argument("--policy", choices=(*POISON_POLICIES, ALL), default=ALL, help="what becomes of an exhausted message (%(default)s)")
    parser.add_argument("--max-redeliveries", metavar="N", type=int, default=1, help="failures beyond so many exhaust a message (%(default)s)")

    group = parser.add_argument_group("machine and engine together")
    group.add_argument("--messages", metavar="M", type=positive, help="in the log, at most (2)")
    group.add_argument("--consumers", metavar="C", type=positive, help="attached to a process at once, at most (1)")
    group.add_argument("--owners", metavar="O", type=positive, help="processes at work at once, at most (1)")
    group.add_argument("--faults", metavar="F", type=_faults, help="crashes, lapsed leases and failed calls in one story, at most; any number by default")

    group = parser.add_argument_group("limits")
    group.add_argument("--limit", metavar="STATES", type=positive, default=sys.maxsize, help="states that are kept in one exploration; no limit by default")
    group.add_argument("--memory", metavar="GIB", type=_gib, default=MEMORY * GIB, help=f"memory that the process uses, where the system tells ({MEMORY})")

    group = parser.add_argument_group("output")
    group.add_argument("--story", metavar="FILE", type=_file, help="write the story of a violation there, as a Mermaid sequence diagram")
    group.add_argument("--json", metavar="FILE", type=_file, help="write everything there, as one JSON object")


def _faults(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"needs a whole number, 0 or more, not {text!r}")
    return int(text)


def _gib(text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 2**20:
        raise argparse.ArgumentTypeError(f"needs a number of GiB, more than zero, not {text!r}")
    return int(number * GIB)


def _file(text: str) -> Path:
    """Where a file can be written: it is written only when all is done."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"needs a file in a directory that exists, not {text!r}")
    return path


def run(arguments: argparse.Namespace) -> int:
    sizes = {name: getattr(arguments, name) for name in SIZES if getattr(arguments, name) is not None}
    if sizes and arguments.sessions is not None:
        arguments.usage_error(f"--sessions is for a machine by itself, --{next(iter(sizes))} for one with its engine")
    if sizes and arguments.variant is not None and not issubclass(VARIANTS[arguments.variant].lean, Reliable):
        arguments.usage_error(f"{arguments.variant} has no engine: --{next(iter(sizes))} is for reliable machines")
    report: dict[str, Any] = {"explorations": [], "violation": None}
    try:
        return _verify(list(_tasks(arguments, sizes)), arguments, report)
    finally:
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(report, indent=1, default=repr) + "\n", encoding="utf-8")


def policy_named(poison_policy: PoisonPolicy, max_redeliveries: int) -> FailurePolicy:
    topic = "/verify/dead" if poison_policy == "dead_letter" else None
    return FailurePolicy(max_redeliveries=max_redeliveries, poison_policy=poison_policy, dead_letter_topic=topic)


def _tasks(arguments: argparse.Namespace, sizes: dict[str, int]) -> Iterator[Task]:
    wanted = POISON_POLICIES if arguments.policy == ALL else [arguments.policy]
    policies = [policy_named(policy, arguments.max_redeliveries) for policy in wanted]
    known: dict[str, Any] = {name: number for name, number in (SIZES | sizes).items() if number is not None}
    size = ", ".join(f"{name} {number}" for name, number in known.items())
    for name, machine in VARIANTS.items():
        reliable = issubclass(machine.lean, Reliable)
        if arguments.variant not in (name, None) or (sizes and not reliable):
            continue
        for policy in policies if reliable else [None]:
            if sizes:
                scene = subscribed(cast("Declaration[Reliable]", machine), policy=policy, **known)
                yield Task(name, policy, size, partial(explore, scene))
                continue
            for sessions in SESSIONS if arguments.sessions is None else [arguments.sessions]:
                yield Task(name, policy, f"sessions {sessions}", partial(explore, machine, sessions=sessions, policy=policy))


def _verify(tasks: list[Task], arguments: argparse.Namespace, report: dict[str, Any]) -> int:
    table = Table(tasks)
    checks: dict[str, None] = {}
    finished = True
    watch = Watch(tasks[0], arguments.memory)
    try:
        table.head()
        for task in tasks:
            watch = Watch(task, arguments.memory)
            with watch.line:
                found = task.explore(limit=arguments.limit, progress=watch.look)
            watch.seen = found.states, found.steps, found.depth
            table.show(watch, _verdict(found, watch, arguments))
            report["explorations"].append({**asdict(found), "policy": task.policy and asdict(task.policy), "seconds": watch.seconds})
            checks |= dict.fromkeys(found.checks)
            finished = finished and found.finished
    except InvariantBroken as broken:
        table.show(watch, "a violation")
        print(broken)
        report["violation"] = _told(broken, watch.task)
        if arguments.story is not None:
            arguments.story.write_text(sequence(f"{broken.machine}: {broken.invariant}: {broken.problem}", broken.story), encoding="utf-8")
        return FAILED
    except KeyboardInterrupt:
        table.show(watch, "interrupted, and no violation so far; liveness was not judged")
        return INTERRUPTED
    print("\nchecks made", *sorted(checks, key=_rank), sep="\n  ")
    return 0 if finished else UNFINISHED


def _verdict(found: Exploration, watch: Watch, arguments: argparse.Namespace) -> str:
    numbers = " ".join(check.split(maxsplit=1)[0] for check in found.checks)
    if found.finished:
        return f"finished: {numbers}"
    stopped = f"{arguments.memory / GIB:g} GiB are in use" if watch.full else f"{arguments.limit:,} states are kept"
    return f"not finished: {stopped}; liveness was not judged: {numbers}"


def _rank(check: str) -> tuple[bool, int, str]:
    """First S1, S2 … and last what has no number."""
    return not check.startswith("S"), len(check.split(maxsplit=1)[0]), check


def _told(broken: InvariantBroken, task: Task) -> dict[str, Any]:
    return {
        "machine": broken.machine,
        "policy": task.policy and asdict(task.policy),
        "invariant": broken.invariant,
        "problem": broken.problem,
        "story": [line._asdict() for line in broken.story],
        "again": broken.again,
    }


class Watch:
    """Looks at an exploration while it goes on, and stops it when too much memory is in use."""

    def __init__(self, task: Task, memory: int) -> None:
        self.task = task
        self._memory = memory
        self._began = time.monotonic()
        self.line = Progress()
        self.seen = (0, 0, 0)
        """States, steps and depth."""
        self.full = False

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def look(self, states: int, steps: int, depth: int, left: int) -> bool:
        self.seen = states, steps, depth
        used = resident()
        self.full = used > self._memory
        rate = steps / (self.seconds or 1)
        self.line.show(f"{' '.join(self.task.named)}: {states:,} states, {left:,} to go into, depth {depth}, {rate:,.0f} steps/s, {used / GIB:.1f} GiB")
        return not self.full


class Table:
    """One line for each exploration, printed as soon as it is done."""

    def __init__(self, tasks: list[Task]) -> None:
        named = zip(*(task.named for task in tasks), strict=True)
        self._widths = [max(map(len, (heading, *column))) for heading, column in zip(HEADINGS, named, strict=False)]

    def head(self) -> None:
        self._print(HEADINGS[:3], HEADINGS[3:], "")

    def show(self, watch: Watch, verdict: str) -> None:
        states, steps, depth = watch.seen
        self._print(watch.task.named, (f"{states:,}", f"{steps:,}", f"{depth}", f"{watch.seconds:.1f}"), verdict)

    def _print(self, named: Sequence[str], numbers: Sequence[str], verdict: str) -> None:
        told = [text.ljust(width) for text, width in zip(named, self._widths, strict=True)]
        told += [text.rjust(width) for text, width in zip(numbers, (11, 13, 5, 7), strict=True)]
        print("  ".join((*told, verdict)).rstrip(), flush=True)


def resident() -> int:
    """Bytes of memory that this process has now; where the system does not tell that, the most that it ever had; 0 where it tells neither."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return _peak()


def _peak() -> int:
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
