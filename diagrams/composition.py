"""How a machine hangs together with what is around it: topic, log, engine, machine, consumers (make diagrams).

Which names there are is the code's to say: a test holds that each event of a machine, each effect of its port and each event of the engine's core stands
on an arrow, that nothing else does, and that the module named beside it is where it is called. Where it stands is said here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from danube_dispatcher.diagrams import rendering
from danube_dispatcher.diagrams.flow import BOXES, led
from danube_dispatcher.diagrams.paint import FONT, PAINT, SMALL, USUAL, Way, broken, left, markup, words

BROAD = 22
"""Characters of a line."""


class Place(NamedTuple):
    title: str
    text: str
    way: Way = "quiet"
    """Whose colour it has: see LEGEND."""


class Calls(NamedTuple):
    """What one place says to another, drawn in the colour of who says it."""

    source: str
    dest: str
    names: tuple[str, ...]
    modules: tuple[str, ...]
    """Where these calls stand, or are carried out."""
    later: bool = False
    """Said by the event loop, not in the stack of whatever led to it."""


class Composition(NamedTuple):
    title: str
    places: dict[str, Place]
    calls: tuple[Calls, ...]


ADAPTER, DISPATCHER, ENGINE, LETTERS, TOPIC = (f"danube_dispatcher/{name}.py" for name in ("adapter", "dispatcher", "engine", "dead_letters", "topic"))
COUPLING = "danube_statemachines/coupling.py"
LEGEND: tuple[tuple[Way, str], ...] = (
    ("normal", "pure"),
    ("quiet", "runtime"),
    ("beyond", "a store"),
    ("leaves", "your code"),
    ("quiet", "dashed: later, by the event loop"),
)
READ_OFF = ("wants_read", "begin_write", "alarm")
"""What the engine wants it does not ask for: the runtime reads it off."""
QUESTIONS = ("refusal", "doubtful", "take_news", "snapshot", "restore")
"""What is left out of what the engine can be asked: whether and why not, and what has been heard."""

RELIABLE = Composition(
    "a reliable dispatcher and what is around it",
    places={
        "publishers": Place("publishers", "", "leaves"),
        "log": Place("topic log", "", "beyond"),
        "store": Place("cursor, lease", "", "beyond"),
        "core": Place("engine", "what a poll is answered with", "normal"),
        "watchdog": Place("watchdog", "one timer of the loop"),
        "owner": Place("subscription", "", "leaves"),
        "machine": Place("machine", "what becomes of a message", "normal"),
        "consumers": Place("consumers", "a bounded box each", "leaves"),
        "letters": Place("dead letters", "appended to another topic"),
        "observers": Place("counts, observers", ""),
    },
    calls=(
        Calls("publishers", "log", ("append",), (TOPIC,)),
        Calls("log", "core", ("head_moved", "read_begun", "read_done", "read_failed"), (ENGINE,)),
        Calls("core", "log", ("wants_read",), (COUPLING,)),
        Calls("core", "store", ("begin_write",), (ENGINE,)),
        Calls("store", "core", ("write_done", "write_failed", "renewed"), (ENGINE,), later=True),
        Calls("owner", "core", ("pause", "flush", "ticket", "end"), (ADAPTER, DISPATCHER, ENGINE)),
        Calls("core", "watchdog", ("alarm",), (COUPLING,)),
        Calls("watchdog", "core", ("tick",), (COUPLING,), later=True),
        Calls("core", "machine", ("polled", "resumed", "poll_empty", "wake", "recover"), (COUPLING,)),
        Calls("machine", "core", ("poll", "settle", "save_failure"), (COUPLING,)),
        Calls("watchdog", "machine", ("tick",), (COUPLING,), later=True),
        Calls("owner", "machine", ("release_retry", "release_drop", "release_dead_letter", "close"), (ADAPTER, DISPATCHER)),
        Calls("consumers", "machine", ("ack", "nack", "extend", "consumer_added", "consumer_lost", "consumer_replaced"), (ADAPTER,)),
        Calls("machine", "consumers", ("send", "withdraw", "active_changed"), (ADAPTER,)),
        Calls("machine", "letters", ("dead_letter",), (ADAPTER,)),
        Calls("letters", "machine", ("dead_lettered", "dead_letter_failed", "dead_letter_refused"), (LETTERS,), later=True),
        Calls("machine", "observers", ("transition", "stale"), (ADAPTER,)),
    ),
)
NON_RELIABLE = Composition(
    "a non-reliable dispatcher and what is around it",
    places={
        **{name: RELIABLE.places[name] for name in ("publishers", "log", "owner")},
        "machine": Place("machine", "who is offered a message", "normal"),
        "consumers": RELIABLE.places["consumers"],
        "observers": Place("outcome, counts, observers", ""),
    },
    calls=(
        Calls("publishers", "log", ("append",), (TOPIC,)),
        Calls("log", "machine", ("message",), (ADAPTER,)),
        Calls("owner", "machine", ("close",), (ADAPTER,)),
        Calls("consumers", "machine", ("accepted", "refused", "consumer_added", "consumer_lost", "consumer_replaced"), (ADAPTER,)),
        Calls("machine", "consumers", ("offer", "active_changed"), (ADAPTER,)),
        Calls("machine", "observers", ("sent", "dropped", "no_consumer", "transition"), (ADAPTER,)),
    ),
)
COMPOSITIONS = {"composition.reliable": RELIABLE, "composition.non_reliable": NON_RELIABLE}


def render(drawn: Composition, kind: str) -> bytes:
    """As "dot", "svg" or "png"."""
    text = "\n".join(_dot(drawn)) + "\n"
    return text.encode() if kind == "dot" else rendering.picture(text, kind, drawn.title, _in_words(drawn))


def _in_words(drawn: Composition) -> str:
    return "; ".join(f"{drawn.places[call.source].title} to {drawn.places[call.dest].title}: {', '.join(map(words, call.names))}" for call in drawn.calls)


def _dot(drawn: Composition) -> Iterator[str]:
    order = list(drawn.places)
    quiet = PAINT["quiet"]
    ways = [place.way for place in drawn.places.values()]
    legend = LEGEND if any(call.later for call in drawn.calls) else LEGEND[:-1]
    told = "  ·  ".join(f'<font color="{PAINT[way].ink}">{text}</font>' for way, text in legend if way in ways)
    yield "digraph composition {"
    yield f'  graph [bgcolor="{quiet.area}", pad=0.15, nodesep=0.16, ranksep=0.22, fontname="{FONT}", fontsize={USUAL}, fontcolor="{quiet.ink}"]'
    yield f"  graph [label=<<br/>{told}>, labelloc=b]"
    yield from BOXES
    for name, place in drawn.places.items():
        ink, area, *_ = PAINT[place.way]
        text = f'<br/><font point-size="{SMALL}">{markup(place.text)}</font>' if place.text else ""
        wide = ", width=3.3" if place.way == "normal" else ""  # so that arrows end side by side
        yield f'  {name} [label=<<b>{markup(place.title)}</b>{text}>, color="{ink}", fontcolor="{ink}", fillcolor="{area}"{wide}]'
    for nth, call in enumerate(drawn.calls):
        ink = PAINT[drawn.places[call.source].way].ink
        cell = f"<td>{left(broken(', '.join(map(words, call.names)), BROAD))}</td>"
        look = f'color="{ink}"' + (", style=dashed" if call.later else "")
        yield f'  l{nth} [shape=plain, style="", fontsize={USUAL}, fontcolor="{ink}", label=<<table border="0" cellpadding="3"><tr>{cell}</tr></table>>]'
        yield from led(call.source, f"l{nth}", call.dest, look, down=order.index(call.source) < order.index(call.dest))
    yield "}"
