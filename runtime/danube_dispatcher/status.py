"""Typed snapshots of what a dispatcher is doing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from .counts import Counts


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a subscription is behind its topic."""

    cursor: int
    """The highest offset with everything at or below it settled; -1: nothing is."""
    head: int
    """The offset that the next message will get."""
    messages: int
    """Messages between them."""
    exact: bool = True
    """False: an upper bound, because offsets have gaps that the store does not count."""

    @classmethod
    def between(cls, cursor: int, head: int) -> Self:
        """Of a store whose offsets have no gaps."""
        return cls(cursor, head, head - 1 - cursor)


@dataclass(frozen=True, slots=True)
class ConsumerStatus:
    """One attached consumer."""

    name: str
    session: int
    """The number of its attachment."""
    active: bool
    """Whether it is its turn: exclusive and failover, the active one; shared, anyone attached."""
    waiting: int
    """Deliveries in its box."""
    holds: int | None
    """The offset of the open delivery, if it has that."""


@dataclass(frozen=True, slots=True)
class Status:
    """One dispatcher at one moment. The last seven are None for a non-reliable one."""

    type: str
    """One of "exclusive", "failover" and "shared"."""
    reliable: bool
    state: str
    """The machine's, such as "Idle" or "AwaitingAck"."""
    active: str | None
    """The active consumer's name; None where there is none, as always when shared."""
    consumers: tuple[ConsumerStatus, ...]
    """The attached ones."""
    counts: Counts
    """What it has done since it was opened."""
    last_error: str | None
    """What goes wrong with the store now, or what ended it."""
    in_flight: int | None = None
    """The offset of the open delivery."""
    attempt: int | None = None
    """Of the message in hand."""
    failures: int | None = None
    """Charged to the message in hand."""
    cursor: int | None = None
    """The highest offset with everything at or below it settled; -1: nothing is."""
    durable_cursor: int | None = None
    """The cursor that a restart would find."""
    head: int | None = None
    """The offset that the next message will get."""
    lag: Lag | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a subscription is not progressing, or that it is. `str()` is the sentence."""

    code: str
    """One word for programs, such as "blocked" or "paused"."""
    sentence: str
    """The same for people, with particulars."""
    ends_with: str
    """The call or event that ends the wait."""

    def __str__(self) -> str:
        return f"{self.sentence}; ends with {self.ends_with}"


@dataclass(frozen=True, slots=True)
class Leftover:
    """What `drain` did not get settled in time."""

    offset: int
    attempt: int
    failures: int
    why: Explanation


@dataclass(frozen=True, slots=True)
class SubscriptionInfo:
    """A subscription of a topic, as anyone may read it."""

    name: str
    type: str
    reliable: bool
    owner: str
    """host:pid, or "" when nobody has it open."""
    until: float
    """When the owner's lease ends (Unix seconds)."""
    lag: Lag | None
    failures: int
    """Charged to the first unsettled message."""
    blocked: bool
    """That message is exhausted."""
    paused: bool
    status: dict[str, object]
    """What the owner last said of itself; empty before the first time."""
