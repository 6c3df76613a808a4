"""The values that events carry."""

from __future__ import annotations

from typing import NamedTuple

DeliveryId = tuple[int, int, int, int]
"""(epoch, session, offset, attempt): who was given what, which time, under whose ownership. An answer counts only if it names exactly
this. `attempt` counts sends from 1 and never repeats within an epoch. A plain tuple: it is made once a message (a NamedTuple costs twice)."""


class Nack(NamedTuple):
    """A consumer says no."""

    delivery: DeliveryId
    delay: float = 0.0
    """The wait it asks for, in seconds; it can only lengthen the policy's."""
    reason: str = ""


class Extend(NamedTuple):
    """A consumer needs so many seconds more, from now."""

    delivery: DeliveryId
    seconds: float


class Lost(NamedTuple):
    """A consumer is gone. `taken`: it had taken the open delivery out of its box; a message that nobody looked at is innocent."""

    session: int
    taken: bool = False


class Replaced(NamedTuple):
    """A new consumer came under the name of an attached one."""

    session: int
    new: int
    taken: bool = False
