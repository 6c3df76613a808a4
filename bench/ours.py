"""The dispatchers, with everything on: policies, deadlines, counters, and the durability that each row says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

from danube_dispatcher import Consumer, Dispatcher, Message, Subscription, Topic
from danube_dispatcher.storage.protocols import Spec

from .limits import COMMITS, LIMIT_A, LIMIT_A_TIMED, LIMIT_C, LIMIT_C_SHARED
from .limits_sqlite import GROUP_COMMIT, GROUP_COMMIT_MANY
from .scenarios import FEW, MANY, PAYLOAD, SOME, Group, Result, Run, Survives, scenario, timed

EXCLUSIVE_MEMORY = "reliable exclusive, memory:"
SHARED_MEMORY = "reliable shared × 4, memory:"
EXCLUSIVE_SQLITE = "reliable exclusive, sqlite:"
SHARED_SQLITE = "reliable shared × 4, sqlite:"
AT_ONCE_EXCLUSIVE = "non-reliable exclusive"
AT_ONCE_SHARED = "non-reliable shared × 4"
EACH_ACK = "reliable exclusive, sqlite:, flush_interval=0"
CAREFUL = "reliable exclusive, sqlite:, careful after a crash"
TIMED_MEMORY = "reliable exclusive, memory:, one publisher"
ONE_PUBLISHER = "reliable exclusive, sqlite:, 1 publisher"
MANY_PUBLISHERS = "reliable exclusive, sqlite:, 100 publishers"

BURST = 64
"""Messages handed to a non-reliable dispatcher before the consumers get a turn, as `Topic.publish` does it."""
NAMES = count()
"""All that is in `memory:` is in one store, so names must differ."""


async def drain(subscription: Subscription, consumers: int, messages: int) -> Result:
    """A backlog, each message acknowledged by whoever gets it."""
    left, done = messages, asyncio.Event()

    async def work(name: str) -> None:
        nonlocal left
        async with subscription.consumer(name) as consumer:
            async for delivery in consumer:
                await delivery.ack()
                left -= 1
                if left <= 0:
                    done.set()

    with timed() as result:
        tasks = [asyncio.create_task(work(f"w{nth}")) for nth in range(consumers)]
        await done.wait()
    result.messages = messages - left
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return result


def _backlog(
    name: str, group: Group, url: str, type: str, *, messages: int, limit: str, survives: Survives, flush_interval: float | None = None, crashed: bool = False
) -> None:
    @scenario(name, group, messages=messages, limit=limit, kill=survives, power=survives)
    async def backlog(messages: int, folder: Path) -> AsyncIterator[Run]:
        async with await Topic.open(url.format(folder / "bench.db"), f"/bench/t{next(NAMES)}") as topic:
            await topic.publish_many([PAYLOAD] * messages)

            async def run() -> Result:
                subscription = f"s{next(NAMES)}"
                if crashed:  # somebody had it and did not let go
                    await topic.store.acquire(topic.name, subscription, owner="nobody:0", seconds=0.001, new=Spec(type, -1))
                    await asyncio.sleep(0.01)
                async with await topic.subscribe(subscription, type=type, start="earliest", flush_interval=flush_interval) as opened:
                    result = await drain(opened, 4 if type == "shared" else 1, messages)
                await topic.unsubscribe(subscription)
                return result

            yield run


_backlog(EXCLUSIVE_MEMORY, Group.IN_MEMORY, "memory:", "exclusive", messages=MANY, limit=LIMIT_A, survives=Survives.NOTHING)
_backlog(SHARED_MEMORY, Group.IN_MEMORY, "memory:", "shared", messages=MANY, limit=LIMIT_A, survives=Survives.NOTHING)
_backlog(EXCLUSIVE_SQLITE, Group.BACKLOG, "sqlite:{}", "exclusive", messages=MANY, limit=LIMIT_A, survives=Survives.MESSAGES)
_backlog(SHARED_SQLITE, Group.BACKLOG, "sqlite:{}", "shared", messages=MANY, limit=LIMIT_A, survives=Survives.MESSAGES)
_backlog(EACH_ACK, Group.EACH, "sqlite:{}", "exclusive", messages=FEW, limit=COMMITS, survives=Survives.EVERYTHING, flush_interval=0)
_backlog(CAREFUL, Group.EACH, "sqlite:{}", "exclusive", messages=FEW, limit=COMMITS, survives=Survives.EVERYTHING, crashed=True)


def _at_once(name: str, limit: str, consumers: int) -> None:
    @scenario(name, Group.AT_MOST_ONCE, messages=MANY, limit=limit)
    async def at_once(messages: int, folder: Path) -> AsyncIterator[Run]:
        make = Dispatcher.non_reliable_exclusive if consumers == 1 else Dispatcher.non_reliable_shared
        published = [Message(PAYLOAD, offset=offset) for offset in range(messages)]  # a queue is handed what is there, too

        async def run() -> Result:
            async with make() as dispatcher:
                boxes = [Consumer(f"c{nth}") for nth in range(consumers)]
                for box in boxes:
                    dispatcher.add_consumer(box)

                async def work(box: Consumer) -> int:
                    taken = 0
                    async for _ in box:
                        taken += 1
                    return taken

                tasks = [asyncio.create_task(work(box)) for box in boxes]
                await asyncio.sleep(0)
                with timed() as result:
                    for message in published:
                        dispatcher.dispatch_message(message)
                        if message.offset % BURST == 0:
                            await asyncio.sleep(0)
                    while any(box.waiting() for box in boxes):
                        await asyncio.sleep(0)
            result.messages = sum(await asyncio.gather(*tasks))
            return result

        yield run


_at_once(AT_ONCE_EXCLUSIVE, LIMIT_C, 1)
_at_once(AT_ONCE_SHARED, LIMIT_C_SHARED, 4)


def _publishing(name: str, group: Group, url: str, publishers: int, *, messages: int, limit: str, survives: Survives) -> None:
    """Each publisher waits until its message is in the log before the next; one alone waits for its acknowledgement, too, and is told how long it took."""

    @scenario(name, group, messages=messages, limit=limit, kill=survives, power=survives)
    async def publishing(messages: int, folder: Path) -> AsyncIterator[Run]:
        async with await Topic.open(url.format(folder / "bench.db"), f"/bench/t{next(NAMES)}") as topic:

            async def run() -> Result:
                subscription = f"s{next(NAMES)}"
                acknowledged, began = 0, 0.0
                latencies: list[float] = []
                async with await topic.subscribe(subscription, start="latest") as opened, opened.consumer("worker") as consumer:

                    async def work() -> None:
                        nonlocal acknowledged
                        async for delivery in consumer:
                            await delivery.ack()
                            if publishers == 1:
                                latencies.append(time.perf_counter() - began)
                            acknowledged += 1
                            if acknowledged == messages:
                                return

                    async def publish(number: int) -> None:
                        for _ in range(number):
                            await topic.publish(PAYLOAD)

                    async def one_by_one() -> None:
                        nonlocal began
                        for nth in range(messages):
                            began = time.perf_counter()
                            await topic.publish(PAYLOAD)
                            while acknowledged <= nth:
                                await asyncio.sleep(0)

                    with timed() as result:
                        task = asyncio.create_task(work())
                        await (one_by_one() if publishers == 1 else asyncio.gather(*(publish((messages + nth) // publishers) for nth in range(publishers))))
                        await task
                result.messages, result.latencies = acknowledged, latencies
                await topic.unsubscribe(subscription)
                return result

            yield run


_publishing(TIMED_MEMORY, Group.LATENCY, "memory:", 1, messages=SOME, limit=LIMIT_A_TIMED, survives=Survives.NOTHING)
_publishing(ONE_PUBLISHER, Group.PUBLISHING, "sqlite:{}", 1, messages=FEW, limit=GROUP_COMMIT, survives=Survives.MESSAGES)
_publishing(MANY_PUBLISHERS, Group.PUBLISHING, "sqlite:{}", 100, messages=5 * SOME, limit=GROUP_COMMIT_MANY, survives=Survives.MESSAGES)
