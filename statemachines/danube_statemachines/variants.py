"""The four machines, declared. Each is executed, drawn and explored from its declaration here."""

from __future__ import annotations

from . import non_reliable, reliable
from .declaration import Declaration, RowSpec
from .non_reliable import NonReliable
from .reliable import Reliable
from .selection import RoundRobin, Selection, SingleActive


def declare_reliable(selection: Selection, table: list[RowSpec] = reliable.TABLE) -> Declaration[Reliable]:
    """A reliable machine with a selection of your own, called `reliable_` and the selection's name. Raises DefinitionError."""
    return Declaration(f"reliable_{selection.name}", Reliable, table, **reliable.SHAPE, attributes={"selection": selection})


def declare_non_reliable(selection: Selection, table: list[RowSpec] = non_reliable.TABLE) -> Declaration[NonReliable]:
    """A non-reliable machine with a selection of your own, called `non_reliable_` and the selection's name. Raises DefinitionError."""
    return Declaration(f"non_reliable_{selection.name}", NonReliable, table, **non_reliable.SHAPE, attributes={"selection": selection})


RELIABLE_EXCLUSIVE = declare_reliable(SingleActive())
RELIABLE_SHARED = declare_reliable(RoundRobin())
NON_RELIABLE_EXCLUSIVE = declare_non_reliable(SingleActive(), non_reliable.EXCLUSIVE_TABLE)
NON_RELIABLE_SHARED = declare_non_reliable(RoundRobin())

VARIANTS: dict[str, Declaration[Reliable] | Declaration[NonReliable]] = {
    machine.title: machine for machine in (NON_RELIABLE_EXCLUSIVE, NON_RELIABLE_SHARED, RELIABLE_EXCLUSIVE, RELIABLE_SHARED)
}
"""The four that ship, by name."""
