"""Breadth first through all worlds: every step is judged, and from every world a message must still be able to get done."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from sys import intern
from typing import Generic, TypeVar

from ..errors import InvariantBroken, StoryLine
from ..reliable import CLOSED
from .stories import MEANING, Scene
from .worlds import Step, Stopped

W = TypeVar("W")
Progress = Callable[[int, int, int, int], bool | None]
"""Told, now and then, how many states there are, how many steps were judged, how deep it is, and how many states are yet to be gone into. False stops
the search."""
OFTEN = 100
"""States that are gone into between two calls of it."""


def title(check: Callable[..., object]) -> str:
    """The name of an invariant's function as a person writes it."""
    name = check.__name__.replace("_", " ")
    return name[:1].upper() + name[1:]


class Search(Generic[W]):
    """One walk through a scene. `limit` bounds the worlds that are kept; those beyond it are not gone into."""

    def __init__(self, scene: Scene[W], limit: int, progress: Progress | None = None) -> None:
        self._scene = scene
        self._environment = scene.environment
        self._limit = limit
        self._progress = progress
        start = self._environment.start()
        self.worlds = [start]
        self.depths = [0]
        self.steps = 0
        self.finished = True
        self.fingerprint = 0
        self._numbers: dict[Hashable, int] = {self._environment.key(start): 0}
        self._first: list[tuple[int, str] | None] = [None]  # where a world was come to first, and by which step
        self._fair: list[list[int]] = [[]]  # the worlds from which a fair step leads to this one
        self._settling: list[int] = []

    def run(self) -> None:
        """Raises InvariantBroken, with the shortest story."""
        judge = self._scene.judge
        for number, world in enumerate(self.worlds):  # which grow meanwhile
            if number % OFTEN == 0 and self._stopped(number):
                self.finished = False
                return
            try:
                for step in self._environment.steps(world):
                    for invariant, problem in judge(step):
                        raise self._broken(invariant, problem, number, step)
                    self._follow(number, step)
            except Stopped as stopped:
                raise self._broken(MEANING, str(stopped), number, stopped.step) from stopped
        if self.finished:
            self._check_liveness()

    def _stopped(self, number: int) -> bool:
        known = len(self.worlds)
        return self._progress is not None and self._progress(known, self.steps, self.depths[number], known - number) is False

    def _follow(self, number: int, step: Step[W]) -> None:
        self.steps += 1
        world = self._environment.later(step.after)
        key = self._environment.key(world)
        following = self._numbers.get(key)
        if following is None:
            if len(self.worlds) == self._limit:
                self.finished = False
                return
            following = self._numbers[key] = len(self.worlds)
            self.worlds.append(world)
            self.depths.append(self.depths[number] + 1)
            self._first.append((number, intern(step.label)))
            self._fair.append([])
        if step.fair:
            self._fair[following].append(number)
            if self._environment.settles(step):
                self._settling.append(number)
        self.fingerprint = hash((self.fingerprint, number, step.label, following, step.effects))

    def _check_liveness(self) -> None:
        live, todo = set(self._settling), list(self._settling)
        while todo:
            for before in self._fair[todo.pop()]:
                if before not in live:
                    live.add(before)
                    todo.append(before)
        for number, world in enumerate(self.worlds):
            if number not in live and self._environment.state(world) != CLOSED:
                raise self._scene.stuck(self._story(number))

    def _broken(self, invariant: str, problem: str, number: int, step: Step[W]) -> InvariantBroken:
        return self._scene.broken(invariant, problem, [*self._story(number), self._scene.line(step)])

    def _story(self, number: int) -> list[StoryLine]:
        """A shortest way to a world."""
        labels: list[str] = []
        while (first := self._first[number]) is not None:
            number, label = first
            labels.append(label)
        return [self._scene.line(step) for step in self._scene.follow(reversed(labels))]
