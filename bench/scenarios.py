"""What is measured: scenarios, each one registered function.

    @scenario("somebody's queue", Group.BACKLOG, messages=FEW, limit=LIMIT_A, kill=Survives.EVERYTHING, power=Survives.LATEST, needs=[package("somebody")])
    async def somebodys_queue(messages: int, folder: Path) -> AsyncIterator[Run]:
        ...                                # once: start the server, open the file, fill the backlog
        async def run() -> Result:
            ...                            # each round: what shall not be measured
            with timed() as result:
                ...                        # what shall; count in result.messages what arrived
            return result
        yield run
        ...                                # once: what is left to close

Its module must be one of `MODULES`. `messages` is what a full run passes each round; `limit` is the name of the scenario that it is compared with.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import resource
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path

MODULES = {"limits": "limit", "limits_sqlite": "limit", "ours": "ours", "peers": "others", "servers": "others"}
"""What is measured in which module, in the order of the tables within a group."""

PAYLOAD = b"x" * 256
MANY, SOME, FEW = 100_000, 10_000, 2_000
"""Messages a round: where memory sets the pace, where many share a write to the disk, and where each waits for the disk."""


class Group(StrEnum):
    """What is compared with each other, in the order of the tables."""

    IN_MEMORY = "In memory, each message acknowledged"
    AT_MOST_ONCE = "In memory, fire and forget"
    LATENCY = "In memory, one at a time: publish, deliver, acknowledge"
    BACKLOG = "A durable backlog, acknowledgements on the disk later"
    EACH = "A durable backlog, each acknowledgement on the disk before the next message"
    PUBLISHING = "Durable publish, deliver, acknowledge"


class Survives(StrEnum):
    """What is there after a `kill -9`, or after a power cut."""

    NOTHING = "nothing"
    MESSAGES = "messages"
    """All that were published; acknowledgements of the last moments may be lost, and their messages come again."""
    LATEST = "all but the latest"
    """Messages and acknowledgements of the last moments may be lost."""
    EVERYTHING = "everything"


@dataclass(slots=True)
class Result:
    """One round of one scenario."""

    messages: int = 0
    """As many as arrived at a consumer (or in the file), counted there."""
    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds of CPU, of all threads and of the server, if there is one."""
    latencies: Sequence[float] = ()
    """Seconds; one for each message, or none at all."""


Run = Callable[[], Awaitable[Result]]
Opening = Callable[[int, Path], AbstractAsyncContextManager[Run]]
Need = Callable[[], str | None]
"""None when it is there, and otherwise what is missing and how to get it."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`open(messages, folder)` prepares it, and gives the function that each round calls."""

    name: str
    group: Group
    messages: int
    limit: str | None
    whose: str
    """"limit", "ours" or "others"."""
    kill: Survives
    """What survives `kill -9` of the process, or of the server."""
    power: Survives
    """What survives a power cut."""
    open: Opening
    needs: Sequence[Need] = ()

    def missing(self) -> str | None:
        return next(filter(None, (need() for need in self.needs)), None)


SCENARIOS: dict[str, Scenario] = {}
SERVERS: set[int] = set()
"""Processes that scenarios have started here, while they run: their memory counts, too."""


def scenario(
    name: str,
    group: Group,
    *,
    messages: int,
    limit: str | None = None,
    kill: Survives = Survives.NOTHING,
    power: Survives = Survives.NOTHING,
    needs: Sequence[Need] = (),
) -> Callable[[Callable[[int, Path], AsyncIterator[Run]]], None]:
    """Register a function as a scenario."""
    assert name not in SCENARIOS, f"{name} is registered twice"

    def register(function: Callable[[int, Path], AsyncIterator[Run]]) -> None:
        whose = MODULES.get(function.__module__.rpartition(".")[2], "others")
        SCENARIOS[name] = Scenario(name, group, messages, limit, whose, kill, power, asynccontextmanager(function), needs)

    return register


def scenarios() -> list[Scenario]:
    """All of them, by group; a limit stands before what is compared with it."""
    for module in MODULES:
        importlib.import_module(f"{__package__}.{module}")
    return sorted(SCENARIOS.values(), key=lambda each: list(Group).index(each.group))


def package(name: str) -> Need:
    """It is importable."""
    return lambda: None if importlib.util.find_spec(name) else f"package {name} is not installed; `make bench` installs it"


def program(name: str, hint: str) -> Need:
    return lambda: None if find_program(name) else f"{name} is not there; {hint}"


def find_program(name: str) -> str | None:
    """Beside the interpreter, where wheels put it, or on the path."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


@contextmanager
def timed(*pids: int) -> Iterator[Result]:
    """Measures what happens inside, with the servers that are named."""
    result = Result()
    cpu, began = cpu_seconds(*pids), time.perf_counter()
    yield result
    result.seconds = time.perf_counter() - began
    result.cpu = cpu_seconds(*pids) - cpu


def cpu_seconds(*pids: int) -> float:
    """Of this process and of others; of others on Linux only."""
    ticks = sum(chain.from_iterable(map(int, _proc(pid, "stat").rpartition(")")[2].split()[11:13]) for pid in pids))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def memory_bytes(*pids: int) -> int:
    """What this process and others occupy now; on other systems than Linux, the most that this one ever has."""
    pages = [_proc(pid, "statm").split()[1:2] for pid in (os.getpid(), *pids)]
    if not pages[0]:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return sum(map(int, chain.from_iterable(pages))) * resource.getpagesize()


def _proc(pid: int, name: str) -> str:
    path = Path("/proc") / str(pid) / name
    return path.read_text(encoding="utf-8") if path.exists() else ""
