"""What all four machines hold: a state, the roster, and the actions on it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

from .identity import Lost, Replaced
from .port import RosterPort
from .selection import Roster, Selection


class RosterMachine:
    """Base of the models. `snapshot()` is everything a machine knows, as one hashable value; `restore()` takes it back."""

    __slots__ = ("now", "port", "roster", "state")

    variant: ClassVar[str]
    selection: ClassVar[Selection]
    fields: ClassVar[tuple[str, ...]]

    def __init__(self, port: Any) -> None:
        self.port: Any = port
        self.roster: Roster = ()
        self.now = 0.0  # the time of this step, set by whoever triggers it

    def snapshot(self) -> tuple[Hashable, ...]:
        return tuple(getattr(self, field) for field in self.fields)

    def restore(self, snapshot: tuple[Hashable, ...]) -> None:
        for field, value in zip(self.fields, snapshot, strict=True):
            setattr(self, field, value)

    @property
    def active(self) -> int | None:
        """The active consumer's session, where the selection has one."""
        return self.roster[0] if self.selection.announces and self.roster else None

    # guards

    def anyone(self, _: object) -> bool:
        return self.roster != ()

    # actions

    def join(self, session: int) -> None:
        self._seat((*self.roster, session))

    def leave(self, lost: Lost) -> None:
        self._seat(tuple(session for session in self.roster if session != lost.session))

    def replace(self, replaced: Replaced) -> None:
        self._seat(tuple(replaced.new if session == replaced.session else session for session in self.roster))

    def _seat(self, roster: Roster) -> None:
        active, self.roster = self.active, roster
        if self.active != active:
            port: RosterPort = self.port
            port.active_changed(self.active)
