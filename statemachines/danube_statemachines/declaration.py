"""How a machine is declared, checked and made fast.

A `Declaration` is a `transitions` machine: the same table is drawn, explored and executed. Two things are added through the extension
points of `transitions` itself.

- Rows say why they are there and where they stand in the table (`Row`), and a state may name a *completion*: a trigger that goes on from it in
  the same step, so that no caller ever looks at a state to drive a machine (statecharts call it an eventless transition).
- Each event writes itself out as one straight-line function (`LeanEvent.source`): guards, actions and destinations as the rows say, and
  nothing else, with plain guards and actions in place of calls to them (inlining.py). A stock trigger takes some 10 µs, this a fraction of 1.
  `Event.trigger` is left as it is, so a test can hold the two equal.

An event's first row whose guards hold is taken. Every group of rows ends in one without guards; an event that the state does not list is an
IllegalEvent and changes nothing. Guards are pure and return real bools. Each trigger takes one argument.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, TypedDict, TypeVar, cast

from transitions import Event, Machine, State, Transition
from transitions.core import Condition

from .errors import DefinitionError, IllegalEvent
from .inlining import Inliner

M = TypeVar("M")


class RowSpec(TypedDict):
    """One row of a table, in the words of `transitions`."""

    trigger: str
    source: list[str]
    dest: str | None
    conditions: list[str]
    before: list[str]
    why: str


class Shape(TypedDict):
    """What a table stands on, apart from its rows."""

    states: Sequence[str]
    initial: str
    final: str
    completion: Mapping[str, str]


def row(trigger: str, source: str | Sequence[str], dest: str | None, *, when: Sequence[str] = (), do: Sequence[str] = (), why: str = "") -> RowSpec:
    """On `trigger` in `source`, if all guards `when` hold: run the actions `do`, then go to `dest` (None: stay)."""
    sources = [source] if isinstance(source, str) else list(source)
    return RowSpec(trigger=trigger, source=sources, dest=dest, conditions=list(when), before=list(do), why=why)


class Row(Transition):
    """A transition that can say why it is there, and its `number`: the index of its row in the declaration's `table`."""

    def __init__(self, *args: Any, why: str = "", number: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.why = why
        self.number = number


class LeanEvent(Event):
    """An event that can write itself out as one function."""

    def source(self, methods: Inliner, completion: Mapping[str, str], *, observed: bool) -> Iterator[str]:
        yield f"def {self.name}(self, event):"
        yield "    state = self.state"
        for state, rows in self.transitions.items():
            yield f"    if state == {state!r}:"
            for entry in cast("list[Row]", rows):
                guards = " and ".join(f"{'' if each.target else 'not '}{methods.guard(cast('str', each.func))}" for each in entry.conditions)
                indent = "        "
                if guards:
                    yield f"{indent}if {guards}:"
                    indent += "    "
                dest = state if entry.dest is None else entry.dest
                if observed:
                    yield f"{indent}self.port.transition({self.name!r}, {state!r}, {dest!r}, {entry.number})"
                for each in entry.before:
                    yield from (indent + line for line in methods.action(cast("str", each)))
                if entry.dest is not None:
                    yield f"{indent}self.state = {dest!r}"
                if dest in completion and self.name != completion[dest]:
                    yield f"{indent}self.{completion[dest]}(event)"
                yield f"{indent}return True"
        yield f"    raise IllegalEvent({self.machine.title!r}, state, {self.name!r})"


class Declaration(Machine, Generic[M]):
    """One declared machine, checked; `lean` and `observed` are classes whose objects run it, made when they are first asked for.

    name        its name, afterwards `title`
    base        the class of the machine's objects, with guards and actions as methods
    table       rows, made by `row`; afterwards a tuple, in which an observer's row number counts
    states      all of them, the `initial` and the `final` one among them
    completion  for a state that is left again in the same step, the trigger that does so
    attributes  of the class, such as the selection

    Raises DefinitionError with everything that is wrong.
    """

    transition_cls = Row
    event_cls = LeanEvent
    events: Any

    def __init__(
        self,
        name: str,
        base: type[M],
        table: Sequence[RowSpec],
        *,
        states: Sequence[str],
        initial: str,
        final: str,
        completion: Mapping[str, str],
        attributes: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(
            model=None,
            name=name,
            states=[State(state, final=state == final) for state in states],
            initial=initial,
            transitions=[{**spec, "number": number} for number, spec in enumerate(table)],
            auto_transitions=False,
        )
        self.title = name
        self.table = tuple(table)
        self.final = final
        self.completion = dict(completion)
        if problems := list(self._problems(base)):
            raise DefinitionError(name, problems)
        self._base = base
        self._attributes = {"__slots__": (), "__doc__": base.__doc__, "variant": name, **(attributes or {})}

    @cached_property
    def lean(self) -> type[M]:
        """The class whose objects run the machine."""
        return self.written_out(observed=False)

    @cached_property
    def observed(self) -> type[M]:
        """The same, telling its port of each transition."""
        return self.written_out(observed=True)

    def written_out(self, *, observed: bool) -> type[M]:
        """A class made of the events' functions, with the guards and actions as they are now."""
        scope: dict[str, Any] = {"IllegalEvent": IllegalEvent}
        methods = Inliner(self._base, "event", frozenset({"state"}))
        for event in self.events.values():
            source = "\n".join(event.source(methods, self.completion, observed=observed))
            file = f"<{self.title}.{event.name}{' observed' if observed else ''}>"
            linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file  # so that tracebacks and debuggers show it
            exec(compile(source, file, "exec"), scope)
        name = "".join(map(str.capitalize, self.title.split("_")))
        return cast("type[M]", type(name, (self._base,), {**self._attributes, **{event: scope[event] for event in self.events}}))

    def _problems(self, base: type[M]) -> Iterator[str]:
        """What `transitions` does not check."""
        states = set(self.states)
        onward: dict[str, set[str]] = {state: set() for state in states}
        for spec in self.table:
            for state in [*spec["source"], *([] if spec["dest"] is None else [spec["dest"]])]:
                if state not in states:
                    yield f"the row {spec['trigger']!r} names an unknown state {state!r}"
        for name, event in self.events.items():
            if callable(getattr(base, name, None)):
                yield f"the trigger {name!r} is hidden by a method of {base.__name__}"
            for state, rows in event.transitions.items():
                open_row = next((nth for nth, entry in enumerate(rows) if not entry.conditions), None)
                if open_row is None:
                    yield f"{name!r} in {state}: the last row has guards, so an event can fall through"
                elif open_row < len(rows) - 1:
                    yield f"{name!r} in {state}: a row without guards shadows {len(rows) - 1 - open_row} below it"
                for entry in rows:
                    onward.setdefault(state, set()).add(state if entry.dest is None else entry.dest)
                    callbacks: list[str | Condition] = [*entry.conditions, *entry.before]
                    for callback in callbacks:
                        wanted = callback.func if isinstance(callback, Condition) else callback
                        if not isinstance(wanted, str) or not callable(getattr(base, wanted, None)):
                            yield f"{name!r} in {state}: {wanted!r} is not a method of {base.__name__}"
                    if entry.prepare or entry.after:
                        yield f"{name!r} in {state}: only guards and actions before the change are executed"
        for title in self.states:
            defined = self.get_state(title)
            if defined.on_enter or defined.on_exit:
                yield f"{title}: callbacks of states are not executed; put them into the rows"
        for rest, trigger in self.completion.items():
            if rest not in states or trigger not in self.events:
                yield f"the completion {trigger!r} of {rest!r} is unknown"
            elif set(self.events[trigger].transitions) != {rest}:
                yield f"the completion {trigger!r} has rows outside of {rest}"
        reached = _closure({self.initial}, onward)
        backward: dict[str, set[str]] = {}
        for state, following in onward.items():
            for after in following:
                backward.setdefault(after, set()).add(state)
        ends = _closure({self.final}, backward)
        for state in self.states:
            if state not in reached:
                yield f"{state} cannot be reached"
            if state not in ends:
                yield f"{state} is a trap: {self.final} cannot be reached from it"
        if onward.get(self.final, set()) - {self.final}:
            yield f"{self.final} is final, but can be left"


def _closure(start: set[Any], edges: Mapping[Any, set[Any]]) -> set[Any]:
    seen, todo = set(start), list(start)
    while todo:
        for state in edges.get(todo.pop(), set()) - seen:
            seen.add(state)
            todo.append(state)
    return seen
