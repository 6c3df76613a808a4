"""One round of one scenario in this process, to see how much memory it takes: python -m bench.memory NAME MESSAGES prints bytes."""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import threading
from pathlib import Path

from .scenarios import SERVERS, memory_bytes, scenarios

EVERY = 0.002
"""Seconds between two looks."""


async def growth(name: str, messages: int) -> int:
    """Bytes by which this process and the server grow at most, from when everything is prepared."""
    scenario = next(each for each in scenarios() if each.name == name)
    most, over = 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not over.wait(EVERY):
            most = max(most, memory_bytes(*SERVERS))

    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        async with scenario.open(messages, Path(folder)) as run:
            gc.collect()
            before = memory_bytes(*SERVERS)
            watcher = threading.Thread(target=look)
            watcher.start()
            try:
                await run()
            finally:
                over.set()
                watcher.join()
            return max(most, memory_bytes(*SERVERS)) - before


if __name__ == "__main__":
    print(max(0, asyncio.run(growth(sys.argv[1], int(sys.argv[2])))))
