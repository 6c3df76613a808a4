"""What must hold for all four machines: who is there, who is active, and whose turn it is. Each function yields what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from ..selection import Roster, Selection
from .worlds import Step, Turns


class Attended(Protocol):
    """A world of either kind."""

    @property
    def machine(self) -> Any: ...
    @property
    def announced(self) -> int | None: ...


def misplaced(step: Step[Any], selection: Selection, served: Sequence[int], *, first: bool) -> Iterator[str]:
    """The roster is those who joined and did not leave, in the order of the selection. `first`: who takes over is next."""
    roster: Roster = step.before.machine.roster
    if step.event == "consumer_added":
        roster = (*roster, step.argument)
    elif step.event == "consumer_lost":
        roster = tuple(session for session in roster if session != step.argument.session)
    elif step.event == "consumer_replaced":
        old, new = step.argument.session, step.argument.new
        in_place = tuple(new if session == old else session for session in roster)
        roster = (new, *(session for session in in_place if session != new)) if first else in_place
    for session in served:
        if session in roster:
            roster = selection.served(roster, session)
    if step.after.machine.roster != roster:
        yield f"attached are {roster} in this order, not {step.after.machine.roster}"


def wrongly_announced(step: Step[Any], selection: Selection, given: Sequence[int]) -> Iterator[str]:
    """Every message goes to a member; where one is active, to that one, and a change of it is said first."""
    before: Attended = step.before
    after: Attended = step.after
    roster: Roster = after.machine.roster
    names = [effect[0] for effect in step.effects]
    if not set(given) <= {*roster, *before.machine.roster}:
        yield "a message goes to nobody"
    if not selection.announces:
        if "active_changed" in names:
            yield "nobody is the active consumer"
        return
    active = roster[0] if roster else None
    if after.announced != active:
        yield "the active consumer is another one than was said"
    if names.count("active_changed") != (active != before.announced):
        yield "a change of the active consumer is said once, and nothing else is"
    if any(session != active for session in given):
        yield "a message goes to another than the active consumer"
    if "active_changed" in names and {"send", "offer"} & set(names[: names.index("active_changed")]):
        yield "the active consumer is announced after its first message"
    old: Roster = before.machine.roster
    if old and old[0] in roster and active != old[0]:
        yield "the active consumer is pre-empted"


def unfair(turns: Turns, session: int, roster: Roster) -> Iterator[str]:
    """Whether it was not the session's turn."""
    for first, other, times in turns:
        if first == session and other in roster and times != 1:
            yield f"{session} is served again, and {other} was {('not', 'once', 'twice')[times]}"
