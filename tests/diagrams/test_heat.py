"""How often a run has fired each row: as it is read from a report, and as it is painted."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from danube_dispatcher import diagrams
from danube_dispatcher.diagrams import paint
from danube_dispatcher.diagrams.heat import Heat
from danube_dispatcher.errors import InvalidArgument
from danube_statemachines import RELIABLE_EXCLUSIVE, RELIABLE_SHARED, VARIANTS, Declaration, row
from danube_statemachines.coverage import Fired, fired_report, unfired_sources

from .drawn import PLAIN, RESTLESS, lamp, words

FIRED = Fired({("lamp", 0, "off"): 7, ("lamp", 1, "off"): 1200, ("lamp", 2, "on"): 10, ("other", 3, "on"): 50_000})
"""Of `PLAIN`, which was never hit, nor pressed when it was broken."""


def report(declaration: Declaration[Any], fired: Fired) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(fired_report([declaration], fired)))
    return plain


def everything(declaration: Declaration[Any]) -> Fired:
    return Fired({(declaration.title, *place): 1 for place in unfired_sources(declaration, {})})


# read


def test_a_report_is_read_at_the_top_in_groups_and_in_an_outcome() -> None:
    at_the_top = report(PLAIN, FIRED)
    wanted = {("lamp", 0, "off"): 7, ("lamp", 1, "off"): 1200, ("lamp", 2, "on"): 10}
    for told in (at_the_top, {"mine": at_the_top}, {"seeds": [1], "violation": None, "rows": at_the_top, "faults": {"crash": 3}}):
        assert +diagrams.read_fired(PLAIN, json.dumps(told)) == wanted
    twice = diagrams.read_fired(PLAIN, json.dumps({"model": at_the_top, "runtime": at_the_top}).encode())
    assert twice["lamp", 1, "off"] == 2400


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_was_written_is_read(variant: str) -> None:
    declaration = VARIANTS[variant]
    assert diagrams.read_fired(declaration, json.dumps(report(declaration, everything(declaration)))) == everything(declaration)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing",
        "[" * 100_000,
        "[]",
        "{}",
        "7",
        '{"lamp": 7}',
        '{"lamp": [7]}',
        '{"lamp": [{"row": 0, "sources": {"off": -1}}]}',
        '{"lamp": [{"row": "a"}]}',
    ],
    ids=lambda text: text[:12] or "empty",
)
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="rows: needs a report"):
        diagrams.read_fired(PLAIN, text)


def test_invalid_text_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="rows: needs a report of rows as JSON"):
        diagrams.read_fired(PLAIN, b'{"lamp": "\xff"}')


def test_a_report_of_other_machines_names_them() -> None:
    told = json.dumps(report(RELIABLE_SHARED, Fired()))
    with pytest.raises(InvalidArgument, match="rows: knows nothing of reliable_exclusive, only of reliable_shared"):
        diagrams.read_fired(RELIABLE_EXCLUSIVE, told)


def other_tables() -> list[tuple[Declaration[Any], str]]:
    table, states = list(PLAIN.table), tuple(PLAIN.states)
    return [
        (lamp([*table, row("hit", "off", "broken")], states=states), "it has 5 rows of lamp, and 4 are declared"),
        (lamp([table[0], table[1], table[3], table[2]], states=states), "row 2 of lamp is not 'press' as it is declared"),
        (lamp([table[0], row("press", ["off", "broken"], None, why="by night"), *table[2:]], states=states), "row 1 of lamp"),
        (lamp([table[0], row("press", "off", None, why="by day"), *table[2:]], states=states), "row 1 of lamp"),
        (lamp([row("press", "off", "on", when=["dark"]), *table[1:]], states=states), "row 0 of lamp"),
    ]


@pytest.mark.parametrize(("other", "problem"), other_tables(), ids=["longer", "another order", "another reason", "another state", "no action"])
def test_a_report_of_another_table_is_refused(other: Declaration[Any], problem: str) -> None:
    """Its counts would be painted on the wrong rows."""
    with pytest.raises(InvalidArgument, match=f"rows: is of another table: {problem}"):
        diagrams.read_fired(PLAIN, json.dumps(report(other, Fired())))


# painted


def test_a_step_is_a_tenfold() -> None:
    heat = Heat(PLAIN, FIRED)
    areas = [re.search('bgcolor="(.*?)"', heat.chip(times)) for times in (0, 1, 9, 10, 99, 100, 10**5, 10**9)]
    assert [found and found[1] for found in areas] == [
        *(paint.NEVER.area, paint.HEAT[0].area, paint.HEAT[0].area, paint.HEAT[1].area, paint.HEAT[1].area, paint.HEAT[2].area),
        *(paint.HEAT[5].area, paint.HEAT[5].area),
    ]
    widths = [heat.line(times)[1] for times in (1, 10, 100, 1000)]
    assert widths == sorted(widths)
    assert len({heat.line(times)[0] for times in (0, 1, 10, 100, 1000)}) == 5


def test_a_flow_shows_how_often_and_what_never() -> None:
    told = words(diagrams.dot(PLAIN, fired=FIRED))
    assert [told[told.index(head) - 1] for head in ("press [dark]", "press", "hit")] == ["7", "10", "never"]
    assert "glow" not in told, "counts take the place of actions"
    legend = told.index("fired")
    assert told[legend : legend + 9] == [
        *("fired", "never", "1 to 9", "10 to 99", "100 to 999", "1,000 to 9,999"),
        *("rows that stay: 1 of 2 fired, ", "1 never", "each counts once for each of its states"),
    ]
    lines = diagrams.dot(PLAIN, fired=FIRED).splitlines()
    assert all(paint.NEVER.area in line for line in lines if 'class="s1-s2"' in line and "->" in line)


def test_where_the_end_was_never_reached_from_is_named() -> None:
    told = " ".join(words(diagrams.dot(RESTLESS, fired={})))
    assert "burn out: 0 of 1 fired,  1 never (in on)" in told
    assert "never (in" not in diagrams.dot(RESTLESS, fired=everything(RESTLESS))


def test_rows_that_stay_show_it_for_each_of_their_states() -> None:
    lines = diagrams.dot(PLAIN, style="stays", fired=FIRED).splitlines()
    counts = next(line for line in lines if "1,200" in line)
    assert re.sub("<[^>]*>", "|", counts).replace("|", " ").split() == ["1,200", "never"]
    assert "by day" not in " ".join(lines)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("style", diagrams.STYLES)
def test_what_was_never_fired_is_found_wherever_it_stands(variant: str, style: str) -> None:
    declaration = VARIANTS[variant]

    def told(*missing: tuple[str, int, str]) -> int:
        fired = {place: 1 for place in everything(declaration) if place not in missing}
        return " ".join(words(diagrams.dot(declaration, style=style, fired=fired))).count("never")

    assert told() == 1, "in the legend"
    for place in everything(declaration):
        _, number, source = place
        if style == "flow" or declaration.table[number]["dest"] in (None, source):
            assert told(place) == 2


def test_the_same_in_mermaid() -> None:
    flow = diagrams.mermaid(PLAIN, fired=FIRED)
    assert '|"press [dark] (7)"|' in flow
    assert '|"hit (never)"|' in flow
    assert f"linkStyle 3 stroke:{paint.NEVER.area}" in flow
    stays = diagrams.mermaid(PLAIN, style="stays", fired=FIRED)
    assert '"<b>off, broken</b><br/>press [else in off]: off 1,200, broken never"):::never' in stays
    fired = everything(RELIABLE_EXCLUSIVE)
    del fired["reliable_exclusive", next(nth for nth, spec in enumerate(RELIABLE_EXCLUSIVE.table) if [*spec["source"]] == ["Closed"]), "Closed"]
    (marked,) = (line for line in diagrams.mermaid(RELIABLE_EXCLUSIVE, style="stays", fired=fired).splitlines() if line.endswith(":::never"))
    assert "<b>Closed</b>" in marked, "one row of several is enough"
    assert ":::never" not in diagrams.mermaid(PLAIN, style="stays", fired=everything(PLAIN))
