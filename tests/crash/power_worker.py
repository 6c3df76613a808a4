"""What runs until the power is cut: it publishes and consumes, and says what it was told. Its words go into the recording, in their place.

Time is virtual, so that a recording takes a moment; the store, its threads and its file are real.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from danube_dispatcher import Delivery, FailurePolicy, Topic
from danube_dispatcher.storage.sqlite import open_sqlite
from delivering import store_loop

TOPIC = "/test/orders"
DEAD = "/test/dead"
STORE = "store.db"
SAID = "said"
"""The file whose lines are what the worker says; for the disk it is not there."""
POLICY = FailurePolicy(max_redeliveries=1, redelivery_delay=0.1, poison_policy="dead_letter", dead_letter_topic=DEAD)
SUBSCRIPTIONS = {"now": 0.0, "later": None, "often": 0.5}
"""Their flush intervals; None is the default."""


def payload(seed: int, number: int) -> bytes:
    """Of the message of that number: mostly small, now and then larger than a page or several."""
    random = Random(f"{seed}:{number}")
    size = random.choice((0, 10, 100, 1000, 3000, 20_000)) if random.random() < 0.3 else random.randrange(200)
    return b"%d:" % number + random.randbytes(size)


TEAMS = (("now", "later"), ("often",))
"""What each of two processes subscribes to."""
LIFE = 10_000
"""Messages of one life of the worker have numbers from `LIFE * life` on, those of a second process with it from `LIFE * (life + SECOND)`."""
SECOND = 100


class Worker:
    """One life, of one process. It ends with a clean close or, like a killed process, in the middle of it all."""

    def __init__(self, directory: Path, seed: int, life: int, messages: int, team: int | None) -> None:
        self.seed = seed
        self.random = Random(f"{seed}:{life}:{team}")
        self.subscriptions = SUBSCRIPTIONS if team is None else TEAMS[team]
        self.published = LIFE * (life + SECOND * (team or 0))
        self.until = self.published + messages
        self.path = directory / STORE
        self._later = life * 1e6  # the leases of an earlier life are over
        self._said = os.open(directory / SAID, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def say(self, what: str, subscription: str = "", **figures: Any) -> None:
        os.write(self._said, json.dumps({"what": what, "subscription": subscription, **figures}).encode() + b"\n")

    async def run(self, *, clean: bool) -> None:
        loop = asyncio.get_running_loop()
        store = await open_sqlite(str(self.path), create=True, clock=lambda: loop.time() + self._later)
        self.say("opened")
        async with await Topic.open(store, TOPIC) as topic:
            self.say("topic")
            consumers = [asyncio.ensure_future(self.consume(topic, name)) for name in self.subscriptions]
            await self.publish(topic)
            if not clean:
                self.until += 100
                publishing = asyncio.ensure_future(self.publish(topic))
                for _ in range(self.random.randrange(200)):
                    await asyncio.sleep(0)
                os._exit(publishing.done() and publishing.exception() is not None)
            await asyncio.sleep(self.random.choice((0.0, 0.2, 20.0)))
            for consumer in consumers:
                consumer.cancel()
            for consumer in consumers:
                with suppress(asyncio.CancelledError):
                    await consumer
        await store.close()
        self.say("closed")

    async def publish(self, topic: Topic) -> None:
        while self.published < self.until:
            count = min(self.random.choice((1, 1, 1, 2, 5, 40)), self.until - self.published)
            numbers = range(self.published, self.published + count)
            self.published += count
            if self.random.random() < 0.5:
                await topic.publish_many([payload(self.seed, number) for number in numbers])
                self.say("published", numbers=list(numbers))
            else:
                await asyncio.gather(*(self._publish_one(topic, number) for number in numbers))
            await asyncio.sleep(self.random.choice((0.0, 0.01, 1.0)))

    async def _publish_one(self, topic: Topic, number: int) -> None:
        offset = await topic.publish(payload(self.seed, number))
        self.say("published", numbers=[number], offset=offset)

    async def consume(self, topic: Topic, name: str) -> None:
        interval = SUBSCRIPTIONS[name]
        subscription = await topic.subscribe(name, start="earliest", policy=POLICY, flush_interval=interval)
        self.say("subscribed", name)
        try:
            async with subscription.consumer("c") as consumer:
                async for delivery in consumer:
                    await self._answer(name, delivery)
                    if interval is None and self.random.random() < 0.02:
                        await subscription.dispatcher.flush_progress()
                        self.say("flushed", name, offset=delivery.message.offset - 1)
        finally:
            await subscription.close()
            self.say("left", name)

    async def _answer(self, name: str, delivery: Delivery) -> None:
        """Acknowledge, or for one message in thirty fail until it is a dead letter."""
        offset = delivery.message.offset
        if Random(f"{self.seed}:{name}:{offset}").random() < 1 / 30:
            assert await delivery.nack(reason="unlucky")
            self.say("failed", name, offset=offset)
        else:
            self.say("acking", name, offset=offset)
            if await delivery.ack():
                self.say("acked", name, offset=offset)


class Connection(sqlite3.Connection):
    """As ours, but for what a test asks for."""

    durability = "FULL"
    checkpoint = 1000
    """Pages after which the WAL is moved into the file."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql == "PRAGMA synchronous = FULL":  # this one writes
            super().execute(f"PRAGMA wal_autocheckpoint = {self.checkpoint}")
            sql = f"PRAGMA synchronous = {self.durability}"
        return super().execute(sql, *parameters)


def connect_with(kind: type[sqlite3.Connection]) -> None:
    """From now on, connections are of that kind."""
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    sqlite3.connect = lambda *given, **named: connect(*given, factory=kind, **named)  # type: ignore[assignment]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("life", type=int)
    parser.add_argument("--team", type=int, choices=range(len(TEAMS)), help="one of two processes at once")
    parser.add_argument("--unclean", action="store_true")
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--durability", choices=["FULL", "NORMAL"], default="FULL")
    parser.add_argument("--checkpoint", type=int, default=1000)
    arguments = parser.parse_args()
    Connection.durability, Connection.checkpoint = arguments.durability, arguments.checkpoint
    connect_with(Connection)
    with asyncio.Runner(loop_factory=store_loop) as runner:
        worker = Worker(arguments.directory, arguments.seed, arguments.life, arguments.messages, arguments.team)
        runner.run(worker.run(clean=not arguments.unclean))


if __name__ == "__main__":
    main()
