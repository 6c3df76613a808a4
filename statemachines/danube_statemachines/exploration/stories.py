"""A story: how a world was come to, step by step, and the same steps once more.

A step is known by its label, which is unique in its world. So a list of labels says it all, for every kind of environment: it is what the search keeps
of each world, and what a test replays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

from ..errors import InvalidArgument, InvariantBroken, StoryLine
from ..reliable import CLOSED
from .worlds import Environment, Step, Stopped

W = TypeVar("W")
Judge = Callable[[Step[W]], Iterator[tuple[str, str]]]
"""(invariant, what is wrong) for all that a step breaks."""
LIVENESS = "L1 every message is eventually settled"
MEANING = "S12 state is meaning"


class Scene(NamedTuple, Generic[W]):
    """A machine, all that can happen to it, and what must hold then."""

    machine: str
    sessions: int
    """Consumers at once, at most."""
    environment: Environment[W]
    judge: Judge[W]
    checks: tuple[str, ...]
    """What `judge` holds each step to."""
    again: str
    """A call that replays a story, with STORY in the place of its labels."""

    def broken(self, invariant: str, problem: str, story: Sequence[StoryLine]) -> InvariantBroken:
        again = self.again.replace("STORY", repr([line.what for line in story]))
        return InvariantBroken(self.machine, invariant, problem, tuple(story), again)

    def line(self, step: Step[W]) -> StoryLine:
        return StoryLine(step.label, self.environment.state(step.after), step.effects, step.event, step.argument, step.now, step.where)

    def stuck(self, story: Sequence[StoryLine]) -> InvariantBroken:
        return self.broken(LIVENESS, "from here, nothing that consumers and storage do settles a message", story)

    def follow(self, labels: Iterable[str]) -> Iterator[Step[W]]:
        """The steps of these labels, from the start on. Raises InvalidArgument where one cannot happen, Stopped where a machine breaks."""
        world = self.environment.start()
        for nth, label in enumerate(labels, start=1):
            others: list[str] = []
            for step in self.environment.steps(world):
                if step.label == label:
                    break
                others.append(step.label)
            else:
                raise InvalidArgument("story", f"step {nth}, {label!r}, cannot happen in {self.environment.state(world)}; what can: {'; '.join(others)}")
            yield step
            world = self.environment.later(step.after)

    def replay(self, labels: Iterable[str]) -> tuple[StoryLine, ...]:
        """Judge each of these steps, and whether a message can still get done at the end. Raises InvariantBroken; InvalidArgument as `follow`."""
        story: list[StoryLine] = []
        world = self.environment.start()
        try:
            for step in self.follow(labels):
                story.append(self.line(step))
                for invariant, problem in self.judge(step):
                    raise self.broken(invariant, problem, story)
                world = self.environment.later(step.after)
        except Stopped as stopped:
            raise self.broken(MEANING, str(stopped), [*story, self.line(stopped.step)]) from stopped
        if not self._lives(world):
            raise self.stuck(story)
        return tuple(story)

    def _lives(self, world: W) -> bool:
        """Whether steps that happen sooner or later lead from here to a settled message."""
        environment = self.environment
        todo, seen = [world], {environment.key(world)}
        for world in todo:  # which grows meanwhile
            if environment.state(world) == CLOSED:
                return True
            with suppress(Stopped):  # of a step that the story does not tell
                for step in environment.steps(world):
                    if not step.fair:
                        continue
                    if environment.settles(step):
                        return True
                    after = environment.later(step.after)
                    if (key := environment.key(after)) not in seen:
                        seen.add(key)
                        todo.append(after)
        return False
