"""The outside record: what a process has done, written down before and after, in a file that outlives it.

A line is with the operating system when the call returns, so a kill takes nothing of it: what stands there was said, what is missing was not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Record(NamedTuple):
    """One line."""

    at: float
    """Seconds, on the clock that the writer was given."""
    what: str
    values: list[Any]
    by: int
    """The process."""


class Journal:
    """The writer's side. Any thread may write."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._clock = clock

    def __call__(self, what: str, *values: object) -> None:
        os.write(self._descriptor, json.dumps([self._clock(), what, values, os.getpid()]).encode() + b"\n")


class Reader:
    """The parent's side."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def news(self) -> list[Record]:
        """What was written since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            lines, end, _ = file.read().rpartition(b"\n")  # a line that a kill cut off was not said
        self._read += len(lines) + len(end)
        return [Record(*json.loads(line)) for line in lines.splitlines()]
