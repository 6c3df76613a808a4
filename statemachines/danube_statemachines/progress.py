"""What of a subscription outlives its process."""

from __future__ import annotations

from typing import NamedTuple


class Held(NamedTuple):
    """The history of one unsettled message: what the next owner must know of it."""

    offset: int
    attempt: int = 0
    """Sends so far."""
    failures: int = 0
    """Charged ones: they alone meet the limit."""
    reason: str = ""
    """Of the last charged failure."""
    due_at: float | None = None
    """When its delay ends, on the clock of whoever keeps this value."""
    sent: bool = False
    """Handed out by a careful owner. Found after an unclean end, the crash is charged."""
    exhausted: bool = False
    """The verdict on it by the policy of whoever wrote it: for tools, and for the next owner, which charges no crash to what was in nobody's hands. The
    machine judges anew by the policy it was opened with."""


class Progress(NamedTuple):
    """Everything durable about a subscription's position: one value, one fenced write.

    `cursor` is the highest offset with everything at or below it settled; -1 means nothing is.
    """

    cursor: int = -1
    held: Held | None = None
    paused: bool = False
    careful: int = 0
    """Messages that the next owner is to give out with care, although this one lets go: after an unclean end it had to, and has not come so far."""


def advanced(saved: Progress, new: Progress) -> Progress:
    """`new`, but with a cursor that does not go back; what is held at or below it is settled."""
    if new.cursor >= saved.cursor:
        return new
    held = new.held if new.held is not None and new.held.offset > saved.cursor else None
    return new._replace(cursor=saved.cursor, held=held)
