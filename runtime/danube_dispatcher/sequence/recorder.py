"""Writes down what a running dispatcher does, as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from danube_statemachines import VARIANTS, Held

from ..consumer import Consumer
from ..diagrams.paint import Way
from .elements import ENGINE, MACHINE, Arrow, Element, Note, State, way_of
from .words import ANSWERS, FROM, TO, Effect, addressee, consumer, effect_words, event_words, message

LIMIT = 1_000
"""Elements of a story, after which nothing more is written: nobody looks at such a picture."""
BETWEEN = ("poll", "polled", "resumed", "poll_empty", "wake", "recover", "save_failure")
"""What a machine and its engine say to each other and to nobody else. It is left out where the two are one participant."""
NEWS = ("wake", "recover", "close")
"""What no step of the machine has brought about."""


class Recorder:
    """An observer whose `story` can be drawn. Make it where the event loop runs.

        recorder = Recorder()
        orders = await topic.subscribe("orders", observer=recorder)
        …
        text = svg("my run", recorder.story)

    machine, engine  what the two are called; the same name makes one participant of them
    named            what the message of an offset is called: an observer sees no payloads
    story            where to write; several recorders may share a list
    began            the time of the loop that counts as 0; now, if it is not given

    Consumers are called by their sessions, as an observer hears of them; those in the list `consumers` by their names.
    """

    def __init__(
        self,
        *,
        machine: str = MACHINE,
        engine: str = ENGINE,
        named: Callable[[int], str] = message,
        story: list[Element] | None = None,
        began: float | None = None,
    ) -> None:
        self.machine = machine
        self.engine = engine
        self.named = named
        self.story: list[Element] = [] if story is None else story
        self.consumers: list[Consumer] = []
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock() if began is None else began
        self._open: tuple[str, str] | None = None
        """Who holds what."""
        self._call: tuple[str, str] | None = None
        self._began_in: str | None = None
        """Where it stood before the state that is told last, if nobody called."""

    def calls(self, who: str, what: str = "") -> None:
        """Say who makes the call that comes next, and with what, which no observer is told. Otherwise an answer counts as the open delivery's."""
        self._call = who, what

    def write(self, element: Element) -> None:
        """Something that no observer is told: it comes next, with the time where that has passed."""
        if len(self.story) < LIMIT:
            self._write(element)

    def _write(self, element: Element) -> None:
        now = round(self._clock() - self._began, 3)
        last = next((each.at for each in reversed(self.story) if each.at is not None), None)
        self.story.append(element if now == last else element._replace(at=now))

    # an observer

    def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
        declaration = VARIANTS[machine]
        actions = declaration.table[row]["before"]
        if len(self.story) >= LIMIT or (dest == source and not actions):
            return  # nothing comes of a row that stays and does nothing
        if trigger == "close" or trigger in declaration.completion.values() or (trigger in BETWEEN and self.engine == self.machine):
            self._passes(trigger, source, dest)  # nobody may have asked for a close
            return
        who, what = self._caller(trigger, actions)
        self._write(Arrow(who, self.machine, event_words(trigger, what), way_of(dest)))
        if dest != source:
            self._began_in = None
            self._write(State(self.machine, (dest,)))

    def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
        if len(self.story) >= LIMIT:
            return
        effect: Effect = (name, *(self._on_own_clock(each) for each in arguments))
        session = addressee(effect)
        target = self._called(session) if session is not None else self._participant(TO.get(name, self.machine))
        if name == "send":
            self._open = target, f"{self.named(effect[1][2])}, attempt {effect[1][3]}"
        elif name == "offer":
            self._open = target, ""
        text = effect_words(effect, self.named)
        if target != self.machine:
            self._before_state(Arrow(self.machine, target, text, self._way()))
        elif name not in BETWEEN:
            self._before_state(Note((target,), text))

    # how

    def _caller(self, trigger: str, actions: list[str]) -> tuple[str, str]:
        if trigger in FROM:
            return self._participant(FROM[trigger]), ""
        call, self._call = self._call, None
        if call is None and self._open is not None and trigger in ANSWERS and not any(action.startswith("stale") for action in actions):
            call = self._open
        return call or ("a consumer", "")

    def _participant(self, name: str) -> str:
        return {MACHINE: self.machine, ENGINE: self.engine}.get(name, name)

    def _called(self, session: int) -> str:
        return next((each.name for each in self.consumers if each.session == session), consumer(session))

    def _on_own_clock(self, argument: Any) -> Any:
        if isinstance(argument, Held) and argument.due_at is not None:
            return argument._replace(due_at=round(argument.due_at - self._began, 3))
        return argument

    # the state is told last in a step, and what it passed through in the same place

    def _own_state(self) -> State | None:
        last = self.story[-1] if self.story else None
        return last if isinstance(last, State) and last.over == self.machine else None

    def _way(self) -> Way:
        state = self._own_state()
        return way_of(state.path[-1]) if state else "quiet"

    def _passes(self, trigger: str, source: str, dest: str) -> None:
        """It goes on to another state by itself. If that leads back to where it was told to stand, there is nothing to tell."""
        last = self._own_state()
        self._write(State(self.machine, (dest,)))
        if last is not None and self.story[-1].at is None and trigger not in NEWS:
            self.story[-2:] = [last._replace(path=(*last.path, dest))]
        else:
            self._began_in = source
        if dest == self._began_in:
            self.story.pop()

    def _before_state(self, element: Element) -> None:
        last = self._own_state()
        if last is None:
            self._write(element)
        else:
            self.story.pop()
            self.story += [element._replace(at=last.at), last._replace(at=None)]
