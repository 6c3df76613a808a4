"""One life of a process that publishes and consumes, until it is killed or its time is over. File, locks and kill are real; its clock is virtual."""

from __future__ import annotations

import asyncio
import os
import signal
import traceback
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from crash.journal import Journal
from crash.plants import PLANTS
from crash.points import Killer, arm
from crash.workload import ACK_TIMEOUT, DEAD, TOPIC, Item, Profile, digest, identity_of
from danube_dispatcher import Closed, Consumer, ConsumerReplaced, Delivery, Subscription, Topic
from danube_dispatcher.storage import open_store
from danube_dispatcher.storage.protocols import Batch, Store
from danube_dispatcher.virtual_time import VirtualLoop

STUCK = 60
"""Real seconds after which a life is ended as stuck. The longest take one."""
PATIENCE = 900.0
"""Virtual seconds in which the last life settles everything."""


@dataclass(frozen=True)
class Life:
    number: int
    folder: Path
    seed: str
    begins: float
    """Unix seconds on its clock."""
    lasts: float
    """Virtual seconds until it closes, if nothing kills it before."""
    profiles: tuple[Profile, ...]
    publishes: int
    observed: bool
    """Whether an observer tells which rows are taken; if not, the machine is the lean one that ships."""
    refuses: float
    """The part of deliveries that is answered with a nack."""
    point: str | None
    nth: int
    last: bool = False
    """It publishes nothing, and ends when everything is settled."""
    plant: str | None = None

    @property
    def url(self) -> str:
        return f"sqlite:{self.folder / 'store.db'}"

    @property
    def journal(self) -> Path:
        return self.folder / "journal"


def live(life: Life) -> None:
    """What the child does. It never returns."""
    signal.alarm(STUCK)
    loop = VirtualLoop()
    code = 1
    try:
        asyncio.set_event_loop(loop)
        journal = Journal(life.journal, lambda: life.begins + loop.time())
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(Alive(life, loop, journal).run())
            code = 0
        except BaseException as error:
            journal("error", "".join(traceback.format_exception(error))[-2000:])
    finally:
        os._exit(code)


class Tenure:
    """One ownership of one subscription."""

    def __init__(self, profile: Profile, subscription: Subscription) -> None:
        self.profile = profile
        self.subscription = subscription
        self.closing = False


class Alive:
    def __init__(self, life: Life, loop: VirtualLoop, journal: Journal) -> None:
        self.life = life
        self.loop = loop
        self.journal = journal
        self.chance = Random(life.seed)
        self.killer = Killer(life.point, life.nth, journal)
        self.tenures: dict[str, Tenure] = {}
        self.ending = False
        self.rows: set[tuple[str, int]] = set()
        loop.limit = 10 * PATIENCE

    async def run(self) -> None:
        arm(self.killer, self.journal)
        if self.life.plant is not None:
            PLANTS[self.life.plant]()
        self.journal("born", self.life.number)
        store = await open_store(self.life.url, create=True, clock=lambda: self.life.begins + self.loop.time())
        self.loop.busy.append(lambda: store.outstanding > 0)
        topic = await Topic.open(store, TOPIC)
        rows = [[row.subscription, row.progress.cursor, row.owner] for row in await store.rows(TOPIC)]
        self.journal("opened", topic.head, rows)
        tasks = await self._work(topic)
        self.killer("topic close before")
        await topic.close()
        self.killer("topic close after")
        for name in self.tenures:
            self.journal("closed", name)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        if self.life.last:
            await self._audit(store)
        await store.close()
        self.journal("ended")

    async def _work(self, topic: Topic) -> list[asyncio.Task[None]]:
        tasks = [asyncio.ensure_future(self._stay(self._serve(topic, profile))) for profile in self.life.profiles]
        if self.life.publishes:
            tasks += [asyncio.ensure_future(self._stay(self._publish(topic, number))) for number in range(self.chance.choice((1, 1, 2)))]
        if self.life.last:
            await self._settled(tasks)
        else:
            await asyncio.wait(tasks, timeout=self.life.lasts, return_when=asyncio.FIRST_EXCEPTION)
        self.ending = True
        under_their_hands = self.chance.random() < 0.5
        for name in [profile.name for profile in self.life.profiles] if under_their_hands else self.tenures:
            self.journal("closing", name)
        if not under_their_hands:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        return tasks

    async def _stay(self, work: Coroutine[Any, Any, None], tenure: Tenure | None = None) -> None:
        """Its errors are this life's, but for those of what closes under it."""
        try:
            await work
        except* Closed:
            if not self.ending and (tenure is None or not tenure.closing):
                raise

    async def _settled(self, tasks: list[asyncio.Task[None]]) -> None:
        until = self.loop.time() + PATIENCE
        while len(self.tenures) < len(self.life.profiles) or any(each.subscription.explain().code != "end" for each in self.tenures.values()):
            done, _ = await asyncio.wait(tasks, timeout=0.5, return_when=asyncio.FIRST_EXCEPTION)
            if done:
                return
            if self.loop.time() > until:
                self.journal("stuck", [f"{name}: {each.subscription.explain()}" for name, each in self.tenures.items()])
                return

    async def _audit(self, store: Store) -> None:
        """Everything that is stored, once all is settled."""
        for name in (TOPIC, DEAD):
            if name not in await store.topics():
                continue
            log = await store.topic(name, create=False)
            start = 0
            while start < log.head:
                batch = log.read(start)
                assert isinstance(batch, Batch)
                for message in batch.messages:
                    origin = [message.attributes.get(f"x-original-{part}") for part in ("topic", "subscription", "topic-offset")]
                    self.journal("stored", name, message.offset, identity_of(message), digest(message), origin)
                start = batch.next_offset
        self.journal("rows", [[row.subscription, row.progress.cursor, row.owner] for row in await store.rows(TOPIC)])

    # publishing

    async def _publish(self, topic: Topic, publisher: int) -> None:
        count = self.life.publishes
        sent = 0
        while sent < count:
            many = self.chance.choice((1, 1, 1, 2, 5))
            messages = [Item.of(f"{self.life.seed}.{publisher}.{sent + each}").message for each in range(many)]
            sent += many
            names = [identity_of(message) for message in messages]
            self.journal("publish", names)
            if many == 1:
                message = messages[0]
                self.journal("published", names, [await topic.publish(message.payload, key=message.key, attributes=message.attributes)])
            else:
                assert await topic.publish_many(messages) == many
                self.journal("published", names, [])
            if self.chance.random() < 0.5:
                await asyncio.sleep(self.chance.uniform(0, 2 * self.life.lasts / count))

    # consuming

    async def _serve(self, topic: Topic, profile: Profile) -> None:
        observer = self if self.life.observed else None
        while True:
            self.journal("subscribe", profile.name)
            subscription = await topic.subscribe(
                profile.name,
                type=profile.type,
                start="earliest",
                policy=profile.policy,
                rate_limit=profile.rate_limit,
                flush_interval=profile.flush_interval,
                wait=None,
                observer=observer,
            )
            self.journal("owned", profile.name)
            tenure = self.tenures[profile.name] = Tenure(profile, subscription)
            if not self.life.last and self.chance.random() < 0.1:
                await subscription.pause()
                await asyncio.sleep(1.0)
            if subscription.explain().code == "paused":  # by this life or by one before
                await subscription.resume()
            async with asyncio.TaskGroup() as group:
                consumers = [group.create_task(self._stay(self._consume(tenure, name), tenure)) for name in profile.consumers]
                await self._watch(tenure)
                tenure.closing = True
                self.journal("closing", profile.name)
                await subscription.close()
                for task in consumers:
                    task.cancel()
            self.journal("closed", profile.name)
            del self.tenures[profile.name]

    async def _watch(self, tenure: Tenure) -> None:
        """Let go what is blocked, take over from a consumer now and then, until it is time to close for a change."""
        leaves = self.chance.uniform(0, 8 * self.life.lasts) if not self.life.last else float("inf")
        until = self.loop.time() + leaves
        while self.loop.time() < until:
            await asyncio.sleep(0.5)
            why = tenure.subscription.explain().code
            if why == "blocked":
                offset = tenure.subscription.status().cursor
                assert offset is not None
                actions = ("drop", "retry") if tenure.profile.policy.dead_letter_topic is None else ("drop", "dead_letter", "retry")
                action = self.chance.choice(actions)
                self.journal("release", tenure.profile.name, offset + 1, action)
                await tenure.subscription.release(action)
                self.journal("released", tenure.profile.name, offset + 1, action)
            elif why == "paused":
                await tenure.subscription.resume()
            elif self.chance.random() < 0.02 and not self.life.last:
                self.journal("intrude", tenure.profile.name)
                async with tenure.subscription.consumer(self.chance.choice(tenure.profile.consumers)):
                    await asyncio.sleep(0.3)

    async def _consume(self, tenure: Tenure, name: str) -> None:
        while True:
            consumer = tenure.subscription.consumer(name)
            try:
                async with consumer:
                    if not await self._take(tenure, name, consumer):
                        return
            except ConsumerReplaced:
                pass
            await asyncio.sleep(0.1)

    async def _take(self, tenure: Tenure, name: str, consumer: Consumer) -> bool:
        """Serve one consumer until it leaves (True) or is at its end."""
        async for delivery in consumer:
            self.killer("take before")
            message = delivery.message
            identity = identity_of(message)
            self.journal("took", tenure.profile.name, name, message.offset, delivery.attempt, identity, digest(message))
            self.killer("take after")
            item = Item.of(identity)
            if item.deadly_to == tenure.profile.name:
                self.killer.kill("deadly")
            if not await self._answer(tenure, name, delivery, bad=item.bad_for == tenure.profile.name):
                return True
        return False

    async def _answer(self, tenure: Tenure, name: str, delivery: Delivery, *, bad: bool) -> bool:
        """Do something with a delivery; False: the consumer leaves."""
        journal, whose, offset = self.journal, tenure.profile.name, delivery.message.offset
        what = 1.0 if self.life.last else self.chance.random()
        if bad or (not self.life.last and self.chance.random() < self.life.refuses):
            await self._nack(tenure, delivery)
        elif what < 0.03:
            journal("stall", whose, offset)
            longer = self.chance.random() < 0.3  # so long that what comes meanwhile expires in the box
            await asyncio.sleep((3.5 if longer else 1.1) * ACK_TIMEOUT)
            await self._ack(tenure, delivery, "late")
            return not longer
        elif what < 0.06:
            journal("leave", whose, offset)
            return False
        elif what < 0.09:
            journal("replace", whose, offset)
            async with tenure.subscription.consumer(name) as again:
                await self._ack(tenure, delivery, "late")
                return await self._take(tenure, name, again)
        else:
            if what < 0.12:
                await asyncio.sleep(0.8 * ACK_TIMEOUT)  # it may have been in the box for half a second
                journal("extended", whose, offset, await delivery.extend(ACK_TIMEOUT))
                await asyncio.sleep(0.8 * ACK_TIMEOUT)
            elif what < 0.3:
                await asyncio.sleep(self.chance.uniform(0, 0.5))
            await self._ack(tenure, delivery, "prompt")
            if what < 0.13:
                await self._ack(tenure, delivery, "late")
            elif what < 0.14:
                journal("repeated", whose, offset, await delivery.nack(), await delivery.extend(1.0))
            elif what < 0.16:
                journal("flush", whose)
                journal("flushed", whose, await tenure.subscription.dispatcher.flush_progress())
        return True

    async def _ack(self, tenure: Tenure, delivery: Delivery, kind: str) -> None:
        what = (tenure.profile.name, delivery.message.offset, delivery.attempt, kind)
        self.journal("ack", *what)
        self.killer("ack before")
        counted = await delivery.ack()
        self.killer("ack after")
        self.journal("acked", *what, counted)

    async def _nack(self, tenure: Tenure, delivery: Delivery) -> None:
        what = (tenure.profile.name, delivery.message.offset, delivery.attempt)
        self.journal("nack", *what)
        self.killer("nack before")
        counted = await delivery.nack(reason="refused")
        self.killer("nack after")
        self.journal("nacked", *what, counted)

    # observing

    def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
        if (machine, row) not in self.rows:
            self.rows.add((machine, row))
            self.journal("row", machine, row)

    def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
        pass
