"""Who says an event or hears an effect, and in which words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from danube_statemachines import Held

from .elements import CLOCK, ENGINE, LETTERS, OPERATOR, PUBLISHER

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
ANSWERS = ("ack", "nack", "extend", "accepted", "refused")
"""Events by which a consumer answers to what it was given."""
MEANING = {
    "polled": "a message",
    "resumed": "a message with a history",
    "wake": "look again",
    "tick": "time is up",
    "dead_lettered": "it is durable",
}
"""What an event says where no argument is known."""

Effect = tuple[Any, ...]
"""(name, argument …)"""


def consumer(session: int, where: str = "") -> str:
    return f"consumer {session}{where and f' of {where}'}"


def message(offset: int) -> str:
    return f"message {offset}"


def addressee(effect: Effect) -> int | None:
    """The session of the consumer that an effect goes to, if it goes to one."""
    match effect:
        case ("send" | "withdraw", delivery):
            session: int = delivery[1]
            return session
        case ("offer" | "active_changed", int(session)):
            return session
        case _:
            return None


def effect_words(effect: Effect, named: Callable[[int], str] = message) -> str:
    match effect:
        case ("send" | "withdraw" as name, (epoch, _, offset, attempt)):
            return f"{name} {named(offset)}, attempt {attempt}, epoch {epoch}"
        case ("settle", offset, outcome):
            return f"settle {named(offset)}: {_words(outcome)}"
        case ("save_failure" | "dead_letter" as name, Held() as held):
            return f"{_words(name)} {held_words(held, named)}"
        case ("active_changed", session):
            return f"active changed: {'nobody' if session is None else 'your turn'}"
        case ("stale", kind):
            return f"stale: this {kind} changes nothing"
        case (name,):
            return _words(name)
        case (name, *arguments):
            return f"{_words(name)}({', '.join(map(repr, arguments))})"
        case _:
            return repr(effect)


def event_words(event: str, details: str = "") -> str:
    """An event with what is known of it."""
    details = details or MEANING.get(event, "")
    return f"{_words(event)}{details and f': {details}'}"


def held_words(held: Held, named: Callable[[int], str] = message) -> str:
    """The history of a message."""
    due = "" if held.due_at is None else f", due at {held.due_at:g} s"
    return f"{named(held.offset)}: failures {held.failures}, {held.reason!r}{due}{', exhausted' if held.exhausted else ''}"


def _words(name: Any) -> str:
    return str(name).replace("_", " ")
