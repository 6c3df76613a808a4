"""A story as a picture: nothing lies on anything else, whatever the texts are, and those who do not see it are told the same."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from xml.etree import ElementTree

import pytest
from diagrams.stage import play
from diagrams.stories import STORIES

from danube_dispatcher.diagrams.paint import PAINT
from danube_dispatcher.sequence import svg
from danube_dispatcher.sequence.elements import Arrow, Element, End, Note, State
from danube_dispatcher.sequence.layout import WIDTH, Box, Layout, Path, Text, layout, measure, wrapped
from danube_dispatcher.sequence.told import told
from danube_statemachines import RELIABLE_EXCLUSIVE, RELIABLE_SHARED
from danube_statemachines.exploration import replay

Corners = tuple[float, float, float, float]

WILD = 'a "q" <b>&amp;</b> ]]> & \' \x00 \x1b <script>alert(1)</script> ünïcode 消息 end'
LONG = "word " * 60 + "w" * 300
CROWD = [*told(replay(RELIABLE_SHARED, [f"consumer {session} joins" for session in range(11)]))]
STRANGE: list[Element] = [
    Arrow(WILD, "machine", WILD, at=0.0),
    Arrow("machine", "machine", LONG),
    Arrow("clock", "clock", "a short one to itself"),
    Note((), LONG, at=1234.567),
    Note(("clock",), LONG),
    Note((WILD,), "left"),
    State("machine", ("Idle", WILD, "Closed")),
    State(None, ("everywhere",)),
    End((WILD, "machine"), LONG),
    Arrow("machine", "clock", "", "beyond", answer=True),
]


def layouts() -> dict[str, Layout]:
    stories: dict[str, tuple[str, Sequence[Element], Sequence[str]]] = {name: (title, play(script), order) for name, (title, script, order) in STORIES.items()}
    return {
        **{name: layout(*story) for name, story in stories.items()},
        "crowd": layout("", CROWD, ()),
        "strange": layout(LONG, STRANGE, ()),
        "empty": layout("t", [], ()),
        "one": layout("t", [Arrow("a", "a", "b")], ()),
    }


def overlap(one: Corners, other: Corners) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def corners(box: Box) -> Corners:
    return (box.x, box.y, box.x + box.width, box.y + box.height)


def within(inner: Corners, outer: Corners) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


@pytest.mark.parametrize(("name", "drawn"), layouts().items(), ids=layouts())
def test_nothing_lies_on_anything_else_and_all_is_on_the_page(name: str, drawn: Layout) -> None:
    texts = [shape for shape in drawn.shapes if isinstance(shape, Text)]
    boxes = [shape for shape in drawn.shapes if isinstance(shape, Box)]
    for one, other in combinations(texts, 2):
        assert not overlap(one.box, other.box), (one, other)
    for one_box, other_box in combinations(boxes, 2):
        assert not overlap(corners(one_box), corners(other_box)), (one_box, other_box)
    for text in texts:
        for box in boxes:
            assert within(text.box, corners(box)) or not overlap(text.box, corners(box)), (text, box)
    page = (0.0, 0.0, drawn.width, drawn.height)
    for each in (*(text.box for text in texts), *map(corners, boxes)):
        assert within(each, page), each
    assert drawn.width == WIDTH or name in ("crowd", "strange")


@pytest.mark.parametrize("name", STORIES)
def test_no_horizontal_line_strikes_through_a_text(name: str) -> None:
    title, script, order = STORIES[name]
    drawn = layout(title, play(script), order)
    heights = [float(shape.d.split("H")[0].split()[-1]) for shape in drawn.shapes if isinstance(shape, Path) and "H" in shape.d and "V" not in shape.d]
    assert heights
    for text in (shape for shape in drawn.shapes if isinstance(shape, Text)):
        assert not any(text.box[1] < height < text.box[3] for height in heights), text


def test_a_picture_is_an_image_with_a_title_and_is_told_to_those_who_do_not_see_it() -> None:
    picture = ElementTree.fromstring(svg(WILD, STRANGE))
    assert picture.get("role") == "img"
    title, description = ("".join(picture.find(f"{{*}}{tag}").itertext()) for tag in ("title", "desc"))  # type: ignore[union-attr]
    shown = WILD.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    assert title == shown
    assert f"at 0 s, {shown} to machine: {shown}; machine to machine: word" in description
    assert not [element for element in picture.iter() if element.tag.endswith(("script", "}b"))]


def test_every_colour_has_a_counterpart_in_the_dark() -> None:
    style = next(element.text or "" for element in ElementTree.fromstring(svg("t", CROWD)).iter() if element.tag.endswith("style"))
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    rules = [rule.split("{")[0].strip() for rule in light.split("}") if "fill: #" in rule or "stroke: #" in rule]
    assert rules
    for rule in rules:
        assert f"{rule} {{" in dark, rule
    for paint in PAINT.values():
        assert paint.dark_ink in dark


def test_who_has_ended_has_no_line_until_it_comes_again() -> None:
    story: list[Element] = [Arrow("a", "b", "1"), End(("b",), "gone"), Note(("a",), "waits"), Arrow("a", "b", "2")]
    drawn = layout("", story, ())
    lives = [shape.d for shape in drawn.shapes if isinstance(shape, Path) and shape.look == "life"]
    places = sorted(line[1:].split()[0] for line in lives)
    assert len(lives) == 3
    assert len(set(places)) == 2
    assert sum("cross" in shape.look for shape in drawn.shapes if isinstance(shape, Path)) == 1


def test_neighbours_who_say_more_to_each_other_stand_further_apart() -> None:
    def gap(text: str) -> float:
        story = [Arrow("a", "b", text), Arrow("b", "c", "short")]
        heads = [shape.x for shape in layout("", story, ("a", "b", "c")).shapes if isinstance(shape, Text) and shape.words in ("a", "b")]
        return heads[1] - heads[0]

    assert gap("short") < gap("something that is longer than the other")


def test_text_is_broken_where_it_can_be_and_never_between_a_word_and_its_number() -> None:
    assert wrapped("order 1, attempt 12, epoch 3", measure("order 1, attempt")) == ["order 1,", "attempt 12,", "epoch 3"]
    assert wrapped("one\ntwo", 1000) == ["one", "two"]
    assert all(measure(line) <= 60 for line in wrapped(LONG + WILD, 60))
    assert "".join(wrapped("w" * 50, 60)) == "w" * 50


def test_a_picture_is_the_same_for_the_same_story() -> None:
    story = replay(RELIABLE_EXCLUSIVE, ["consumer 0 joins", "message 6"])
    assert svg("t", story) == svg("t", story)
