"""A case of trouble with the disk: which call fails, how it is made to, and what came of it."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from crash import power_worker
from crash.power_worker import connect_with
from crash.shim import Failures, Kind

T = TypeVar("T")

BEGIN = "begin"
"""A call that is none of the shim's: the beginning of a transaction."""


@dataclass
class Case:
    call: str
    """A Kind, or BEGIN: another connection has the lock."""
    error: str
    """An errno."""
    number: int
    """Which call of its kind fails, from 1; 0: none, they are counted."""
    times: int = 1
    """How many fail in a row."""
    die: bool = False
    """The process ends right after the step that met with it."""
    without: str = ""
    """Statements that begin like that are left out: a mistake, made on purpose."""


@dataclass
class Result:
    step: str = ""
    """What was being done when the call failed; "" when it did not come to that."""
    heard: list[str] = field(default_factory=list)
    """The errors that the caller got."""
    wrong: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """Calls to the disk, by kind."""


class Lock:
    """Another connection has it while the transactions of those numbers begin."""

    def __init__(self) -> None:
        self.path = ""
        self.begun = self.refused = 0
        self.busy = range(0)

    def begin(self, begin: Callable[[], T]) -> T:
        self.begun += 1
        if self.begun not in self.busy:
            return begin()
        self.refused += 1
        other = sqlite3.Connection(self.path, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            return begin()
        finally:
            other.close()


class Connection(power_worker.Connection):
    checkpoint = 8  # the WAL is moved within the scenario, too
    without = ""
    lock: Lock

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if self.without and sql.startswith(self.without):
            sql = "SELECT 0, 0, 0"
        execute = partial(super().execute, sql, *parameters)
        return self.lock.begin(execute) if sql == "BEGIN IMMEDIATE" else execute()


class Trouble:
    """Arranges the trouble of a case, in its process."""

    def __init__(self, case: Case, path: str) -> None:
        self._shim = Failures()
        self._lock = Connection.lock = Lock()
        Connection.without = case.without
        connect_with(Connection)
        self._shim.count()
        if case.call == BEGIN:
            self._lock.path, self._lock.busy = path, range(case.number, case.number + case.times)
        elif case.number:
            self._shim.fail(Kind[case.call.upper()], case.number, getattr(errno, case.error), times=case.times)

    @property
    def met(self) -> bool:
        """Whether a call has failed."""
        return self._shim.failed > 0 or self._lock.refused > 0

    def counts(self) -> dict[str, int]:
        """The calls that were made, by kind."""
        return {kind.name.lower(): count for kind, count in self._shim.counts().items()} | {BEGIN: self._lock.begun}
