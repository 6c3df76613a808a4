"""What should not depend on how much there is: consumers on a subscription, messages in the backlog, attempts of a message.

The figures are ratios of CPU time, the best of interleaved rounds: many to few, so 1 is flat and less is better than flat.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

from danube_dispatcher import FailurePolicy, Subscription, Topic
from danube_dispatcher.storage.protocols import READ_MESSAGES

from .rows import Row, study

FEW, MANY = 1_000, 10_000_000
"""Messages of backlog."""
PAYLOAD = b"x" * 16
SLICE = 20_000
"""Messages of a round."""
ROUNDS = 5
CHUNKS = 32
"""Appends under way while a backlog is made."""
ATTEMPTS = 5
NAMES = count()


def _resident() -> int:
    """Bytes of memory that the process has."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) << 10
    return 0


@asynccontextmanager
async def _workers(subscription: Subscription, consumers: int, each: Callable[[], None]) -> AsyncGenerator[None]:
    async def work(name: str) -> None:
        async with subscription.consumer(name) as consumer:
            async for delivery in consumer:
                await delivery.ack()
                each()

    tasks = [asyncio.create_task(work(f"c{nth}")) for nth in range(consumers)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _drained(topic: Topic, type: str, consumers: int, messages: int = SLICE) -> float:
    """Seconds of CPU that a message of the first ones takes."""
    passed, enough, took = 0, asyncio.Event(), list[float]()
    began = 0.0

    def each() -> None:
        nonlocal passed, began
        passed += 1
        if passed == messages // 10:
            began = time.process_time()
        elif passed == messages:
            enough.set()
            took.append((time.process_time() - began) / (messages - messages // 10))

    async with await topic.subscribe(f"s{next(NAMES)}", type=type, start="earliest") as subscription, _workers(subscription, consumers, each):
        await enough.wait()
    return took[0]


async def _interleaved(ours: Callable[[], Awaitable[float]], limit: Callable[[], Awaitable[float]]) -> tuple[float, float]:
    """The best of each."""
    both: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        gc.collect()
        both.append((await ours(), await limit()))
    return min(one for one, _ in both), min(other for _, other in both)


def _ratio(name: str, many: float, few: float, what: str = "") -> Row:
    return Row(name, many / few, "×", f"{what}{many * 1e6:.2f} µs to {few * 1e6:.2f} µs of CPU, best of {ROUNDS} rounds")


async def _filled(topic: Topic, messages: int) -> None:
    chunk = READ_MESSAGES * CHUNKS
    while topic.head < messages:
        left = min(chunk, messages - topic.head)
        await asyncio.gather(*(topic.publish_many([PAYLOAD] * min(READ_MESSAGES, left - first)) for first in range(0, left, READ_MESSAGES)))


async def _consumers(url: str) -> list[Row]:
    async with await Topic.open(url, "/bench/consumers") as topic:
        await _filled(topic, SLICE)
        rows: list[Row] = []
        for kind, few in (("failover", 1), ("shared", 4)):
            best = await _interleaved(partial(_drained, topic, kind, 64), partial(_drained, topic, kind, few))
            rows.append(_ratio(f"a message to one of 64 consumers, {kind}, to one of {few}", *best))
        return rows


async def _opened(topic: Topic) -> float:
    """Seconds of CPU until a new subscription has its first message."""
    began = time.process_time()
    async with await topic.subscribe(f"s{next(NAMES)}", start="earliest") as subscription, subscription.consumer("c") as consumer:
        await anext(consumer)
        return time.process_time() - began


async def _backlog(url: str, messages: int) -> list[Row]:
    scheme = url.partition(":")[0] + ":"
    drained = min(20 * SLICE, messages)
    async with await Topic.open(url, "/bench/few") as few, await Topic.open(url, "/bench/many") as many:
        await _filled(few, FEW)
        await _filled(many, messages)
        gc.freeze()  # what lies in memory is looked at by every collection, and that is not ours
        opening = await _interleaved(lambda: _opened(many), lambda: _opened(few))
        before = _resident()
        draining = await _interleaved(lambda: _drained(many, "exclusive", 1, FEW), lambda: _drained(few, "exclusive", 1, FEW))
        await _drained(many, "exclusive", 1, drained)
        grown = _resident() - before
        gc.unfreeze()
    what = f"{messages:,} messages and {FEW:,}: "
    return [
        _ratio(f"opening on a long backlog, {scheme} to a short one", *opening, what),
        _ratio(f"a message of a long backlog, {scheme} to one of a short one", *draining, what),
        Row(f"memory that draining takes, {scheme}", grown, "bytes", f"resident; {drained:,} of {messages:,} messages"),
    ]


async def _attempts() -> Row:
    """What it takes to get from a first send to a second, and from the one before the last to the last."""
    spent = [0.0] * ATTEMPTS
    policy = FailurePolicy(redelivery_delay=1e-6, backoff="fixed", max_redeliveries=ATTEMPTS)
    async with await Topic.open("memory:", "/bench/attempts") as topic:
        await _filled(topic, FEW)
        async with await topic.subscribe("s", start="earliest", policy=policy) as subscription, subscription.consumer("c") as consumer:
            began = time.process_time()
            async for delivery in consumer:
                now = time.process_time()
                spent[delivery.attempt - 2] += now - began
                if delivery.attempt == ATTEMPTS:
                    await delivery.ack()
                else:
                    await delivery.nack()
                began = now
                if delivery.message.offset == FEW - 1:
                    break
    return _ratio(f"attempt {ATTEMPTS} of a message to its attempt 2", spent[ATTEMPTS - 2] / FEW, spent[0] / FEW)


def measure(quick: bool) -> list[Row]:
    messages = MANY // 50 if quick else MANY
    rows = [*asyncio.run(_consumers("memory:")), asyncio.run(_attempts())]
    with tempfile.TemporaryDirectory() as folder:
        for url in ("memory:", f"sqlite:{Path(folder) / 'flat.db'}"):
            rows += asyncio.run(_backlog(url, messages))
    return rows


if __name__ == "__main__":
    study(measure)
