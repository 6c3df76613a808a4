"""The root of the error tree, and the errors of the model.

DanubeError
├── InvalidArgument      a value that cannot be used; also a ValueError
├── DefinitionError      a machine is declared wrongly
├── IllegalEvent         an event that the state does not list; also a transitions.MachineError
└── …                    the runtime's errors: see danube_dispatcher.errors
"""

from __future__ import annotations

from transitions import MachineError


class DanubeError(Exception):
    """Root of every error that this distribution raises on purpose."""


class InvalidArgument(DanubeError, ValueError):
    """A value that cannot be used. Nothing has changed.

    `name` is the argument's name; the text names the value and what to give instead.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


class DefinitionError(DanubeError):
    """A machine's declaration is wrong; `problems` lists everything that was found."""

    def __init__(self, machine: str, problems: list[str]) -> None:
        super().__init__(f"machine {machine}: " + "; ".join(problems))
        self.machine = machine
        self.problems = problems


class IllegalEvent(DanubeError, MachineError):
    """The state does not list the event. Nothing has changed."""

    def __init__(self, machine: str, state: str, event: str) -> None:
        super().__init__(f"{machine}: '{event}' is not an event of the state {state}")
        self.machine = machine
        self.state = state
        self.event = event

    def __str__(self) -> str:
        return str(self.value)  # a MachineError shows its text in quotation marks
