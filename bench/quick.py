"""How fast the dispatchers are, as a ratio to a limit measured in the same minute: python bench/quick.py

The limit is two bare asyncio tasks that pass a message and its acknowledgement over two queues: nothing durable, nothing remembered. The rounds are
interleaved, so that a slow minute of the machine slows everything; the median of the rounds counts. Absolute figures say little, ratios much.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

from danube_dispatcher import Consumer, Dispatcher, Message, Topic
from danube_dispatcher.storage.protocols import Spec

PAYLOAD = b"x" * 256
MANY, FEW = 100_000, 3_000
"""Messages a round: where memory sets the pace, and where each message waits for the disk."""
BURST = 64
"""Messages handed to a non-reliable dispatcher before the consumers get a turn, as `Topic.publish` does it."""
NAMES = count()


async def limit() -> int:
    out: asyncio.Queue[bytes] = asyncio.Queue()
    back: asyncio.Queue[int] = asyncio.Queue()

    async def consumer() -> None:
        for _ in range(MANY):
            back.put_nowait(len(await out.get()))

    task = asyncio.create_task(consumer())
    for _ in range(MANY):
        out.put_nowait(PAYLOAD)
        await back.get()
    await task
    return MANY


async def at_once(type: str, consumers: int) -> int:
    make = Dispatcher.non_reliable_shared if type == "shared" else Dispatcher.non_reliable_exclusive
    async with make() as dispatcher:
        boxes = [Consumer(f"c{nth}") for nth in range(consumers)]
        for box in boxes:
            dispatcher.add_consumer(box)

        async def work(box: Consumer) -> None:
            async for _ in box:
                pass

        tasks = [asyncio.create_task(work(box)) for box in boxes]
        for offset in range(MANY):
            dispatcher.dispatch_message(Message(PAYLOAD, offset=offset))
            if offset % BURST == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        counts = dispatcher.status().counts
        assert counts.delivered == MANY, f"{counts.dropped} messages were dropped"
    await asyncio.gather(*tasks)
    return MANY


async def acknowledged(topic: Topic, type: str, consumers: int, messages: int = MANY, *, flush_interval: float | None = None, crashed: bool = False) -> int:
    name, left, done = f"s{next(NAMES)}", messages, asyncio.Event()
    if crashed:  # somebody had the subscription and did not let go
        await topic.store.acquire(topic.name, name, owner="nobody:0", seconds=0.001, new=Spec(type, -1))
        await asyncio.sleep(0.01)
    async with await topic.subscribe(name, type=type, start="earliest", flush_interval=flush_interval) as subscription:

        async def work(worker: str) -> None:
            nonlocal left
            async with subscription.consumer(worker) as consumer:
                async for delivery in consumer:
                    await delivery.ack()
                    left -= 1
                    if left <= 0:
                        done.set()

        tasks = [asyncio.create_task(work(f"w{nth}")) for nth in range(consumers)]
        await done.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return messages


async def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    memory = await Topic.open("memory:", "/bench/topic")
    disk = await Topic.open(f"sqlite:{folder / 'bench.db'}", "/bench/topic")
    async with memory, disk:
        for topic in (memory, disk):
            await topic.publish_many([PAYLOAD] * MANY)
        rows: dict[str, Callable[[], Awaitable[int]]] = {
            "limit": limit,
            "non-reliable exclusive": lambda: at_once("exclusive", 1),
            "non-reliable shared × 4": lambda: at_once("shared", 4),
            "reliable exclusive, memory:": lambda: acknowledged(memory, "exclusive", 1),
            "reliable exclusive, sqlite:": lambda: acknowledged(disk, "exclusive", 1),
            "reliable shared × 4, memory:": lambda: acknowledged(memory, "shared", 4),
            "reliable shared × 4, sqlite:": lambda: acknowledged(disk, "shared", 4),
            "… exclusive, sqlite:, flush_interval=0": lambda: acknowledged(disk, "exclusive", 1, FEW, flush_interval=0),
            "… exclusive, sqlite:, careful": lambda: acknowledged(disk, "exclusive", 1, FEW, crashed=True),
        }
        rates: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(rounds):
            for name, run in rows.items():
                began = time.perf_counter()
                rates[name].append(await run() / (time.perf_counter() - began))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    with tempfile.TemporaryDirectory() as folder:
        rates = asyncio.run(measure(Path(folder), parser.parse_args().rounds))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    lines = [f"{'':40}{'messages/s':>12}{'ratio':>8}{'lowest':>8}{'highest':>8}"]
    for name, median in medians.items():
        ratios = sorted(rate / base for rate, base in zip(rates[name], rates["limit"], strict=True))
        lines.append(f"{name:40}{median:>12,.0f}{median / medians['limit']:>8.2f}{ratios[0]:>8.2f}{ratios[-1]:>8.2f}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
