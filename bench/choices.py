"""Which choices bought what: the code as it is beside the code without one of them: `python -m bench.choices`.

A choice is undone by a patch at run time, here and nowhere else: the product has no switches. Each is one registered function. Both sides run in
interleaved rounds in one process, and their best rounds are compared: the figure is how many times as long a message takes without the choice.
Registered in the same way is what was tried and is not in the code: there the figure is how many times as long a message takes with it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import inspect
import linecache
import logging
import os
import sys
import textwrap
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial, partialmethod
from typing import Any, NamedTuple
from unittest.mock import patch

from danube_dispatcher import Delivery, Message, SubscriptionEngine, Topic, consumer
from danube_dispatcher.adapter import ReliableAdapter
from danube_dispatcher.storage.protocols import Batch
from danube_dispatcher.storage.sqlite.log import SqliteLog
from danube_dispatcher.storage.sqlite.writer import Append, Call, Group, Writer
from danube_statemachines import RELIABLE_EXCLUSIVE, Coupling, DeliveryId, Reliable, declaration
from danube_statemachines.inlining import Inliner

from .layers import PAGE, opened
from .ours import NAMES, drain
from .report import put, table
from .rows import Row, study
from .scenarios import PAYLOAD, Result, timed

BEGIN, END = "<!-- begin: choices -->", "<!-- end: choices -->"
MESSAGES, QUICK_MESSAGES = 10_000, 2_000
"""Of a round from a backlog in memory."""
ROUNDS, QUICK_ROUNDS = 9, 5
PUBLISHERS = 100


# the ways of a message; each passes at least so many


async def backlog(topic: Topic, messages: int) -> Result:
    """Deliver and acknowledge what is there."""
    subscription = f"s{next(NAMES)}"
    async with await topic.subscribe(subscription, start="earliest") as opened:
        result = await drain(opened, 1, messages)
    await topic.unsubscribe(subscription)
    return result


async def one_by_one(topic: Topic, messages: int) -> Result:
    """Publish, deliver, acknowledge."""
    subscription = f"s{next(NAMES)}"
    async with await topic.subscribe(subscription) as opened, opened.consumer("c") as box:
        with timed() as result:
            for _ in range(messages):
                await topic.publish(PAYLOAD)
                result.messages += await (await anext(box)).ack()
    await topic.unsubscribe(subscription)
    return result


async def publishing(topic: Topic, messages: int) -> Result:
    """By many publishers, each of whom waits until its message is durable."""
    head = topic.head

    async def publish(number: int) -> None:
        for _ in range(number):
            await topic.publish(PAYLOAD)

    with timed() as result:
        await asyncio.gather(*(publish((messages + nth) // PUBLISHERS) for nth in range(PUBLISHERS)))
    result.messages = topic.head - head
    return result


class Way(NamedTuple):
    """Of a message."""

    title: str
    scheme: str
    run: Callable[[Topic, int], Awaitable[Result]]
    part: int = 1
    """It passes so much less of the messages."""
    disk: bool = False
    """Whether the disk sets the pace, so that the clock counts and not the CPU."""


MEMORY = Way("backlog, memory:", "memory:", backlog)
SQLITE = Way("backlog, sqlite:", "sqlite:", backlog)
DISK = Way("backlog, sqlite:, by the clock", "sqlite:", backlog, 10, True)
LIVE = Way("publish, deliver, ack, memory:", "memory:", one_by_one, 2)
PUBLISH = Way(f"{PUBLISHERS} publishers, sqlite:, by the clock", "sqlite:", publishing, 10, True)


# the choices


class Choice(NamedTuple):
    """`undo` patches the code, so that it is without the choice as long as the context is open; or with what was tried."""

    name: str
    way: Way
    tried: bool
    undo: Callable[[], AbstractContextManager[None]]

    @property
    def why(self) -> str:
        return " ".join((self.undo.__doc__ or "").split())


CHOICES: list[Choice] = []


def choice(name: str, way: Way, *, tried: bool = False) -> Callable[[Callable[[], Generator[None]]], None]:
    """Register a function as a choice; what it says of itself stands in the table."""

    def register(function: Callable[[], Generator[None]]) -> None:
        CHOICES.append(Choice(name, way, tried, contextmanager(function)))

    return register


@contextmanager
def rewritten(owner: type, name: str, old: str, new: str) -> Generator[None]:
    """A method with another text in one place."""
    function = inspect.getattr_static(owner, name)
    text = textwrap.dedent(inspect.getsource(function))
    if text.count(old) != 1:
        raise ValueError(f"{owner.__name__}.{name} has {old!r} {text.count(old)} times, not once; say in bench/choices.py what stands there now")
    scope: dict[str, Any] = {}
    exec(compile(text.replace(old, new), f"<{name} rewritten>", "exec"), function.__globals__, scope)
    with patch.object(owner, name, scope[name]):
        yield


def stock() -> type[Reliable]:
    """The class of the machine as `transitions` alone runs it."""
    events, completion = RELIABLE_EXCLUSIVE.events, RELIABLE_EXCLUSIVE.completion

    def trigger(name: str) -> Callable[[Reliable, object], bool]:
        def run(self: Reliable, value: object) -> bool:
            last = name
            events[last].trigger(self, value)
            while (after := completion.get(self.state, last)) != last:
                last = after
                events[last].trigger(self, value)
            return True

        return run

    lean = RELIABLE_EXCLUSIVE.lean
    attributes = {"__slots__": (), "selection": lean.selection, "variant": lean.variant, **{name: trigger(name) for name in events}}
    return type("Stock", (Reliable,), attributes)


@contextmanager
def written_out(inliner: type[Inliner], **attributes: object) -> Generator[None]:
    """The generated machine, its text made by another inliner."""
    with patch.dict(linecache.cache), patch.object(declaration, "Inliner", inliner):
        lean = RELIABLE_EXCLUSIVE.written_out(observed=False)
    with patch.object(RELIABLE_EXCLUSIVE, "lean", type(lean.__name__, (lean,), {"__slots__": (), **attributes})):
        yield


@choice("generated triggers", MEMORY)
def generated_triggers() -> Generator[None]:
    """Each event is one function written out from the declared table; without, `transitions` looks up and calls each guard and action."""
    with patch.object(RELIABLE_EXCLUSIVE, "lean", stock()):
        yield


@choice("guards and actions inlined", MEMORY)
def inlined() -> Generator[None]:
    """They stand in the generated functions as text; without, each is called."""

    class Calling(Inliner):
        def guard(self, name: str) -> str:
            return f"self.{name}(event)"

        def action(self, name: str) -> list[str]:
            return [f"self.{name}(event)"]

    with written_out(Calling):
        yield


@choice("a delivery's id is a plain tuple", MEMORY)
def plain_tuple() -> Generator[None]:
    """Made once a message; without, it is a NamedTuple."""

    class Named(NamedTuple):
        epoch: int
        session: int
        offset: int
        attempt: int

    class Naming(Inliner):
        def action(self, name: str) -> list[str]:
            return [line.replace("= (self.epoch", "= self.named(self.epoch") for line in super().action(name)]

    with written_out(Naming, named=Named):
        yield


@choice("no observer, no telling", MEMORY)
def no_observer() -> Generator[None]:
    """Only an observed machine tells what it does; without, an observer that does nothing is told of each transition and effect."""

    class Silent:
        def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
            pass

        def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
            pass

    with patch.object(Topic, "subscribe", partialmethod(Topic.subscribe, observer=Silent())):
        yield


@choice("the plain path of catch_up", MEMORY)
def plain_path() -> Generator[None]:
    """A message that is there is taken without asking the engine's core; without, each is polled for."""
    with rewritten(Coupling, "catch_up", "if core.plain and core.buffer:", "if False:"):
        yield


@choice("ack() hands out the coroutine itself", MEMORY)
def ack_is_no_coroutine() -> Generator[None]:
    """Without, ack() is a coroutine that awaits another."""

    async def ack(self: Delivery) -> bool:
        return await self._answers.ack_message(self.id)  # pyright: ignore[reportPrivateUsage]

    with patch.object(Delivery, "ack", ack):
        yield


@choice("one watchdog for all deadlines", MEMORY)
def one_watchdog() -> Generator[None]:
    """A deadline is found late by a timer that is armed already; without, a timer of the loop is armed for each message, and cancelled."""
    send = ReliableAdapter.send
    timers: list[asyncio.TimerHandle] = []

    def timed(self: ReliableAdapter, delivery: DeliveryId) -> None:
        if timers:
            timers.pop().cancel()
        timers.append(asyncio.get_running_loop().call_later(30.0, int))
        send(self, delivery)

    with patch.object(ReliableAdapter, "send", timed):
        yield
    for timer in timers:
        timer.cancel()


@choice("nothing is logged on the path of a message", MEMORY)
def no_log() -> Generator[None]:
    """Without, each delivery is one line to the null device."""
    send, lines = ReliableAdapter.send, logging.getLogger("bench.line")

    def logged(self: ReliableAdapter, delivery: DeliveryId) -> None:
        lines.info("delivered %s", delivery)
        send(self, delivery)

    with open(os.devnull, "w", encoding="utf-8") as null, patch.object(ReliableAdapter, "send", logged):
        handler = logging.StreamHandler(null)
        with patch.object(lines, "handlers", [handler]), patch.object(lines, "propagate", False), patch.object(lines, "level", logging.INFO):
            yield


@choice("the loop gets a turn now and then", MEMORY)
def turns() -> Generator[None]:
    """A consumer takes up to 128 deliveries in a row; without, it yields to the event loop before each."""
    with patch.object(consumer, "TURN", 1), patch.object(consumer, "FIRST_TURN", 1):
        yield


@choice("256 messages are read at once", SQLITE)
def batch() -> Generator[None]:
    """By one query; without, each message is read by one of its own."""
    with patch.dict(SqliteLog.read.__kwdefaults__, messages=1):
        yield


@choice("a batch is fetched in one call", SQLITE)
def one_call() -> Generator[None]:
    """SQLite steps through the rows within one call; without, each row is fetched by one of its own."""
    old = "store.reader.execute(_RUN, (share, first_row + start, first_row + stop)).fetchall()"
    new = "[*iter(store.reader.execute(_RUN, (share, first_row + start, first_row + stop)).fetchone, None)]"
    with rewritten(SqliteLog, "read", old, new):
        yield


@choice("a backlog is read in place", DISK)
def in_place() -> Generator[None]:
    """In the loop's own thread; without, each batch is read in another thread, and the loop is told."""
    read = SqliteLog.read

    def elsewhere(self: SqliteLog, start: int) -> asyncio.Future[Batch]:
        return asyncio.get_running_loop().run_in_executor(None, partial(read, self, start))

    with patch.object(SqliteLog, "read", elsewhere):
        yield


@choice("the position is durable some time later", DISK)
def debounced() -> Generator[None]:
    """A crash repeats a few messages; without (`flush_interval=0`), each ack waits for the disk."""
    with patch.object(Topic, "subscribe", partialmethod(Topic.subscribe, flush_interval=0)):
        yield


@choice("what is published here is handed over", LIVE)
def handed_over() -> Generator[None]:
    """To a subscription that waits for it; without, it is told that there is more, and reads."""
    head_moved = SubscriptionEngine.head_moved

    def moved(self: SubscriptionEngine, messages: Sequence[Message] = ()) -> None:
        head_moved(self)

    with patch.object(SubscriptionEngine, "head_moved", moved):
        yield


@choice("group commit", PUBLISH)
def group_commit() -> Generator[None]:
    """All who wait share one write to the disk; without, each has its own."""

    def alone(self: Writer, job: Append | Call) -> tuple[Group, None, bool]:
        group = Group()
        group.add(job)
        return group, None, False

    with patch.object(Writer, "_gather", alone):
        yield


@choice("a bigger batch, of 1,024", SQLITE, tried=True)
def bigger_batch() -> Generator[None]:
    """A query for more messages at once."""
    with patch.dict(SqliteLog.read.__kwdefaults__, messages=1_024):
        yield


@choice("the adapter puts into the box by itself", MEMORY, tried=True)
def put_inlined() -> Generator[None]:
    """One call less: Consumer.put written out in ReliableAdapter.send."""
    old = "self.boxes[delivery[1]].put(Delivery(self.message, delivery, self))"
    new = "box = self.boxes[delivery[1]]; box._box.append(Delivery(self.message, delivery, self)); box._waiter is None or box._wake()"
    with rewritten(ReliableAdapter, "send", old, new):
        yield


@choice("a step of an ack written out", MEMORY, tried=True)
def step_inlined() -> Generator[None]:
    """Two calls less: begin and run written out in ReliableAdapter.ack_message."""
    old = "    self.run(self.machine.ack, delivery, self.begin())  # as `step` does it\n"
    new = """    if self._port is not None:
        self.check()
    now = self.machine.now = self._clock()
    if now >= self._alarm:
        self._late(now)
    self.machine.ack(delivery)
    if self.asked or self.core.attention:
        self.catch_up(now)
    due_at = self.machine.due_at
    if due_at is not None and due_at < self.armed:
        self._arm(now)
"""
    with rewritten(ReliableAdapter, "ack_message", old, new):
        yield


@choice("a settlement written out", MEMORY, tried=True)
def settle_inlined() -> Generator[None]:
    """One call less: EngineCore.settle written out in ReliableAdapter.settle."""
    old = "    self.core.settle(offset, self.machine.now)  # as super() does, which would cost every message a call\n"
    new = """    core = self.core
    core.cursor = offset
    core._countdown -= 1
    if core._countdown <= 0:
        core._settled(self.machine.now)
"""
    with rewritten(ReliableAdapter, "settle", old, new):
        yield


@choice("an exclusive machine asks nobody who is next", MEMORY, tried=True)
def selection_inlined() -> Generator[None]:
    """One call less: the order after a send, which of a single active consumer is what it was, is not asked of the selection."""

    class Keeping(Inliner):
        def action(self, name: str) -> list[str]:
            return [line for line in super().action(name) if line != "self.roster = self.selection.served(self.roster, session)"]

    with written_out(Keeping):
        yield


@choice("all of these calls less", MEMORY, tried=True)
def all_inlined() -> Generator[None]:
    """The four above together."""
    with ExitStack() as stack:
        for each in CHOICES:
            if each.why.startswith(("One call less", "Two calls less")):
                stack.enter_context(each.undo())
        yield


# measuring


class Figure(NamedTuple):
    """Seconds a message."""

    choice: Choice
    with_it: float
    without: float

    @property
    def factor(self) -> float:
        return self.without / self.with_it


async def compared(messages: int, rounds: int, choices: Sequence[Choice] = CHOICES) -> list[Figure]:
    """The best of interleaved rounds of each choice and of each way as it is, after one that does not count."""
    ways = dict.fromkeys(each.way for each in choices)
    best: dict[Way | Choice, float] = {}

    async def once(subject: Way | Choice, way: Way) -> None:
        number = max(messages // way.part, PUBLISHERS)
        gc.collect()
        result = await way.run(place.topics[way.scheme], number)
        if result.messages < number:
            raise RuntimeError(f"{way.title}: {result.messages} messages passed, not {number}")
        best[subject] = min(best.get(subject, float("inf")), (result.seconds if way.disk else result.cpu) / result.messages)

    async with opened(messages) as place:
        for nth in range(rounds + 1):
            if nth == 1:
                best.clear()
            for way in ways:
                await once(way, way)
            for each in choices:
                with each.undo():
                    await once(each, each.way)
    return [Figure(each, best[each.way], best[each]) for each in choices]


def measured(quick: bool) -> list[Figure]:
    return asyncio.run(compared(QUICK_MESSAGES, QUICK_ROUNDS) if quick else compared(MESSAGES, ROUNDS))


def measure(quick: bool) -> list[Row]:
    return [
        Row(
            f"{'with' if each.choice.tried else 'without'}: {each.choice.name}",
            each.factor,
            "×",
            f"{each.without * 1e6:.2f} µs to {each.with_it * 1e6:.2f} µs a message; {each.choice.way.title}",
        )
        for each in measured(quick)
    ]


def page(figures: Sequence[Figure]) -> str:
    """In Markdown."""

    def of(tried: bool, head: str) -> str:
        rows = [
            [each.choice.name, f"{each.factor:.2f}", f"{each.with_it * 1e6:,.2f}", f"{each.without * 1e6:,.2f}", f"{each.choice.why} ({each.choice.way.title})"]
            for each in figures
            if each.choice.tried == tried
        ]
        return table(("what", f"times as long {head}", "as it is, µs", f"{head}, µs", ""), rows)

    return f"{of(False, 'without')}\n\nTried, and not in the code:\n\n{of(True, 'with')}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Which choices bought what: prints it, and writes the tables of docs/speed.md.")
    parser.add_argument("--quick", action="store_true")
    text = page(measured(parser.parse_args().quick))
    print(text)
    put(PAGE, text, BEGIN, END)


if __name__ == "__main__":
    study(measure) if "--json" in sys.argv else main()
