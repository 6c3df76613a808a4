"""What the picture of the rows that stay shows: all of them, each where it stays and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from danube_dispatcher import diagrams
from danube_statemachines import RELIABLE_EXCLUSIVE, VARIANTS, Declaration

from .drawn import PLAIN, RESTLESS, labels, words

Band = tuple[str, ...]


def bands(declaration: Declaration[Any]) -> Iterator[tuple[Band, str]]:
    """The rows of the table as they are drawn: the states they stand under, and what they say."""
    (table,) = (label[0] for label in labels(diagrams.dot(declaration, style="stays")))
    under: Band = ()
    for line in table:
        told = ["".join(cell.itertext()) for cell in line]
        if len(told) == len(declaration.states) and {*told} <= {*declaration.states, "·"}:
            assert all(word in (state, "·") for state, word in zip(declaration.states, told, strict=True)), "each state has its place"
            under = tuple(word for word in told if word != "·")
        elif "".join(told):
            yield under, " ".join("".join(cell.itertext()) for cell in line)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_row_that_stays_is_told_where_and_why(variant: str) -> None:
    declaration = VARIANTS[variant]
    drawn = list(bands(declaration))
    for spec in declaration.table:
        states = tuple(state for state in declaration.states if state in spec["source"])
        if spec["dest"] is not None:
            continue
        head = "6: [else]" if spec["trigger"] == "proceed" else spec["trigger"].replace("_", " ")
        wanted = (head, *spec["conditions"], *spec["before"], *spec["why"].split())
        told = [told for under, told in drawn if under == states and all(word.replace("_", " ") in told for word in wanted)]
        assert told, f"{spec} is not drawn"


def test_states_in_which_the_same_rows_stay_stand_together() -> None:
    under = [band for band, _ in bands(RELIABLE_EXCLUSIVE)]
    assert len(set(under)) == len(RELIABLE_EXCLUSIVE.states), "by chance"
    assert under == sorted(under, key=lambda band: -len(band)), "what holds in most states comes first"


def test_rows_that_do_the_same_for_the_same_reason_are_told_together() -> None:
    (closed,) = (told for band, told in bands(RELIABLE_EXCLUSIVE) if band == ("Closed",))
    assert closed.startswith("polled, resumed, poll empty, ")
    assert closed.count("under way when we closed") == 1


def test_where_other_rows_leave_it_the_rest_is_said() -> None:
    told = words(diagrams.dot(RELIABLE_EXCLUSIVE, style="stays"))
    assert {"wake [else in Idle]", "ack [else in AwaitingAck]", "recover"} <= {*told}
    assert [*bands(PLAIN)] == [(("off", "broken"), "press [else in off] by day")]


def test_rows_that_change_the_state_are_not_told() -> None:
    told = " ".join(words(diagrams.dot(RELIABLE_EXCLUSIVE, style="stays")))
    assert "release" not in told
    assert "settle" not in told


def test_a_machine_without_such_rows_says_so() -> None:
    assert words(diagrams.dot(RESTLESS, style="stays")) == ["no row stays in its state"]
    assert '("no row stays in its state")' in diagrams.mermaid(RESTLESS, style="stays")


def test_the_same_in_mermaid() -> None:
    told = diagrams.mermaid(PLAIN, style="stays")
    assert '  g0("<b>off, broken</b><br/>press [else in off]: by day"):::text' in told.splitlines()
    assert "polled, resumed, poll empty, " in diagrams.mermaid(RELIABLE_EXCLUSIVE, style="stays")
    assert diagrams.mermaid(RELIABLE_EXCLUSIVE, style="stays").count("~~~") == len({band for band, _ in bands(RELIABLE_EXCLUSIVE)}) - 1
