"""The page on observing says what is so."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from danube_dispatcher import dispatcher, explain, overview
from danube_dispatcher.watch.app import KEYS
from danube_dispatcher.watch.lines import URGENCY

PAGE = (Path(__file__).parents[2] / "docs" / "guides" / "observing.md").read_text(encoding="utf-8")
MARKS = {"well": "", "waits": "·", "stuck": "!"}


class Said(NamedTuple):
    """What the code says of a code; None where it depends."""

    code: str
    sentence: str | None
    ends_with: str | None


def constant(node: ast.expr) -> str | None:
    return str(node.value) if isinstance(node, ast.Constant) else None


def made() -> list[Said]:
    """Every explanation that is made anywhere."""
    found: list[Said] = []
    for module in (explain, dispatcher):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Explanation":
                code, sentence, ends_with = map(constant, node.args)
                assert code is not None
                found.append(Said(code, sentence, ends_with))
    return found


def rows() -> dict[str, list[str]]:
    """The table of the codes: mark, sentence and end of each."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if re.match(r"\| `[a-z_]+` \|", line)]
    found = [cells for cells in found if len(cells) == 4]
    assert len({code for code, *_ in found}) == len(found)
    return {code.strip("`"): rest for code, *rest in found}


def test_every_code_stands_there_with_who_has_to_do_something() -> None:
    assert {code: mark for code, (mark, *_) in rows().items()} == {code: MARKS[urgency] for code, urgency in URGENCY.items()}


@pytest.mark.parametrize("said", [each for each in made() if each.sentence != "the position is not durable yet"], ids=lambda said: f"{said.code}")
def test_it_says_what_the_code_says(said: Said) -> None:
    _, sentence, ends_with = rows()[said.code]
    assert said.sentence in (None, sentence)
    assert said.ends_with in (None, ends_with)


def test_without_an_owner_it_says_what_the_code_says() -> None:
    _, sentence, ends_with = rows()["unowned"]
    assert f"{sentence}; ends with {ends_with}" in inspect.getsource(overview)


def test_every_key_stands_there() -> None:
    for key, what in KEYS:
        assert f"| `{key}` | {what} |" in PAGE
