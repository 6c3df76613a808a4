"""The root of all errors that are raised on purpose, and the errors of the model. Each says when it is raised, and then what to do."""

from __future__ import annotations

from typing import Any, NamedTuple

from transitions import MachineError


class DanubeError(Exception):
    """Root of every error that this distribution raises on purpose.

    Catch it where all of these are treated alike. Each says in one line what is the case, and most what to do.
    """


class InvalidArgument(DanubeError, ValueError):
    """A value that cannot be used. Nothing has changed.

    Give what the text asks for instead of the value that it shows. `name` is the argument's name, `problem` the text without it.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


class DefinitionError(DanubeError):
    """A machine's declaration is wrong, or its selection does what none may do.

    Mend the table or the selection. `machine` is its name; `problems` lists everything that was found.
    """

    def __init__(self, machine: str, problems: list[str]) -> None:
        super().__init__(f"machine {machine}: " + "; ".join(problems))
        self.machine = machine
        self.problems = problems


class IllegalEvent(DanubeError, MachineError):
    """A machine was given an event that its state does not list. Nothing has changed.

    Through a `Dispatcher` it does not come up. If you drive a machine yourself, send the event only where the table lists it, or add a row that stays.
    `machine`, `state` and `event` say which.
    """

    def __init__(self, machine: str, state: str, event: str) -> None:
        super().__init__(f"{machine}: '{event}' is not an event of the state {state}")
        self.machine = machine
        self.state = state
        self.event = event

    def __str__(self) -> str:
        return str(self.value)  # a MachineError shows its text in quotation marks


class StoryLine(NamedTuple):
    """One step of a story."""

    what: str
    """What happened."""
    state: str
    """The machine's, after it."""
    effects: tuple[tuple[Any, ...], ...]
    """(name, argument …) of each."""
    event: str = ""
    """The trigger; empty where nothing reached a machine."""
    argument: Any = None
    """The trigger's."""
    now: float = 0.0
    """When, in seconds."""
    where: str = ""
    """Which machine, where there are several."""


class InvariantBroken(DanubeError):
    """An exploration or a replay has found a step that must not be.

    Read the text from its end: the last line of the story is the step. `story` is a shortest way there, `again` a call that replays it in a test, and
    `danube_dispatcher.sequence` draws it. `machine`, `invariant` and `problem` say what is broken.
    """

    def __init__(self, machine: str, invariant: str, problem: str, story: tuple[StoryLine, ...], again: str = "") -> None:
        wide = max((len(line.what) for line in story), default=0)
        told = "".join(
            f"\n  {nth:2}  {line.what:{wide}}  {line.state:13} {', '.join(name + str(tuple(rest)).replace(',)', ')') for name, *rest in line.effects)}".rstrip()
            for nth, line in enumerate(story, start=1)
        )
        super().__init__(f"{machine}: {invariant}: {problem}{told}{again and f'{chr(10)}again: {again}'}")
        self.machine = machine
        self.invariant = invariant
        self.problem = problem
        self.story = story
        self.again = again
