"""A whole simulation: some processes, their disk, what befalls them, and who reads the history meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from random import Random
from typing import TextIO

from danube_statemachines.coverage import Fired

from ..clock import LEASE
from ..errors import Closed, InvalidArgument, NotBlocked, StoreError, SubscriptionError
from ..session import abandon
from ..virtual_time import LATEST
from .cluster import Cluster
from .disk import Disk
from .history import History, Line
from .process import Process
from .rates import Faults
from .scenario import KINDS, MOVED
from .serving import release, serve

PROCESSES = 3
HOUR = 3600.0
ROUND = 3600.0
"""Seconds of trouble before a calm, in which everything must be settled."""
RESTART = 5.0
"""Seconds until a process is started again after a crash, in the mean."""
RELEASES = 300.0
"""Seconds between two looks of a process at what is blocked elsewhere, in the mean."""

log = logging.getLogger("danube_dispatcher")


class Rows:
    """An observer that counts the rows that were fired."""

    def __init__(self) -> None:
        self.fired: Fired = Counter()

    def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
        self.fired[machine, row, source] += 1

    def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
        pass


class World:
    def __init__(self, seed: int, factors: Mapping[str, float], reader: Callable[[Line], None], file: TextIO | None = None) -> None:
        self.random = Random(seed)
        self.faults = Faults(self.random, factors)
        self.cluster = Cluster(abandon)
        self.history = History(self.cluster, reader, file)
        self.observer = Rows()
        self.natures: dict[int, str] = {}
        """Messages that are poison, or that kill in the subscription named."""
        self.messages = 0
        self.problems: list[str] = []
        self.processes: dict[str, Process] = {}
        self.disk: Disk
        self._home = self.cluster.process("world")
        self._strikes = {"crash": self._crash, "stall": self._stall, "outage": self._outage, "clock": self._jump, "deaf": self._deafen}
        self._numbers = 0
        self._starts = 0

    @property
    def hours(self) -> float:
        """Simulated so far."""
        return self._home.time() / HOUR

    # what processes ask

    def next_number(self) -> int:
        """Of an attachment."""
        self._numbers += 1
        return self._numbers

    def new_message(self, topic: str) -> int:
        """The number of a new message; it may be of a bad nature."""
        self.messages += 1
        nature = self.faults.draw(self.faults.per_message)
        if nature == "killer":
            nature = self.random.choice([kind.key for kind in KINDS if kind.topic == topic and kind.reliable])
        if nature is not None:
            self.natures[self.messages] = nature
        return self.messages

    def backlog(self, topic: str) -> int:
        """How far the slowest subscription of the topic, or of what it is dead-lettered to, is behind."""
        return max((self.disk.head(row.topic) - 1 - row.progress.cursor for row in self.disk.rows() if row.topic == topic or row.topic in MOVED), default=0)

    def crash(self, process: Process, cause: str) -> None:
        """The process is gone."""
        if not process.loop.dead:
            process.write("crash", cause)
            self.cluster.kill(process.loop)
            process.end.set_result(None)

    def broke(self, process: str, problem: str) -> None:
        """Something was raised that nobody expects."""
        self.problems.append(f"{process}: {problem}")
        self.stop()

    def stop(self) -> None:
        self.cluster.stopped = True

    # the course of things

    def run(self, hours: float, progress: Callable[[float], bool]) -> None:
        """Simulate so many hours; or until `stop`; or, when `progress` says False, to the end of the next calm."""
        level, log.level = log.level, logging.ERROR
        errors = _Errors(self)
        log.addHandler(errors)
        try:
            self.cluster.run(self._home, self._run(hours, progress))
            for stray in self.cluster.strays:
                self.broke("a loop", stray)
        finally:
            log.removeHandler(errors)
            log.setLevel(level)
            self.history.flush()

    async def _run(self, hours: float, progress: Callable[[float], bool]) -> None:
        self.disk = Disk()
        self._fates = [self._home.create_task(self._fate(f"p{number}")) for number in range(1, PROCESSES + 1)]
        end, go_on = hours * HOUR, True
        while go_on and (now := self._home.time()) < end:
            self.faults.calm = False
            go_on = await self._trouble(min(ROUND, end - now), progress)
            await self._calm()

    async def _trouble(self, seconds: float, progress: Callable[[float], bool]) -> bool:
        """Whether anybody wants more."""
        end = self._home.time() + seconds
        while self._home.time() < end:
            await asyncio.sleep(min(60.0, end - self._home.time()))
            if not progress(self.hours):
                return False
        return True

    async def _calm(self) -> None:
        """No more faults: everything is settled in time, which the reader of the history knows."""
        self.faults.calm = True
        for process in self.processes.values():
            process.skew = process.store.outage_until = process.store.deaf_until = 0.0
            self.cluster.resume(process.loop)
        self.history.write("world", "calm")
        while self._unsettled():
            await asyncio.sleep(1.0)
            self.history.write("world", "still")
        self.history.write("world", "settled")

    def _unsettled(self) -> bool:
        rows = {f"{row.topic}:{row.subscription}": row for row in self.disk.rows()}
        kinds = [kind for kind in KINDS if kind.reliable]
        return any(kind.key not in rows or rows[kind.key].progress.cursor < self.disk.head(kind.topic) - 1 for kind in kinds)

    async def _fate(self, place: str) -> None:
        """A process is started, suffers, crashes, and is started again."""
        while True:
            self._starts += 1
            process = self.processes[place] = Process(self, f"{place}.{self._starts}")
            process.write("started")
            process.start([*(partial(serve, kind=kind) for kind in KINDS), self._release])
            plagues = [self._home.create_task(self._plague(process, kind, strike)) for kind, strike in self._strikes.items()]
            await process.end
            for plague in plagues:
                plague.cancel()
            if not self.faults.calm:
                await asyncio.sleep(min(self.random.expovariate(1 / RESTART), 4 * RESTART))

    async def _plague(self, process: Process, kind: str, strike: Callable[[Process], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(min(self.faults.pause(kind), LATEST))
            if not self.faults.calm:
                self.faults.counts[kind] += 1
                await strike(process)

    async def _crash(self, process: Process) -> None:
        self.crash(process, "fate")

    async def _stall(self, process: Process) -> None:
        process.write("stall")
        self.cluster.stall(process.loop)
        await asyncio.sleep(self.random.choice((1.0, LEASE, 2 * LEASE)) * self.random.random())
        self.cluster.resume(process.loop)
        process.write("resume")

    async def _outage(self, process: Process) -> None:
        seconds = self.random.choice((1.0, LEASE, 2 * LEASE)) * self.random.random()
        process.write("outage", int(seconds * 1000))
        process.store.outage_until = self._home.time() + seconds

    async def _jump(self, process: Process) -> None:
        process.skew = self.random.choice((0.0, self.random.uniform(-2 * LEASE, 2 * LEASE)))
        process.write("clock", int(process.skew * 1000))

    async def _deafen(self, process: Process) -> None:
        seconds = self.random.random() * LEASE
        process.write("deaf", int(seconds * 1000))
        process.store.deaf_until = self._home.time() + seconds

    async def _release(self, process: Process) -> None:
        """Somebody lets go what is blocked, from a process that need not own it."""
        while True:
            await asyncio.sleep(self.random.expovariate(1 / RELEASES))
            blocked = {f"{row.topic}:{row.subscription}" for row in self.disk.rows() if row.progress.held is not None and row.progress.held.exhausted}
            kinds = [kind for kind in KINDS if kind.reliable and kind.key in blocked]
            if not kinds:
                continue
            kind = self.random.choice(kinds)
            try:
                await release(process, kind, None)
            except (NotBlocked, Closed, StoreError, SubscriptionError, InvalidArgument) as error:
                process.write("unreleased", kind.key, type(error).__name__)


class _Errors(logging.Handler):
    """What the library logs as an error breaks the simulation; its warnings tell of faults, which are meant."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.broke("the log", self.format(record))
