"""Explores a declared machine: every interleaving of what can happen to it, for any number of messages, on the code that ships.

    explore(RELIABLE_SHARED, sessions=3)

visits all that can be, judges every step by every invariant, and makes sure that from everywhere a message can still get done. So it does for a
machine of your own: `explore(declare_reliable(MySelection()))`. worlds.py says what can happen, and why so few worlds stand for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

from ..checks import count
from ..declaration import Declaration
from ..errors import InvariantBroken, StoryLine
from ..non_reliable import NonReliable
from ..policy import FailurePolicy
from ..reliable import Reliable
from . import non_reliable_invariants, reliable_invariants
from .non_reliable import NonReliableEnvironment
from .reliable import ReliableEnvironment
from .search import LIVENESS, Judge, Search, title
from .worlds import Environment

W = TypeVar("W")

__all__ = ["LIMIT", "Exploration", "InvariantBroken", "StoryLine", "explore"]

LIMIT = 200_000
"""Worlds; some 1.5 KB each."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """What was seen, and nothing wrong with it."""

    machine: str
    sessions: int
    """Consumers attached at once, at most."""
    states: int
    """Worlds: the machine's state with all that decides what may happen next."""
    steps: int
    """Judged, each by every check."""
    depth: int
    """Steps from the start to the farthest state."""
    finished: bool
    """Whether these are all. If not, the limit was met, states beyond it were not gone into, and liveness was not judged."""
    checks: tuple[str, ...]
    fingerprint: int
    """The same for the same graph, effects included, within one process."""


def explore(
    machine: Declaration[Reliable] | Declaration[NonReliable], *, sessions: int = 2, policy: FailurePolicy | None = None, limit: int = LIMIT
) -> Exploration:
    """Explore a machine under a policy (by default the usual one with a single redelivery; a non-reliable machine has none).

    The number of states grows with the sessions (shared: 4 take a second or so, each more some ten times as long) and in proportion to
    `max_redeliveries`; the other numbers of the policy change nothing of it. `limit` bounds the states that are kept.

    Raises InvariantBroken with the shortest story that leads to a violation, InvalidArgument for numbers that make no sense.
    """
    count("sessions", sessions)
    count("limit", limit)
    policy = FailurePolicy(max_redeliveries=1) if policy is None else policy
    lean: type[Reliable] | type[NonReliable] = machine.lean
    if issubclass(lean, Reliable):
        reliable = ReliableEnvironment(cast("Declaration[Reliable]", machine), policy, sessions)
        return _run(
            machine.title,
            reliable,
            partial(reliable_invariants.judge, policy=policy, selection=reliable.selection),
            reliable_invariants.INVARIANTS,
            sessions,
            limit,
        )
    other = NonReliableEnvironment(cast("Declaration[NonReliable]", machine), sessions)
    return _run(machine.title, other, partial(non_reliable_invariants.judge, selection=other.selection), non_reliable_invariants.INVARIANTS, sessions, limit)


def _run(machine: str, environment: Environment[W], judge: Judge[W], checks: Sequence[Callable[..., object]], sessions: int, limit: int) -> Exploration:
    search = Search(machine, environment, judge, limit)
    search.run()
    names = (*(title(check) for check in checks), *([LIVENESS] if search.finished else []))
    return Exploration(machine, sessions, len(search.worlds), search.steps, search.depths[-1], search.finished, names, search.fingerprint)
