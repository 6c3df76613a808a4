"""Explores a declared machine: every interleaving of what can happen to it, for any number of messages, on the code that ships.

    explore(RELIABLE_SHARED, sessions=3)

visits all that can be, judges every step by every invariant, and makes sure that from everywhere a message can still get done. So it does for a
machine of your own: `explore(declare_reliable(MySelection()))`. worlds.py says what can happen, and why so few worlds stand for all.

    explore(subscribed(RELIABLE_SHARED, messages=2, owners=2))

does the same with the machine, its engine, a log and a disk, and processes that crash and outlive one another, for so many messages: subscription.py.

What it finds wrong it tells as the shortest story, and `replay(machine, story)` is the same story as a test.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from ..checks import count
from ..errors import InvariantBroken, StoryLine
from ..policy import FailurePolicy
from .scenes import Machine, alone, subscribed
from .search import Progress, Search
from .stories import LIVENESS, Scene

__all__ = ["LIMIT", "Exploration", "InvariantBroken", "Progress", "Scene", "StoryLine", "explore", "replay", "subscribed"]

LIMIT = 200_000
"""Worlds; some 2 KB each."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """What was seen, and nothing wrong with it."""

    machine: str
    sessions: int
    """Consumers attached at once (to one process), at most."""
    states: int
    """Worlds: the machine's state with all that decides what may happen next."""
    steps: int
    """Judged, each by every check."""
    depth: int
    """Steps from the start to the farthest state."""
    finished: bool
    """Whether these are all. If not, the limit was met or `progress` stopped it, states beyond were not gone into, and liveness was not judged."""
    checks: tuple[str, ...]
    fingerprint: int
    """The same for the same graph, effects included, within one process."""


def explore(
    machine: Machine | Scene[Any],
    *,
    sessions: int = 2,
    policy: FailurePolicy | None = None,
    without: Collection[str] = (),
    limit: int = LIMIT,
    progress: Progress | None = None,
) -> Exploration:
    """Explore a machine under a policy (by default the usual one with a single redelivery; a non-reliable machine has none).

    The number of states grows with the sessions (shared: 4 take a second or so, each more some ten times as long) and in proportion to
    `max_redeliveries`; the other numbers of the policy change nothing of it. `limit` bounds the states that are kept. `progress` is told of the
    states, the steps, the depth and the states yet to be gone into, now and then, and stops the exploration by returning False.

    `without` names invariants by their numbers that a machine of your own does not promise: {"S6"} for a selection that is not fair. A `subscribed`
    scene brings its sizes and its policy with it.

    Raises InvariantBroken with the shortest story that leads to a violation, DefinitionError for a selection that does what none may do,
    InvalidArgument for numbers that make no sense.
    """
    count("sessions", sessions)
    count("limit", limit)
    scene = machine if isinstance(machine, Scene) else alone(machine, sessions, policy, without)
    search = Search(scene, limit, progress)
    search.run()
    checks = (*scene.checks, *([LIVENESS] if search.finished else []))
    return Exploration(scene.machine, scene.sessions, len(search.worlds), search.steps, search.depths[-1], search.finished, checks, search.fingerprint)


def replay(
    machine: Machine | Scene[Any], story: Iterable[str | StoryLine], *, policy: FailurePolicy | None = None, without: Collection[str] = ()
) -> tuple[StoryLine, ...]:
    """Take a machine (or what else was explored) through a story, given as its lines or as what they say happened. Returns it as it went this time.

    Raises InvariantBroken as soon as a step breaks an invariant, or if no message can get done from its end; InvalidArgument if a step of the story
    cannot happen to this machine. `policy` and `without` as in `explore`.
    """
    labels = [line if isinstance(line, str) else line.what for line in story]
    scene = machine if isinstance(machine, Scene) else alone(machine, len(labels) + 1, policy, without)
    return scene.replay(labels)
