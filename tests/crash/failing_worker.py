"""Carries out cases under the shim: in each a process does all that can be done to a store, and one call to the disk fails.

A case is a line of JSON on standard input, its result one on standard output. Each runs in a fork, in a directory of its own, under virtual time;
another fork looks afterwards for what was lost (power_check.py).
"""

from __future__ import annotations

import asyncio
import errno
import faulthandler
import gc
import json
import logging
import os
import shutil
import sqlite3
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Never, TypeVar

from crash import power_worker
from crash.power_check import Said, check
from crash.power_worker import POLICY, SAID, STORE, SUBSCRIPTIONS, TOPIC, connect_with, payload
from crash.shim import Failures, Kind
from danube_dispatcher import Consumer, DanubeError, Delivery, FailurePolicy, PublishFailed, StoreError, Subscription, SubscriptionOwned, Topic
from danube_dispatcher.clock import LEASE, RENEWAL
from danube_dispatcher.storage.sqlite import SqliteStore, open_sqlite
from danube_dispatcher.storage.sqlite.errors import name_of
from delivering import store_loop

T = TypeVar("T")

RESULT, LOST = "result", "lost"
SEED = 1
"""Of the payloads."""
BUSY = 0.01
"""Seconds that a transaction waits for the lock."""
PATIENCE = 300.0
"""Virtual seconds after which a call that has not returned hangs."""
LIMIT = 30.0
"""Real seconds after which a case hangs."""
TRIES = 3
"""Beyond the number of failing calls. The first is repeated as it is; before any other the store is opened anew."""


@dataclass
class Case:
    call: str
    """A Kind, or "begin": another connection has the lock."""
    error: str
    """An errno."""
    number: int
    """Which call of its kind fails, from 1; 0: none, they are counted."""
    times: int = 1
    """How many fail in a row."""
    die: bool = False
    """The process ends right after the step that met with it."""
    without: str = ""
    """Statements that begin like that are left out: a mistake, made on purpose."""


@dataclass
class Result:
    step: str = ""
    """What was being done when the call failed; "" when it did not come to that."""
    heard: list[str] = field(default_factory=list)
    """The errors that the caller got."""
    wrong: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """Calls to the disk, by kind."""


class Refused(Exception):
    """An ack or a nack came back with False."""


class Given(Exception):
    """The case is over."""


class Lock:
    """Held by another connection while the transactions of those numbers begin."""

    def __init__(self) -> None:
        self.path = ""
        self.begun = self.met = 0
        self.refused = range(0)

    def begin(self, begin: Callable[[], T]) -> T:
        self.begun += 1
        if self.begun not in self.refused:
            return begin()
        self.met += 1
        other = sqlite3.Connection(self.path, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            return begin()
        finally:
            other.close()


LOCK = Lock()


class Connection(power_worker.Connection):
    checkpoint = 8  # it is moved within the scenario, too
    without = ""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if self.without and sql.startswith(self.without):
            sql = "SELECT 0, 0, 0"
        execute = partial(super().execute, sql, *parameters)
        return LOCK.begin(execute) if sql == "BEGIN IMMEDIATE" else execute()


class Scenario:
    def __init__(self, disk: Path, words: Path, case: Case) -> None:
        self.path = disk / STORE
        self.case = case
        self.result = Result()
        self._words = words
        self._said = (words / SAID).open("w")
        self._shim = Failures()
        self._number = 0
        self._topic: Topic | None = None
        self._store: SqliteStore | None = None
        self._subscriptions: dict[str, Subscription] = {}
        self._consumers: dict[str, Consumer] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._unhandled)

    async def run(self) -> None:
        if self.case.call == "begin":
            LOCK.path, LOCK.refused = str(self.path), range(self.case.number, self.case.number + self.case.times)
            self._shim.count()
        elif self.case.number:
            self._shim.fail(Kind[self.case.call.upper()], self.case.number, getattr(errno, self.case.error), times=self.case.times)
        else:
            self._shim.count()
        with suppress(Given):
            await self._live()
            self._look_around()
        self.end()

    def end(self) -> Never:
        gc.collect()  # a task whose exception nobody has asked for says so when it goes
        self.result.counts = {kind.name.lower(): count for kind, count in self._shim.counts().items()} | {"begin": LOCK.begun}
        (self._words / RESULT).write_text(json.dumps(asdict(self.result)))
        self._said.close()
        os._exit(0)

    # what is done

    async def _live(self) -> None:
        await self._step("open a new store", self._open_store)
        await self._step("open a new topic", self._open_topic)
        for name in ("now", "later"):
            await self._step("subscribe anew", partial(self._subscription, name))
        await self._step("publish", self._publish)
        await self._step("publish", self._publish)
        await self._step("publish many", self._publish_many)
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
        await self._step("nack", partial(self._nack, "block"))
        await self._step("release", partial(self._release, "block"))
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
        if not self.result.step and (self._shim.failed or LOCK.met):
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
        """What was left lying about, all being closed."""
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
        self._say("failed", name, offset=delivery.message.offset, failures=1)

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
        self._say("acking", name, offset=0)  # it may be settled from here on
        await subscription.release("drop")

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


def forked(work: Callable[[], None]) -> int:
    """Run it in a fork; its status, or minus the signal that ended it."""
    child = os.fork()
    if not child:
        try:
            faulthandler.dump_traceback_later(LIMIT, exit=True)
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(3)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Errors(logging.Handler):
    """Keeps what is logged as an error: trouble that passes is a warning."""

    def __init__(self, wrong: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._wrong = wrong

    def emit(self, record: logging.LogRecord) -> None:
        self._wrong.append(f"logged: {record.getMessage()}")


def live(disk: Path, words: Path, case: Case) -> None:
    Connection.without = case.without
    connect_with(Connection)

    async def run() -> None:
        scenario = Scenario(disk, words, case)
        logging.getLogger().addHandler(Errors(scenario.result.wrong))
        await scenario.run()

    with asyncio.Runner(loop_factory=store_loop) as runner:
        runner.run(run())


def look(disk: Path, words: Path, case: Case) -> None:
    said = Said(SEED)
    for line in (words / SAID).read_bytes().splitlines():
        said.hear(line)
    with asyncio.Runner(loop_factory=store_loop) as runner:
        found = runner.run(check(disk, said, Random(case.number)))
    (words / LOST).write_text(json.dumps(found.lost))


def carry_out(disk: Path, words: Path, case: Case) -> Result:
    status = forked(partial(live, disk, words, case))
    if status:
        return Result("?", wrong=[f"the process ended with {status}: it hung, or it crashed"])
    result = Result(**json.loads((words / RESULT).read_text()))
    status = forked(partial(look, disk, words, case))
    result.wrong += json.loads((words / LOST).read_text()) if not status else [f"looking for what was lost ended with {status}"]
    return result


def main() -> None:
    for line in sys.stdin:
        # what is said about a case is no part of its disk
        places = Path(os.environ["SHIM_DIRECTORY"]) / "disk", Path(sys.argv[1]) / "words"
        for place in places:
            place.mkdir()
        print(json.dumps(asdict(carry_out(*places, Case(**json.loads(line))))), flush=True)
        for place in places:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
