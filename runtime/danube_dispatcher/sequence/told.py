"""A story of an exploration, a replay or a test, as elements of a diagram.

An event is an arrow to the machine, numbered by its step; the effects of the step are the arrows that follow, in their order, and then it is said where
the machine stands, whenever that has changed. What reaches no machine is a note, over all where it is about no single one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from danube_statemachines.errors import StoryLine

from .elements import MACHINE, Arrow, Element, Note, State, way_of
from .words import FROM, TO, Effect, addressee, consumer, effect_words


def told(story: Iterable[StoryLine | Element]) -> Iterator[Element]:
    """What is an element already stays what it is."""
    story = [*story]
    lines = [line for line in story if isinstance(line, StoryLine)]
    several = any(line.where for line in lines)
    together = several and any(line.state and not line.where for line in lines)  # a state is that of all
    stands: dict[str | None, str] = {}
    now: float | None = None
    for nth, line in enumerate(story, start=1):
        if not isinstance(line, StoryLine):
            yield line
            continue
        machine = line.where or MACHINE
        about = None if several and not line.where else machine
        at = None if line.now == (line.now if now is None else now) else line.now
        now = line.now
        if not line.event:
            yield Note((line.where,) if line.where else (), f"{nth}. {line.what}", at)
        else:
            call = _called(line.event, line.argument)
            text = call if line.what in (line.event, call) else f"{line.what}\n{call}"
            yield Arrow(_source(line), machine, f"{nth}. {text}", way_of(line.state), at=at)
        for effect in line.effects:
            if effect[0] == "transition":  # an observed machine's word to its observer
                continue
            target, text = _target(effect, line.where), effect_words(effect)
            yield Note((machine,), text) if target == machine else Arrow(machine, target, text, way_of(line.state))
        whose = None if together else about
        if line.state != stands.get(whose, ""):
            stands[whose] = line.state
            yield State(about, (line.state,))


def _source(line: StoryLine) -> str:
    argument = line.argument
    match line.event:
        case "consumer_added" | "accepted" | "refused":
            return consumer(argument, line.where)
        case "consumer_lost":
            return consumer(argument.session, line.where)
        case "consumer_replaced":
            return consumer(argument.new, line.where)
        case "ack":
            return consumer(argument[1], line.where)
        case "nack" | "extend":
            return consumer(argument.delivery[1], line.where)
        case event:
            return FROM.get(event, line.where or MACHINE)


def _target(effect: Effect, where: str) -> str:
    session = addressee(effect)
    return TO.get(effect[0], where or MACHINE) if session is None else consumer(session, where)


def _called(event: str, argument: Any) -> str:
    """An event with its argument, the names of whose parts go without saying."""
    if argument is None:
        return event
    parts: list[Any] = list(argument) if hasattr(argument, "_fields") else [argument]
    return f"{event}({', '.join(map(repr, parts))})"
