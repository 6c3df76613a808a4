"""From a command line to an exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from ..errors import DanubeError
from .parser import build
from .terminal import say

FAILED = 1
ENDED_BY = 128
"""Added to the number of the signal, as shells do."""
INTERRUPTED = ENDED_BY + signal.SIGINT
PIPE_CLOSED = ENDED_BY + 13  # SIGPIPE, which not every system has
ENDINGS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        try:
            parsed = build().parse_args(arguments)
            code: int = parsed.run(parsed)
            return code
        finally:
            if sys.stdout is not None:  # it is when it was closed from the start
                sys.stdout.flush()
    except BrokenPipeError:
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except (DanubeError, OSError) as error:
        say(_sentence(error))
        return FAILED
    finally:
        _give_up_what_nobody_reads()


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _give_up_what_nobody_reads() -> None:
    """What cannot be written is not tried again when Python ends, which would end in a traceback (its documentation, "Note on SIGPIPE")."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def execute(work: Coroutine[Any, Any, int]) -> int:
    """Run a command to its end. A signal that asks to end cancels it, so that it closes everything; a second one ends it at once."""
    asked: list[int] = []

    async def stoppable() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop(number: int, _: object) -> None:
            asked.append(number)
            if len(asked) > 1:
                raise KeyboardInterrupt
            loop.call_soon_threadsafe(task.cancel)

        # whoever started us may have said that one is to be ignored (nohup, a shell's background job)
        before = {number: signal.signal(number, stop) for number in ENDINGS if signal.getsignal(number) != signal.SIG_IGN}
        try:
            return await work
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    try:
        return asyncio.run(stoppable())
    except asyncio.CancelledError:
        if not asked:
            raise
        return ENDED_BY + asked[0]
