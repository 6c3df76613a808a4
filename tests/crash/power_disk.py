"""What may be on a disk after a power cut, given the calls that were made before it.

The model is what SQLite asks of a disk (sqlite.org/atomiccommit.html, "Hardware Assumptions", and its SQLITE_IOCAP_POWERSAFE_OVERWRITE, on by
default), and as bad as that allows:

- What was written to a file before the last fsync or fdatasync of it that returned is there. A sync that has not returned may have done
  any part of its work.
- Of what was written after it, any part may be there, in any order: each 512-byte sector of each write by itself, and of a sector that was being
  written its beginning or its end. Bytes that were not written stay as they were (powersafe overwrite).
- A file may have grown without what was written into the new space: that holds zeros or garbage. A truncation may have happened or not.
- A name that was made, moved or taken away before the last fsync of its directory is so. Of the changes after it each may be there or not, one
  independently of the other; each is atomic. Syncing a file does not make its name last: on most Linux file systems it does, POSIX does not promise it.

Not in the model: a disk that lies about a sync, and one that damages what was written long ago.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import NamedTuple, Protocol, TypeVar

from crash.shim import CREATED, TRUNCATED, Call, Kind

T = TypeVar("T")

SECTOR = 512


class Change(NamedTuple):
    """Of a file: data at an offset, or None for a truncation to that length."""

    offset: int
    data: bytes | None


class Renaming(NamedTuple):
    """Of a directory: what a name stands for from then on, None for nothing, and the name that ends with it."""

    name: str
    file: File | None
    ends: str | None = None


class File:
    """`durable` survives; `pending` may."""

    def __init__(self) -> None:
        self.durable = b""
        self.pending: list[Change] = []

    def sync(self) -> None:
        self.durable = bytes(carried_out(self.durable, self.pending))
        self.pending = []


def carried_out(content: bytes, changes: list[Change], fill: Callable[[int], bytes] = bytes) -> bytearray:
    """`fill` gives so many bytes for a gap."""
    result = bytearray(content)
    for offset, data in changes:
        if data is None:
            del result[offset:]
        elif offset > len(result):
            result += fill(offset - len(result))
        if data is not None:
            result[offset : offset + len(data)] = data
        elif offset > len(result):
            result += bytes(offset - len(result))
    return result


def sectors(change: Change) -> list[Change]:
    """A change as those that happen one by one."""
    offset, data = change
    if data is None:
        return [change]
    first = SECTOR - offset % SECTOR
    cuts = [0, *range(first, len(data), SECTOR), len(data)]
    return [Change(offset + start, data[start:end]) for start, end in pairwise(cuts) if end > start]


class Disk:
    """One directory. Give it the calls in order; ask at any time what a power cut would leave."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._open: dict[tuple[int, int], File | None] = {}
        """By process and descriptor; None is the directory."""
        self._names: dict[str, File] = {}
        self._durable_names: dict[str, File] = {}
        self._pending_names: list[Renaming] = []

    def carry_out(self, call: Call) -> None:
        kind, process, descriptor, offset, first, _ = call
        if kind == Kind.OPEN:
            self._open[process, descriptor] = self._opened(first.decode(), offset)
        elif kind == Kind.CLOSE:
            del self._open[process, descriptor]
        elif kind == Kind.LINK:
            self._rename(Renaming(self._name(call.second), self._names[self._name(first)]))
        elif kind == Kind.RENAME:
            self._rename(Renaming(self._name(call.second), self._names[self._name(first)], self._name(first)))
        elif kind == Kind.UNLINK:
            self._rename(Renaming(self._name(first), None))
        else:
            file = self._open[process, descriptor]
            if file is None:
                assert kind == Kind.SYNC
                self._durable_names, self._pending_names = dict(self._names), []
            elif kind == Kind.SYNC:
                file.sync()
            else:
                file.pending.append(Change(offset, first if kind == Kind.WRITE else None))

    def _name(self, path: bytes) -> str:
        return path.decode().removeprefix(f"{self._directory}/")

    def _opened(self, path: str, flags: int) -> File | None:
        if path == self._directory:
            return None
        name = self._name(path.encode())
        if flags & CREATED:
            self._rename(Renaming(name, File()))
        file = self._names[name]
        if flags & TRUNCATED:
            file.pending.append(Change(0, None))
        return file

    def _rename(self, renaming: Renaming) -> None:
        self._pending_names.append(renaming)
        _apply(self._names, renaming)

    def after_cut(self, how: str, random: Random) -> dict[str, bytes]:
        """Name and content of each file that is found after a power cut now. `how` is one of HOW."""
        names = dict(self._durable_names)
        for renaming in HOW[how](self._pending_names, random):
            _apply(names, renaming)
        return {name: _content(file, how, random) for name, file in names.items()}


def _apply(names: dict[str, File], renaming: Renaming) -> None:
    if renaming.ends is not None:
        names.pop(renaming.ends, None)
    if renaming.file is None:
        names.pop(renaming.name, None)
    else:
        names[renaming.name] = renaming.file


def _content(file: File, how: str, random: Random) -> bytes:
    if not file.pending:
        return file.durable
    happened = HOW[how]([each for change in file.pending for each in sectors(change)], random)
    if how in TORN and happened:
        happened = [*happened[:-1], _torn(happened[-1], random)]
    fill = bytes if random.random() < 0.5 else random.randbytes
    content = carried_out(file.durable, happened, fill)
    longest = len(carried_out(file.durable, file.pending))
    if how not in WHOLE and len(content) < longest and random.random() < 0.5:
        content += fill(longest - len(content))
    return bytes(content)


def _torn(change: Change, random: Random) -> Change:
    offset, data = change
    if data is None:
        return change
    cut = random.randrange(len(data) + 1)
    return Change(offset, data[:cut]) if random.random() < 0.5 else Change(offset + cut, data[cut:])


def _first(items: list[T], random: Random) -> list[T]:
    return items[: random.randint(0, len(items))]


def _last(items: list[T], random: Random) -> list[T]:
    return items[random.randint(0, len(items)) :]


def _any(items: list[T], random: Random) -> list[T]:
    share = random.random()
    return [item for item in items if random.random() < share]


class Which(Protocol):
    def __call__(self, items: list[T], random: Random, /) -> list[T]: ...


HOW: dict[str, Which] = {
    "everything": lambda items, _: items,
    "nothing": lambda items, _: [],
    "first": _first,
    "last": _last,
    "any": _any,
    "torn": _first,
    "torn any": _any,
}
"""Which of what was not synced is there: of a file its sectors, of the directory its changes."""
WHOLE = ("everything", "nothing")
TORN = ("torn", "torn any")
