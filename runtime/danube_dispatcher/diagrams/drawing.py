"""What stands in the pictures of a declaration, in the order of its table. Names are the table's, with blanks for underscores.

Colours tell three ways apart: the normal one (all that is reached without passing a state that has a completion), what leaves it, and what happens
beyond it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from danube_statemachines import Declaration, RowSpec

from .paint import Way, printable, words

NOTHING_STAYS = "no row stays in its state"


class Line(NamedTuple):
    """A row on an arrow. `row` is its index in the table."""

    head: str
    actions: str
    row: int


class Arrow(NamedTuple):
    source: str
    dest: str
    same_step: bool
    """Its rows are a completion's."""


class Stay(NamedTuple):
    """A row that stays, in all the states in which it does."""

    head: str
    actions: str
    why: str
    row: int


class Drawing:
    def __init__(self, declaration: Declaration[Any]) -> None:
        self.title = declaration.title
        self.states = list(declaration.states)
        self.initial = str(declaration.initial)
        self.final = declaration.final
        self.completion = declaration.completion
        self.ends = _from_everywhere(declaration)
        """The triggers that lead to the final state from all others: its box names them, and they have no arrows."""
        self.notes = {self.final: f"{', '.join(map(words, self.ends))}, from every state"} if self.ends else {}
        self.arrows: dict[Arrow, list[Line]] = {}
        self.ending: list[tuple[int, str]] = []
        """(row, source) of what has no arrow for it."""
        self.stays: dict[tuple[str, ...], list[Stay]] = {}
        """By the states they stay in; first what holds in most of them."""
        self._groups = Counter((spec["trigger"], source) for spec in declaration.table for source in spec["source"])
        self._seen = Counter[tuple[str, str]]()
        for number, spec in enumerate(declaration.table):
            self._read(number, spec)
        self.stays = dict(sorted(self.stays.items(), key=lambda group: -len(group[0])))
        self.normal = {self.initial}
        for _ in self.states:
            self.normal |= {arrow.dest for arrow in self.arrows if arrow.source in self.normal and arrow.dest not in self.completion}

    def _read(self, number: int, spec: RowSpec) -> None:
        trigger, dest, actions = spec["trigger"], spec["dest"], ", ".join(map(words, spec["before"]))
        rest: dict[str, str] = {}
        """The states in which it stays, with how it is called there."""
        for source in spec["source"]:
            self._seen[trigger, source] += 1
            completes = self.completion.get(source) == trigger
            head = self._head(spec, source, completes=completes)
            if dest is None or dest == source:
                rest[source] = head
                if completes:
                    self.notes[source] = f"{head} {printable(spec['why'] or 'stays')}"
            elif dest != self.final or trigger not in self.ends:
                self.arrows.setdefault(Arrow(source, dest, completes), []).append(Line(head, actions, number))
            else:
                self.ending.append((number, source))
        if rest:
            states = tuple(sorted(rest, key=self.states.index))
            self.stays.setdefault(states, []).append(Stay(_head_in_all(words(trigger), rest), actions, spec["why"] and printable(spec["why"]), number))

    def _head(self, spec: RowSpec, source: str, *, completes: bool) -> str:
        group = (spec["trigger"], source)
        nth = self._seen[group]
        guards = f" [{', '.join(map(words, spec['conditions']))}]" if spec["conditions"] else " [else]" if nth > 1 else ""
        return f"{nth}:{guards}" if completes and self._groups[group] > 1 else f"{words(spec['trigger'])}{guards}"

    def way(self, arrow: Arrow) -> Way:
        return "beyond" if arrow.source not in self.normal else "normal" if arrow.dest in self.normal else "leaves"

    def way_of(self, state: str) -> Way:
        return "quiet" if state == self.final else "leaves" if state in self.completion else "normal" if state in self.normal else "beyond"

    def in_words(self) -> str:
        """For those who do not see the picture."""
        arrows = (f"{arrow.source} to {arrow.dest}: {', '.join(line.head for line in lines)}" for arrow, lines in self.arrows.items())
        stays = (f"stays in {', '.join(states)}: {', '.join(stay.head for stay in rows)}" for states, rows in self.stays.items())
        return printable("; ".join((f"begins in {self.initial}", *arrows, *stays)))

    def identifiers(self) -> dict[str, str]:
        """For each state a name that means nothing else to any tool: its own, if that is one capitalised word."""
        return {state: state if re.fullmatch("[A-Z][A-Za-z0-9]*", state) else f"s{nth}" for nth, state in enumerate(self.states)}


def merged(rows: list[Stay]) -> Iterator[Stay]:
    """Rows that do the same for the same reason are told together."""
    same: dict[tuple[str, str], list[Stay]] = {}
    for stay in rows:
        same.setdefault((stay.actions, stay.why), []).append(stay)
    for several in same.values():
        yield several[0]._replace(head=", ".join(stay.head for stay in several))


def _head_in_all(trigger: str, heads: dict[str, str]) -> str:
    """How a row is called that stays in several states: where rows above it leave it the rest, it says so."""
    called = set(heads.values())
    if len(called) == 1:
        return called.pop()
    return f"{trigger} [else in {', '.join(printable(state) for state, head in heads.items() if head != trigger)}]"


def _from_everywhere(declaration: Declaration[Any]) -> list[str]:
    sources: dict[str, set[str]] = {}
    for spec in declaration.table:
        if spec["dest"] == declaration.final:
            sources.setdefault(spec["trigger"], set()).update(spec["source"])
    return [trigger for trigger, states in sources.items() if states >= {*declaration.states} - {declaration.final}]
