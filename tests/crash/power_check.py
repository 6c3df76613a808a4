"""Opens what a power cut, or a process that met with trouble, has left, and compares it with what had been said before."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from crash.power_worker import DEAD, POLICY, STORE, SUBSCRIPTIONS, TOPIC, payload
from danube_dispatcher import Message, Topic
from danube_dispatcher.errors import DanubeError, StoreNotFound
from danube_dispatcher.storage.protocols import Batch, Row
from danube_dispatcher.storage.sqlite import SqliteStore, open_sqlite

LATER = 1e9
"""The clock of whoever opens it then: the leases of the dead are over."""


@dataclass
class Position:
    """Of a subscription, as far as it was said."""

    durable: int = -1
    """At least here its cursor is, whatever happened."""
    acking: set[int] = field(default_factory=set)
    """Messages that may have been acknowledged. Another may be settled only as a dead letter."""
    failures: Counter[int] = field(default_factory=Counter)
    """Failures of each message that `nack` has returned for."""


class Said:
    """What had been said before the cut."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.opened = False
        self.topic = False
        self.published: dict[int, int | None] = {}
        """Numbers of the messages for which `publish` has returned, with their offsets where it told."""
        self.refused: set[int] = set()
        """Those for which it has raised, and which are not in."""
        self.gone: set[str] = set()
        """Subscriptions that were removed."""
        self.positions: dict[str, Position] = {}
        self._acked: dict[str, int] = {}

    def hear(self, line: bytes) -> None:
        said = json.loads(line)
        what, subscription = said["what"], said["subscription"]
        position = self.positions.setdefault(subscription, Position()) if subscription and what != "removed" else Position()
        if what == "opened":
            self.opened = True
        elif what == "topic":
            self.topic = True
        elif what == "published":
            self.published.update(dict.fromkeys(said["numbers"], said.get("offset")))
        elif what == "refused":
            self.refused.update(said["numbers"])
        elif what == "removing":  # from now on it may be there or not
            self.positions.pop(subscription, None)
        elif what == "removed":
            self.gone.add(subscription)
        elif what == "acking":
            position.acking.add(said["offset"])
        elif what == "acked":
            self._acked[subscription] = said["offset"]
            if SUBSCRIPTIONS[subscription] == 0:
                position.durable = said["offset"]
        elif what == "flushed":
            position.durable = max(position.durable, said["offset"])
        elif what == "left":
            position.durable = max(position.durable, self._acked.get(subscription, -1))
        elif what == "failed":
            position.failures[said["offset"]] += 1


@dataclass
class Found:
    """What is still there."""

    missing: bool = False
    """There was no store yet."""
    messages: int = 0
    """Acknowledged to the publisher, and looked for."""
    acks: int = 0
    """Positions that had to be durable, and were looked at."""
    lost: list[str] = field(default_factory=list)


async def check(directory: Path, said: Said, random: Random) -> Found:
    found = Found()
    try:
        await _check(directory, said, random, found)
    except (DanubeError, AssertionError) as error:
        found.lost.append(f"{type(error).__name__}: {error}")
    return found


async def _check(directory: Path, said: Said, random: Random, found: Found) -> None:
    path = directory / STORE
    try:
        store = await open_sqlite(str(path), create=False, clock=lambda: LATER)
    except StoreNotFound:
        assert not said.opened, "the store is gone"
        found.missing = True
        store = await open_sqlite(str(path), create=True, clock=lambda: LATER)  # nothing is in the way of a new one
    try:
        problems = await store.writer.call(lambda connection: connection.execute("PRAGMA integrity_check").fetchall())
        assert problems == [("ok",)], f"SQLite finds the file damaged: {problems}"
        topics = await store.topics()
        assert TOPIC in topics or not said.topic, "the topic is gone"
        async with await Topic.open(store, TOPIC) as topic:
            messages = contents(topic)
            _compare(said, messages, found)
            rows = {row.subscription: row for row in await store.rows(TOPIC)}
            assert not said.gone & rows.keys(), f"subscriptions that were removed are there: {said.gone}"
            dead = await _dead_letters(store) if DEAD in topics else {}
            for name, position in said.positions.items():
                assert name in rows, f"subscription {name} is gone"
                _compare_position(rows[name], position, dead.get(name, set()), found)
            await _go_on(topic, rows, len(messages), random)
    finally:
        await store.close()


def contents(topic: Topic) -> list[Message]:
    """All messages of a topic; their checksums are looked at on the way."""
    messages: list[Message] = []
    while len(messages) < topic.head:
        batch = topic.hub.log.read(len(messages))
        assert isinstance(batch, Batch)
        assert [message.offset for message in batch.messages] == list(range(len(messages), len(messages) + len(batch.messages))), "offsets have gaps"
        messages += batch.messages
    return messages


def _compare(said: Said, messages: list[Message], found: Found) -> None:
    """Each message that was acknowledged is there once, where it was said to be, and nothing is there that was never published."""
    offsets: dict[int, int] = {}
    for message in messages:
        number = int(message.payload.partition(b":")[0])
        assert message.payload == payload(said.seed, number), f"message {message.offset} has another payload"
        assert number not in offsets, f"message {number} is there twice"
        offsets[number] = message.offset
    assert not said.refused & offsets.keys(), f"messages that were refused are there: {said.refused & offsets.keys()}"
    found.messages += len(said.published)
    for number, offset in said.published.items():
        if number not in offsets:
            found.lost.append(f"message {number} was acknowledged to its publisher and is gone")
        elif offset is not None and offsets[number] != offset:
            found.lost.append(f"message {number} was said to be at {offset} and is at {offsets[number]}")


def _compare_position(row: Row, position: Position, dead: set[int], found: Found) -> None:
    name, cursor, held = row.subscription, row.progress.cursor, row.progress.held
    found.acks += 1
    if cursor < position.durable:
        found.lost.append(f"subscription {name}: {position.durable} was durably acknowledged, the cursor is {cursor}")
    for offset in range(cursor + 1):
        if offset not in position.acking and offset not in dead:
            found.lost.append(f"subscription {name}: the cursor {cursor} is beyond message {offset}, which was neither acknowledged nor is a dead letter")
    failures = position.failures[cursor + 1]
    if failures > (held.failures if held is not None and held.offset == cursor + 1 else 0):
        found.lost.append(f"subscription {name}: {failures} failures of message {cursor + 1} were saved, found is {held}")


async def _dead_letters(store: SqliteStore) -> dict[str, set[int]]:
    """The offsets of dead letters, by subscription."""
    dead: dict[str, set[int]] = {}
    async with await Topic.open(store, DEAD) as topic:
        for message in contents(topic):
            dead.setdefault(message.attributes["x-original-subscription"], set()).add(int(message.attributes["x-original-topic-offset"]))
    return dead


async def _go_on(topic: Topic, rows: dict[str, Row], head: int, random: Random) -> None:
    """It works as before: what is published gets the next offset, and a subscription goes on where it stood."""
    assert await topic.publish(b"after the cut") == head, "the offset of the next message"
    name = random.choice([name for name in SUBSCRIPTIONS if name in rows] or [*SUBSCRIPTIONS])
    first = _first(rows[name]) if name in rows else 0
    subscription = await topic.subscribe(name, start="earliest", policy=POLICY, flush_interval=0)
    async with subscription.consumer("c") as consumer:
        delivery = await anext(consumer)
        assert delivery.message.offset == first, f"subscription {name} goes on with {delivery.message.offset} instead of {first}"
        assert await delivery.ack(), "an ack of the first delivery counts"


def _first(row: Row) -> int:
    """What a subscription delivers first: the next message, unless that has met its verdict; a crash is charged to one that is marked as sent."""
    cursor, held = row.progress[:2]
    dead = held is not None and held.failures + (held.sent and row.owner != "") > POLICY.max_redeliveries
    return cursor + 1 + dead
