"""Which rows of the tables a run has fired, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from .declaration import Declaration, RowSpec

Fired = Counter[tuple[str, int, str]]
"""(machine, row, source): how often. `row` is the index in the declaration's `table`; a row of several source states is told apart by the source."""


class FiredRow(TypedDict):
    """One row in a report; `times` is the sum over `sources`."""

    row: int
    trigger: str
    sources: dict[str, int]
    dest: str | None
    when: list[str]
    do: list[str]
    why: str
    times: int


def described(declaration: Declaration[Any], row: int) -> str:
    """A row as one line: its number, trigger, states, guards and reason."""
    spec = declaration.table[row]
    states = "any state" if set(spec["source"]) == set(declaration.states) else " ".join(spec["source"])
    guards = f" [{', '.join(spec['conditions'])}]" if spec["conditions"] else ""
    why = f": {spec['why']}" if spec["why"] else ""
    return f"{row:2} {spec['trigger']}{guards}  {states} → {spec['dest'] or 'stays'}{why}"


def unfired(declaration: Declaration[Any], fired: Mapping[tuple[str, int, str], int]) -> list[int]:
    """The rows of a machine that were fired in none of their states."""
    seen = {row for machine, row, _ in fired if machine == declaration.title}
    return [row for row in range(len(declaration.table)) if row not in seen]


def unfired_sources(declaration: Declaration[Any], fired: Mapping[tuple[str, int, str], int]) -> list[tuple[int, str]]:
    """The same for each row in each of its states: (row, source) of those not fired there."""
    places = [(entry.number, source) for event in declaration.events.values() for source, rows in event.transitions.items() for entry in rows]
    return sorted(place for place in places if (declaration.title, *place) not in fired)


def fired_report(declarations: Iterable[Declaration[Any]], fired: Mapping[tuple[str, int, str], int]) -> dict[str, list[FiredRow]]:
    """All rows of each machine in the order of its table, as plain values for JSON."""
    return {declaration.title: [_reported(declaration, row, spec, fired) for row, spec in enumerate(declaration.table)] for declaration in declarations}


def _reported(declaration: Declaration[Any], row: int, spec: RowSpec, fired: Mapping[tuple[str, int, str], int]) -> FiredRow:
    sources = {source: fired.get((declaration.title, row, source), 0) for source in spec["source"]}
    return FiredRow(
        row=row,
        trigger=spec["trigger"],
        sources=sources,
        dest=spec["dest"],
        when=spec["conditions"],
        do=spec["before"],
        why=spec["why"],
        times=sum(sources.values()),
    )
