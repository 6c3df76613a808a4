"""What the worker process tells its parent: one JSON line each, on a pipe."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One dispatcher at one moment, by its own account."""

    state: str
    consumer: str | None
    """The active one; shared: the one that has the message."""
    in_flight: int | None
    lag: int | None
    cursor: int | None
    delivered: int
    redelivered: int
    dropped: int
    busy: float
    """Seconds from its opening to its latest delivery."""
    why: str
    """What it waits for."""


@dataclass(frozen=True, slots=True)
class State:
    published: int
    """Messages in the topic, those of earlier worker processes among them."""
    dispatchers: dict[str, Snapshot]
    """Those that are open."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth a line of its own."""

    text: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Another process, which is dead, still has the lease."""

    owner: str
    until: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker ends for this reason."""

    text: str


Report = State | Event | Waiting | Failed
KINDS: dict[str, type[State] | type[Event] | type[Waiting] | type[Failed]] = {kind.__name__: kind for kind in (State, Event, Waiting, Failed)}


def encode(report: Report) -> bytes:
    return json.dumps([type(report).__name__, asdict(report)]).encode() + b"\n"


def decode(line: bytes) -> Report:
    name: str
    fields: dict[str, Any]
    name, fields = json.loads(line)
    if name == State.__name__:
        fields["dispatchers"] = {role: Snapshot(**snapshot) for role, snapshot in fields["dispatchers"].items()}
    return KINDS[name](**fields)
