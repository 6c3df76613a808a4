"""A topic's messages in a store's file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from ...errors import StoreDamaged
from ...messages import NO_ATTRIBUTES, Message
from ..protocols import READ_BYTES, READ_MESSAGES, Batch, Watcher
from ..rules import Watchers, frozen
from .codec import decode, encode, insert, new, topic_seed
from .errors import translate
from .schema import OFFSET_BITS
from .writer import Append, Group, Writer

_BODY = "iif(length(body) <= ?, body, NULL)"  # what is longer than its share of a batch is left out, so that all others can be fetched in one call
_RUN = f"SELECT {_BODY} FROM messages WHERE id >= ? AND id < ? ORDER BY id"
_WITH_GAPS = f"SELECT {_BODY}, id FROM messages WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"


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
        self.seed = topic_seed(store.seed, id)
        self._watchers = Watchers()

    def append(self, messages: Sequence[Message]) -> asyncio.Future[Sequence[int]]:
        self._store.check()
        return self._store.writer.append(self, messages)

    def read(self, start: int, *, messages: int = READ_MESSAGES, size: int = READ_BYTES) -> Batch:
        store, head = self._store, self.head
        store.check()
        if start >= head:
            return Batch([], start)
        start = max(start, 0)
        stop = min(start + messages, head)
        share, first_row = size // messages, self._first_row
        offsets: Sequence[int] = range(start, stop)
        try:
            bodies = store.reader.execute(_RUN, (share, first_row + start, first_row + stop)).fetchall()
            if len(bodies) != len(offsets):  # if as many are there, they stand where they should
                rows = store.reader.execute(_WITH_GAPS, (share, first_row + start, first_row + head, messages)).fetchall()
                offsets, bodies = [row - first_row for _, row in rows], [(body,) for body, _ in rows]
                if len(rows) < messages:
                    stop = head
            found = decode(self.seed, self.topic, offsets, bodies, size, self._fetch)
        except sqlite3.Error as error:
            raise translate(store.url, error) from error
        if len(found) == len(offsets) and stop == head:
            return Batch(found, head)
        if not found:
            raise StoreDamaged(store.url, f"message {offsets[0]} of {self.topic} is not what was written; restore the file, with its -wal, from a copy")
        return Batch(found, found[-1].offset + 1)  # the sound ones first

    def _fetch(self, offset: int) -> bytes:
        ((body,),) = self._store.reader.execute("SELECT body FROM messages WHERE id = ?", (self._first_row + offset,)).fetchall()
        return cast("bytes", body)

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        return self._watchers.add(watcher)

    def announce(self, first: int, appends: Sequence[Append], published_at: float) -> None:
        if first > self.head:  # what other processes committed before
            self.move(first)
        self.head = first + sum([append.count for append in appends])
        if self._watchers:
            topic = self.topic
            messages = [message for append in appends for message in append.messages]
            committed = [
                new(Message, (message[0], message[1], frozen(message[2]) if message[2] else NO_ATTRIBUTES, topic, offset, published_at))
                for offset, message in enumerate(messages, first)
            ]
            self._watchers.call(committed)

    def move(self, head: int) -> None:
        """Other processes have appended."""
        self.head = head
        self._watchers.call(())


def insert_group(connection: sqlite3.Connection, group: Group, url: str, now: float) -> None:
    """Give the messages of a group their offsets and insert them; in the writer's thread."""
    group.published_at = now
    values: list[object] = []
    for log, appends in group.logs.items():
        count = sum([append.count for append in appends])
        heads = connection.execute("UPDATE topics SET head = head + ? WHERE id = ? RETURNING head", (count, log.id)).fetchall()
        offset = heads[0][0] - count if heads else -1
        if offset < log.head:
            raise StoreDamaged(url, f"topic {log.topic} had {log.head} messages and now has fewer: a part of its file was lost or replaced; open it again")
        first_row, seed = log.id << OFFSET_BITS, log.seed
        for append in appends:
            append.first = offset
            for message in append.messages:
                values += (first_row + offset, encode(seed, offset, now, message))
                offset += 1
    insert(connection, values)
