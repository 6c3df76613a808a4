"""What must hold in every step of a non-reliable machine: one function for each invariant, by its number. Each yields what is wrong.

The other numbers speak of acknowledgements and time, of which it has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..non_reliable import CLOSED, DISPATCHING, IDLE
from ..selection import Selection
from .non_reliable import OUTCOMES, NonReliableWorld
from .roster_invariants import misplaced, unfair, wrongly_announced
from .search import title
from .worlds import Step


class Case:
    """A step, and what of it the invariants speak about."""

    def __init__(self, step: Step[NonReliableWorld], selection: Selection) -> None:
        self.step = step
        self.selection = selection
        self.event, self.argument, self.effects = step.event, step.argument, step.effects
        self.world, self.world_after = step.before, step.after
        self.before, self.after = step.before.machine, step.after.machine
        self.offers = [effect[1] for effect in step.effects if effect[0] == "offer"]
        self.sent = [effect[1] for effect in step.effects if effect[0] == "sent"]
        self.outcomes = [effect[0] for effect in step.effects if effect[0] in OUTCOMES]
        self.deaf = self.before.state == CLOSED
        self.answered = step.event in ("accepted", "refused") and step.before.offered is not None and step.argument == step.before.offered


def s5_one_active_consumer(c: Case) -> Iterator[str]:
    if c.after.state != CLOSED:
        yield from wrongly_announced(c.step, c.selection, c.offers)


def s6_fair_rotation(c: Case) -> Iterator[str]:
    for session in c.sent:
        yield from unfair(c.world.turns, session, c.after.roster)


def s9_at_most_once(c: Case) -> Iterator[str]:
    due: list[str] = []
    offer: list[int] = []
    if c.event == "message" and not c.deaf:
        offer = list(c.before.roster[:1])
        due = [] if offer else ["no_consumer"]
    elif c.answered and c.event == "accepted":
        due = ["sent"]
    elif c.answered:
        offer = list(c.world.untried[:1])
        due = [] if offer else ["dropped"]
    if c.offers != offer:
        yield f"offered to {c.offers}, not to {offer}: each is tried once, in its turn"
    if c.outcomes != due:
        yield f"each message has one outcome, here {due} and not {c.outcomes}"
    if c.sent and c.sent != [c.world.offered]:
        yield "sent to another than the one who had room"


def s11_bounded(c: Case) -> Iterator[str]:
    if not c.deaf:
        yield from misplaced(c.step, c.selection, c.sent, first=False)
    if len(c.after.candidates) != len(set(c.after.candidates)):
        yield "somebody is lined up twice"


def s12_state_is_meaning(c: Case) -> Iterator[str]:
    if c.after.state not in (IDLE, DISPATCHING, CLOSED):
        yield "no step ends in Failover"
    if (c.world_after.offered is not None) != (c.after.state == DISPATCHING):
        yield "an offer is out iff Dispatching"
    if bool(c.after.candidates) != (c.after.state == DISPATCHING):
        yield "somebody is lined up iff Dispatching"
    if c.after.state == CLOSED and c.event != "close" and not c.deaf:
        yield "only a close closes"
    if c.deaf and (c.after != c.before or c.effects):
        yield "Closed does nothing"
    if c.event in ("accepted", "refused") and not c.answered and (c.after != c.before or c.effects):
        yield "a box that was not asked changes something"
    if c.event == "close" and (c.effects or c.after != (CLOSED, c.before.roster, ())):
        yield "a close says nothing and lets go of everything"


INVARIANTS: tuple[Callable[[Case], Iterator[str]], ...] = (
    s5_one_active_consumer,
    s6_fair_rotation,
    s9_at_most_once,
    s11_bounded,
    s12_state_is_meaning,
)


def judge(step: Step[NonReliableWorld], selection: Selection) -> Iterator[tuple[str, str]]:
    """(invariant, what is wrong) for all that the step breaks."""
    case = Case(step, selection)
    for invariant in INVARIANTS:
        for problem in invariant(case):
            yield title(invariant), problem
