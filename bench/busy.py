"""Beside a loop that works: what storing and reading cost while a task takes the loop for 5 ms at a time, again and again: `python -m bench.busy`.

Whoever calls SQLite from a thread gives up the GIL with each call and must get it back from the loop, which keeps it for a slice. So it counts how often
that happens before a message is durable.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from danube_dispatcher import Topic

from .rows import Row, study
from .scenarios import PAYLOAD

SLICE = 0.005
"""Seconds of CPU work between two turns of the loop."""
AT_ONCE = 2_000
PUBLISH = "beside 5 ms slices: one durable publish, median"
PUBLISH_LATE = "beside 5 ms slices: one durable publish, p99"
PUBLISH_MANY = "beside 5 ms slices: publish_many(2000), median"
BACKLOG = "beside 5 ms slices: a durable backlog, for each slice"


@asynccontextmanager
async def _slices() -> AsyncIterator[list[int]]:
    """Slices of work, counted, one in each round of the loop."""
    count = [0]

    async def work() -> None:
        while True:
            until = time.perf_counter() + SLICE
            while time.perf_counter() < until:
                pass
            count[0] += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(work())
    try:
        yield count
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _busy(url: str, times: int, rounds: int, backlog: int) -> list[Row]:
    async with await Topic.open(url, "/bench/busy") as topic:
        each: list[float] = []
        many: list[float] = []
        async with _slices():
            await topic.publish(PAYLOAD)
            for _ in range(times):
                began = time.perf_counter()
                await topic.publish(PAYLOAD)
                each.append((time.perf_counter() - began) * 1e3)
            for _ in range(rounds):
                began = time.perf_counter()
                await topic.publish_many([PAYLOAD] * AT_ONCE)
                many.append(time.perf_counter() - began)
        await topic.publish_many([PAYLOAD] * max(0, backlog - topic.head))
        async with await topic.subscribe("s", start="earliest") as subscription, subscription.consumer("c") as consumer, _slices() as slices:
            left = backlog
            async for delivery in consumer:
                await delivery.ack()
                left -= 1
                if not left:
                    break
        per_slice = backlog / max(1, slices[0])
    late = sorted(each)[int(len(each) * 0.99)]
    return [
        Row(PUBLISH, statistics.median(each), "ms", f"of {len(each)}; the quickest {min(each):.2f}, the slowest {max(each):.1f}"),
        Row(PUBLISH_LATE, late, "ms", f"of {len(each)}"),
        Row(PUBLISH_MANY, statistics.median(many), "s", f"of {len(many)}; the slowest {max(many):.3f}"),
        Row(BACKLOG, per_slice, "messages", f"{backlog:,} messages in {slices[0]:,} slices"),
    ]


def measure(quick: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_busy(f"sqlite:{Path(folder) / 'busy.db'}", 100 if quick else 500, 3 if quick else 10, 10_000 if quick else 40_000))


if __name__ == "__main__":
    study(measure)
