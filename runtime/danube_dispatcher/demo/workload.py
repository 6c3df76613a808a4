"""The work: publishes from where the log ends, opens the four subscriptions, and goes on until everything is processed.

It keeps nothing of its own that a kill could take: what it has done stands in the store and in the records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from danube_statemachines import FailurePolicy

from ..consumer import Consumer
from ..delivery import Delivery
from ..errors import Closed, PublishFailed, SubscriptionOwned
from ..subscription import Subscription
from ..topic import Topic
from .corpus import ROLES, Corpus
from .faults import ConsumerDied, Faults
from .records import Recorder
from .reports import Event, Report, Snapshot, State, Waiting

TOPIC = "/demo/stdlib"
LOOK = 0.1
"""Seconds between two reports."""
CHUNK = 8
"""Messages published at once."""
PACE = 0.025
"""Seconds between two chunks: the live ones should not drop everything."""
LEAD = 8
"""The publisher is ahead of the slower reliable subscription by at most 1/8 of all messages, so that the kill finds it at work."""
FLUSH = 1.0
"""Seconds until a new position is durable; the default of 5 would make for more duplicates after the kill."""
IMPATIENT = FailurePolicy(ack_timeout=0.5, max_redeliveries=50, redelivery_delay=0.1, backoff="fixed")
"""Deadlines of half a second, so that the demo is short; on a machine that busy a message may miss several."""
PATIENT = FailurePolicy(max_redeliveries=50, redelivery_delay=0.1, backoff="fixed")
COMPILERS, LINE_COUNTERS, FILE_COUNTERS = 3, 3, 2
SLOW = 0.01
"""Seconds that the slow worker needs for a message."""
STALL = IMPATIENT.ack_timeout * 1.5
COMES_BACK = 1.0
"""Seconds until a consumer that died joins again."""
SMALL_BOX = 24
SLOW_COUNTER = 0.004


class Workload:
    def __init__(self, store: str, folder: Path, run: int, seed: int, tell: Callable[[Report], None]) -> None:
        self._tell = tell
        self._store = store
        self._corpus = Corpus.load(folder / "corpus.json")
        self._faults = Faults(len(self._corpus.paths), seed)
        self._records = {role: Recorder(folder, role, run) for role in ROLES}
        self._open: dict[str, Subscription] = {}
        self._deliveries: dict[str, tuple[int, float, float]] = {}
        """Of each open subscription: how many there were, when that changed, when it was opened."""
        self._topic: Topic
        self._base = 0

    async def run(self) -> None:
        async with await Topic.open(self._store, TOPIC) as self._topic, AsyncExitStack() as live, asyncio.TaskGroup() as tasks:
            self._base = self._topic.head
            if 0 < self._base < len(self._corpus.paths):
                self._tell(Event(f"the log says how far it was published: going on with message {self._base}"))
            reports = tasks.create_task(self._report())
            for subscription, names, capacity in (
                (await self._subscribe("live-bytes"), ["counter"], SMALL_BOX),
                (await self._subscribe("live-files"), [f"counter-{n + 1}" for n in range(FILE_COUNTERS)], 1000),
            ):
                for name in names:
                    consumer = await live.enter_async_context(subscription.consumer(name, capacity=capacity))
                    tasks.create_task(self._count_live(subscription.name, consumer, slow=capacity == SMALL_BOX))
            publishing = tasks.create_task(self._publish())
            await asyncio.gather(self._compile(tasks), self._count_lines(tasks))
            await publishing
            while any(self._left(subscription) for subscription in self._open.values()):  # noqa: ASYNC110  (nothing tells when all is settled)
                await asyncio.sleep(LOOK / 2)
            reports.cancel()
            self._tell(self._state())
            await self._topic.close()  # which ends the iteration of every consumer

    async def _subscribe(self, role: str, policy: FailurePolicy | None = None) -> Subscription:
        """Open it; wait, and say so, while a dead process has it."""
        kind = ROLES[role]
        options: dict[str, Any] = {"start": "earliest", "policy": policy, "flush_interval": FLUSH} if kind.reliable else {}
        try:
            subscription = await self._topic.subscribe(role, type=kind.type, reliable=kind.reliable, **options)
        except SubscriptionOwned as owned:
            self._tell(Waiting(owned.owner, owned.until))
            subscription = await self._topic.subscribe(role, type=kind.type, reliable=kind.reliable, wait=None, **options)
        self._open[role] = subscription
        now = asyncio.get_running_loop().time()
        self._deliveries[role] = (0, now, now)
        return subscription

    # publishing

    async def _publish(self) -> None:
        messages = len(self._corpus.paths)
        lead = max(CHUNK, messages // LEAD)
        while (head := self._topic.head) < messages:
            room = self._slowest() + lead - head
            if room <= 0:
                await asyncio.sleep(LOOK / 4)
                continue
            upto = min(head + min(CHUNK, room), messages)
            try:
                await self._topic.publish_many([self._corpus.message(number) for number in range(head, upto)])
            except PublishFailed as failed:
                raise failed.__cause__ or failed from None  # how many of this chunk are in, the log will say
            await asyncio.sleep(PACE)

    def _slowest(self) -> int:
        """The next message of the slower reliable subscription; before they are open, where the log ended."""
        cursors = (self._open[role].status().cursor for role, kind in ROLES.items() if kind.reliable and role in self._open)
        nexts = [self._base if cursor is None else cursor + 1 for cursor in cursors]
        return min(nexts) if len(nexts) == sum(kind.reliable for kind in ROLES.values()) else self._base

    # consuming

    async def _compile(self, tasks: asyncio.TaskGroup) -> None:
        subscription = await self._subscribe("compile", PATIENT)
        for n in range(COMPILERS):
            tasks.create_task(self._compiler(subscription, f"compiler-{n + 1}"))

    async def _compiler(self, subscription: Subscription, name: str) -> None:
        while True:
            try:
                async with subscription.consumer(name) as consumer:
                    async for delivery in consumer:
                        await self._compile_one(delivery)
                return
            except ConsumerDied as died:
                successor = subscription.status().active
                self._tell(Event(f"{name} dies, holding {died}; {successor} takes over at once"))
            except Closed:
                return  # everything was done while it was away
            await asyncio.sleep(COMES_BACK)

    async def _compile_one(self, delivery: Delivery) -> None:
        offset = delivery.message.offset
        self._records["compile"].taken(offset, delivery.attempt)
        if offset in self._faults.deaths and delivery.attempt == 1:
            raise ConsumerDied(f"message {offset}")
        await self._process("compile", delivery)
        await asyncio.sleep(0)  # compiling keeps the event loop from everything else: let it have a turn

    async def _count_lines(self, tasks: asyncio.TaskGroup) -> None:
        subscription = await self._subscribe("lines", IMPATIENT)
        for n in range(LINE_COUNTERS):
            tasks.create_task(self._line_counter(subscription, f"worker-{n + 1}", slow=n == LINE_COUNTERS - 1))

    async def _line_counter(self, subscription: Subscription, name: str, *, slow: bool) -> None:
        async with subscription.consumer(name) as consumer:
            async for delivery in consumer:
                offset, first = delivery.message.offset, delivery.attempt == 1
                self._records["lines"].taken(offset, delivery.attempt)
                if first and offset in self._faults.nacks:
                    self._tell(Event(f"{name} says no to message {offset} (nack); it is delivered again"))
                    await delivery.nack(reason="not now")
                    continue
                stalls = first and offset in self._faults.stalls
                if stalls:
                    self._tell(Event(f"{name} stalls on message {offset} for {STALL:g} s; its deadline is {IMPATIENT.ack_timeout:g} s"))
                    await asyncio.sleep(STALL)
                elif slow:
                    await asyncio.sleep(SLOW)
                if not await self._process("lines", delivery) and stalls:
                    self._tell(Event(f"{name} answers for message {offset} after all: too late, ack() says False"))

    async def _process(self, role: str, delivery: Delivery) -> bool:
        """Do the work, write down the result, acknowledge: in this order."""
        message = delivery.message
        result = ROLES[role].measure(message.payload, message.attributes["path"])
        self._records[role].done(message.offset, result)
        return await delivery.ack()

    async def _count_live(self, role: str, consumer: Consumer, *, slow: bool) -> None:
        async for delivery in consumer:
            self._records[role].taken(delivery.message.offset, delivery.attempt)
            await self._process(role, delivery)
            if slow:
                await asyncio.sleep(SLOW_COUNTER)

    # reporting

    @staticmethod
    def _left(subscription: Subscription) -> bool:
        """Whether there is anything left to do."""
        status = subscription.status()
        return status.lag.messages > 0 if status.lag is not None else any(consumer.waiting for consumer in status.consumers)

    async def _report(self) -> None:
        while True:
            self._tell(self._state())
            await asyncio.sleep(LOOK)

    def _state(self) -> State:
        return State(self._topic.head, {role: self._snapshot(subscription) for role, subscription in self._open.items()})

    def _snapshot(self, subscription: Subscription) -> Snapshot:
        status = subscription.status()
        count, latest, opened = self._deliveries[subscription.name]
        if status.counts.delivered != count:
            latest = asyncio.get_running_loop().time()
            self._deliveries[subscription.name] = (status.counts.delivered, latest, opened)
        return Snapshot(
            status.state,
            status.active or next((consumer.name for consumer in status.consumers if consumer.holds is not None), None),
            status.in_flight,
            None if status.lag is None else status.lag.messages,
            status.cursor,
            status.counts.delivered,
            status.counts.redelivered,
            status.counts.dropped,
            latest - opened,
            str(subscription.explain()),
        )
