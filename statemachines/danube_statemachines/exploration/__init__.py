"""Explores a declared machine: every interleaving of what can happen to it, for any number of messages, on the code that ships.

    explore(RELIABLE_SHARED, sessions=3)

visits all that can be, judges every step by every invariant, and makes sure that from everywhere a message can still get done. So it does for a
machine of your own: `explore(declare_reliable(MySelection()))`. worlds.py says what can happen, and why so few worlds stand for all.

What it finds wrong it tells as the shortest story, and `replay(machine, story)` is the same story as a test.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, TypeVar, cast

from ..checks import count, shown
from ..declaration import Declaration
from ..errors import InvalidArgument, InvariantBroken, StoryLine
from ..non_reliable import NonReliable
from ..policy import FailurePolicy
from ..reliable import Reliable
from ..variants import VARIANTS
from . import non_reliable_invariants, reliable_invariants
from .non_reliable import NonReliableEnvironment
from .ordering import watched
from .reliable import ReliableEnvironment
from .search import Progress, Search, title
from .stories import LIVENESS, Judge, Scene
from .worlds import Step

W = TypeVar("W")
Machine = Declaration[Reliable] | Declaration[NonReliable]

__all__ = ["LIMIT", "Exploration", "InvariantBroken", "Progress", "Scene", "StoryLine", "explore", "replay"]

LIMIT = 200_000
"""Worlds; some 2 KB each."""


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
    """Whether these are all. If not, the limit was met or `progress` stopped it, states beyond were not gone into, and liveness was not judged."""
    checks: tuple[str, ...]
    fingerprint: int
    """The same for the same graph, effects included, within one process."""


def explore(
    machine: Machine,
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

    `without` names invariants by their numbers that a machine of your own does not promise: {"S6"} for a selection that is not fair.

    Raises InvariantBroken with the shortest story that leads to a violation, DefinitionError for a selection that does what none may do,
    InvalidArgument for numbers that make no sense.
    """
    count("sessions", sessions)
    count("limit", limit)
    return run(_scene(machine, sessions, policy, without), sessions, limit, progress)


def run(scene: Scene[W], sessions: int, limit: int, progress: Progress | None) -> Exploration:
    """Explore a scene."""
    search = Search(scene, limit, progress)
    search.run()
    checks = (*scene.checks, *([LIVENESS] if search.finished else []))
    return Exploration(scene.machine, sessions, len(search.worlds), search.steps, search.depths[-1], search.finished, checks, search.fingerprint)


def replay(
    machine: Machine | Scene[Any], story: Iterable[str | StoryLine], *, policy: FailurePolicy | None = None, without: Collection[str] = ()
) -> tuple[StoryLine, ...]:
    """Take a machine (or what else was explored) through a story, given as its lines or as what they say happened. Returns it as it went this time.

    Raises InvariantBroken as soon as a step breaks an invariant, or if no message can get done from its end; InvalidArgument if a step of the story
    cannot happen to this machine. `policy` and `without` as in `explore`.
    """
    labels = [line if isinstance(line, str) else line.what for line in story]
    scene = machine if isinstance(machine, Scene) else _scene(machine, len(labels) + 1, policy, without)
    return scene.replay(labels)


def _scene(machine: Machine, sessions: int, policy: FailurePolicy | None, without: Collection[str]) -> Scene[Any]:
    lean: type[Reliable] | type[NonReliable] = machine.lean
    environment: ReliableEnvironment | NonReliableEnvironment
    judge: Judge[Any]
    if issubclass(lean, Reliable):
        used = FailurePolicy(max_redeliveries=1) if policy is None else policy
        environment = ReliableEnvironment(watched(cast("Declaration[Reliable]", machine)), used, sessions)
        judge = partial(reliable_invariants.judge, policy=used, selection=environment.selection)
        checks = [title(check) for check in reliable_invariants.INVARIANTS]
    else:
        environment = NonReliableEnvironment(watched(cast("Declaration[NonReliable]", machine)), sessions)
        judge = partial(non_reliable_invariants.judge, selection=environment.selection)
        checks = [title(check) for check in non_reliable_invariants.INVARIANTS]
    numbers = {check.split()[0] for check in checks}
    for number in without:
        if number not in numbers:
            raise InvalidArgument("without", f"needs numbers of invariants ({', '.join(sorted(numbers))}), not {shown(number)}")
    if without:
        judge = partial(_waived, judge=judge, without=without)
    kept = tuple(check for check in checks if check.split()[0] not in without)
    return Scene(machine.title, environment, judge, kept, _again(machine, policy, without))


def _waived(step: Step[W], judge: Judge[W], without: Collection[str]) -> Iterator[tuple[str, str]]:
    return (found for found in judge(step) if found[0].split()[0] not in without)


def _again(machine: Machine, policy: FailurePolicy | None, without: Collection[str]) -> str:
    """The call that replays a story, as it is written in Python."""
    arguments = [machine.title.upper() if machine.title in VARIANTS else "machine", "STORY"]
    if policy is not None:
        changed = [f"{field.name}={value!r}" for field in fields(policy) if (value := getattr(policy, field.name)) != field.default]
        arguments.append(f"policy={type(policy).__name__}({', '.join(changed)})")
    if without:
        arguments.append(f"without={sorted(without)!r}")
    return f"replay({', '.join(arguments)})"
