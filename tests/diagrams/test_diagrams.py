"""What the picture of a flow shows and leaves out, whatever a machine is called; and how any picture is rendered."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from danube_dispatcher import diagrams
from danube_dispatcher.diagrams import paint
from danube_dispatcher.diagrams.paint import Paint
from danube_dispatcher.errors import InvalidArgument, UsageError
from danube_statemachines import RELIABLE_EXCLUSIVE, VARIANTS, Declaration, Reliable

from .drawn import CHOOSING, NAMELESS, PLAIN, RESTLESS, WILD, Lamp, labels, words

MACHINES: list[Declaration[Any]] = [PLAIN, CHOOSING, RESTLESS, NAMELESS, RELIABLE_EXCLUSIVE]
NAMES = ["plain", "wild", "restless", "nameless", "reliable"]


@pytest.fixture
def without_renderers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("graphviz", "pygraphviz"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_row_that_changes_the_state_is_drawn_with_its_guards_and_actions(variant: str) -> None:
    declaration = VARIANTS[variant]
    drawn = diagrams.dot(declaration)
    for spec in declaration.table:
        for source in spec["source"]:
            if spec["dest"] in (None, source, declaration.final):
                continue
            label = next(line for line in drawn.splitlines() if "label=" in line and f'class="{source}-{spec["dest"]}"' in line)
            told = " ".join(words(label))
            assert spec["trigger"].replace("_", " ") in told or declaration.completion.get(source) == spec["trigger"]
            for guard in spec["conditions"]:
                assert guard.replace("_", " ") in told
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


def test_the_beginning_and_the_end_are_told_from_other_states() -> None:
    lines = diagrams.dot(RELIABLE_EXCLUSIVE).splitlines()
    assert [line.split()[2] for line in lines if line.startswith("  start ->")] == ["Idle"]
    assert [line.split()[0] for line in lines if "peripheries=2" in line] == ["Closed"]


def test_long_labels_are_broken_behind_commas() -> None:
    told = words(diagrams.dot(RELIABLE_EXCLUSIVE))
    assert [told[nth + 1] for nth, word in enumerate(told) if word == "consumer lost [holder,"] == ["had taken]"]
    assert paint.broken("a, b, c", 4) == ["a, b,", "c"]
    assert paint.broken("a long word", 4) == ["a long word"]


@pytest.mark.parametrize("style", diagrams.STYLES)
def test_any_name_is_escaped(style: str) -> None:
    told = " ".join(words(diagrams.dot(CHOOSING, style=style)))
    assert WILD.replace("\n", "\ufffd") in told
    for line in diagrams.mermaid(CHOOSING, style=style).splitlines():
        if line.startswith("%%{init: "):
            continue
        assert line.count('"') in (0, 2)
        for label in re.findall('"(.*)"', line):
            assert not set(re.sub("#[0-9]+;|<br/>|</?b>", "", label)) & set('<>&#;|`{}"\\_')


def test_names_that_are_words_of_the_languages_are_not_used_as_identifiers() -> None:
    assert diagrams.Drawing(CHOOSING).identifiers() == {WILD: "s0", "Choice": "Choice", "end": "s2"}


@pytest.mark.parametrize("style", diagrams.STYLES)
@pytest.mark.parametrize("kind", ["dot", "mermaid"])
def test_text_needs_nothing_but_the_standard_library_and_is_the_same_each_time(kind: str, style: str, without_renderers: None) -> None:
    told = {"dot": diagrams.dot, "mermaid": diagrams.mermaid}[kind](RELIABLE_EXCLUSIVE, style=style)
    assert diagrams.render(RELIABLE_EXCLUSIVE, kind, style=style) == told.encode()


def test_a_missing_extra_says_what_to_install(without_renderers: None) -> None:
    with pytest.raises(UsageError, match=r"pip install 'danube-dispatcher\[diagrams\]'"):
        diagrams.render(RELIABLE_EXCLUSIVE, "svg")


def test_an_unknown_format_or_style_names_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match="format: needs one of 'dot', 'mermaid', 'png', 'svg', not 'gif'"):
        diagrams.render(RELIABLE_EXCLUSIVE, "gif")
    for draw in (diagrams.dot, diagrams.mermaid):
        with pytest.raises(InvalidArgument, match="style: needs one of 'flow', 'stays', not 'art'"):
            draw(RELIABLE_EXCLUSIVE, style="art")


@pytest.mark.parametrize(("installed", "renderer"), [("/somewhere/dot", "graphviz"), (None, "pygraphviz")])
def test_dot_draws_where_it_is_installed_and_the_bundled_graphviz_elsewhere(monkeypatch: pytest.MonkeyPatch, installed: str | None, renderer: str) -> None:
    def source(text: str) -> SimpleNamespace:
        return SimpleNamespace(pipe=lambda format: f"<svg ><g >graphviz {format} {text}".encode())

    def graph(string: str) -> SimpleNamespace:
        return SimpleNamespace(draw=lambda format, prog: f"<svg ><g >pygraphviz {format} {string}".encode())

    monkeypatch.setitem(sys.modules, "graphviz", SimpleNamespace(Source=source))
    monkeypatch.setitem(sys.modules, "pygraphviz", SimpleNamespace(AGraph=graph))
    monkeypatch.setattr(shutil, "which", lambda name: installed if name == "dot" else None)
    assert f"<g >{renderer} svg {diagrams.dot(PLAIN)}" in diagrams.render(PLAIN, "svg").decode()
    assert f"<g >{renderer} png digraph" in diagrams.render(PLAIN, "png").decode()


@pytest.mark.parametrize("heat", [False, True], ids=["plain", "heat"])
@pytest.mark.parametrize("style", diagrams.STYLES)
@pytest.mark.parametrize("declaration", MACHINES, ids=NAMES)
def test_a_picture_is_read_by_others_than_people_and_turns_dark(
    declaration: Declaration[Any], style: str, heat: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pygraphviz")
    fired = {(declaration.title, row, source): 10**row for row, spec in enumerate(declaration.table[1:6]) for source in spec["source"]} if heat else None
    picture = ElementTree.fromstring(diagrams.render(declaration, "svg", style=style, fired=fired))
    assert "Error" not in capfd.readouterr().err, "Graphviz draws what it has not understood, too"
    assert picture.get("role") == "img"
    titles = [element.text for element in picture.iter() if element.tag.endswith("title")]
    assert titles == [f"{declaration.title}: {diagrams.STYLES[style].shows}"]
    told = next(element.text or "" for element in picture.iter() if element.tag.endswith("desc"))
    assert all(state.replace("\n", "\ufffd") in told for state in declaration.states if state != declaration.final)
    css = next(element.text or "" for element in picture.iter() if element.tag.endswith("style"))
    assert "prefers-color-scheme: dark" in css
    colours = {value for element in picture.iter() for name in ("fill", "stroke") if (value := element.get(name)) not in {None, "none"}}
    assert all(f'[fill="{colour}"]' in css for colour in colours), "a colour of the picture has no dark counterpart"
    if style == "flow":
        assert {*diagrams.Drawing(declaration).identifiers().values()} <= {element.get("id") for element in picture.iter()}


def test_an_arrow_and_its_label_are_found_in_a_picture_by_the_states() -> None:
    pytest.importorskip("pygraphviz")
    picture = ElementTree.fromstring(diagrams.render(RELIABLE_EXCLUSIVE, "svg"))
    found = [element.get("class", "").split() for element in picture.iter()]
    assert sum("edge" in each and "AwaitingAck-Dispatching" in each for each in found) == 2
    assert sum("node" in each and "AwaitingAck-Dispatching" in each for each in found) == 1


def test_a_png_is_as_large_as_a_screen_of_many_pixels_needs(tmp_path: Path) -> None:
    pytest.importorskip("pygraphviz")
    png = diagrams.render(PLAIN, "png")
    assert png.startswith(b"\x89PNG")
    wide = ElementTree.fromstring(diagrams.render(PLAIN, "svg")).get("width", "").removesuffix("pt")
    assert int.from_bytes(png[16:20], "big") == pytest.approx(float(wide) * 192 / 72, abs=4)


def test_a_machine_may_have_any_name() -> None:
    pytest.importorskip("pygraphviz")
    named = Declaration(WILD, Lamp, PLAIN.table, states=["off", "on", "broken"], initial="off", final="broken", completion={})
    for style in diagrams.STYLES:
        title = next(each.text or "" for each in ElementTree.fromstring(diagrams.render(named, "svg", style=style)).iter() if each.tag.endswith("title"))
        assert title.startswith(WILD.replace("\n", "\ufffd"))
        large, small = (diagrams.render(each, "png", style=style) for each in (named, PLAIN))
        assert large[16:24] == small[16:24], "the name does not change the size"


def luminance(colour: str) -> float:
    """As the guidelines for accessible content (WCAG 2) have it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


PAINTS = [*paint.PAINT.values(), paint.TEXT, paint.NEVER, *paint.HEAT]


@pytest.mark.parametrize("each", PAINTS, ids=lambda each: each.area)
def test_letters_can_be_read_by_day_and_by_night(each: Paint) -> None:
    assert contrast(each.ink, each.area) >= 4.5
    assert contrast(each.dark_ink, each.dark_area) >= 4.5


def test_letters_can_be_read_on_the_page_itself() -> None:
    page = paint.PAINT["quiet"]
    for each in (*paint.PAINT.values(), paint.TEXT):
        assert contrast(each.ink, page.area) >= 4.5
        assert contrast(each.dark_ink, page.dark_area) >= 4.5
    assert contrast(paint.NEVER.area, page.area) >= 4.5
    assert contrast(paint.NEVER.dark_area, page.dark_area) >= 4.5


def test_a_colour_means_the_same_everywhere() -> None:
    """Otherwise it could not have one counterpart on a dark page."""
    pairs = [pair for each in PAINTS for pair in ((each.ink, each.dark_ink), (each.area, each.dark_area))] + list(paint.LINES)
    assert len({light for light, _ in pairs}) == len({*pairs})


def test_warmer_is_stronger() -> None:
    """Darker by day, lighter by night."""
    for pairs in ([(each.area, each.dark_area) for each in paint.HEAT], paint.LINES):
        light, dark = zip(*((luminance(by_day), luminance(by_night)) for by_day, by_night in pairs), strict=True)
        assert [*light] == sorted(light, reverse=True)
        assert [*dark] == sorted(dark)


def test_labels_are_found_at_all() -> None:
    assert len(labels(diagrams.dot(PLAIN))) > 3
