"""The pictures of how a machine hangs together with what is around it name what there is, all of it, and where it stands."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from diagrams.composition import NON_RELIABLE, RELIABLE, Calls, Composition

import danube_dispatcher
import danube_statemachines
from danube_dispatcher.diagrams.paint import words
from danube_statemachines import NON_RELIABLE_SHARED, RELIABLE_EXCLUSIVE, Declaration, EngineCore, NonReliablePort, ReliablePort
from diagrams import composition

from .drawn import words as told

DRAWN: list[tuple[Composition, Declaration[Any], type]] = [
    (RELIABLE, RELIABLE_EXCLUSIVE, ReliablePort),
    (NON_RELIABLE, NON_RELIABLE_SHARED, NonReliablePort),
]
BOTH = pytest.mark.parametrize(("drawn", "declaration", "port"), DRAWN, ids=["reliable", "non-reliable"])


def methods(of: type) -> set[str]:
    return {name for each in of.__mro__ for name, value in vars(each).items() if inspect.isfunction(value) and not name.startswith("_")}


def names(drawn: Composition, *, source: str = "", dest: str = "") -> list[str]:
    return [name for call in drawn.calls if call.source == (source or call.source) and call.dest == (dest or call.dest) for name in call.names]


@BOTH
def test_every_event_of_the_machine_stands_on_one_arrow_to_it(drawn: Composition, declaration: Declaration[Any], port: type) -> None:
    assert sorted(names(drawn, dest="machine")) == sorted(set(declaration.events) - set(declaration.completion.values()))


@BOTH
def test_every_effect_of_the_port_stands_on_one_arrow_from_the_machine(drawn: Composition, declaration: Declaration[Any], port: type) -> None:
    assert sorted(names(drawn, source="machine")) == sorted(methods(port))


def test_everything_that_the_engine_can_be_told_stands_on_one_arrow_to_it() -> None:
    read_off = {name for name in composition.READ_OFF if name not in EngineCore.__slots__}
    assert sorted(names(RELIABLE, dest="core")) == sorted(methods(EngineCore) - read_off - {*composition.QUESTIONS})
    out_of_it = [name for call in RELIABLE.calls if call.source == "core" and call.dest != "machine" for name in call.names]
    assert sorted(out_of_it) == sorted(composition.READ_OFF)
    assert all(hasattr(EngineCore, name) for name in (*composition.READ_OFF, *composition.QUESTIONS))


def said_in(module: str) -> Iterator[str]:
    """What is called or read there, and what is defined there."""
    package, _, file = module.partition("/")
    home = {"danube_dispatcher": danube_dispatcher, "danube_statemachines": danube_statemachines}[package]
    for node in ast.walk(ast.parse((Path(str(home.__file__)).parent / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.FunctionDef):
            yield node.name


@pytest.mark.parametrize("call", [*RELIABLE.calls, *NON_RELIABLE.calls], ids=lambda call: f"{call.source}-{call.dest}-{call.names[0]}")
def test_each_is_said_where_the_picture_has_it_from(call: Calls) -> None:
    said = {module: {*said_in(module)} for module in call.modules}
    for name in call.names:
        assert any(name in each for each in said.values()), f"{name} does not stand in {', '.join(call.modules)}"
    for module, each in said.items():
        assert each & {*call.names}, f"nothing of this stands in {module}"


@BOTH
def test_everything_is_drawn(drawn: Composition, declaration: Declaration[Any], port: type) -> None:
    text = composition.render(drawn, "dot").decode()
    labels = " ".join(told(text))
    assert all(words(name) in labels for call in drawn.calls for name in call.names)
    assert all(place.title in labels and place.text in labels for place in drawn.places.values())
    assert text.count("style=dashed") == 2 * sum(call.later for call in drawn.calls)
    assert ("dashed" in labels) == any(call.later for call in drawn.calls)
