"""`demo --browser`: the four dispatchers at a pace that eyes can follow, on a page in the browser, with failures, until Ctrl-C.

A message names a source file, and the consumers do with it what they do in the other demo. What goes wrong is the same for the same seed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from itertools import count, cycle

from danube_statemachines import FailurePolicy

from ..delivery import Delivery
from ..errors import NotBlocked
from ..live import LivePage
from ..subscription import Subscription
from ..topic import Topic
from .corpus import ROLES, Corpus
from .faults import ConsumerDied

TOPIC, DEAD_LETTERS = "/demo/files", "/demo/dead-letters"
EVERY = 0.7
"""Seconds between two messages."""
LEAD = 10
"""Messages that the slower reliable subscription may lag behind: publishing waits for it."""
WORK = 0.35
"""Seconds that a message takes; for the one consumer with a small box, four times as many."""
SMALL_BOX = 3
STALL = 3.0
"""Seconds for which a worker that stalls does nothing: longer than its deadline."""
AWAY = 4.0
"""Seconds until a consumer that died or went is back."""
SHIFT = 5
"""Live messages after which a counter goes."""
BLOCKED = 4.0
"""Seconds until somebody comes and lets a blocked message go."""
POLICIES = {
    "compile": FailurePolicy(ack_timeout=8.0, max_redeliveries=1, redelivery_delay=1.5, backoff="fixed"),
    "lines": FailurePolicy(ack_timeout=STALL * 2 / 3, max_redeliveries=2, redelivery_delay=1.0, poison_policy="dead_letter", dead_letter_topic=DEAD_LETTERS),
}
FATES: Mapping[str, Mapping[str, int]] = {
    "compile": {"is done": 84, "its consumer dies": 8, "is poison": 8},
    "lines": {"is done": 78, "is refused": 8, "stalls": 7, "is poison": 7},
}
"""What becomes of a message, and how many of a hundred."""
CONSUMERS = {"compile": ["compiler-1", "compiler-2", "compiler-3"], "lines": ["worker-1", "worker-2", "worker-3"]}


async def show(store: str, corpus: Corpus, seed: int, port: int) -> int:
    """Run it for ever. Raises UsageError without the extra `diagrams`, or when the port is taken."""
    async with await Topic.open(store, TOPIC) as topic, await LivePage.open(port=port) as page:
        subscriptions = await subscribe(topic)
        for role, subscription in subscriptions.items():
            page.watch(subscription, name=role)
        print(f"All four dispatchers at work: {page.url} (Ctrl-C ends it)", flush=True)
        await Show(topic, subscriptions, corpus, seed).run()
    return 0


async def subscribe(topic: Topic) -> dict[str, Subscription]:
    return {role: await topic.subscribe(role, type=kind.type, reliable=kind.reliable, policy=POLICIES.get(role)) for role, kind in ROLES.items()}


class Show:
    def __init__(self, topic: Topic, subscriptions: Mapping[str, Subscription], corpus: Corpus, seed: int) -> None:
        self._topic = topic
        self._subscriptions = subscriptions
        self._corpus = corpus
        self._seed = seed

    async def run(self) -> None:
        at = self._subscriptions
        workers = [self._work(at[role], name) for role, names in CONSUMERS.items() for name in names]
        counters = [self._count(at["live-files"], f"counter-{n + 1}") for n in range(2)]
        await asyncio.gather(*workers, *counters, self._count_slowly(at["live-bytes"]), self._operate(at["compile"]), self._publish())

    async def _publish(self) -> None:
        for path in cycle(self._corpus.paths):
            while self._lag() >= LEAD:  # noqa: ASYNC110  (nothing tells when a message is settled)
                await asyncio.sleep(EVERY)
            await self._topic.publish(path.encode())
            await asyncio.sleep(EVERY)

    def _lag(self) -> int:
        """Of the slower reliable subscription."""
        lags = [subscription.status().lag for subscription in self._subscriptions.values()]
        return max(lag.messages for lag in lags if lag is not None)

    async def _operate(self, subscription: Subscription) -> None:
        """Somebody who looks now and then, and drops what blocks."""
        while True:
            await asyncio.sleep(BLOCKED)
            with suppress(NotBlocked):
                await subscription.release("drop")

    def _measure(self, role: str, delivery: Delivery) -> str:
        path = delivery.message.payload.decode()
        return ROLES[role].measure((self._corpus.root / path).read_bytes(), path)

    # the reliable ones

    async def _work(self, subscription: Subscription, name: str) -> None:
        while True:
            with suppress(ConsumerDied):
                async with subscription.consumer(name) as consumer:
                    async for delivery in consumer:
                        await self._meet_fate(subscription.name, delivery)
            await asyncio.sleep(AWAY)

    async def _meet_fate(self, role: str, delivery: Delivery) -> None:
        first = delivery.attempt == 1
        fate = self._fate(role, delivery.message.offset)
        await asyncio.sleep(WORK)
        if fate == "its consumer dies" and first:
            raise ConsumerDied
        if fate == "is poison" or (fate == "is refused" and first):
            await delivery.nack(reason=f"{delivery.message.payload.decode()} {fate}")
            return
        if fate == "stalls" and first:
            await asyncio.sleep(STALL)
        self._measure(role, delivery)
        await delivery.ack()

    def _fate(self, role: str, offset: int) -> str:
        fates = FATES[role]
        return random.Random(f"{self._seed} {role} {offset}").choices([*fates], [*fates.values()])[0]

    # the live ones

    async def _count(self, subscription: Subscription, name: str) -> None:
        """In shifts: now and then nobody is there."""
        while True:
            async with subscription.consumer(name) as consumer:
                done = count(1)
                async for delivery in consumer:
                    self._measure(subscription.name, delivery)
                    if next(done) == SHIFT:
                        break
            await asyncio.sleep(AWAY)

    async def _count_slowly(self, subscription: Subscription) -> None:
        async with subscription.consumer("counter", capacity=SMALL_BOX) as consumer:
            async for delivery in consumer:
                self._measure(subscription.name, delivery)
                await asyncio.sleep(4 * WORK)
