"""What the page is told of one dispatcher.

While somebody looks, an observer notes each step; a few times a second what is new is told, together with a snapshot of that moment. However many
steps there were, no more are told than the page shows: numbers say how many it has missed. While nobody looks there is no observer.
"""

from __future__ import annotations

import json
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, replace
from operator import itemgetter
from typing import Any

from ..dispatcher import Dispatcher
from ..errors import Closed
from .words import Step, head, tail

STORY = 60
"""Steps that are kept."""
MOST_CONSUMERS = 50
"""Consumers that are told of; of more, their number."""
MOST_NAMES = 100
"""Consumers whose names are remembered beyond their leaving."""


class Watched:
    """One dispatcher, and its observer."""

    def __init__(self, key: int, name: str, dispatcher: Dispatcher) -> None:
        self.key = key
        self.name = name
        self.dispatcher = dispatcher
        self._number = 0
        self._told = 0
        self._story: deque[Step] = deque(maxlen=STORY)
        self._taken: dict[tuple[str, str], int] = {}
        """From which state to which: the number of the last step that went there."""
        self._names: dict[int, str] = {}

    @property
    def machine(self) -> str:
        """Its key in danube_statemachines.VARIANTS."""
        return ("reliable_" if self.dispatcher.reliable else "non_reliable_") + ("shared" if self.dispatcher.type == "shared" else "exclusive")

    def attach(self) -> None:
        """Note from now on. Raises Closed."""
        self.dispatcher.add_observer(self)

    def begin(self) -> None:
        """The same; one that was closed has nothing more to tell."""
        with suppress(Closed):
            self.attach()

    def end(self) -> None:
        self.dispatcher.remove_observer(self)

    # the observer

    def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
        self._number += 1
        step = Step(self._number, time.time(), machine, source, trigger, dest, row, [])
        self._story.append(step)
        self._taken[source, dest] = self._number

    def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
        self._story[-1].effects.append((name, *arguments))

    # telling

    def tell(self, *, all: bool) -> dict[str, Any]:
        """The moment, and what is new since this was asked for last; or all that is kept."""
        why = self.dispatcher.explain()  # first: it may find more to read, which is a step
        status = self.dispatcher.status()
        attached = {consumer.session: consumer.name for consumer in status.consumers}
        gone = [(session, name) for session, name in self._names.items() if session not in attached]
        self._names = dict(gone[-MOST_NAMES:]) | attached
        since = 0 if all else self._told
        if not all:
            self._told = self._number
        return {
            "key": self.key,
            "name": self.name,
            "machine": self.machine,
            **asdict(replace(status, consumers=status.consumers[:MOST_CONSUMERS])),
            "others": len(status.consumers[MOST_CONSUMERS:]),
            "why": asdict(why),
            "number": self._number,
            "taken": sorted(([*way, number] for way, number in self._taken.items() if number > since), key=itemgetter(2)),
            "steps": [[step.number, step.at, head(step), tail(step, self._consumer)] for step in self._story if step.number > since],
        }

    def _consumer(self, session: int) -> str:
        return self._names.get(session, f"consumer {session}")


class Feed:
    """What the page is told of all that it watches."""

    def __init__(self) -> None:
        self.watched: dict[int, Watched] = {}
        self._born = time.time_ns()
        self._looked_at = False

    def add(self, watched: Watched) -> None:
        """Raises Closed, and UsageError for a dispatcher that is not open yet."""
        watched.attach()
        if not self._looked_at:
            watched.end()
        self.watched[watched.key] = watched

    def remove(self, watched: Watched) -> None:
        del self.watched[watched.key]
        watched.end()

    def begin(self) -> None:
        """Somebody looks."""
        self._looked_at = True
        for watched in self.watched.values():
            watched.begin()

    def end(self) -> None:
        """Nobody looks any more."""
        self._looked_at = False
        for watched in self.watched.values():
            watched.end()

    def hello(self) -> bytes:
        """For one who begins to look."""
        return self._event(all=True)

    def news(self) -> bytes:
        """For all who look."""
        return self._event(all=False)

    def _event(self, *, all: bool) -> bytes:
        told = {"born": self._born, "watched": [watched.tell(all=all) for watched in self.watched.values()]}
        return b"data: " + json.dumps(told, separators=(",", ":")).encode() + b"\n\n"
