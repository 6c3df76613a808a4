"""Where the time goes and which choices bought what: each layer and each choice runs and delivers what it says, and leaves the product as it was."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import FunctionType
from unittest.mock import patch
from xml.etree import ElementTree

import pytest
from bench.choices import CHOICES, Choice, Figure, Way, compared, rewritten
from bench.layers import LAYERS, LOOP, PATHS, PROBES, REST, SWITCH, opened, split
from bench.scenarios import Result

from bench import choices, layers, report
from danube_dispatcher.adapter import ReliableAdapter
from danube_statemachines import RELIABLE_EXCLUSIVE, Coupling

pytestmark = pytest.mark.real_time

FEW = 600
"""Messages: more than two batches."""


def product() -> dict[tuple[str, ...], object]:
    """Everything that a patch could change: what stands in the modules and classes of the two packages, in the machine, and the defaults of functions."""
    assert RELIABLE_EXCLUSIVE.lean is not RELIABLE_EXCLUSIVE.observed, "both are made when they are first asked for"
    found: dict[tuple[str, ...], object] = {("machine", name): value for name, value in vars(RELIABLE_EXCLUSIVE).items()}
    for name, module in list(sys.modules.items()):
        if name.startswith("danube_"):
            for attribute, value in vars(module).items():
                found[name, attribute] = value
                if isinstance(value, type) and value.__module__ == name:
                    for member, function in vars(value).items():
                        found[name, attribute, member] = function
                        if isinstance(function, FunctionType) and function.__kwdefaults__:
                            found[name, attribute, member, "defaults"] = dict(function.__kwdefaults__)
    found["source",] = {file: linecache.cache[file] for file in linecache.cache if file.startswith("<reliable")}
    return found


def changed(before: Mapping[tuple[str, ...], object], after: Mapping[tuple[str, ...], object]) -> set[tuple[str, ...]]:
    return {name for name in {*before, *after} if name not in before or name not in after or not _same(before[name], after[name])}


def _same(one: object, other: object) -> bool:
    return one is other or (isinstance(one, dict) and one == other)


@pytest.mark.parametrize("name", PROBES)
async def test_a_layer_passes_as_many_messages_as_it_says(name: str) -> None:
    async with opened(FEW) as place:
        for _ in range(2):
            place.seconds = -1.0
            assert await PROBES[name](place) >= FEW
            assert place.seconds >= 0


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.name)
async def test_without_a_choice_messages_pass_and_afterwards_the_product_is_as_before(choice: Choice) -> None:
    async def passes() -> None:
        async with opened(FEW) as place:
            result = await choice.way.run(place.topics[choice.way.scheme], FEW // 4)
            assert result.messages >= FEW // 4
            assert result.seconds > 0

    await passes()  # some modules are imported when they are first used
    before = product()
    with choice.undo():
        assert changed(before, product()), "it changes nothing"
        await passes()
    assert not changed(before, product())
    assert choice.why.endswith(".")


async def test_a_message_that_does_not_arrive_is_noticed() -> None:
    async def lossy(place: layers.Place) -> int:
        return place.messages - 1

    with patch.dict(PROBES, {"lossy": lossy}), pytest.raises(RuntimeError, match="lossy: 9 messages passed, not 10"):
        await layers.rounds(10, 0)

    async def run(*_: object) -> Result:
        return Result(99)

    with pytest.raises(RuntimeError, match="a way: 99 messages passed, not 100"):
        await compared(100, 0, [Choice("a choice", Way("a way", "memory:", run), False, nullcontext)])


async def test_a_patch_that_stays_is_noticed() -> None:
    before = product()
    with patch.object(ReliableAdapter, "send", None):
        assert ("danube_dispatcher.adapter", "ReliableAdapter", "send") in changed(before, product())


def test_code_that_is_not_there_cannot_be_rewritten() -> None:
    with pytest.raises(ValueError, match=r"Coupling.catch_up has 'no such' 0 times, not once"), rewritten(Coupling, "catch_up", "no such", ""):
        pass


async def test_the_best_round_of_each_counts_and_the_first_does_not() -> None:
    took = iter([900.0, 9000.0, 200.0, 3000.0, 400.0, 800.0])

    async def run(*_: object) -> Result:
        return Result(100, cpu=next(took))

    choice = Choice("a choice", Way("a way", "memory:", run), False, nullcontext)
    (figure,) = await compared(100, 2, [choice])
    assert (figure.with_it, figure.without, figure.factor) == (2.0, 8.0, 4.0)


@pytest.fixture
def best() -> dict[str, float]:
    """Nanoseconds, as rounds might have found them."""
    return {name: 1_000.0 if name in PATHS else 20.0 + nth for nth, name in enumerate(PROBES)}


def test_the_layers_and_the_rest_are_the_whole(best: dict[str, float]) -> None:
    for path, found in split(best).items():
        assert tuple(found) == LAYERS
        assert sum(found.values()) == pytest.approx(best[path])
        assert found[LOOP] == best["consumer"]
        assert (found[SWITCH] > 0) == ("shared" in path)


def test_a_rest_below_nothing_is_told_and_not_drawn(best: dict[str, float]) -> None:
    for path in PATHS:
        best[path] = 1.0
    splits = split(best)
    assert all(found[REST] < 0 for found in splits.values())
    assert f"{splits[PATHS[0]][REST]:,.0f}" in layers.tables(splits)
    drawn = ElementTree.fromstring(layers.svg(splits))
    assert all(float(each.get("width", "0")) >= 0 for each in drawn.iter("{http://www.w3.org/2000/svg}rect"))


def test_the_picture_shows_each_path_and_layer_and_its_text_is_escaped(best: dict[str, float]) -> None:
    splits = {f"{path} <&>": found for path, found in split(best).items()}
    text = "".join(ElementTree.fromstring(layers.svg(splits)).itertext())
    for words in (*splits, *LAYERS):
        assert words.replace("`", "") in text


def test_calls_are_those_of_the_record() -> None:
    found = layers.calls()["reliable exclusive, memory:"]
    assert found["generated events"] == 2
    assert found["dispatcher.adapter"] >= 1
    assert "built in" in found


def test_the_pages_are_written_between_their_markers(tmp_path: Path, best: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "speed.md"
    page.write_text(f"before\n{layers.BEGIN}\n{layers.END}\nbetween\n{choices.BEGIN}\nlast year's\n{choices.END}\nafter\n", encoding="utf-8")
    report.put(page, layers.tables(split(best)), layers.BEGIN, layers.END)
    report.put(page, choices.page([Figure(each, 1e-6, 3e-6) for each in CHOICES]), choices.BEGIN, choices.END)
    text = page.read_text(encoding="utf-8")
    assert "last year's" not in text
    assert all(words in text for words in ("before\n", "\nbetween\n", "\nafter\n", *(each.name for each in CHOICES), *LAYERS))

    async def rounds(messages: int, number: int) -> dict[str, float]:
        return best

    monkeypatch.setattr(layers, "rounds", rounds)
    rows = layers.measure(True)
    assert {row.unit for row in rows} == {"ns"}
    assert len(rows) == len(PATHS) * len(LAYERS) - 4  # only one path switches tasks, and only one decodes
