"""One of several processes that publish to one file and compete for its subscriptions, in real time, and are stopped, woken and killed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from crash.journal import Journal
from crash.workload import TOPIC, Item, digest, identity_of
from danube_dispatcher import ConsumerReplaced, Delivery, FailurePolicy, OwnershipLost, StoreError, Subscription, Topic, engine, session, topic
from danube_dispatcher.storage import open_store
from danube_dispatcher.storage.protocols import Batch, Lease
from danube_dispatcher.storage.sqlite import leases
from danube_dispatcher.storage.sqlite.store import SqliteStore
from danube_statemachines import Progress

SHORT = {"LEASE": 0.5, "RENEWAL": 0.15, "HEARTBEAT": 0.025}
"""Seconds, a twentieth of what they are, so that a lease runs out while somebody waits."""
POLICY = FailurePolicy(max_redeliveries=100_000, redelivery_delay=0.001, max_redelivery_delay=0.001)
"""Nothing is to meet its verdict here: who is killed often would blame the innocent."""
FLUSH = {"exact": 0.0, "lazy": 0.2}
"""The subscriptions, and their flush intervals."""


@dataclass(frozen=True)
class Rival:
    folder: Path
    seed: str
    plant: str | None = None

    @property
    def url(self) -> str:
        return f"sqlite:{self.folder / 'store.db'}"


def compete(rival: Rival) -> None:
    """What the child does. It returns only by being killed."""
    journal = Journal(rival.folder / "journal", time.monotonic)
    for module in (engine, session, topic):
        for name, value in SHORT.items():
            if name in vars(module):
                setattr(module, name, value)
    if rival.plant is not None:
        PLANTS[rival.plant]()
    try:
        asyncio.run(Competing(rival, journal).run())
    except BaseException as error:
        journal("error", "".join(traceback.format_exception(error))[-2000:])
    finally:
        os._exit(1)


def audit(rival: Rival) -> None:
    """What another child does: say what is stored, and end."""
    journal = Journal(rival.folder / "journal", time.monotonic)
    try:
        asyncio.run(_audit(rival, journal))
    except BaseException as error:
        journal("error", "".join(traceback.format_exception(error))[-2000:])
    finally:
        os._exit(0)


async def _audit(rival: Rival, journal: Journal) -> None:
    store = await open_store(rival.url, create=False)
    log = await store.topic(TOPIC, create=False)
    rows = {row.subscription: row.progress.cursor for row in await store.rows(TOPIC)}
    done = all(rows.get(name) == log.head - 1 for name in FLUSH)
    start = 0
    while done and start < log.head:
        batch = log.read(start)
        assert isinstance(batch, Batch)
        for message in batch.messages:
            journal("stored", message.offset, identity_of(message), digest(message))
        start = batch.next_offset
    journal("audited", done, rows, log.head)


class Competing:
    def __init__(self, rival: Rival, journal: Journal) -> None:
        self.rival = rival
        self.chance = Random(rival.seed)
        self.journal = journal

    async def run(self) -> None:
        store = await open_store(self.rival.url, create=True)
        opened = await Topic.open(store, TOPIC)
        async with asyncio.TaskGroup() as group:
            for name in FLUSH:
                group.create_task(self._own(opened, name))
            group.create_task(self._publish(opened))

    async def _publish(self, opened: Topic) -> None:
        number = 0
        while not (self.rival.folder / "enough").exists():
            message = Item.of(f"{self.rival.seed}.{number}").message
            number += 1
            self.journal("publish", identity_of(message))
            try:
                offset = await opened.publish(message.payload, key=message.key, attributes=message.attributes)
            except StoreError as error:
                self.journal("trouble", str(error))
            else:
                self.journal("published", identity_of(message), offset)
            await asyncio.sleep(self.chance.uniform(0, 0.03))

    async def _own(self, opened: Topic, name: str) -> None:
        while True:
            try:
                subscription = await opened.subscribe(name, start="earliest", policy=POLICY, flush_interval=FLUSH[name], wait=None)
                await self._consume(name, subscription)
            except StoreError as error:
                self.journal("trouble", str(error))
                await asyncio.sleep(0.05)

    async def _consume(self, name: str, subscription: Subscription) -> None:
        mine = subscription.dispatcher._engine
        assert mine is not None
        epoch = mine.lease.epoch
        self.journal("owned", name, epoch)
        try:
            async with subscription.consumer("c") as consumer:
                async for delivery in consumer:
                    await self._serve(name, delivery)
        except (OwnershipLost, ConsumerReplaced):
            pass
        self.journal("lost", name, epoch)

    async def _serve(self, name: str, delivery: Delivery) -> None:
        message = delivery.message
        what = (name, delivery.id[0], message.offset, delivery.attempt)
        self.journal("took", *what, identity_of(message), digest(message))
        if self.chance.random() < 0.7:
            await asyncio.sleep(self.chance.uniform(0, 0.02))
        self.journal("ack", *what)
        self.journal("acked", *what, await delivery.ack())


def no_fence() -> None:
    """Whoever once owned a subscription may write its cursor for ever."""

    def store(self: leases.Leases, connection: sqlite3.Connection, lease: Lease, progress: Progress, let_go: bool) -> None:
        found = connection.execute("SELECT epoch FROM subscriptions WHERE name = ?", (lease.subscription,)).fetchone()
        original(self, connection, lease._replace(epoch=found[0]), progress, let_go)

    original = leases.Leases.store
    leases.Leases.store = store  # type: ignore[method-assign]


def deaf() -> None:
    """An owner never hears that another has taken over."""

    async def renew(self: SqliteStore, held: Mapping[Lease, str | None], *, seconds: float) -> set[Lease]:
        await original(self, held, seconds=seconds)
        return set(held)

    def lose(self: engine.SubscriptionEngine) -> None:
        pass

    original = SqliteStore.renew
    SqliteStore.renew = renew  # type: ignore[method-assign,assignment]
    engine.SubscriptionEngine.lose = lose  # type: ignore[method-assign]


PLANTS: dict[str, Callable[[], None]] = {"no-fence": no_fence, "deaf": deaf}
