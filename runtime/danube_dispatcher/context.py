"""Where an object may be used: on the event loop, in the thread and in the process that opened it, and until it is closed."""

from __future__ import annotations

import asyncio
import os
import threading
from types import TracebackType
from typing import Self

from .errors import WrongContext

_forks = 0
_running_loop = asyncio._get_running_loop  # None where none runs


def _forked() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Context:
    """Checked at entry points, not per message."""

    __slots__ = ("_forks", "_thread", "loop", "what")

    def __init__(self, what: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.what = what
        self._thread = threading.get_ident()
        self._forks = _forks

    def check(self) -> None:
        """Raises WrongContext."""
        if _running_loop() is self.loop and self._forks == _forks:  # a loop runs in one thread
            return
        if self._forks != _forks:
            raise WrongContext(f"{self.what} was opened before this process was forked; open it again here")
        if self._thread != threading.get_ident():
            raise WrongContext(f"{self.what} belongs to another thread; use its loop's call_soon_threadsafe, or open it again here")
        raise WrongContext(f"{self.what} belongs to another event loop; open it again on this one")


class Closable:
    """Something that closes once."""

    def __init__(self, what: str) -> None:
        self._context = Context(what)
        self._closing: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether closing has come to its end, with an error or without."""
        return self._closing is not None and self._closing.done()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        self._context.check()
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        raise NotImplementedError
