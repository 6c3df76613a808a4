"""Breadth first through all worlds: every step is judged, and from every world a message must still be able to get done."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from ..errors import InvariantBroken, StoryLine
from ..reliable import CLOSED
from .worlds import Environment, Step, Stopped

W = TypeVar("W")
Judge = Callable[[Step[W]], Iterator[tuple[str, str]]]
"""(invariant, what is wrong) for all that a step breaks."""
LIVENESS = "L1 every message is eventually settled"


def title(check: Callable[..., object]) -> str:
    """The name of an invariant's function as a person writes it."""
    name = check.__name__.replace("_", " ")
    return name[:1].upper() + name[1:]


class Search(Generic[W]):
    """One walk through an environment. `limit` bounds the worlds that are kept; those beyond it are not gone into."""

    def __init__(self, machine: str, environment: Environment[W], judge: Judge[W], limit: int) -> None:
        self._machine = machine
        self._environment = environment
        self._judge = judge
        self._limit = limit
        start = environment.start()
        self.worlds = [start]
        self.depths = [0]
        self.steps = 0
        self.finished = True
        self.fingerprint = 0
        self._numbers: dict[Hashable, int] = {environment.key(start): 0}
        self._first: list[tuple[int, Step[W]] | None] = [None]  # where a world was come to first, and how
        self._fair: list[list[int]] = [[]]  # the worlds from which a fair step leads to this one
        self._settling: list[int] = []

    def run(self) -> None:
        """Raises InvariantBroken, with the shortest story."""
        for number, world in enumerate(self.worlds):  # which grow meanwhile
            try:
                for step in self._environment.steps(world):
                    for invariant, problem in self._judge(step):
                        raise self._broken(invariant, problem, number, step)
                    self._follow(number, step)
            except Stopped as stopped:
                raise self._broken("S12 state is meaning", str(stopped), number, stopped.step) from stopped
        if self.finished:
            self._check_liveness()

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
            self._first.append((number, step))
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
                raise self._broken(LIVENESS, "from here, nothing that consumers and storage do settles a message", number, None)

    def _broken(self, invariant: str, problem: str, number: int, step: Step[W] | None) -> InvariantBroken:
        story = [] if step is None else [self._line(step)]
        first = self._first[number]
        while first is not None:
            number, step = first
            story.append(self._line(step))
            first = self._first[number]
        return InvariantBroken(self._machine, invariant, problem, tuple(reversed(story)))

    def _line(self, step: Step[W]) -> StoryLine:
        return StoryLine(step.label, self._environment.state(step.after), step.effects)
