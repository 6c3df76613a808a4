"""What a process can do to a store, step by step, and how it goes on when a step fails."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sqlite3
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Never

from crash.failing_case import Case, Result, Trouble
from crash.power_worker import POLICY, SAID, STORE, SUBSCRIPTIONS, TOPIC, payload
from danube_dispatcher import Consumer, DanubeError, Delivery, FailurePolicy, NotBlocked, PublishFailed, StoreError, Subscription, SubscriptionOwned, Topic
from danube_dispatcher.clock import LEASE, RENEWAL
from danube_dispatcher.storage.sqlite import SqliteStore, open_sqlite
from danube_dispatcher.storage.sqlite.errors import name_of

SEED = 1
"""Of the payloads."""
RESULT = "result"
"""The file that a case leaves."""
BUSY = 0.01
"""Seconds that a transaction waits for the lock."""
PATIENCE = 300.0
"""Virtual seconds after which a call that has not returned hangs."""
TRIES = 3
"""Beyond the number of failing calls. The first is repeated as it is; before any other the store is opened anew."""


class Refused(Exception):
    """An ack or a nack came back with False."""


class Given(Exception):
    """The case is over."""


class Scenario:
    def __init__(self, disk: Path, words: Path, case: Case) -> None:
        self.path = disk / STORE
        self.case = case
        self.result = Result()
        self._words = words
        self._trouble = Trouble(case, str(self.path))
        self._said = (words / SAID).open("w")
        self._number = 0
        self._released = 0
        self._topic: Topic | None = None
        self._store: SqliteStore | None = None
        self._subscriptions: dict[str, Subscription] = {}
        self._consumers: dict[str, Consumer] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._unhandled)

    async def run(self) -> None:
        with suppress(Given):
            await self._live()
            self._look_around()
        self.end()

    def end(self) -> Never:
        gc.collect()  # a task whose exception nobody has asked for says so when it goes
        self.result.counts = self._trouble.counts()
        (self._words / RESULT).write_text(json.dumps(asdict(self.result)))
        self._said.close()
        os._exit(0)

    # what is done

    async def _live(self) -> None:
        """Each step can be done again after it has failed."""
        await self._step("open a new store", self._open_store)
        await self._step("open a new topic", self._open_topic)
        for name in ("now", "later"):
            await self._step("subscribe anew", partial(self._subscription, name))
        await self._step("publish", self._publish)
        await self._step("publish", self._publish)
        await self._step("publish many", self._publish_many)
        await self._step("publish at once", self._publish_at_once)
        for name in ("now", "later"):
            await self._step("join and read", partial(self._consumer, name))
        for _ in range(2):
            await self._step("ack, durable at once", partial(self._ack, "now"))
            await self._step("ack", partial(self._ack, "later"))
        await self._step("flush", partial(self._flush, "later"))
        for _ in range(POLICY.max_redeliveries + 1):
            await self._step("nack", partial(self._nack, "now"))
        await self._step("ack after a dead letter", partial(self._ack, "now"))
        await self._step("renew", self._renew)
        await self._step("pause", partial(self._pause, "later"))
        await self._step("subscribe anew", partial(self._consumer, "block"))
        for release in (self._release, self._release_from_outside):
            await self._step("nack", partial(self._nack, "block"))
            await self._step("release" if release == self._release else "release from outside", partial(release, "block"))
        await self._step("list", self._list)
        await self._step("unsubscribe", partial(self._unsubscribe, "block"))
        await self._step("close the topic", self._close_topic)
        await self._step("close the store", self._close_store)
        await self._step("open the store", self._open_store)
        await self._step("open the topic", self._open_topic)
        for name in ("now", "later"):
            await self._step("subscribe", partial(self._consumer, name))
        await self._step("publish", self._publish)
        for name in ("now", "later"):
            await self._step("ack", partial(self._ack, name))
        await self._step("close the topic", self._close_topic)
        await self._step("close the store", self._close_store)

    async def _step(self, name: str, call: Callable[[], Awaitable[object]]) -> None:
        for attempt in range(TRIES + self.case.times):
            again = False
            try:
                async with asyncio.timeout(PATIENCE):
                    await call()
            except (DanubeError, Refused) as error:
                self.result.heard.append(type(error).__name__)
                again = attempt == 0 and isinstance(error, StoreError) and not error.permanent
                if isinstance(error, SubscriptionOwned):  # by ourselves: the disk did not let us let go
                    await asyncio.sleep(LEASE)
            except TimeoutError:
                self._give_up(f"{name} hangs: {'; '.join(str(each.explain()) for each in self._subscriptions.values())}")
            except Exception:
                self._give_up(f"{name} raised {traceback.format_exc(limit=-3)}")
            else:
                self._met(name)
                return
            self._met(name)
            if not again:
                await self._open_anew()
        self._give_up(f"{name} does not work again: {self.result.heard}")

    def _met(self, step: str) -> None:
        """Note where the call failed."""
        if not self.result.step and self._trouble.met:
            self.result.step = step
            if self.case.die:
                self.end()

    def _give_up(self, wrong: str) -> Never:
        self.result.wrong.append(wrong)
        self.result.step = self.result.step or "?"
        raise Given

    def _say(self, what: str, subscription: str = "", **figures: Any) -> None:
        self._said.write(json.dumps({"what": what, "subscription": subscription, **figures}) + "\n")
        self._said.flush()

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.result.wrong.append(f"{context['message']}: {context.get('exception')!r}")

    def _look_around(self) -> None:
        """All is closed: what was left lying about?"""
        directory = self.path.parent
        open_files = [os.readlink(each) for each in Path("/proc/self/fd").iterdir() if os.path.lexists(each)]
        self.result.wrong += [f"{name} is still open" for name in open_files if name.startswith(str(directory))]
        if self.case.call != "unlink":
            self.result.wrong += [f"{each.name} was left behind" for each in directory.iterdir() if each.name.startswith(".")]

    # opening and closing

    async def _open_store(self) -> None:
        if self._store is None:
            self._store = await open_sqlite(str(self.path), create=True, clock=self._loop.time, busy=BUSY)
        self._say("opened")

    async def _open_topic(self) -> Topic:
        if self._topic is None:
            await self._open_store()
            assert self._store is not None
            self._topic = await Topic.open(self._store, TOPIC)
        self._say("topic")
        return self._topic

    async def _subscription(self, name: str) -> Subscription:
        if name not in self._subscriptions:
            topic = await self._open_topic()
            policy = FailurePolicy(max_redeliveries=0) if name == "block" else POLICY
            interval = SUBSCRIPTIONS.get(name, 0.0)
            self._subscriptions[name] = await topic.subscribe(name, start="earliest", policy=policy, flush_interval=interval, wait=None)
            self._say("subscribed", name)
        return self._subscriptions[name]

    async def _consumer(self, name: str) -> Consumer:
        if name not in self._consumers:
            subscription = await self._subscription(name)
            self._consumers[name] = await subscription.consumer("c").__aenter__()
        return self._consumers[name]

    async def _close_topic(self) -> None:
        self._consumers.clear()
        names, self._subscriptions = [*self._subscriptions], {}
        topic, self._topic = self._topic, None
        if topic is not None:
            await topic.close()
            for name in names:
                self._say("left", name)

    async def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            await store.close()

    async def _open_anew(self) -> None:
        """As a program would that has got an error which stays."""
        for close in (self._close_topic, self._close_store):
            try:
                await close()
            except DanubeError as error:
                self.result.heard.append(type(error).__name__)
            except Exception:
                self._give_up(f"closing raised {traceback.format_exc(limit=-3)}")

    # publishing

    async def _publish(self) -> None:
        topic = await self._open_topic()
        (number,) = self._numbers(1)
        try:
            offset = await topic.publish(payload(SEED, number))
        except StoreError as error:
            self._refused([number], error)
            raise
        self._say("published", numbers=[number], offset=offset)

    async def _publish_at_once(self) -> None:
        """They share a commit."""
        await self._open_topic()
        answers = await asyncio.gather(*(self._publish() for _ in range(3)), return_exceptions=True)
        for answer in answers:
            if answer is not None:
                raise answer

    async def _publish_many(self) -> None:
        topic = await self._open_topic()
        numbers = self._numbers(5)
        try:
            await topic.publish_many([payload(SEED, number) for number in numbers])
        except PublishFailed as error:
            self._say("published", numbers=numbers[: error.published])
            self._refused(numbers[error.published :], error.__cause__)
            raise
        self._say("published", numbers=numbers)

    def _numbers(self, count: int) -> list[int]:
        self._number += count
        return [*range(self._number - count, self._number)]

    def _refused(self, numbers: list[int], error: BaseException | None) -> None:
        """They are not in, unless the disk has not confirmed them: then nobody knows."""
        cause = error.__cause__ if error is not None else None
        if not (isinstance(cause, sqlite3.Error) and name_of(cause) == "SQLITE_IOERR_FSYNC"):
            self._say("refused", numbers=numbers)

    # consuming

    async def _next(self, name: str) -> Delivery:
        consumer = await self._consumer(name)
        return await anext(consumer)

    async def _ack(self, name: str) -> None:
        delivery = await self._next(name)
        offset = delivery.message.offset
        self._say("acking", name, offset=offset)
        if not await delivery.ack():
            raise Refused
        self._say("acked", name, offset=offset)

    async def _nack(self, name: str) -> None:
        delivery = await self._next(name)
        if not await delivery.nack(reason="unlucky"):
            raise Refused
        self._say("failed", name, offset=delivery.message.offset)

    async def _flush(self, name: str) -> None:
        subscription = await self._subscription(name)
        if not await subscription.dispatcher.flush_progress():
            raise Refused
        self._say("flushed", name, offset=1)

    async def _pause(self, name: str) -> None:
        subscription = await self._subscription(name)
        await subscription.pause()
        await subscription.resume()

    async def _release(self, name: str) -> None:
        subscription = await self._subscription(name)
        await self._settled(name, subscription.release("drop"))

    async def _release_from_outside(self, name: str) -> None:
        """As another process does: it asks the owner, who must be there."""
        await self._subscription(name)
        other = await open_sqlite(str(self.path), create=False, clock=self._loop.time, busy=BUSY)
        try:
            async with await Topic.open(other, TOPIC) as topic:
                await self._settled(name, topic.release(name, "drop"))
        finally:
            await other.close()

    async def _settled(self, name: str, releasing: Awaitable[int]) -> None:
        """One more is; it may be so already, although an earlier try has failed."""
        self._say("acking", name, offset=self._released)
        try:
            await releasing
        except NotBlocked:
            cursor = self._subscriptions[name].status().cursor
            if cursor != self._released:
                raise
        self._released += 1

    async def _unsubscribe(self, name: str) -> None:
        topic = await self._open_topic()
        consumer = self._consumers.pop(name, None)
        if consumer is not None:
            await consumer.__aexit__(None, None, None)
        self._subscriptions.pop(name, None)
        self._say("removing", name)
        await topic.unsubscribe(name)
        self._say("removed", name)

    async def _renew(self) -> None:
        await asyncio.sleep(RENEWAL + 1)

    async def _list(self) -> None:
        topic = await self._open_topic()
        await topic.subscriptions()
