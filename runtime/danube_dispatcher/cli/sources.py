"""What `publish` publishes: the lines of files and of standard input, or whole files."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from ..errors import InvalidArgument
from ..messages import Message
from ..storage.protocols import APPEND_BYTES, READ_MESSAGES

STANDARD_INPUT = "-"
CHUNK = 1 << 18
"""Bytes read at once; what has come so far is published, so a slow writer's lines do not wait for more."""


class Source:
    """`total` is the number of bytes, None when it is not known before; `read`, how many of them were read."""

    def __init__(self, paths: Sequence[str], *, whole: bool, key: str | None, attributes: Mapping[str, str], limit: int) -> None:
        """Raises OSError or InvalidArgument for what cannot be read, or is no message of at most `limit` bytes."""
        self._paths = paths
        self._whole = whole
        self._key = key
        self._attributes = attributes
        self._limit = limit
        self.read = 0
        self.total: int | None = 0
        for path in paths:
            size = self._size(path)
            self.total = None if self.total is None or size is None else self.total + size

    def _size(self, path: str) -> int | None:
        if path == STANDARD_INPUT:
            if sys.stdin is None:
                raise OSError(errno.EBADF, "standard input is closed")
            found = os.fstat(sys.stdin.fileno())
        else:
            found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            raise InvalidArgument(path, "is a directory; name its files, as in $(find DIRECTORY -type f)")
        if not stat.S_ISREG(found.st_mode):
            return None
        if self._whole:
            self._check(path, found.st_size)
        return found.st_size

    def _check(self, what: str, size: int) -> None:
        if size > self._limit:
            raise InvalidArgument(what, f"has more than {self._limit} bytes; raise the limit with --max-payload, or split it")

    async def batches(self) -> AsyncGenerator[list[Message], None]:
        """What is to be published, in pieces as they come. Raises like the constructor."""
        batch: list[Message] = []
        size = 0
        for path in self._paths:
            if not self._whole:
                async with aclosing(self._lines(path)) as pieces:
                    async for piece in pieces:
                        yield piece
                continue
            message = await self._file(path)
            if batch and (len(batch) == READ_MESSAGES or size + len(message.payload) > APPEND_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(message)
            size += len(message.payload)
        if batch:
            yield batch

    async def _lines(self, path: str) -> AsyncGenerator[list[Message], None]:
        number, pending = 1, b""
        async with aclosing(self._chunks(path)) as chunks:
            async for chunk in chunks:
                *lines, pending = (pending + chunk).split(b"\n")
                for count, line in enumerate((*lines, pending), number):
                    self._check(f"{path}, line {count}", len(line))
                number += len(lines)
                if lines:
                    yield [Message(line, self._key, self._attributes) for line in lines]
        if pending:  # the last line may lack its end
            yield [Message(pending, self._key, self._attributes)]

    async def _file(self, path: str) -> Message:
        payload = bytearray()
        async with aclosing(self._chunks(path)) as chunks:
            async for chunk in chunks:
                payload += chunk
                self._check(path, len(payload))
        # a name that is not UTF-8 is written out
        name = {} if path == STANDARD_INPUT else {"path": os.fsencode(path).decode(errors="backslashreplace")}
        return Message(bytes(payload), self._key, {**name, "size": str(len(payload)), **self._attributes})

    async def _chunks(self, path: str) -> AsyncGenerator[bytes, None]:
        descriptor = sys.stdin.fileno() if path == STANDARD_INPUT else os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            while True:
                await _readable(descriptor)
                chunk = os.read(descriptor, CHUNK)
                if not chunk:
                    return
                self.read += len(chunk)
                yield chunk
        finally:
            if path != STANDARD_INPUT:
                os.close(descriptor)


async def _readable(descriptor: int) -> None:
    """Wait until there is something to read, so that Ctrl-C need not wait for it."""
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        loop.add_reader(descriptor, ready.set)
    except (PermissionError, NotImplementedError):  # a regular file, which is always ready; Windows
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
