"""A reliable machine and its engine's core, as one process couples them, on a log and a disk that lag and fail; and a second process that competes.

What is driven is `Coupling`, as the runtime drives it. Around it: a publisher, consumers, a disk that answers late, fails, or has written what it says it
has not; processes that crash, close, and stall past their lease; and an operator who releases what is blocked. Any of this can happen at any moment.

Here the messages are counted, since a cursor and a log are compared by more than equality. So the worlds are bounded by the messages, the consumers of
each process and the processes at work at once. The processes themselves follow one another without end. merging.py says which
worlds are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

from ..declaration import Declaration
from ..engine import EngineCore
from ..errors import DefinitionError
from ..identity import Lost, Nack
from ..policy import FailurePolicy
from ..progress import Progress, advanced
from ..reliable import BLOCKED, Reliable
from .merging import same_process, same_progress
from .processes import CORE, Coupled, Entry, Process
from .worlds import DUE, EARLY, Step, Stopped

OVER = 0.0
"""A time that has come."""
RETRY = 0.5
"""Seconds until a dead letter is tried again."""
BATCH = 2
"""Messages that one read brings at most."""
FLUSH = 2
"""Settled messages that are not durable at most: it stands for a real engine's 10,000."""
RATE = 1.0
"""Of a rate limit: a message may be taken in, or it is not time yet. It stands for all others."""


class Disk(NamedTuple):
    """The one durable row of a subscription."""

    progress: Progress
    epoch: int
    """Of who took the lease last."""
    owned: bool
    """Whether it has not let go."""
    lapsed: bool
    """Whether it has not renewed for a whole lease."""
    letters: frozenset[int]
    """Offsets of the messages that are in the dead-letter topic."""


class Crash(NamedTuple):
    """How often processes ended uncleanly, one after the other, with this message open."""

    offset: int = -1
    times: int = 0


class SubscriptionWorld(NamedTuple):
    head: int
    settled: frozenset[int]
    disk: Disk
    crash: Crash
    processes: tuple[Process, ...]
    faults: int | None
    """How many more things may go wrong; None: any number."""

    def owner(self) -> Process | None:
        """Who has the epoch of the disk, if it lives."""
        return next((process for process in self.processes if process.epoch == self.disk.epoch), None)

    def process(self, name: str) -> Process | None:
        """The one of that name, if it is at work."""
        return next((process for process in self.processes if process.name == name and process.machine is not None and process.last is None), None)

    def closing(self, name: str) -> Progress | None:
        """What the one of that name is to write at last, if it is closing."""
        return next((process.last for process in self.processes if process.name == name), None)


class SubscriptionEnvironment:
    def __init__(
        self,
        declaration: Declaration[Reliable],
        policy: FailurePolicy,
        *,
        messages: int,
        consumers: int,
        processes: int,
        flush_interval: float,
        faults: int | None,
        pauses: bool = False,
        throttled: bool = False,
    ) -> None:
        self._coupled = Coupled(declaration, policy, flush_interval, FLUSH, RATE if throttled else None)
        self._policy = policy
        self._messages = messages
        self._consumers = consumers
        self._processes = processes
        self._faults = faults
        self._pauses = pauses
        self._throttled = throttled

    def start(self) -> SubscriptionWorld:
        return SubscriptionWorld(0, frozenset(), Disk(Progress(), 0, False, False, frozenset()), Crash(), (), self._faults)

    def later(self, world: SubscriptionWorld) -> SubscriptionWorld:
        return world

    def key(self, world: SubscriptionWorld) -> Hashable:
        disk = world.disk
        row = (same_progress(disk.progress), disk.owned, disk.lapsed, disk.letters)
        return world.head, world.settled, row, world.crash, tuple(same_process(process, disk.epoch) for process in world.processes), world.faults

    def state(self, world: SubscriptionWorld) -> str:
        return ", ".join(f"{process.epoch}: {_state(process)}" for process in world.processes) or "nobody"

    def settles(self, step: Step[SubscriptionWorld]) -> bool:
        """Whether all that was published is durably done with, and somebody is there for what comes next."""
        owner = step.after.owner()
        return step.after.disk.progress.cursor == step.after.head - 1 and owner is not None and owner.machine is not None and owner.machine.offset is None

    # what can happen

    def steps(self, world: SubscriptionWorld) -> Iterator[Step[SubscriptionWorld]]:
        for step in self._steps(world):
            if step.fault and world.faults is not None:
                if world.faults == 0:
                    continue
                step.after = step.after._replace(faults=world.faults - 1)
            yield step

    def _steps(self, world: SubscriptionWorld) -> Iterator[Step[SubscriptionWorld]]:
        disk = world.disk
        if world.head < self._messages:
            yield self._outside(world, f"message {world.head} is published", world._replace(head=world.head + 1))
        owner = world.owner()
        if disk.owned and not disk.lapsed:
            lapsed = world._replace(disk=disk._replace(lapsed=True))
            if owner is None or owner.machine is None or owner.last is not None:
                yield self._outside(world, "the lease runs out", lapsed, fair=owner is None, fault=owner is not None)
            else:
                yield self._at(world, owner, "notices that its lease runs out", _time, core={"lease_until": OVER}, base=lapsed, fault=True)
        if (disk.lapsed or not disk.owned) and len(world.processes) < self._processes:
            new = Process(disk.epoch + 1, unclean=disk.owned)
            crash = world.crash if owner is None else _crashed(world.crash, owner)
            taken = disk._replace(epoch=new.epoch, owned=True, lapsed=False)
            after = world._replace(disk=taken, crash=crash, processes=(*world.processes, new))
            yield self._outside(world, f"{new.name} takes the lease", after, fair=True)
        for process in world.processes:
            if process.machine is None:
                yield from self._opening(world, process)
            elif process.last is not None:
                yield from self._closing(world, process)
            else:
                yield from self._working(world, process)
            crashed = _without(world, process)
            if process.epoch == disk.epoch:
                crashed = crashed._replace(crash=_crashed(world.crash, process))
            yield self._outside(world, f"{process.name} crashes", crashed, fault=True)

    def _opening(self, world: SubscriptionWorld, process: Process) -> Iterator[Step[SubscriptionWorld]]:
        if process.epoch == world.disk.epoch:
            late: dict[str, Hashable] = {"lease_until": OVER} if world.disk.lapsed else {}
            yield self._at(world, process, "reads its position", _look, core=late, fair=True)
        else:
            yield self._outside(world, f"{process.name} finds that its lease is gone", _without(world, process), fair=True)

    def _closing(self, world: SubscriptionWorld, process: Process) -> Iterator[Step[SubscriptionWorld]]:
        if process.writing is not None:
            yield from self._disk(world, process)
            return
        gone = _without(world, process)
        if process.epoch == world.disk.epoch:
            assert process.last is not None
            left = world.disk._replace(progress=advanced(world.disk.progress, process.last), owned=False)
            yield self._outside(world, f"{process.name} has ended", gone._replace(disk=left), fair=True)
        yield self._outside(world, f"{process.name} could not let go", gone, fault=True)

    def _disk(self, world: SubscriptionWorld, process: Process) -> Iterator[Step[SubscriptionWorld]]:
        """The disk, a write of which is under way."""
        assert process.writing is not None
        who = process.name
        if not process.written and process.epoch == world.disk.epoch:
            written = world.disk._replace(progress=advanced(world.disk.progress, process.writing))
            yield self._outside(world, f"{who}'s write is done", _with(world, process, process._replace(written="done"))._replace(disk=written), fair=True)
        elif not process.written:
            yield self._outside(world, f"{who}'s write is refused", _with(world, process, process._replace(written="refused")), fair=True)
        if process.last is not None:
            yield self._outside(world, f"{who} hears of its write", _with(world, process, process._replace(writing=None, written="")), fair=True)
            return
        heard = process._replace(writing=None, written="")
        if process.written == "done":
            yield self._at(world, process, "hears that its write is done", _core(lambda core: core.write_done(EARLY)), heard=heard, fair=True)
        if process.written == "refused":
            yield self._outside(world, f"{who} hears that its lease is gone", _without(world, process), fair=True)
        else:
            yield self._at(world, process, "hears that its write failed", _core(lambda core: core.write_failed(EARLY)), heard=heard, fault=True)

    def _working(self, world: SubscriptionWorld, process: Process) -> Iterator[Step[SubscriptionWorld]]:
        machine = process.machine
        assert machine is not None
        yield from self._attendance(world, process, machine)
        yield from self._time(world, process, machine)
        yield from self._intake(world, process)
        if process.writing is not None:
            yield from self._disk(world, process)
        if process.reading:
            found = [Entry(offset) for offset in range(process.its("next_offset"), world.head)][:BATCH]
            heard = process._replace(reading=False)
            read = _core(lambda core: core.read_done(found, found[-1].offset + 1, EARLY))
            yield self._at(world, process, f"is given {len(found)} messages", read, heard=heard, fair=True)
            yield self._at(world, process, "cannot read", _core(lambda core: core.read_failed(EARLY)), heard=heard, fault=True)
        more = world.head > process.its("next_offset")
        yield self._at(world, process, "looks at the head", _look, fair=more and process.its("refused") == "end")
        if more and not process.its("buffer") and not process.reading:  # otherwise it is as good as a look
            come = [Entry(process.its("next_offset"))]
            yield self._at(world, process, f"hears of message {come[0].offset}", _core(lambda core: core.head_moved(come)))
        if process.letter:
            yield from self._letter(world, process, machine)
        if machine.state == BLOCKED:
            for action in ("retry", "drop", "dead_letter"):
                if action != "dead_letter" or self._policy.dead_letter_topic is not None:
                    yield self._fed(world, process, f"is told to release({action})", f"release_{action}", fair=action == "drop")
        if process.epoch == world.disk.epoch:
            renewed = world._replace(disk=world.disk._replace(lapsed=False))
            yield self._at(world, process, "renews its lease", _core(lambda core: core.renewed(DUE, EARLY)), fair=True, base=renewed)
        else:
            yield self._outside(world, f"{process.name} cannot renew its lease, which is gone", _without(world, process), fair=True)
        yield self._at(world, process, "closes", _close)

    def _attendance(self, world: SubscriptionWorld, process: Process, machine: Any) -> Iterator[Step[SubscriptionWorld]]:
        roster, delivery = machine.roster, machine.delivery
        if len(roster) < self._consumers:
            new = next(session for session in range(self._consumers) if session not in roster)
            yield self._fed(world, process, f"has a new consumer {new}", "consumer_added", new, fair=True)
        for session in roster:
            lost = Lost(session, process.taken and delivery is not None and delivery[1] == session)
            yield self._at(world, process, f"loses consumer {session}", _lose, event="consumer_lost", argument=lost)
        if delivery is None:
            return
        if not process.taken:
            yield self._outside(world, f"{process.name}'s message is taken", _with(world, process, process._replace(taken=True)), fair=True)
            return
        yield self._fed(world, process, "gets the ack", "ack", delivery, fair=True)
        yield self._fed(world, process, "gets a nack", "nack", Nack(delivery, 0.0, "no"))

    def _time(self, world: SubscriptionWorld, process: Process, machine: Any) -> Iterator[Step[SubscriptionWorld]]:
        if machine.due_at is not None:
            late = process._replace(machine=machine._replace(due_at=OVER))
            yield self._at(world, process, f"finds time is up in {machine.state}", _time, heard=late, fair=True)
        for field, what in (("write_due", "a write"), ("read_retry_at", "another read")):
            due: Any = process.its(field)
            if due is not None and due > EARLY:
                yield self._at(world, process, f"finds it is time for {what}", _time, core={field: OVER}, fair=True)

    def _intake(self, world: SubscriptionWorld, process: Process) -> Iterator[Step[SubscriptionWorld]]:
        """A pause or a rate limit holds it back, or does so no longer."""
        if self._pauses:
            paused: bool = process.its("paused")
            yield self._at(world, process, "is resumed" if paused else "is paused", _core(lambda core: core.pause(not paused, EARLY)), fair=paused)
        if self._throttled and process.its("tokens") < 1:
            core = list(process.core)
            core[CORE["tokens"]] = 1.0
            yield self._outside(world, f"{process.name} may take in a message", _with(world, process, process._replace(core=tuple(core))), fair=True)
        elif self._throttled and process.its("refused") == "throttled":
            yield self._at(world, process, "finds that it may take in a message", _time, fair=True)

    def _letter(self, world: SubscriptionWorld, process: Process, machine: Any) -> Iterator[Step[SubscriptionWorld]]:
        heard = process._replace(letter="")
        if process.letter == "out":
            letters = world.disk.letters | {machine.offset}
            there = _with(world, process, process._replace(letter="done"))
            yield self._outside(world, f"{process.name}'s dead letter is written", there._replace(disk=world.disk._replace(letters=letters)), fair=True)
            yield self._fed(world, process, "hears that its dead letter is refused", "dead_letter_refused", heard=heard)
        else:
            yield self._fed(world, process, "hears that its dead letter is written", "dead_lettered", heard=heard, fair=True)
        yield self._fed(world, process, "hears that its dead letter failed", "dead_letter_failed", RETRY, heard=heard, fault=True)

    # one step

    def _outside(self, world: SubscriptionWorld, label: str, after: SubscriptionWorld, *, fair: bool = False, fault: bool = False) -> Step[SubscriptionWorld]:
        """No process does anything."""
        return Step(label, "", None, EARLY, world, after, fair=fair, fault=fault)

    def _fed(
        self,
        world: SubscriptionWorld,
        process: Process,
        what: str,
        event: str,
        argument: Any = None,
        *,
        heard: Process | None = None,
        fair: bool = False,
        fault: bool = False,
    ) -> Step[SubscriptionWorld]:
        """An event for its machine."""
        return self._at(world, process, what, _trigger, event=event, argument=argument, heard=heard, fair=fair, fault=fault)

    def _at(
        self,
        world: SubscriptionWorld,
        process: Process,
        what: str,
        act: Callable[[Coupled, Step[Any]], None],
        *,
        event: str = "",
        argument: Any = None,
        heard: Process | None = None,
        core: dict[str, Hashable] | None = None,
        base: SubscriptionWorld | None = None,
        fair: bool = False,
        fault: bool = False,
    ) -> Step[SubscriptionWorld]:
        """A process does something: it was `process`, or what it has just `heard`, with these fields of its `core`, in the world or another `base`."""
        name = process.name
        step = Step(f"{name} {what}", event, argument, EARLY, world, world, fair=fair, where=name, fault=fault)
        try:
            self._coupled.wake(process if heard is None else heard, world.head, world.disk.progress, core or {})
            act(self._coupled, step)
        except DefinitionError:  # of a selection that is none
            raise
        except Exception as error:
            raise Stopped(step, error) from error
        step.effects = tuple(self._coupled.effects)
        settled = world.settled | {effect[1] for effect in step.effects if effect[0] == "settle"}
        base = _with(world if base is None else base, process, self._coupled.value)
        over = base.crash.offset in settled or event == "release_retry"
        step.after = base._replace(settled=settled, crash=Crash() if over else base.crash)
        return step


# what a process does


def _trigger(it: Coupled, step: Step[Any]) -> None:
    it.trigger(step.event, step.argument)


def _lose(it: Coupled, step: Step[Any]) -> None:
    it.trigger(step.event, step.argument)
    it.core.flush(EARLY)
    it.catch_up(EARLY)


def _time(it: Coupled, _: Step[Any]) -> None:
    it.time_is_up(EARLY)


def _close(it: Coupled, _: Step[Any]) -> None:
    held = it.machine.held
    it.trigger("close")
    it.process = it.process._replace(last=it.core.end("closed", EARLY, held), reading=False, letter="")


def _core(event: Callable[[EngineCore[Entry]], None]) -> Callable[[Coupled, Step[Any]], None]:
    def act(it: Coupled, _: Step[Any]) -> None:
        event(it.core)
        it.catch_up(EARLY)

    return act


_look = _core(lambda core: core.head_moved())


# worlds


def _with(world: SubscriptionWorld, process: Process, now: Process) -> SubscriptionWorld:
    return world._replace(processes=tuple(now if each.epoch == process.epoch else each for each in world.processes))


def _without(world: SubscriptionWorld, process: Process) -> SubscriptionWorld:
    return world._replace(processes=tuple(each for each in world.processes if each.epoch != process.epoch))


def _crashed(crash: Crash, process: Process) -> Crash:
    """The owner has ended uncleanly."""
    delivery = process.machine and process.machine.delivery
    if delivery is None:
        return crash
    return Crash(delivery[2], crash.times + 1 if crash.offset == delivery[2] else 1)


def _state(process: Process) -> str:
    return "opening" if process.machine is None else "closing" if process.last is not None else process.machine.state
