"""What was really processed, independently of the library: one file for each subscription and worker process.

A line is with the operating system before the library hears the answer. So it outlives a kill, and what is missing here was not processed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

TAKEN, DONE = "taken", "done"


class Recorder:
    """Writes one file."""

    def __init__(self, folder: Path, role: str, run: int) -> None:
        self._descriptor = os.open(folder / f"{role}.{run}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def taken(self, offset: int, attempt: int) -> None:
        """A consumer has taken a delivery."""
        self._write(f"{TAKEN} {offset} {attempt}\n")

    def done(self, offset: int, result: str) -> None:
        """A message is processed."""
        self._write(f"{DONE} {offset} {result}\n")

    def _write(self, line: str) -> None:
        os.write(self._descriptor, line.encode())


@dataclass(slots=True)
class Records:
    """What one worker process did for one subscription."""

    attempts: list[int] = field(default_factory=list[int])
    """Of each delivery that was taken."""
    results: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """Offset and result of each message processed, in order."""

    @classmethod
    def read(cls, folder: Path, role: str, run: int) -> Self:
        records = cls()
        path = folder / f"{role}.{run}"
        # what follows the last end of line was cut off by a kill: its message was not acknowledged
        text = path.read_bytes().decode().rpartition("\n")[0] if path.exists() else ""
        for line in text.splitlines():
            what, offset, value = line.split(" ", 2)
            if what == TAKEN:
                records.attempts.append(int(value))
            else:
                records.results.append((int(offset), value))
        return records
