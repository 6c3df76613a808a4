"""Work on one mutant, in a process of its own: bounded in time and memory, silent, and forgotten afterwards."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

MEMORY = 3 << 30
"""Bytes of address space. A mutant that spins fills memory faster than anyone looks."""


class OutOfTime(Exception):
    """It was ended."""


class Died(Exception):
    """It ended without a result."""


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def forked(work: Callable[[], Any], seconds: float, computing: int = 600) -> Any:
    """What `work` returns, as JSON carries it, within so many seconds, and so many of computing. Raises OutOfTime, Died."""
    sys.stdout.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_CPU, (computing, computing + 1))
        _run(work, writing)
    os.setpgid(child, child)
    os.close(writing)
    try:
        result = _read(reading, time.monotonic() + seconds)
    except OutOfTime:
        os.killpg(child, signal.SIGKILL)
        raise
    finally:
        os.close(reading)
        _, status = os.waitpid(child, 0)
    if result:
        return json.loads(result)
    raise OutOfTime if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU else Died


def _run(work: Callable[[], Any], writing: int) -> None:
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        with os.fdopen(writing, "w") as pipe:
            json.dump(work(), pipe)
    finally:
        os._exit(0)


def _read(reading: int, deadline: float) -> bytes:
    """Until the child closes its end, or is done for."""
    found = b""
    while select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
        more = os.read(reading, 1 << 16)
        if not more:
            return found
        found += more
    raise OutOfTime
