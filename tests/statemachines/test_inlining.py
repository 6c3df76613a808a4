"""What is written out where it is called, and what is called as before."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from danube_statemachines import RELIABLE_EXCLUSIVE, FailurePolicy, Recorder, Reliable
from danube_statemachines.inlining import Inliner
from rewriting import rewrite

LIMIT = 3


def outside(self: Worker, event: Any) -> None:
    self.outer(LIMIT)


class Worker:
    value = 0
    other: Any

    def low(self, event: int) -> bool:
        """Its docstring is no part of it."""
        return self.value < event or not event

    def below(self, event: int) -> bool:
        return self.value < LIMIT

    def near(self, event: int) -> bool:
        least = event - 1
        return self.value > least

    def add(self, amount: int) -> None:
        self.value += amount
        self.other.told(amount, self.value)

    def add_twice(self, amount: int) -> None:
        before = self.value
        self.add(amount)
        self.add(2)
        self.other.told(before, amount)

    def add_more(self, amount: int) -> None:
        self.add(amount + 1)

    def note(self, event: int) -> None:
        state = event
        self.other.told(state)

    def deep(self, event: int) -> None:
        before = event
        self.shallow(event)
        self.other.told(before)

    def shallow(self, event: int) -> None:
        before = self.value
        self.other.told(before)

    def choose(self, event: int) -> None:
        if event:
            self.value = event
        else:
            self.other.told(event)

    def stop(self, event: int) -> None:
        if event:
            return
        self.value = event

    def fresh(self, event: int) -> None:
        event = 1
        self.value = event

    def outer(self, event: int = 5) -> None:
        self.value = event

    def all_of(self, event: int) -> None:
        self.value = sum(each for each in (event,))

    @staticmethod
    def plain(event: int) -> None:
        pass

    outsider = outside


METHODS = Inliner(Worker, "event", frozenset({"state"}))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("low", "(self.value < event or not event)"),
        ("below", "self.below(event)"),  # a name of its module
        ("near", "self.near(event)"),  # no single expression
        ("unknown", "self.unknown(event)"),
        ("value", "self.value(event)"),
    ],
)
def test_a_guard(name: str, text: str) -> None:
    assert METHODS.guard(name) == text


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("add", ["self.value += event", "self.other.told(event, self.value)"]),
        (
            "add_twice",
            [
                *("before = self.value", "self.value += event", "self.other.told(event, self.value)"),
                *("self.value += 2", "self.other.told(2, self.value)", "self.other.told(before, event)"),
            ],
        ),
        ("choose", ["if event:", "    self.value = event", "else:", "    self.other.told(event)"]),
        ("add_more", ["self.add(event + 1)"]),  # what is computed once must not be repeated
        ("deep", ["before = event", "self.shallow(event)", "self.other.told(before)"]),  # two variables of one name
        *((name, [f"self.{name}(event)"]) for name in ("note", "stop", "fresh", "outer", "all_of", "plain", "outsider", "low")),
    ],
)
def test_an_action(name: str, lines: list[str]) -> None:
    assert METHODS.action(name) == lines


def test_a_method_that_was_replaced_is_not_taken_for_what_its_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(self: Worker, amount: int) -> None:
        self.value -= amount

    same_place = add.__code__.replace(co_filename=Worker.add.__code__.co_filename, co_firstlineno=Worker.add.__code__.co_firstlineno)
    add.__code__ = same_place
    monkeypatch.setattr(Worker, "add", add)
    assert Inliner(Worker, "event", frozenset()).action("add") == ["self.add(event)"]


def test_a_method_without_a_text_is_called() -> None:
    scope: dict[str, Any] = {}
    exec("class Typed:\n    def add(self, amount):\n        self.value += amount", scope)
    assert Inliner(scope["Typed"], "event", frozenset()).action("add") == ["self.add(event)"]


def test_a_machine_is_made_of_its_methods_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(monkeypatch)
    monkeypatch.setattr(Reliable, "current", lambda self, delivery: True)
    machine = RELIABLE_EXCLUSIVE.lean(Recorder(), FailurePolicy())
    machine.consumer_added(1)
    machine.polled(0)
    machine.ack((9, 9, 9, 9))
    assert machine.state == "Dispatching"


def test_a_traceback_shows_what_was_written_out() -> None:
    machine: Any = RELIABLE_EXCLUSIVE.lean(Recorder(), FailurePolicy())
    machine.consumer_added(1)
    machine.port = None
    with pytest.raises(AttributeError) as caught:
        machine.polled(0)
    assert "self.port.send(self.delivery)" in "".join(traceback.format_exception(caught.value))
