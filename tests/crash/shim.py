"""The preloaded shim (shim.c): building it, running a process under it, reading what it recorded, and making a call fail from within."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from struct import Struct
from typing import NamedTuple

SOURCE = Path(__file__).with_name("shim.c")
COMPILER = shutil.which("cc")
MISSING = "needs Linux" if not sys.platform.startswith("linux") else "needs a C compiler, cc" if COMPILER is None else ""
"""Why the shim cannot be used here; "" where it can."""
RAM = Path("/dev/shm")
"""A file system in memory, where there is one: there a sync costs nothing, and it is recorded all the same."""


class Kind(IntEnum):
    """As in shim.c."""

    OPEN = 0
    CLOSE = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    LINK = 5
    UNLINK = 6
    RENAME = 7
    READ = 8


CREATED, TRUNCATED = 1, 2
"""Bits in the `offset` of an OPEN."""


class Call(NamedTuple):
    """One call that succeeded. `offset` is also the new length of a TRUNCATE; `first` a path or what was written, `second` the new path."""

    kind: Kind
    process: int
    descriptor: int
    offset: int
    first: bytes
    second: bytes


_HEADER = Struct("=iiiiqii")


def scratch() -> str | None:
    """Where to make a temporary directory."""
    return str(RAM) if os.access(RAM, os.W_OK) else None


def build(directory: Path) -> Path:
    """Compile it."""
    assert COMPILER is not None, MISSING
    library = directory / "shim.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl", "-lpthread"], check=True)
    return library


def environment(library: Path, directory: Path, log: Path | None = None) -> dict[str, str]:
    """For a process that runs under it. The log lies outside of `directory`."""
    places = [path for path in sys.path if path]
    shim = {"LD_PRELOAD": str(library), "SHIM_DIRECTORY": os.path.realpath(directory), **({"SHIM_LOG": str(log)} if log else {})}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), **shim}


def recorded(log: Path) -> Iterator[Call]:
    """The calls in the order in which they were carried out."""
    data = log.read_bytes()
    at = 0
    while at < len(data):
        kind, process, descriptor, _, offset, first, second = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        yield Call(Kind(kind), process, descriptor, offset, data[at : at + first], data[at + first : at + first + second])
        at += first + second


class Failures:
    """In a process that runs under the shim: make calls fail."""

    def __init__(self) -> None:
        self._shim = ctypes.CDLL(None)
        self._shim.shim_fail.argtypes = [ctypes.c_int, ctypes.c_long, ctypes.c_long, ctypes.c_int]
        self._shim.shim_fail.restype = None
        self._shim.shim_count.restype = self._shim.shim_failed.restype = ctypes.c_long

    def fail(self, kind: Kind, number: int, error: int, *, times: int = 1) -> None:
        """From the `number`-th call of the kind from now on (from 1), `times` of them fail with that errno."""
        self._shim.shim_fail(kind, number, times, error)

    def count(self) -> None:
        """Count from 0, and let nothing fail."""
        self._shim.shim_fail(-1, 0, 0, 0)

    def counts(self) -> dict[Kind, int]:
        """The calls of each kind since."""
        return {kind: self._shim.shim_count(kind) for kind in Kind}

    @property
    def failed(self) -> int:
        """How many calls were made to fail since."""
        failed: int = self._shim.shim_failed()
        return failed
