"""A process that owns a subscription: the shipped machine and the shipped core, coupled as they are when they run, as one value."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from ..coupling import Coupling
from ..declaration import Declaration
from ..engine import EngineCore
from ..policy import FailurePolicy
from ..port import Recorder, Settlement
from ..progress import Held, Progress
from ..reliable import Reliable
from .reliable import Snapshot
from .worlds import DUE, EARLY

CORE = {field: nth for nth, field in enumerate(EngineCore.state)}


class Entry(NamedTuple):
    """A message of the log."""

    offset: int


class Process(NamedTuple):
    """One that has taken the lease, and may have lost it without knowing."""

    epoch: int
    unclean: bool
    """The owner before did not let go."""
    machine: Snapshot | None = None
    """None until its progress is read."""
    core: tuple[Hashable, ...] = ()
    reading: bool = False
    """Whether the log owes it an answer."""
    writing: Progress | None = None
    """What the disk owes it an answer to."""
    written: str = ""
    """What became of it, unknown to the process: "", "done", "refused"."""
    letter: str = ""
    """A dead letter on its way: "out", or "done" and not answered yet."""
    taken: bool = False
    last: Progress | None = None
    """It is closing; this is to be written then."""

    @property
    def name(self) -> str:
        return f"process {self.epoch}"

    @property
    def held(self) -> Held | None:
        """What its core knows of the next message."""
        held: Held | None = self.its("held")
        return held

    def its(self, field: str) -> Any:
        """A field of its core."""
        return self.core[CORE[field]]


class Coupled(Coupling[Entry], Recorder):
    """A process at work, taken through one step from any of its values."""

    def __init__(self, declaration: Declaration[Reliable], policy: FailurePolicy, flush_interval: float, flush_messages: int, rate_limit: float | None) -> None:
        Recorder.__init__(self)
        self.machine = declaration.lean(self, policy)
        self._blank = self._snapshot()
        self._options: dict[str, Any] = {
            "flush_interval": flush_interval,
            "flush_messages": flush_messages,
            "rate_limit": rate_limit,
            "exhausted": policy.exhausted,
        }
        self._core = self._opened(Progress(), unclean=False)
        self._head = 0

    def _opened(self, progress: Progress, *, unclean: bool) -> EngineCore[Entry]:
        return EngineCore(progress, now=EARLY, lease_until=DUE, unclean=unclean, **self._options)

    def wake(self, process: Process, head: int, durable: Progress, fields: dict[str, Hashable]) -> None:
        """It is what it was, but for these fields of its core; or it begins, from what is durable."""
        self._head = head
        self.process = process
        self.effects = []
        self.asked = False
        self.machine.epoch = process.epoch
        self.machine.now = EARLY
        if process.machine is None:
            self.machine.restore(self._blank)
            self.core = self._opened(durable, unclean=process.unclean)
        else:
            self.machine.restore(process.machine)
            self.core = self._core
            self.core.restore(process.core, EARLY)
        for field, value in fields.items():
            setattr(self.core, field, value)

    def _snapshot(self) -> Snapshot:
        values: tuple[Any, ...] = self.machine.snapshot()
        return Snapshot(*values)

    def trigger(self, event: str, argument: Any = None) -> None:
        getattr(self.machine, event)(argument)
        if self.asked or self.core.attention or self.core.news:
            self.catch_up(EARLY)

    @property
    def value(self) -> Process:
        """What it is now."""
        machine = self._snapshot()
        taken = self.process.taken and self.process.machine is not None and machine.delivery == self.process.machine.delivery
        core = self.core
        core.promised = max(0, core.promised - core.writes_begun)  # they are only compared with each other
        core.writes_begun = core.writes_done = 0
        return self.process._replace(machine=machine, core=core.snapshot(), taken=taken)

    # what a coupling asks for

    def taken(self) -> bool:
        return self.process.taken

    def read(self, now: float) -> None:
        self.core.read_begun()
        if self.core.next_offset >= self._head:
            self.core.read_done((), self.core.next_offset, now)
        else:
            self.process = self.process._replace(reading=True)

    def write(self, now: float) -> None:
        progress = self.core.begin_write(now)
        if progress is not None:
            self.process = self.process._replace(writing=progress)

    def poll(self) -> None:
        self.effects.append(("poll",))
        super().poll()

    def settle(self, offset: int, outcome: Settlement) -> None:
        self.effects.append(("settle", offset, outcome))
        super().settle(offset, outcome)

    def save_failure(self, held: Held) -> None:
        self.effects.append(("save_failure", held))
        super().save_failure(held)

    def dead_letter(self, held: Held) -> None:
        super().dead_letter(held)
        self.process = self.process._replace(letter="out")
