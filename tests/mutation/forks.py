"""Work on one mutant, in a process of its own: bounded in time and memory, silent, and forgotten afterwards."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

MEMORY = 3 << 30
"""Bytes of address space. A mutant that spins fills memory faster than anyone looks."""


class OutOfTime(Exception):
    """It was ended."""


class Died(Exception):
    """It ended without a result."""


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def forked(work: Callable[[], Any], seconds: float) -> Any:
    """What `work` returns, as JSON carries it. Raises OutOfTime, Died."""
    sys.stdout.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _run(work, writing)
    os.close(writing)
    try:
        result = _read(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
        _end(child)
    if not result:
        raise Died
    return json.loads(result)


def _run(work: Callable[[], Any], writing: int) -> None:
    try:
        os.setpgid(0, 0)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        with os.fdopen(writing, "w") as pipe:
            json.dump(work(), pipe)
    except BaseException:
        traceback.print_exc()
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


def _end(child: int) -> None:
    """The child, and whatever it started."""
    for end in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            end(child, signal.SIGKILL)
    os.waitpid(child, 0)
