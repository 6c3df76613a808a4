"""The ways that a message can take, each walked by as many as are wanted. What is not on the way, opening and closing, is not counted."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from unittest.mock import patch

from danube_dispatcher import Consumer, Dispatcher, Message, Topic
from danube_dispatcher.storage.sqlite.turns import Turns
from danube_dispatcher.virtual_time import VirtualLoop
from delivering import store_loop
from performance.counting import MESSAGES, WARM, Probe, Window

PAYLOAD = b"x" * 256
BURST = 64
"""Messages handed to a non-reliable dispatcher before the consumers get a turn, as `Topic.publish` does it."""

Walk = Callable[[Window, Path], Coroutine[Any, Any, None]]


async def _take(consumer: Consumer, window: Window) -> None:
    async for _ in consumer:
        window.passed()


async def _acknowledge(consumer: Consumer, window: Window) -> None:
    async for delivery in consumer:
        if window.over:
            return
        assert await delivery.ack()
        window.passed()


def _reliable(url: str, type: str, consumers: int) -> Walk:
    async def walk(window: Window, folder: Path) -> None:
        async with await Topic.open(url.format(folder / "path.db"), "/test/path") as topic:
            await topic.publish_many([PAYLOAD] * (2 * (WARM + MESSAGES)))
            async with await topic.subscribe("s", type=type, start="earliest") as subscription, asyncio.TaskGroup() as group:
                for nth in range(consumers):
                    consumer = await subscription.consumer(f"c{nth}").__aenter__()
                    group.create_task(_acknowledge(consumer, window))

    return walk


def _non_reliable(make: Callable[[], Dispatcher], consumers: int) -> Walk:
    async def walk(window: Window, folder: Path) -> None:
        async with make() as dispatcher:
            boxes = [Consumer(f"c{nth}") for nth in range(consumers)]
            async with asyncio.TaskGroup() as group:
                for box in boxes:
                    dispatcher.add_consumer(box)
                    group.create_task(_take(box, window))
                offset = 0
                while not window.over:
                    assert dispatcher.dispatch_message(Message(PAYLOAD, offset=offset)) == "sent"
                    offset += 1
                    if offset % BURST == 0:
                        await asyncio.sleep(0)
                await dispatcher.disconnect_all_consumers()

    return walk


def never(turns: Turns) -> bool:
    """A loop that is not busy, whatever the clock says of it."""
    return False


def _publish(url: str) -> Walk:
    async def walk(window: Window, folder: Path) -> None:
        async with await Topic.open(url.format(folder / "path.db"), "/test/path") as topic:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            asked, loop.busy[:] = loop.busy[:], [lambda: True]  # without asking the store, as often as the loop happens to wait for it
            with patch.object(Turns, "busy", never):
                while not window.over:
                    await topic.publish(PAYLOAD)
                    window.passed()
            loop.busy[:] = asked

    return walk


PATHS: dict[str, Walk] = {
    "reliable exclusive, memory:": _reliable("memory:", "exclusive", 1),
    "reliable exclusive, sqlite:": _reliable("sqlite:{}", "exclusive", 1),
    "reliable shared by 4, memory:": _reliable("memory:", "shared", 4),
    "non-reliable exclusive": _non_reliable(Dispatcher.non_reliable_exclusive, 1),
    "non-reliable shared by 4": _non_reliable(Dispatcher.non_reliable_shared, 4),
    "publish, memory:": _publish("memory:"),
    "publish, sqlite:": _publish("sqlite:{}"),
}


def walk(name: str, probe: Probe, folder: Path) -> None:
    """Take one of them."""
    gc.collect()  # what ends when it is collected calls functions, too
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=store_loop) as runner:
            runner.run(PATHS[name](Window(probe), folder))
    finally:
        probe.stop()  # also of a walk that did not come so far
        gc.enable()
