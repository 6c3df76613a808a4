"""What ten thousand idle subscriptions in one process cost: memory, CPU, and publishing beside them.

Idle is what follows from the protocol and no more: a look at the store every heartbeat, a renewal of the leases every few seconds. CPU is that of all
threads of the process. Memory is what Python and SQLite's bindings allocated between before and after, collected first.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
import tracemalloc
from pathlib import Path

from danube_dispatcher import Subscription, Topic

from .rows import Row, study

SUBSCRIPTIONS = 10_000
AT_ONCE = 500
"""Subscriptions opened at once, so that they share commits."""
SETTLED = 3.5
"""Seconds after opening until the first renewal has told all there is to tell."""
PUBLISHED = 300
ROUNDS = 5


async def _opened(topic: Topic, count: int) -> list[Subscription]:
    opened: list[Subscription] = []
    for first in range(0, count, AT_ONCE):
        opened += await asyncio.gather(*(topic.subscribe(f"s{nth:05}") for nth in range(first, min(count, first + AT_ONCE))))
    return opened


async def _cpu(seconds: float) -> float:
    """Percent of a core that doing nothing takes."""
    began, used = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    return 100 * (time.process_time() - used) / (time.perf_counter() - began)


async def _publishing(topic: Topic) -> float:
    """Seconds of CPU that a message takes."""
    used = time.process_time()
    for _ in range(PUBLISHED):
        await topic.publish(b"x" * 256)
    return (time.process_time() - used) / PUBLISHED


async def _many(url: str, count: int, seconds: float) -> list[Row]:
    scheme = url.partition(":")[0] + ":"
    busy = await Topic.open(url, "/bench/busy")
    idle = await Topic.open(url, "/bench/idle")
    async with busy, idle:
        await _publishing(busy)
        alone = min([await _publishing(busy) for _ in range(ROUNDS)])
        gc.collect()
        began = time.perf_counter()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        opened = await _opened(idle, count)
        await asyncio.sleep(SETTLED)
        gc.collect()
        each = (tracemalloc.get_traced_memory()[0] - before) / len(opened)
        tracemalloc.stop()
        took = time.perf_counter() - began - SETTLED
        await asyncio.sleep(SETTLED)
        share = await _cpu(seconds)
        beside = min([await _publishing(busy) for _ in range(ROUNDS)])
        detail = f"{count:,} subscriptions, opened in {took:.1f} s"
        return [
            Row(f"an idle subscription, {scheme} memory", each, "bytes", detail),
            Row(
                f"{SUBSCRIPTIONS:,} idle subscriptions, {scheme} CPU",
                share,
                "% of a core",
                f"over {seconds:g} s, with {count:,} of them",
            ),
            Row(
                f"publishing beside them to another topic, {scheme} CPU",
                beside / alone,
                "×",
                f"{beside * 1e6:.0f} µs a message, {alone * 1e6:.0f} µs without them",
            ),
        ]


def measure(quick: bool) -> list[Row]:
    count, seconds = (2_000, 6.0) if quick else (SUBSCRIPTIONS, 24.0)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for url in ("memory:", f"sqlite:{Path(folder) / 'many.db'}"):
            rows += asyncio.run(_many(url, count, seconds))
    return rows


if __name__ == "__main__":
    study(measure)
