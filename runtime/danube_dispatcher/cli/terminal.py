"""What is said on standard error, and standard output without waiting in the way of the event loop."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import stat
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

PROGRESS = 0.1
"""Seconds between two looks of a progress line."""


def plain(text: str) -> str:
    """Text that a terminal obeys in nothing: the reason of a failure may hold whatever its message brought."""
    from ..diagrams.paint import printable

    return printable(text)


def say(text: str) -> None:
    """One line on standard error, if anybody reads it."""
    if sys.stderr is not None:  # it is when it was closed from the start
        with suppress(OSError):
            print(f"danube-dispatcher: {plain(text)}", file=sys.stderr, flush=True)


class Progress:
    """A line on standard error that is overwritten, when that is a terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr is not None and sys.stderr.isatty()
        self._due = 0.0
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._open:
            print(file=sys.stderr)

    def show(self, text: str) -> None:
        if self._shown and time.monotonic() >= self._due:
            self._due = time.monotonic() + PROGRESS
            self._open = True
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)


class Output:
    """Standard output, unbuffered. A reader that takes its time, or has stopped, keeps nobody else waiting: leases go on being renewed."""

    def __init__(self) -> None:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "standard output is closed")
        sys.stdout.flush()
        self._descriptor = sys.stdout.fileno()
        mode = os.fstat(self._descriptor).st_mode
        self._pipe = stat.S_ISFIFO(mode) and os.name == "posix"
        self._may_wait = os.name == "posix" and not stat.S_ISREG(mode)
        self.closed = False
        """The reader of a watched pipe has gone."""

    def write_now(self, data: bytes | memoryview) -> memoryview:
        """Write what can be written without waiting; return the rest. Raises OSError."""
        rest = memoryview(data)
        while rest and self._ready():
            try:
                rest = rest[os.write(self._descriptor, rest[: select.PIPE_BUF] if self._may_wait else rest) :]
            except BlockingIOError:  # somebody has made it non-blocking
                break
        return rest

    async def write(self, data: bytes | memoryview) -> None:
        """Write all of it. Raises OSError."""
        rest = memoryview(data)
        while rest := self.write_now(rest):
            ready = asyncio.Event()
            loop = asyncio.get_running_loop()
            loop.add_writer(self._descriptor, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_writer(self._descriptor)

    def _ready(self) -> bool:
        return not self._may_wait or bool(select.select((), (self._descriptor,), (), 0)[1])

    def watch(self) -> None:
        """Cancel this task as soon as the reader of a pipe has gone, also while there is nothing to write to it; `closed` says so."""
        if not self._pipe:
            return
        import fcntl

        if fcntl.fcntl(self._descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY:
            return  # opened for reading, too: then it also becomes readable by what is written to it
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def gone() -> None:
            loop.remove_reader(self._descriptor)
            self.closed = True
            task.cancel()

        loop.add_reader(self._descriptor, gone)
