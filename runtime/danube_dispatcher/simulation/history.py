"""What happened in a simulation, as anyone outside the code could have seen it: a line for each thing.

A line is (nanoseconds, process, what, …): whole numbers and words, never an object. README of the lines: checker.py, which reads nothing else.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Any, TextIO

from .cluster import Cluster

Line = tuple[Any, ...]
KEPT = 50_000
"""Lines that are remembered, to show what came before a violation."""
BATCH = 512
"""Lines that are written out together."""


def shown(line: Line) -> str:
    """A line as text."""
    return " ".join(map(str, line))


class History:
    """The same simulation writes the same history, byte for byte."""

    def __init__(self, cluster: Cluster, reader: Callable[[Line], None], file: TextIO | None = None) -> None:
        self.length = 0
        self.recent: deque[Line] = deque(maxlen=KEPT)
        self._cluster = cluster
        self._read = reader
        self._file = file
        self._pending: list[Line] = []
        self._digest = hashlib.sha256()

    def write(self, process: str, what: str, *details: str | int) -> None:
        line = (self._cluster.now, process, what, *details)
        self.length += 1
        self.recent.append(line)
        self._pending.append(line)
        if len(self._pending) == BATCH:
            self.flush()
        self._read(line)

    def flush(self) -> None:
        if self._pending:
            text = "\n".join(map(shown, self._pending)) + "\n"
            self._pending.clear()
            self._digest.update(text.encode())
            if self._file is not None:
                self._file.write(text)

    @property
    def sha256(self) -> str:
        """Of all lines, each ended by a newline."""
        self.flush()
        return self._digest.hexdigest()
