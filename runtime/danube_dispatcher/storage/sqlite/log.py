"""A topic's messages in a store's file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Protocol

from ...errors import StoreDamaged
from ...messages import NO_ATTRIBUTES, Message
from ..protocols import READ_BYTES, READ_MESSAGES, Batch, Watcher
from ..rules import Watchers, frozen
from .codec import COLUMNS, checksum, decode_attributes, encode, insert
from .errors import translate
from .schema import OFFSET_BITS
from .writer import Append, Group, Writer

_SELECT = f"SELECT {COLUMNS} FROM messages WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"


class Home(Protocol):
    """What a log needs of its store."""

    url: str
    seed: int
    reader: sqlite3.Connection
    writer: Writer

    def check(self) -> None: ...


class SqliteLog:
    """One topic. `head` is as far as was announced here, and nothing beyond it is read: what is read is what the watchers were told of."""

    def __init__(self, store: Home, topic: str, id: int, head: int) -> None:
        self.topic = topic
        self.id = id
        self.head = head
        self._store = store
        self._first_row = id << OFFSET_BITS
        self._watchers = Watchers()

    def append(self, messages: Sequence[Message]) -> asyncio.Future[Sequence[int]]:
        self._store.check()
        return self._store.writer.append(self, messages)

    def read(self, start: int, *, messages: int = READ_MESSAGES, size: int = READ_BYTES) -> Batch:
        self._store.check()
        head = self.head
        if start >= head:
            return Batch([], start)
        try:
            rows = self._store.reader.execute(_SELECT, (self._first_row + max(start, 0), self._first_row + head, messages))
            try:
                found, all_seen = self._decode(rows, size)
            finally:
                rows.close()  # a statement that is not at its end keeps the WAL from being emptied
        except sqlite3.Error as error:
            raise translate(self._store.url, error) from error
        at_end = all_seen and len(found) < messages
        return Batch(found, head if at_end else found[-1].offset + 1)

    def _decode(self, rows: sqlite3.Cursor, size: int) -> tuple[list[Message], bool]:
        """Messages up to `size` bytes, and whether that was all of the rows."""
        seed, topic, first_row = self._store.seed, self.topic, self._first_row
        found: list[Message] = []
        for row, published_at, key, attributes, payload, total in rows:
            size -= len(payload)
            if size < 0 and found:
                return found, False
            if checksum(seed, row, published_at, key, attributes, payload) != total:
                if found:  # the sound ones first
                    return found, False
                raise StoreDamaged(
                    self._store.url, f"message {row - first_row} of {topic} is not what was written; restore the file, with its -wal, from a copy"
                )
            found.append(Message(payload, key, decode_attributes(attributes) if attributes else NO_ATTRIBUTES, topic, row - first_row, published_at))
        return found, True

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        return self._watchers.add(watcher)

    def announce(self, first: int, appends: Sequence[Append], published_at: float) -> None:
        if first > self.head:  # what other processes committed before
            self.move(first)
        self.head = first + sum(append.count for append in appends)
        if self._watchers:
            offset = first
            committed: list[Message] = []
            for append in appends:
                for payload, key, attributes, *_ in append.messages:
                    committed.append(Message(payload, key, frozen(attributes), self.topic, offset, published_at))
                    offset += 1
            self._watchers.call(committed)

    def move(self, head: int) -> None:
        """Other processes have appended."""
        self.head = head
        self._watchers.call(())


def insert_group(connection: sqlite3.Connection, group: Group, url: str, seed: int, now: float) -> None:
    """Give the messages of a group their offsets and insert them; in the writer's thread."""
    group.published_at = now
    values: list[object] = []
    for log, appends in group.logs.items():
        count = sum(append.count for append in appends)
        heads = connection.execute("UPDATE topics SET head = head + ? WHERE id = ? RETURNING head", (count, log.id)).fetchall()
        offset = heads[0][0] - count if heads else -1
        if offset < log.head:
            raise StoreDamaged(url, f"topic {log.topic} had {log.head} messages and now has fewer: a part of its file was lost or replaced; open it again")
        for append in appends:
            append.first = offset
            values += encode(seed, (log.id << OFFSET_BITS) + offset, now, append.messages)
            offset += append.count
    insert(connection, values)
