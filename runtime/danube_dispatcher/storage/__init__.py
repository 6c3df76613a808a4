"""Where topics and subscriptions are kept. `open_store` finds the back end by the scheme of a URL."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable

from ..errors import InvalidArgument
from .protocols import Store

__all__ = ["identity", "open_store"]


async def _memory(rest: str, create: bool, clock: Callable[[], float]) -> Store:
    from .memory import MemoryStore

    return MemoryStore(clock=clock)


async def _sqlite(rest: str, create: bool, clock: Callable[[], float]) -> Store:
    from .sqlite import open_sqlite

    return await open_sqlite(rest, create=create, clock=clock)


_LOADERS: dict[str, Callable[[str, bool, Callable[[], float]], Awaitable[Store]]] = {"memory": _memory, "sqlite": _sqlite}


async def open_store(url: str, *, create: bool, clock: Callable[[], float] = time.time) -> Store:
    """Open the store that `url` names: `memory:` or `sqlite:PATH`, where everything after the colon is the path, verbatim.

    `create` makes a missing store. `clock` is the wall clock of leases and delays (Unix seconds). Raises InvalidArgument for a URL that cannot
    be one, otherwise a StoreError.
    """
    scheme, rest = _parse(url)
    return await _LOADERS[scheme](rest, create, clock)


def identity(url: object) -> str:
    """The same string for URLs of the same store: the path is made real. Raises InvalidArgument like `open_store`."""
    scheme, rest = _parse(url)
    return f"{scheme}:{os.path.realpath(rest) if scheme == 'sqlite' else ''}"


def _parse(url: object) -> tuple[str, str]:
    if not isinstance(url, str):
        raise InvalidArgument("store", f"needs a URL such as 'sqlite:queue.db' or 'memory:', not {url!r}")
    scheme, colon, rest = url.partition(":")
    if not colon or scheme not in _LOADERS:
        known = " and ".join(f"'{name}:'" for name in _LOADERS)
        raise InvalidArgument("store", f"{url!r} has no known scheme; the known ones are {known}, as in 'sqlite:queue.db'")
    if scheme == "memory":
        if rest:
            raise InvalidArgument("store", f"{url!r}: 'memory:' takes nothing after the colon")
    else:
        _check_path(url, rest)
    return scheme, rest


def _check_path(url: str, path: str) -> None:
    if not path:
        raise InvalidArgument("store", f"{url!r} has no path; give one, as in 'sqlite:queue.db'")
    if path.startswith("//"):
        plain = path.lstrip("/")
        raise InvalidArgument("store", f"{url!r}: everything after 'sqlite:' is the path; write 'sqlite:/{plain}' or 'sqlite:{plain}'")
    if "\0" in path:
        raise InvalidArgument("store", f"{url!r}: a path cannot contain NUL")
    if path.endswith(("/", os.sep)):
        raise InvalidArgument("store", f"{url!r} names a directory; name a file in it")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise InvalidArgument("store", f"{url!r}: the path has characters that no file name can have") from None
