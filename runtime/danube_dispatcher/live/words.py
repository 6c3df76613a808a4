"""A step of a machine in words, for people who look on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from danube_statemachines import VARIANTS

Effect = tuple[Any, ...]
"""(name, argument …), as in danube_statemachines.port."""
LONGEST = 120
"""Characters of a reason that somebody else has written."""


class Step(NamedTuple):
    """A row that was taken, and what the machine asked for in it."""

    number: int
    at: float
    """Unix seconds."""
    machine: str
    source: str
    trigger: str
    dest: str
    row: int
    effects: list[Effect]


def head(step: Step) -> str:
    trigger = step.trigger.replace("_", " ")
    return f"{trigger}, still {step.dest}" if step.dest == step.source else f"{trigger} → {step.dest}"


def tail(step: Step, named: Callable[[int], str]) -> str:
    """What followed, and why; `named` names the consumer of a session."""
    declaration = VARIANTS[step.machine]
    row = declaration.table[step.row]
    if row["conditions"] and declaration.completion.get(step.source) == step.trigger:
        reason = f"[{', '.join(row['conditions']).replace('_', ' ')}]"  # the guards decide
    else:
        reason = row["why"]
    return "; ".join(filter(None, [*_effects(step.effects, named), reason]))


def _effects(effects: Sequence[Effect], named: Callable[[int], str]) -> Iterator[str]:
    for effect in effects:
        match effect:
            case ("send", (_, session, offset, attempt)):
                yield f"message {offset} to {named(session)}" + (f", attempt {attempt}" if attempt != 1 else "")
            case ("withdraw", (_, session, offset, _)):
                yield f"message {offset} is taken back from {named(session)}"
            case ("save_failure", held):
                yield f"failure {held.failures} of message {held.offset}: {_short(held.reason)}" if held.failures else f"message {held.offset} is forgiven"
            case ("settle", offset, outcome):
                yield f"message {offset} {outcome.replace('_', '-')}"
            case ("dead_letter", held):
                yield f"message {held.offset} to the dead-letter topic"
            case ("active_changed", session):
                yield "nobody is active" if session is None else f"{named(session)} is active"
            case ("stale", kind):
                yield f"the {kind} changes nothing"
            case ("offer", session):
                yield f"offered to {named(session)}"
            case ("sent", session):
                yield f"{named(session)} has it"
            case ("dropped",):
                yield "the message is dropped"
            case ("no_consumer",):
                yield "nobody is there"
            case _:  # a poll says no more than its arrow
                pass


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
