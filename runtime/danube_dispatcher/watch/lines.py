"""One subscription as a line: what it does, how fast, and whether somebody must come to its help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from danube_statemachines import RELIABLE_EXCLUSIVE, RELIABLE_SHARED, Declaration, Reliable

from ..clock import HEARTBEAT, LEASE
from ..overview import ago

Which = tuple[str, str]
"""Topic and subscription."""
Urgency = Literal["well", "waits", "stuck"]

URGENCY: Mapping[str, Urgency] = {
    "end": "well",
    "ready": "well",
    "waking": "well",
    "awaiting_ack": "well",
    "busy": "waits",
    "opening": "waits",
    "redelivering": "waits",
    "dead_lettering": "waits",
    "throttled": "waits",
    "lease": "waits",
    "store": "waits",
    "no_consumer": "stuck",
    "paused": "stuck",
    "unowned": "stuck",
    "closed": "stuck",
    "failed": "stuck",
    "lost": "stuck",
    "blocked": "stuck",
}
"""Of the codes of `explain()` and `status`: it works, it goes on by itself, or somebody has to do something."""


class Rate(NamedTuple):
    """Messages a second. None: not known yet."""

    delivered: float | None = None
    settled: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """What `status` knows (`told`), and how fast it goes."""

    topic: str
    told: dict[str, Any]
    rate: Rate

    @property
    def key(self) -> Which:
        return self.topic, self.name

    @property
    def name(self) -> str:
        return str(self.told["name"])

    @property
    def type(self) -> str:
        return str(self.told["type"])

    @property
    def owner(self) -> str:
        """ "" when nobody has it open."""
        return str(self.told["owner"]) if self.told["owned"] else ""

    @property
    def status(self) -> Mapping[str, Any]:
        status: Mapping[str, Any] = self.told["status"]
        return status

    @property
    def state(self) -> str:
        return str(self.status.get("state", "?"))

    @property
    def why(self) -> str:
        return str(self.status.get("explanation", ""))

    @property
    def ago(self) -> str:
        return ago(self.told)

    @property
    def cursor(self) -> int:
        cursor: int = self.told["lag"]["cursor"]
        return cursor

    @property
    def lag(self) -> int:
        messages: int = self.told["lag"]["messages"]
        return messages

    @property
    def urgency(self) -> Urgency:
        """One with nothing to do is well, whatever keeps it from doing it. A code that a later version may know is no alarm."""
        code = str(self.status.get("code"))
        urgency = URGENCY.get(code, "well")
        return "well" if urgency == "stuck" and not self.lag and code != "blocked" else urgency

    @property
    def machine(self) -> Declaration[Reliable]:
        """What it runs. Non-reliable ones leave no trace in a store."""
        return RELIABLE_SHARED if self.type == "shared" else RELIABLE_EXCLUSIVE


class Sample(NamedTuple):
    """What an owner had counted at a time of its own clock."""

    owner: str
    at: float
    delivered: int
    settled: int


class Rates:
    """Messages a second, from two samples of the same owner."""

    def __init__(self) -> None:
        self._last: dict[Which, tuple[Sample, Rate]] = {}

    def of(self, key: Which, sample: Sample | None) -> Rate:
        """The rate up to this sample; without one there is none."""
        if sample is None:
            self._last.pop(key, None)
            return Rate()
        if key not in self._last or self._last[key][0].owner != sample.owner:
            self._last[key] = sample, Rate()
        before, rate = self._last[key]
        elapsed, delivered, settled = sample.at - before.at, sample.delivered - before.delivered, sample.settled - before.settled
        if -LEASE < elapsed < HEARTBEAT:  # an older one, or too near
            return rate
        counts_anew = elapsed < 0 or delivered < 0 or settled < 0  # its clock was set back, or it has opened it again
        rate = Rate() if counts_anew else Rate(delivered / elapsed, settled / elapsed)
        self._last[key] = sample, rate
        return rate

    def keep(self, keys: set[Which]) -> None:
        """Forget all others."""
        for key in self._last.keys() - keys:
            del self._last[key]
