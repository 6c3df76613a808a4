"""What tests of deliveries share: a store under virtual time, and the steps of a consumer's day."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from copy import copy
from dataclasses import replace
from typing import Any, Never
from weakref import WeakSet

from danube_dispatcher import Consumer, ConsumerStatus, Counts, Delivery, Dispatcher, Status, Subscription, Topic
from danube_dispatcher.session import stores_of
from danube_dispatcher.storage import open_store
from danube_dispatcher.storage.protocols import Store
from danube_dispatcher.virtual_time import VirtualLoop, advance

TOPIC = "/test/orders"
SOON = 0.001
"""Virtual seconds: time stands still while a store has work, so whatever was handed to it is done by then."""
PATIENCE = 600.0
"""Virtual seconds after which a delivery that should come is taken for lost."""


def store_loop() -> VirtualLoop:
    """A virtual loop whose time stands still while a store on it has a call under way, its closing included."""
    loop = VirtualLoop()
    seen: WeakSet[Store] = WeakSet()

    def busy() -> bool:
        seen.update(stores_of(loop))
        return any(store.outstanding for store in seen)

    loop.busy.append(busy)
    return loop


class Place:
    """One store whose wall clock is the loop's, so that leases and delays pass as fast as everything else."""

    def __init__(self, url: str, store: Store) -> None:
        self.url = url
        self.store = store
        self._topics: list[Topic] = []

    @classmethod
    async def open(cls, url: str) -> Place:
        return cls(url, await _open(url))

    async def topic(self, name: str = TOPIC) -> Topic:
        """Open a topic; it is closed with the place."""
        topic = await Topic.open(self.store, name)
        self._topics.append(topic)
        return topic

    async def restart(self, name: str = TOPIC) -> Topic:
        """Close everything and open again what is durable; for `memory:` that is all of it."""
        await self._close_topics()
        if self.url != "memory:":
            await self.store.close()
            self.store = await _open(self.url)
        return await self.topic(name)

    async def close(self) -> None:
        await self._close_topics()
        await self.store.close()

    async def _close_topics(self) -> None:
        topics, self._topics = self._topics, []
        for topic in topics:
            await topic.close()


async def _open(url: str) -> Store:
    return await open_store(url, create=True, clock=asyncio.get_running_loop().time)


def now() -> float:
    return asyncio.get_running_loop().time()


async def settle() -> None:
    """Let everything that is under way come to its end."""
    await advance(SOON)


async def publish(topic: Topic, *payloads: str) -> None:
    for payload in payloads:
        await topic.publish(payload.encode())


async def join(host: Subscription, name: str, *, capacity: int = 1000) -> Consumer:
    """A consumer that stays until it is removed or replaced, or everything is closed."""
    return await host.consumer(name, capacity=capacity).__aenter__()


def attach(dispatcher: Dispatcher, name: str, *, capacity: int = 1000) -> Consumer:
    """A consumer of a dispatcher that has no subscription around it."""
    consumer = Consumer(name, capacity=capacity)
    dispatcher.add_consumer(consumer)
    return consumer


async def take(consumer: Consumer) -> Delivery:
    """The next delivery; a test that waits for one that never comes fails."""
    async with asyncio.timeout(PATIENCE):
        return await anext(consumer)


async def take_and_ack(*consumers: Consumer, count: int) -> list[str]:
    """Serve so many messages in turn, whoever gets them; say who got what, as "name:payload"."""
    served: list[str] = []
    while len(served) < count:
        holder = next((consumer for consumer in consumers if consumer.waiting()), None)
        if holder is None:
            await advance(0.1)
            assert now() < PATIENCE, f"only {served} came"
            continue
        delivery = await take(holder)
        served.append(f"{holder.name}:{text(delivery)}")
        assert await delivery.ack() is True
    return served


def text(delivery: Delivery) -> str:
    return delivery.message.payload.decode()


def waiting(*consumers: Consumer) -> list[int]:
    """How many deliveries lie in each box."""
    return [consumer.waiting() for consumer in consumers]


def seats(subject: Subscription | Dispatcher) -> list[str]:
    """Who is attached."""
    return [consumer.name for consumer in subject.status().consumers]


def seat(subject: Subscription | Dispatcher, name: str) -> ConsumerStatus:
    return next(consumer for consumer in subject.status().consumers if consumer.name == name)


def failing(error: Exception) -> Callable[..., Coroutine[Any, Any, Never]]:
    """To stand in for a call of a store."""

    async def fail(*_: object, **__: object) -> Never:
        raise error

    return fail


def outlook(subject: Subscription | Dispatcher) -> Status:
    """Its status without the counts: what a stale answer must leave as it is."""
    return replace(subject.status(), counts=Counts())


def forge(delivery: Delivery, epoch: int = 0, session: int = 0, offset: int = 0, attempt: int = 0) -> Delivery:
    """One that differs by so much."""
    forged = copy(delivery)
    forged.id = tuple(map(sum, zip(delivery.id, (epoch, session, offset, attempt), strict=True)))  # type: ignore[assignment]  # four stay four
    return forged


def placeless(value: object) -> str:
    """The value's repr without its place in memory: the name of a test is the same in each run."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


class Record:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
        self.told.append(("transition", source, trigger, dest, row))

    def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
        self.told.append((name, *arguments))

    def effects(self, *names: str) -> list[tuple[object, ...]]:
        """Those of these names, in order."""
        return [each for each in self.told if each[0] in names]
