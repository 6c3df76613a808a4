"""Small machines to draw, and what stands in a text of Graphviz's."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from danube_statemachines import Declaration, RowSpec, row

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
        row("press", ["Choice", "end"], None, why=WILD),
    ],
    states=(WILD, "Choice", "end"),
    completion={"Choice": "decide"},
)
NAMELESS = lamp([row("press", "", "on"), row("press", "on", None), row("burn_out", ["", "on"], "end")], states=("", "on", "end"))
RESTLESS = lamp([row("burn_out", "on", "end")], states=("on", "end"))
"""No row of it stays."""


def labels(text: str) -> list[ElementTree.Element]:
    """The labels of DOT, which are a kind of HTML; that they can be read at all is part of each test."""
    found = re.findall(r"label=<(.*?)>(?=[,\]])", text, re.DOTALL)
    assert found
    return [ElementTree.fromstring(f"<label>{label}</label>") for label in found]


def words(text: str) -> list[str]:
    return [word for label in labels(text) for word in label.itertext() if word.strip()]
