"""A subscription as a line: how fast it goes, and whether somebody has to come."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import pytest

from danube_dispatcher import Lag, SubscriptionInfo, dispatcher, explain, overview
from danube_dispatcher.storage.protocols import Row
from danube_dispatcher.watch.lines import URGENCY, Line, Rate, Rates, Sample
from danube_dispatcher.watch.table import in_flight
from danube_statemachines import RELIABLE_EXCLUSIVE, RELIABLE_SHARED, Progress

WHICH = ("/test/orders", "s")


def codes() -> set[str]:
    """All that an explanation may have, wherever one is made."""
    found: set[str] = set()
    for module in (explain, dispatcher):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Explanation":
                assert isinstance(node.args[0], ast.Constant)
                found.add(str(node.args[0].value))
    for node in ast.walk(ast.parse(inspect.getsource(overview._without_owner))):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and isinstance(code := node.value.elts[1], ast.Constant):
            found.add(str(code.value))
    return found


def line(code: str = "awaiting_ack", *, lag: int = 3, owner: str = "host:1", type: str = "shared", now: float = 0.0) -> Line:
    info = SubscriptionInfo("s", type, True, owner, 10.0, Lag(-1, lag, lag), 0, False, False, {"state": "Idle", "code": code, "explanation": "x"})
    return Line("/test/orders", overview.told(info, now), Rate())


def test_every_code_says_who_has_to_do_something() -> None:
    assert {"blocked", "awaiting_ack", "failed", "unowned"} <= codes()
    assert set(URGENCY) == codes()


@pytest.mark.parametrize(
    ("subject", "urgency"),
    [
        (line(), "well"),
        (line("redelivering"), "waits"),
        (line("blocked"), "stuck"),
        (line("blocked", lag=0), "stuck"),
        (line("no_consumer"), "stuck"),
        (line("no_consumer", lag=0), "well"),
        (line("of_a_later_version"), "well"),
        (line(owner=""), "stuck"),
        (line(now=11.0), "stuck"),
        (line(now=11.0, lag=0), "well"),
    ],
)
def test_somebody_has_to_come_to_what_has_something_to_do_and_does_not(subject: Line, urgency: str) -> None:
    assert subject.urgency == urgency


def test_an_owner_is_who_has_it_now() -> None:
    assert (line().owner, line(now=11.0).owner) == ("host:1", "")


def test_a_message_that_was_settled_since_is_not_in_flight() -> None:
    def shown(durable: int, attempt: int) -> str:
        said: dict[str, object] = {"in_flight": 38, "attempt": attempt, "cursor": 37}
        info = SubscriptionInfo("s", "failover", True, "host:1", 10.0, Lag.between(durable, 50), 0, False, False, said)
        return in_flight(Line("/test/orders", overview.told(info, 0.0), Rate()))

    assert [shown(30, 1), shown(37, 2), shown(38, 1), shown(40, 1)] == ["38", "38 ×2", "-", "-"]


@pytest.mark.parametrize("said", [{}, {"state": 5, "code": [], "explanation": None, "cursor": "x"}])
def test_a_status_of_whatever_kind_is_a_line(said: dict[str, Any]) -> None:
    info = SubscriptionInfo("s", "failover", True, "host:1", 10.0, Lag(3, 9, 5), 0, False, False, said)
    subject = Line("/test/orders", overview.told(info, 0.0), Rate())
    assert subject.state
    assert (subject.lag, subject.urgency) == (5, "waits" if not said else "well")


@pytest.mark.parametrize("status", ["", "{", "5", "[1]", "null", '"x"', "\x00"])
def test_a_status_that_cannot_be_read_is_none(status: str) -> None:
    row = Row("/test/orders", "s", "shared", "host:1", 10.0, 1, Progress(3), status)
    assert overview.info(row, 9).status == {}
    assert Line("/test/orders", overview.told(overview.info(row, 9), 0.0), Rate()).state == "opening"


def test_what_it_runs_follows_from_its_type() -> None:
    assert [line(type=each).machine for each in ("exclusive", "failover", "shared")] == [RELIABLE_EXCLUSIVE, RELIABLE_EXCLUSIVE, RELIABLE_SHARED]


def test_a_rate_is_measured_by_the_owners_clock() -> None:
    rates = Rates()
    assert rates.of(WHICH, Sample("host:1", 100.0, 10, 5)) == Rate()
    assert rates.of(WHICH, Sample("host:1", 104.0, 30, 9)) == Rate(5.0, 1.0)
    assert rates.of(WHICH, Sample("host:1", 104.0, 30, 9)) == Rate(5.0, 1.0), "read again before it tells again"
    assert rates.of(WHICH, Sample("host:1", 104.1, 33, 9)) == Rate(5.0, 1.0), "too near"
    assert rates.of(WHICH, Sample("host:1", 103.0, 25, 8)) == Rate(5.0, 1.0), "an older one"
    assert rates.of(WHICH, Sample("host:1", 106.0, 30, 9)) == Rate(0.0, 0.0)
    assert rates.of(WHICH, Sample("host:1", 6.0, 40, 19)) == Rate(), "its clock was set back"
    assert rates.of(WHICH, Sample("host:1", 16.0, 50, 29)) == Rate(1.0, 1.0)


@pytest.mark.parametrize("after", [Sample("host:2", 110.0, 50, 50), Sample("host:1", 110.0, 0, 0), None], ids=["another owner", "opened anew", "no owner"])
def test_who_counts_anew_has_no_rate_yet(after: Sample | None) -> None:
    rates = Rates()
    rates.of(WHICH, Sample("host:1", 100.0, 10, 5))
    rates.of(WHICH, Sample("host:1", 104.0, 30, 9))
    assert rates.of(WHICH, after) == Rate()
    assert rates.of(WHICH, Sample("host:2", 112.0, 54, 52)) == (Rate(2.0, 1.0) if after == Sample("host:2", 110.0, 50, 50) else Rate())


def test_what_is_gone_is_forgotten() -> None:
    rates = Rates()
    rates.of(WHICH, Sample("host:1", 100.0, 10, 5))
    rates.keep(set())
    assert rates._last == {}
