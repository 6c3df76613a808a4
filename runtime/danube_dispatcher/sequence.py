"""What happened to a machine, step by step, as a Mermaid sequence diagram: the story of a violation, of a failed test, or of a recorded run.

An event is an arrow to the machine, numbered by its step; the effects of the step are the arrows that follow, in their order, and a note says where
the machine stands whenever that has changed. What reaches no machine is a note, over all where it is about no single one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from danube_statemachines import Held
from danube_statemachines.errors import StoryLine

from .diagrams import entities

__all__ = ["sequence"]

MACHINE, ENGINE, LETTERS, PUBLISHER, OPERATOR, CLOCK = "machine", "engine and log", "dead letters", "publisher", "operator", "clock"
FROM = {
    **dict.fromkeys(("polled", "resumed", "poll_empty", "wake", "recover"), ENGINE),
    **dict.fromkeys(("dead_lettered", "dead_letter_failed", "dead_letter_refused"), LETTERS),
    **dict.fromkeys(("release_retry", "release_drop", "release_dead_letter", "close"), OPERATOR),
    "message": PUBLISHER,
    "tick": CLOCK,
}
"""Who an event comes from, if not from a consumer."""
TO = {
    **dict.fromkeys(("poll", "settle", "save_failure"), ENGINE),
    "dead_letter": LETTERS,
    **dict.fromkeys(("sent", "dropped", "no_consumer"), PUBLISHER),
}
"""Whom an effect goes to, if not to a consumer."""
ORDER = (PUBLISHER, MACHINE, ENGINE, LETTERS, OPERATOR, CLOCK)
"""Of the participants, from left to right, beside the consumers, who come first."""
BROAD = 40
"""Characters of a line of text, about; longer ones are broken."""


class Arrow(NamedTuple):
    source: str
    target: str
    text: str


class Note(NamedTuple):
    over: str | None
    """None: all."""
    text: str


def sequence(title: str, story: Iterable[StoryLine]) -> str:
    """The diagram, as text. It is the same for the same story, and needs nothing but the standard library."""
    drawn = [*([Note(None, title)] if title else []), *_drawn([*story])]  # Mermaid's own titles are cut off where they are longer than the diagram is broad
    names = {name: f"p{nth}" for nth, name in enumerate(_participants(drawn))}
    ends = [*names.values()][:: max(1, len(names) - 1)]
    lines = ["sequenceDiagram", *(f"  participant {key} as {entities(name)}" for name, key in names.items())]
    for each in drawn:
        if isinstance(each, Arrow):
            lines.append(f"  {names[each.source]}->>{names[each.target]}: {_broken(each.text)}")
        else:
            lines.append(f"  Note over {names[each.over] if each.over else ','.join(ends)}: {_broken(each.text)}")
    return "\n".join(lines) + "\n"


def _drawn(story: Sequence[StoryLine]) -> Iterator[Arrow | Note]:
    several = any(line.where for line in story)
    together = several and any(line.state and not line.where for line in story)  # a state is that of all
    stands: dict[str | None, str] = {}
    now: float | None = None
    for nth, line in enumerate(story, start=1):
        machine = line.where or MACHINE
        about = None if several and not line.where else machine
        when = "" if line.now == (line.now if now is None else now) else f", at {line.now:g} s"
        now = line.now
        if not line.event:
            yield Note(line.where or None, f"{nth}. {line.what}{when}")
        else:
            call = _called(line.event, line.argument)
            text = f"{call}{when}" if line.what in (line.event, call) else f"{line.what}{when}\n{call}"
            yield Arrow(_source(line), machine, f"{nth}. {text}")
        for effect in line.effects:
            if effect[0] != "transition":  # an observed machine's word to its observer
                yield Arrow(machine, _target(effect, line.where), _effect(effect))
        whose = None if together else about
        if line.state != stands.get(whose, ""):
            stands[whose] = line.state
            yield Note(about, line.state)


def _participants(drawn: Iterable[Arrow | Note]) -> list[str]:
    found: dict[str, None] = {}
    for each in drawn:
        found |= dict.fromkeys((each.source, each.target) if isinstance(each, Arrow) else (each.over,) if each.over else ())
    return sorted(found or [MACHINE], key=_place)


def _place(name: str) -> tuple[int, int, str]:
    if found := re.fullmatch(r"consumer (-?[0-9]+)(.*)", name):
        return (0, int(found[1]), found[2])
    return (1, ORDER.index(name if name in ORDER else MACHINE), name)


def _consumer(session: int, where: str) -> str:
    return f"consumer {session}{where and f' of {where}'}"


def _source(line: StoryLine) -> str:
    argument = line.argument
    match line.event:
        case "consumer_added" | "accepted" | "refused":
            return _consumer(argument, line.where)
        case "consumer_lost":
            return _consumer(argument.session, line.where)
        case "consumer_replaced":
            return _consumer(argument.new, line.where)
        case "ack":
            return _consumer(argument[1], line.where)
        case "nack" | "extend":
            return _consumer(argument.delivery[1], line.where)
        case event:
            return FROM.get(event, line.where or MACHINE)


def _target(effect: tuple[Any, ...], where: str) -> str:
    match effect:
        case ("send" | "withdraw", delivery):
            return _consumer(delivery[1], where)
        case ("offer", session):
            return _consumer(session, where)
        case ("active_changed", int(session)):
            return _consumer(session, where)
        case (name, *_):
            return TO.get(name, where or MACHINE)
        case _:
            return where or MACHINE


def _effect(effect: tuple[Any, ...]) -> str:
    match effect:
        case ("send" | "withdraw" as name, (epoch, _, offset, attempt)):
            return f"{name} message {offset}, attempt {attempt}, epoch {epoch}"
        case ("settle", offset, outcome):
            return f"settle message {offset}: {outcome}"
        case ("save_failure" | "dead_letter" as name, Held() as held):
            due = "" if held.due_at is None else f", due at {held.due_at:g} s"
            return f"{name} message {held.offset}: failures {held.failures}, {held.reason!r}{due}{', exhausted' if held.exhausted else ''}"
        case (name, *arguments):
            return f"{name}({', '.join(map(repr, arguments))})"
        case _:
            return repr(effect)


def _called(event: str, argument: Any) -> str:
    """An event with its argument, the names of whose parts go without saying."""
    if argument is None:
        return event
    parts: list[Any] = list(argument) if hasattr(argument, "_fields") else [argument]
    return f"{event}({', '.join(map(repr, parts))})"


def _broken(text: str) -> str:
    """Over several lines, if it is long."""
    lines: list[str] = []
    for line in text.split("\n"):
        told = ""
        for word in line.split(" "):
            if told and len(told) + len(word) >= BROAD:
                lines.append(told)
                told = ""
            told = f"{told} {word}" if told else word
        lines.append(told)
    return "<br/>".join(map(entities, lines))
