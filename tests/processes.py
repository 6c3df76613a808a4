"""One store, and several processes that have it open: what each does and sees, how one dies, and what lies in the store when nobody looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from danube_dispatcher import Consumer, FailurePolicy, Subscription, Topic
from danube_dispatcher.clock import LEASE
from danube_dispatcher.storage import open_store
from danube_dispatcher.storage.protocols import Row, Store
from danube_dispatcher.virtual_time import VirtualLoop, advance
from danube_statemachines import EngineCore
from delivering import TOPIC, join, publish, take
from faults import FaultStore

DEAD = "/test/dead"
"""Where dead letters go."""
BACK_ENDS = ("memory", "sqlite")
EPOCH = 1_700_000_000.0
"""Unix seconds when a test begins."""
OUTLIVED = LEASE + 1.0
"""Virtual seconds after which the lease of a dead process is over."""


class Machine:
    """The machine that the processes run on; its clock is the loop's. Everything that lives is closed with it."""

    def __init__(self, path: Path | None) -> None:
        """In memory without a path."""
        self._url = "memory:" if path is None else f"sqlite:{path / 'store.db'}"
        self._stores: list[Store] = []
        self._topics: list[tuple[FaultStore, Topic]] = []
        self.loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for store, topic in self._topics:
            if not store.dead and topic._closing is None:
                store.heal()
                await topic.close()
        for each in self._stores:
            await each.close()

    def now(self) -> float:
        return EPOCH + self.loop.time()

    async def process(self) -> FaultStore:
        """Another process opens the store."""
        shared = not self.durable
        if not shared or not self._stores:
            store = await open_store(self._url, create=True, clock=self.now)
            self._stores.append(store)
            assert isinstance(self.loop, VirtualLoop)
            self.loop.busy.append(lambda: store.outstanding > 0)
        return FaultStore(self._stores[-1], shared=shared)

    async def topic(self, store: FaultStore | None = None, name: str = TOPIC) -> Topic:
        """A topic as that process, or a new one, has it open."""
        store = store or await self.process()
        topic = await Topic.open(store, name)
        self._topics.append((store, topic))
        return topic

    def rows(self) -> list[Row]:
        """What is stored at this very moment."""
        rows: list[Row] = at_once(self._stores[0].rows())
        return rows

    def row(self, subscription: str = "s", topic: str = TOPIC) -> Row:
        return next(row for row in self.rows() if (row.topic, row.subscription) == (topic, subscription))

    def stored_cursor(self, subscription: str = "s") -> int:
        return self.row(subscription).progress.cursor

    @property
    def topics(self) -> list[Topic]:
        """In the order in which they were opened."""
        return [topic for _, topic in self._topics]

    @property
    def inner(self) -> Store:
        """The store itself."""
        return self._stores[0]

    @property
    def durable(self) -> bool:
        return self._url != "memory:"


def at_once(answer: object) -> Any:
    """The result of a coroutine that waits for nothing."""
    assert isinstance(answer, Coroutine)
    try:
        answer.send(None)
    except StopIteration as result:
        return result.value
    raise AssertionError("it waits")


def faults_of(topic: Topic) -> FaultStore:
    """The process that has the topic open."""
    assert isinstance(topic.store, FaultStore)
    return topic.store


def kill(topic: Topic) -> None:
    """End the process that has the topic open, without a word."""
    faults_of(topic).kill()


async def outlive(topic: Topic) -> None:
    """Kill the process and wait until its leases are over."""
    kill(topic)
    await advance(OUTLIVED)


def core_of(subscription: Subscription) -> EngineCore[Any]:
    engine = subscription.dispatcher._engine
    assert engine is not None
    return engine.core


def block_loop(seconds: float) -> None:
    """A call that does not return for so long: time passes and nothing runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop._clock.now += round(seconds * 1e9)


async def filled(machine: Machine, count: int) -> Topic:
    """A topic with so many messages, each its own number."""
    topic = await machine.topic()
    await topic.publish_many([str(number).encode() for number in range(count)])
    return topic


async def owner(machine: Machine, payloads: str = "abcdefgh", **arguments: Any) -> tuple[Topic, Subscription, Consumer]:
    """A new process that owns the subscription "s", with a consumer "c". The first one publishes."""
    topic = await machine.topic()
    if not topic.head:
        await publish(topic, *payloads)
    subscription = await topic.subscribe("s", **{"start": "earliest", **arguments})
    return topic, subscription, await join(subscription, "c")


async def started(machine: Machine, **policy: Any) -> tuple[Topic, Subscription, Consumer]:
    """An owner with such a failure policy, of three messages."""
    return await owner(machine, "abc", policy=FailurePolicy(**policy))


async def blocked(machine: Machine, **policy: Any) -> tuple[Topic, Subscription, Consumer]:
    """One whose first message is blocked."""
    topic, subscription, consumer = await started(machine, max_redeliveries=0, **policy)
    await (await take(consumer)).nack(reason="too hot")
    assert subscription.status().state == "Blocked"
    return topic, subscription, consumer


async def settle_next(consumer: Consumer, count: int = 1) -> list[int]:
    """Acknowledge so many; return their offsets."""
    offsets: list[int] = []
    for _ in range(count):
        delivery = await take(consumer)
        assert await delivery.ack() is True
        offsets.append(delivery.message.offset)
    return offsets


@pytest.fixture(params=BACK_ENDS)
async def machine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Machine]:
    """Modules take it with `machine = processes.machine`."""
    async with Machine(tmp_path if request.param == "sqlite" else None) as machine:
        yield machine
