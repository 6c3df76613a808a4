"""One process: its loop, its view of the disk, its topics; it publishes and serves every subscription it can get. It lives until it crashes."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import PublishFailed, StoreError
from ..topic import Topic
from ..virtual_time import SECOND
from .disk import DiskStore
from .scenario import PUBLISHED, TOPICS

if TYPE_CHECKING:
    from .world import World

PUBLISHES = 8.0
"""Seconds between two bursts of a process, in the mean."""
BURST = 12
"""Messages in a burst at most."""
BACKLOG = 60
"""Messages that the slowest subscription of a topic may be behind before publishers wait for it."""
EPOCH = 1_700_000_000.0
"""Unix seconds when a simulation begins."""

Work = Callable[["Process"], Coroutine[Any, Any, None]]


class Process:
    """One that runs; each start after a crash is a new one, with a name of its own."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.loop = world.cluster.process(name)
        self.skew = 0.0
        """Seconds that its wall clock is ahead."""
        self.store = DiskStore(world.disk, self.loop, world.faults, self.write, clock=self.wall, dead=lambda: self.loop.dead)
        self.topics: dict[str, Topic] = {}
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it has crashed."""

    def wall(self) -> float:
        return EPOCH + self.world.cluster.now / SECOND + self.skew

    def write(self, what: str, *details: str | int) -> None:
        if not self.loop.dead:  # what is taken apart says nothing any more
            self.world.history.write(self.name, what, *details)

    def start(self, works: Sequence[Work]) -> None:
        self.spawn(self._main(works))

    def spawn(self, work: Coroutine[Any, Any, None]) -> Callable[[], object]:
        """A task of this process; what cancels it. What it raises and nobody expects breaks the simulation."""
        task = self.loop.create_task(work)
        task.add_done_callback(self._ended)
        return task.cancel

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.world.broke(self.name, "".join(traceback.format_exception(error)))

    async def _main(self, works: Sequence[Work]) -> None:
        for name in TOPICS:
            while name not in self.topics:
                try:
                    self.topics[name] = await Topic.open(self.store, name)
                except StoreError:
                    await asyncio.sleep(0.1)
        for work in works:
            self.spawn(work(self))
        await self._publish()

    async def _publish(self) -> None:
        world, random = self.world, self.world.random
        while True:
            await asyncio.sleep(random.expovariate(1 / PUBLISHES))
            topic = random.choice(PUBLISHED)
            if world.faults.calm or world.backlog(topic) > BACKLOG:
                continue
            count = random.randrange(1, BURST + 1) if random.random() < 0.3 else 1
            ids = [world.new_message(topic) for _ in range(count)]
            payloads = [str(each).encode() for each in ids]
            self.write("publishing", topic, ids[0], count)
            try:
                if count == 1:
                    await self.topics[topic].publish(payloads[0])
                else:
                    await self.topics[topic].publish_many(payloads)
            except PublishFailed as error:
                self.write("published", topic, ids[0], error.published)
            except StoreError:
                self.write("published", topic, ids[0], 0)
            else:
                self.write("published", topic, ids[0], count)
