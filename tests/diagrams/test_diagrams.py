"""What a picture shows and leaves out, whatever a machine is called; and how it is rendered."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from danube_dispatcher import diagrams
from danube_dispatcher.errors import InvalidArgument, UsageError
from danube_statemachines import RELIABLE_EXCLUSIVE, VARIANTS, Declaration, Reliable, RowSpec, row

WILD = 'a "quoted" <b>&amp;</b> #state; \\N |x| `y` {z}\n'
"""A state's name may be anything."""


class Lamp:
    """A small machine of a user's own."""

    def dark(self, _: object) -> bool:
        return True

    def glow(self, _: object) -> None: ...


def lamp(table: list[RowSpec], *, states: tuple[str, ...], completion: dict[str, str] | None = None) -> Declaration[Lamp]:
    return Declaration("lamp", Lamp, table, states=states, initial=states[0], final=states[-1], completion=completion or {})


PLAIN = lamp(
    [
        row("press", "off", "on", when=["dark"], do=["glow"]),
        row("press", ["off", "broken"], None, why="by day"),
        row("press", "on", "off"),
        row("hit", "on", "broken"),
    ],
    states=("off", "on", "broken"),
)
CHOOSING = lamp(
    [
        row("press", WILD, "Choice"),
        row("decide", "Choice", WILD, when=["dark"]),
        row("decide", "Choice", None, why="nobody is there"),
        row("burn_out", [WILD, "Choice"], "end"),
    ],
    states=(WILD, "Choice", "end"),
    completion={"Choice": "decide"},
)


@pytest.fixture
def without_renderers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("graphviz", "pygraphviz"):
        monkeypatch.setitem(sys.modules, name, None)


def labels(text: str) -> list[ElementTree.Element]:
    """The labels of DOT, which are a kind of HTML; that they can be read at all is part of each test."""
    found = re.findall(r"label=<(.*?)>(?=[,\]])", text)
    assert found
    return [ElementTree.fromstring(f"<label>{label}</label>") for label in found]


def words(text: str) -> list[str]:
    return [word for label in labels(text) for word in label.itertext()]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_row_that_changes_the_state_is_drawn_with_its_guards_and_actions(variant: str) -> None:
    declaration = VARIANTS[variant]
    drawn = diagrams.dot(declaration)
    for spec in declaration.table:
        for source in spec["source"]:
            if spec["dest"] in (None, source, declaration.final):
                continue
            label = next(line for line in drawn.splitlines() if "label=" in line and f'class="{source}-{spec["dest"]}"' in line)
            told = words(label)
            assert any(spec["trigger"].replace("_", " ") in word or declaration.completion.get(source) == spec["trigger"] for word in told)
            for guard in spec["conditions"]:
                assert any(guard.replace("_", " ") in word for word in told)
            if spec["before"]:
                assert ", ".join(spec["before"]).replace("_", " ") in told


@pytest.mark.parametrize("draw", [diagrams.dot, diagrams.mermaid])
def test_rows_that_stay_and_ends_from_everywhere_are_not_drawn(draw: Callable[[Declaration[Reliable]], str]) -> None:
    told = draw(RELIABLE_EXCLUSIVE)
    assert "stale" not in told
    assert "extend" not in told
    assert "-Closed" not in told
    assert "-> Closed" not in told
    assert "close, from every state" in told


def test_what_a_group_of_rows_leaves_over_is_called_else() -> None:
    assert "polled [else]" in words(diagrams.dot(RELIABLE_EXCLUSIVE))
    assert "nack [else]" not in words(diagrams.dot(RELIABLE_EXCLUSIVE))


def test_the_rows_of_a_completion_are_numbered_and_dashed_and_its_rest_stands_in_the_box() -> None:
    told = diagrams.dot(RELIABLE_EXCLUSIVE)
    assert next(word for word in words(told) if re.match(r"\d:", word)) == "6: [else] waits for a consumer"
    assert {word[0] for word in words(told) if re.match(r"\d:", word)} == set("123456")
    arrows = [line for line in told.splitlines() if " -> " in line and "class=" in line]
    assert {line for line in arrows if "dashed" in line} == {line for line in arrows if 'class="Failover-' in line}


def test_colours_tell_the_normal_way_from_what_leaves_it_and_what_becomes_of_it() -> None:
    drawing = diagrams.Drawing(RELIABLE_EXCLUSIVE)
    ways = {state: drawing.way_of(state) for state in drawing.states}
    assert {state for state, way in ways.items() if way == "normal"} == {"Idle", "Dispatching", "AwaitingAck"}
    assert {state for state, way in ways.items() if way == "leaves"} == {"Failover"}
    assert {(arrow.source, arrow.dest) for arrow in drawing.arrows if drawing.way(arrow) == "leaves"} == {
        ("Dispatching", "Failover"),
        ("AwaitingAck", "Failover"),
    }
    assert all(arrow.source not in {"Idle", "Dispatching", "AwaitingAck"} for arrow in drawing.arrows if drawing.way(arrow) == "beyond")


def test_a_machine_without_completions_has_one_colour_and_no_legend() -> None:
    told = diagrams.dot(PLAIN)
    assert diagrams.PAINT["leaves"].ink not in told
    assert "the normal way" not in told


def test_an_end_that_is_not_reached_from_everywhere_is_an_arrow() -> None:
    assert "hit" in words(diagrams.dot(PLAIN))
    assert '|"hit"| s2' in diagrams.mermaid(PLAIN)


def test_any_name_is_escaped() -> None:
    told = words(diagrams.dot(CHOOSING))
    assert WILD.replace("\n", "\ufffd") in told
    for line in diagrams.mermaid(CHOOSING).splitlines():
        assert line.count('"') in (0, 2)
        for label in re.findall('"(.*)"', line):
            assert not set(re.sub("#[0-9]+;|<br/>", "", label)) & set('<>&#;|`{}"\\_')


def test_names_that_are_words_of_the_languages_are_not_used_as_identifiers() -> None:
    assert diagrams.Drawing(CHOOSING).identifiers() == {WILD: "s0", "Choice": "Choice", "end": "s2"}


@pytest.mark.parametrize("kind", ["dot", "mermaid"])
def test_text_needs_nothing_but_the_standard_library(kind: str, without_renderers: None) -> None:
    told = {"dot": diagrams.dot, "mermaid": diagrams.mermaid}[kind](RELIABLE_EXCLUSIVE)
    assert diagrams.render(RELIABLE_EXCLUSIVE, kind) == told.encode()


def test_a_missing_extra_says_what_to_install(without_renderers: None) -> None:
    with pytest.raises(UsageError, match=r"pip install 'danube-dispatcher\[diagrams\]'"):
        diagrams.render(RELIABLE_EXCLUSIVE, "svg")


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match="format: needs one of 'dot', 'mermaid', 'png', 'svg', not 'gif'"):
        diagrams.render(RELIABLE_EXCLUSIVE, "gif")


@pytest.mark.parametrize(("installed", "renderer"), [("/somewhere/dot", "graphviz"), (None, "pygraphviz")])
def test_dot_draws_where_it_is_installed_and_the_bundled_graphviz_elsewhere(monkeypatch: pytest.MonkeyPatch, installed: str | None, renderer: str) -> None:
    def source(text: str) -> SimpleNamespace:
        return SimpleNamespace(pipe=lambda format: f"graphviz {format} {text}".encode())

    def graph(string: str) -> SimpleNamespace:
        return SimpleNamespace(draw=lambda format, prog: f"pygraphviz {format} {string}".encode())

    monkeypatch.setitem(sys.modules, "graphviz", SimpleNamespace(Source=source))
    monkeypatch.setitem(sys.modules, "pygraphviz", SimpleNamespace(AGraph=graph))
    monkeypatch.setattr(shutil, "which", lambda name: installed if name == "dot" else None)
    assert diagrams.render(PLAIN, "png") == f"{renderer} png {diagrams.dot(PLAIN)}".encode()


@pytest.mark.parametrize("declaration", [PLAIN, CHOOSING, RELIABLE_EXCLUSIVE], ids=["plain", "wild", "reliable"])
def test_a_picture_holds_every_state_and_turns_dark(declaration: Declaration[Any]) -> None:
    pytest.importorskip("pygraphviz")
    picture = ElementTree.fromstring(diagrams.render(declaration, "svg"))
    assert {*diagrams.Drawing(declaration).identifiers().values()} <= {element.get("id") for element in picture.iter()}
    style = next(element.text or "" for element in picture.iter() if element.tag.endswith("style"))
    assert "prefers-color-scheme: dark" in style
    colours = {value for element in picture.iter() for name in ("fill", "stroke") if (value := element.get(name)) not in {None, "none"}}
    assert all(f'[fill="{colour}"]' in style for colour in colours), "a colour of the picture has no dark counterpart"
    assert diagrams.render(declaration, "png").startswith(b"\x89PNG")
