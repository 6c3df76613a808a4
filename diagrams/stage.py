"""Where stories are played: processes with loops of their own on one disk, under virtual time, as in the simulation.

What is written down is what can be seen from outside: what an observer is told, the calls of the store and their answers, what people call and what they
are told. Nothing is said here about what the dispatcher will do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from random import Random
from typing import Any, TypeVar

from danube_dispatcher import Consumer, DanubeError, Delivery, Subscription, Topic
from danube_dispatcher.sequence import Recorder
from danube_dispatcher.sequence.elements import LETTERS, MACHINE, PUBLISHER, STORE, Arrow, Element, End, Note
from danube_dispatcher.sequence.words import held_words
from danube_dispatcher.session import abandon
from danube_dispatcher.simulation.cluster import Cluster
from danube_dispatcher.simulation.disk import Disk, DiskStore
from danube_dispatcher.simulation.rates import Faults
from danube_dispatcher.storage.protocols import Lease, Occupied, Spec
from danube_dispatcher.virtual_time import SECOND
from danube_statemachines import Progress

T = TypeVar("T")

TOPIC, DEAD = "/default/orders", "/default/dead"
SUBSCRIPTION = "billing"
LONGEST = 600.0
"""Seconds that a story may take."""

Script = Callable[["Stage"], Coroutine[Any, Any, None]]


def order(offset: int) -> str:
    """What a message is called: the first one is order 1."""
    return f"order {offset + 1}"


def play(script: Script) -> list[Element]:
    """What is seen of a story. Raises RuntimeError if it comes to no end."""
    stage = Stage()
    stage.home.call_later(LONGEST, stage.give_up)
    stage.cluster.run(stage.home, script(stage))
    if stage.cluster.stopped or stage.cluster.strays:
        raise RuntimeError(f"the story comes to no end, or to a bad one: {stage.cluster.strays}")
    return stage.story


class Stage:
    def __init__(self) -> None:
        self.cluster = Cluster(abandon)
        self.home = self.cluster.process("stage")
        self.story: list[Element] = []
        self._disk: Disk | None = None

    @property
    def disk(self) -> Disk:
        if self._disk is None:
            self._disk = Disk()  # needs a running loop
        return self._disk

    def now(self) -> float:
        return self.cluster.now / SECOND

    def give_up(self) -> None:
        self.cluster.stopped = True

    async def process(self, name: str = MACHINE, *, engine: str | None = None, renewals: bool = False) -> Process:
        """One that has the topic open. It is drawn as one participant, unless its engine has a name of its own."""
        process = Process(self, name, engine or name, renewals)
        await process.does(process.open())
        return process


class Process:
    def __init__(self, stage: Stage, name: str, engine: str, renewals: bool) -> None:
        self.stage = stage
        self.name = name
        self.engine = engine
        self.renewals = renewals
        self.loop = stage.cluster.process(name)
        self.recorder: Recorder
        self.watched = False
        """Whether the story has begun for it."""
        self.topic: Topic
        self.subscription: Subscription
        self._store = Witness(self)
        self._people: list[Person] = []

    def does(self, work: Coroutine[Any, Any, T]) -> Awaitable[T]:
        """Something is done in this process."""
        home: asyncio.Future[T] = self.stage.home.create_future()

        def done(task: asyncio.Task[T]) -> None:
            error = task.exception()
            if error is None:
                home.set_result(task.result())
            else:
                home.set_exception(error)

        self.loop.create_task(work).add_done_callback(done)
        return home

    def see(self, element: Element) -> None:
        if self.watched:
            self.recorder.write(element)

    async def open(self) -> None:
        self.recorder = Recorder(machine=self.name, engine=self.engine, named=order, story=self.stage.story, began=0.0)
        self.topic = await Topic.open(self._store, TOPIC)

    async def subscribe(self, *, opening: bool = True, **arguments: Any) -> None:
        """From now on it is watched; without the `opening`, once that is done."""
        self.watched = opening
        self._say_what_there_is()
        self.subscription = await self.does(self.topic.subscribe(SUBSCRIPTION, start="earliest", observer=self.recorder, **arguments))
        self.watched = True
        self._say_what_there_is()

    def _say_what_there_is(self) -> None:
        if not self.stage.story and self.topic.head:
            self.see(Note((STORE,), f"the log holds {', '.join(map(order, range(self.topic.head)))}"))

    async def join(self, name: str) -> Person:
        person = Person(self, self.subscription.consumer(name))
        self._people.append(person)
        await self.does(person.join())
        return person

    def written(self) -> Awaitable[None]:
        """Until the position has been written once more."""
        self._store.writing = self.stage.home.create_future()
        return self._store.writing

    async def publish(self, *payloads: str) -> None:
        for payload in payloads:
            await self.does(self.topic.publish(payload.encode()))

    def crash(self) -> None:
        """It is gone: nothing in it runs any more."""
        self.see(End((*(person.name for person in self._people), self.name), "the process is killed"))
        self.stage.cluster.kill(self.loop)

    def stall(self) -> None:
        self.see(Note((self.name,), "the process stands still"))
        self.stage.cluster.stall(self.loop)

    def resume(self) -> None:
        self.see(Note((self.name,), "the process goes on"))
        self.stage.cluster.resume(self.loop)


class Person:
    """Whoever stands behind a consumer."""

    def __init__(self, process: Process, consumer: Consumer) -> None:
        self.name = consumer.name
        self._process = process
        self._consumer = consumer
        process.recorder.consumers.append(consumer)

    async def join(self) -> None:
        self._process.recorder.calls(self.name)
        await self._consumer.__aenter__()

    async def leave(self, error: Exception | None = None) -> None:
        """With an error, as one that its handler raises."""
        return await self._process.does(self._leave(error))

    async def _leave(self, error: Exception | None) -> None:
        if error is not None:
            self._process.see(Note((self.name,), f"handler raises {type(error).__name__}"))
        self._process.recorder.calls(self.name)
        await self._consumer.__aexit__(None if error is None else type(error), error, None)

    async def take(self) -> Delivery:
        return await self._process.does(self._take())

    async def _take(self) -> Delivery:
        try:
            delivery = await anext(self._consumer)
        except DanubeError as error:
            self._told(type(error).__name__)
            raise
        self._process.see(Note((self.name,), f"works on {_named(delivery)}"))
        return delivery

    async def ack(self, delivery: Delivery) -> bool:
        return await self._process.does(self._answer(delivery.ack(), _named(delivery)))

    async def nack(self, delivery: Delivery, reason: str, delay: float | None = None) -> bool:
        wish = "" if delay is None else f", in {delay:g} s at the earliest"
        return await self._process.does(self._answer(delivery.nack(delay, reason), f"{_named(delivery)}, {reason!r}{wish}"))

    async def _answer(self, call: Coroutine[Any, Any, bool], what: str) -> bool:
        self._process.recorder.calls(self.name, what)
        counted = await call
        self._told(str(counted))
        return counted

    def _told(self, answer: str) -> None:
        self._process.see(Arrow(self._process.name, self.name, answer, answer=True))


class Witness(DiskStore):
    """The store of a process, which tells what it is asked and what it answers."""

    def __init__(self, process: Process) -> None:
        stage = process.stage
        calm = Faults(Random(0), {})
        calm.calm = True
        super().__init__(stage.disk, process.loop, calm, self._written, clock=stage.now, dead=lambda: process.loop.dead)
        self._process = process
        self.writing: asyncio.Future[None] | None = None
        self._refused = False

    def acquire(self, topic: str, subscription: str, *, owner: str, seconds: float, new: Spec | None, stamp: int | None = None) -> Awaitable[Lease | Occupied]:
        call = super().acquire(topic, subscription, owner=owner, seconds=seconds, new=new, stamp=stamp)
        answer = _result(call)
        if isinstance(answer, Lease):
            self._asked(f"take the lease of {subscription} for {seconds:g} s")
            self._answered(f"epoch {answer.epoch}{', after an unclean end' if answer.unclean else ''}")
        elif isinstance(answer, Occupied) and not self._refused:  # it asks at every heartbeat; only the first time is told
            self._asked(f"take the lease of {subscription} for {seconds:g} s")
            self._answered(f"owned until {answer.until:g} s: it waits")
            self._refused = True
        return call

    def load(self, lease: Lease) -> Awaitable[Progress]:
        call = super().load(lease)
        answer = _result(call)
        if isinstance(answer, Progress):
            self._answered(_progress(answer))
        return call

    def store(self, lease: Lease, progress: Progress, *, let_go: bool = False) -> Awaitable[None]:
        call = super().store(lease, progress, let_go=let_go)
        answer = _result(call)
        self._asked(f"write {_progress(progress)}, epoch {lease.epoch}{', and let go' if let_go else ''}")
        self._answered("durable" if answer is None else type(answer).__name__)
        if self.writing is not None and not self.writing.done():
            self.writing.set_result(None)
        return call

    def renew(self, leases: Mapping[Lease, str | None], *, seconds: float) -> Awaitable[set[Lease]]:
        call = super().renew(leases, seconds=seconds)
        held = _result(call)
        for lease in leases:
            if self._process.renewals or lease not in held:
                self._asked(f"renew the lease of epoch {lease.epoch}")
                self._answered(f"yours until {self.now() + seconds:g} s" if lease in held else "no longer yours")
        return call

    def _written(self, what: str, *details: str | int) -> None:
        """As the disk of a simulation tells its history."""
        if what == "appended":
            _, offset, payload = details
            self._process.see(Arrow(PUBLISHER, STORE, f"publish {payload}"))
            self._process.see(Arrow(STORE, PUBLISHER, f"offset {offset}, durable", answer=True))
        elif what == "buried":
            topic, offset, payload, *_ = details
            self._process.see(Note((LETTERS,), f"{payload} is durable in {topic}, offset {offset}"))

    def _asked(self, what: str) -> None:
        self._process.see(Arrow(self._process.engine, STORE, what))

    def _answered(self, what: str) -> None:
        self._process.see(Arrow(STORE, self._process.engine, what, answer=True))


def _result(call: Awaitable[Any]) -> Any:
    """What a call was answered, or the error. A calm disk answers at once."""
    assert isinstance(call, asyncio.Future)
    return call.exception() or call.result()


def _named(delivery: Delivery) -> str:
    return f"{order(delivery.message.offset)}, attempt {delivery.attempt}"


def _progress(progress: Progress) -> str:
    held = progress.held
    if held is None:
        return f"cursor {progress.cursor}"
    if held.sent:
        return f"cursor {progress.cursor}; {order(held.offset)} marked as sent, attempt {held.attempt}"
    return f"cursor {progress.cursor}; {held_words(held, order)}"
