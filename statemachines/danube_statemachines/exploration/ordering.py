"""What an exploration takes for granted of a selection, made sure of: it orders the sessions, by nothing but their places."""

from __future__ import annotations

from copy import copy
from typing import Any, TypeVar, cast

from ..declaration import Declaration
from ..errors import DefinitionError
from ..roster import RosterMachine
from ..selection import Roster, Selection

M = TypeVar("M", bound=RosterMachine)


class Ordering:
    """A selection that is watched. Raises DefinitionError where it does what no selection may do."""

    def __init__(self, selection: Selection, machine: str) -> None:
        self._selection: Any = selection  # whether it is one remains to be seen
        self._machine = machine
        self.name = selection.name
        self.announces = selection.announces

    def tries(self, roster: Roster) -> int:
        tries = self._selection.tries(roster)
        call = f"tries({roster})"
        if isinstance(tries, bool) or not isinstance(tries, int) or not bool(roster) <= tries <= len(roster):
            raise self._wrong(f"{call} is {tries!r}: it needs a whole number from {int(bool(roster))} to {len(roster)}")
        self._check_places(call, tries, self._selection.tries(tuple(map(_other, roster))))
        return tries

    def served(self, roster: Roster, session: int) -> Roster:
        order = self._selection.served(roster, session)
        call = f"served({roster}, {session})"
        if type(order) is not tuple or sorted(map(repr, cast("Roster", order))) != sorted(map(repr, roster)):
            raise self._wrong(f"{call} is {order!r}: it needs a tuple of the same sessions, in any order")
        self._check_places(call, tuple(map(_other, cast("Roster", order))), self._selection.served(tuple(map(_other, roster)), _other(session)))
        return cast("Roster", order)

    def _check_places(self, call: str, expected: object, found: object) -> None:
        if found != expected:
            raise self._wrong(f"{call} is something else when the sessions have other numbers: only their places may count, and nothing is remembered")

    def _wrong(self, problem: str) -> DefinitionError:
        return DefinitionError(self._machine, [f"selection {self.name!r}: {problem}"])


def _other(session: int) -> int:
    """Another number for each session: their order is turned round, odd ones become even and even ones odd."""
    return 1001 - 3 * session


def watched(machine: Declaration[M]) -> Declaration[M]:
    """The same machine, its selection watched."""
    lean: type[M] = machine.lean
    same = copy(machine)
    same.lean = cast("type[M]", type(lean.__name__, (lean,), {"__slots__": (), "selection": Ordering(lean.selection, machine.title)}))
    return same
