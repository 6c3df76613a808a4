"""What is written of a machine and of a table, whatever an owner tells."""

from __future__ import annotations

import math

import pytest
from textual.content import Content

from danube_dispatcher import Lag, SubscriptionInfo, overview
from danube_dispatcher.recent import Glance, Transition
from danube_dispatcher.watch import panel
from danube_dispatcher.watch.feed import Picked
from danube_dispatcher.watch.lines import Line, Rate
from danube_dispatcher.watch.table import COLUMNS, NAME, SORTS, Table, drawn
from danube_statemachines import RELIABLE_EXCLUSIVE

TOPIC = "/test/orders"
ACKED = next(nth for nth, spec in enumerate(RELIABLE_EXCLUSIVE.table) if spec["trigger"] == "ack" and "AwaitingAck" in spec["source"])


def line(name: str = "s", *, code: str = "awaiting_ack", settled: float | None = None, why: str = "", now: float = 0.0) -> Line:
    """Its owner told at 0.0."""
    status: dict[str, object] = {"state": "AwaitingAck", "code": code, "explanation": why or f"why {name}"}
    info = SubscriptionInfo(name, "exclusive", True, "host:1", 10.0, Lag(-1, 3, 3), 0, False, False, status)
    return Line(TOPIC, overview.told(info, now), Rate(settled=settled))


def picked(*transitions: Transition) -> Picked:
    found = Picked((TOPIC, "s"))
    found.heard("host:1", Glance(1.0, len(transitions), list(transitions), {}))
    return found


def lit(content: Content) -> str:
    return " ".join(content.plain[span.start : span.end] for span in content.spans if str(span.style) == panel.LIT)


def test_the_way_that_was_taken_is_lit() -> None:
    drawing = drawn(RELIABLE_EXCLUSIVE)
    assert lit(panel.ways_out(drawing, line(), picked())) == ""
    assert lit(panel.ways_out(drawing, line(), picked(Transition(1.0, "AwaitingAck", "ack", "Dispatching", ACKED)))) == "ack [current]"


@pytest.mark.parametrize("row", [ACKED + 1, 10_000, -1])
def test_what_an_owner_of_another_version_tells_is_shown_without_our_reasons(row: int) -> None:
    foreign = Transition(math.inf, "Sleeping", "snore", "Sleeping", row)
    told = panel.story(drawn(RELIABLE_EXCLUSIVE), line(), picked(foreign)).plain.splitlines()[1]
    assert told.split() == ["?", "Sleeping", "snore", "stays:"]


def test_of_many_that_are_stuck_some_are_explained_and_all_are_counted() -> None:
    lines = [line(f"s{nth}", code="paused") for nth in range(panel.MOST + 2)]
    told = panel.why(lines[0], lines).plain.splitlines()
    assert told == [*(f"s{nth}: why s{nth}" for nth in range(panel.MOST)), "and 2 more"]
    assert panel.why(lines[0], lines[:2]).plain.splitlines() == ["s0: why s0", "s1: why s1"]


def test_what_is_true_of_several_is_said_once() -> None:
    lines = [line(name, code="paused", why="it is paused") for name in "abc"] + [line("d", code="blocked", why="no good")]
    assert panel.why(lines[3], lines).plain.splitlines() == ["d: no good", "a and 2 more: it is paused"]
    assert panel.why(lines[1], lines).plain.splitlines() == ["b and 2 more: it is paused", "d: no good"]
    well = line("w", why="it is paused")
    assert panel.why(well, lines[:3]).plain.splitlines() == ["w: it is paused", "a and 2 more: it is paused"], "one with nothing to do is not stuck"


def test_long_names_keep_their_ends() -> None:
    lines = [line(f"{'x' * 200}-{nth}", code="paused") for nth in range(2)]
    for text, end in ((panel.why(lines[0], lines).plain.splitlines()[1].partition(":")[0], "-1"), (panel.heading(lines[0], picked()).plain.split()[0], "-0")):
        assert (len(text), text[0], text[-2:]) == (NAME, "x", end)


def test_how_old_the_sentence_is_that_an_owner_told() -> None:
    assert [panel.why(line(now=now)).plain for now in (1.0, 2.0)] == ["s: why s", "s: why s (told 2 s ago)"]


def test_a_table_fits_its_terminal_and_has_what_fits() -> None:
    shown: list[int] = []
    for width in range(80, 180):
        table = Table([line("a-name-of-some-length"), line()], width)
        rows = [table.heading().plain, *(table.row(nth, chosen=chosen).plain for nth in (0, 1) for chosen in (False, True))]
        assert max(map(len, rows)) <= width
        shown.append(sum(column.title in rows[0] for column in COLUMNS))
    assert shown == sorted(shown)
    assert shown[-1] == len(COLUMNS)


def test_the_fastest_come_first() -> None:
    lines = [line("a", settled=None), line("b", settled=2.0), line("c", settled=30.0)]
    assert [each.name for each in sorted(lines, key=SORTS["rate"])] == ["c", "b", "a"]
