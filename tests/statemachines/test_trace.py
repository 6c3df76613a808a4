"""What a trace is held to: a right one passes, and each way to be wrong is found. And how fired rows are counted."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from danube_statemachines import NON_RELIABLE_SHARED, RELIABLE_EXCLUSIVE, VARIANTS, FailurePolicy, Held, Lost, Nack, Recorder
from danube_statemachines.coverage import described, fired_report, unfired, unfired_sources
from danube_statemachines.trace import Trace
from modelling import EPOCH, Variant, make

POLICY = FailurePolicy(max_redeliveries=0)
Told = list[tuple[Any, ...]]
TITLE = "reliable_exclusive"


def told_of(variant: Variant, *events: tuple[str, object]) -> Told:
    """What an observed machine tells of these."""
    port = Recorder()
    machine = make(variant, port, POLICY, variant.observed)
    for trigger, argument in events:
        getattr(machine, trigger)(argument)
    return port.take()


def blocked() -> Told:
    """A message that is nacked and blocked at once, retried, and given to another consumer."""
    return told_of(
        RELIABLE_EXCLUSIVE,
        *(("wake", None), ("consumer_added", 1), ("polled", 0), ("nack", Nack((EPOCH, 1, 0, 1)))),
        *(("release_retry", None), ("consumer_added", 2), ("consumer_lost", Lost(1)), ("ack", (EPOCH, 2, 0, 3)), ("poll_empty", None)),
    )


def held_to_the_table(told: Told, variant: Variant = RELIABLE_EXCLUSIVE, policy: FailurePolicy | None = POLICY) -> Trace:
    trace = Trace(variant, policy)
    for name, *arguments in told:
        if name == "transition":
            trigger, source, dest, row = arguments
            trace.transition(variant.title, source, trigger, dest, row)
        else:
            trace.effect(variant.title, name, tuple(arguments))
    trace.rest()
    return trace


@pytest.mark.parametrize("policy", [POLICY, None], ids=["with its policy", "without"])
def test_a_right_trace_is_right(policy: FailurePolicy | None) -> None:
    trace = held_to_the_table(blocked(), policy=policy)
    assert trace.wrong == []
    assert trace.state == "Idle"
    assert trace.fired.total() == sum(line[0] == "transition" for line in blocked())


def test_so_is_one_of_a_non_reliable_machine() -> None:
    told = told_of(NON_RELIABLE_SHARED, ("message", None), ("consumer_added", 1), ("consumer_added", 2), ("message", None), ("refused", 1), ("accepted", 2))
    assert [line[0] for line in told if line[0] != "transition"] == ["no_consumer", "offer", "offer", "sent"]
    assert held_to_the_table(told, NON_RELIABLE_SHARED).wrong == []


def test_a_line_that_is_missing_or_doubled_is_found() -> None:
    told = blocked()
    for nth, line in enumerate(told):
        if line[0] == "active_changed" or (line[0] == "transition" and line[2] == line[3]):
            continue  # whether another is active is not told, and who stays leaves no trace
        for other in (told[:nth] + told[nth + 1 :], told[: nth + 1] + told[nth:]):
            trace = held_to_the_table(other)
            assert trace.wrong or trace.state != "Idle", f"nobody minds {nth}: {line}"


def test_effects_in_another_order_are_found() -> None:
    told = blocked()
    swapped = 0
    for nth, (one, other) in enumerate(pairwise(told)):
        if "transition" not in (one[0], other[0]):
            assert held_to_the_table([*told[:nth], other, one, *told[nth + 2 :]]).wrong
            swapped += 1
    assert swapped >= 2


def row_of(trigger: str, guard: str = "", source: str = "") -> int:
    return next(
        number
        for number, spec in enumerate(RELIABLE_EXCLUSIVE.table)
        if spec["trigger"] == trigger and (not guard or guard in spec["conditions"]) and (not source or source in spec["source"])
    )


JOINED: Told = [("transition", "consumer_added", "Idle", "Dispatching", row_of("consumer_added")), ("active_changed", 1), ("poll",)]
SENT: Told = [*JOINED, ("transition", "polled", "Dispatching", "AwaitingAck", row_of("polled")), ("send", (0, 1, 0, 1))]
NACKED: Told = [*SENT, ("transition", "nack", "AwaitingAck", "Failover", row_of("nack")), ("save_failure", Held(0, 1, 1))]
TAKEN_IN: Told = [*JOINED, ("transition", "resumed", "Dispatching", "Failover", row_of("resumed"))]

WRONG: dict[str, tuple[Told, str]] = {
    "a row of another event": ([("transition", "wake", "Idle", "Dispatching", row_of("ack"))], "no row"),
    "a row that the table has not": ([("transition", "wake", "Idle", "Dispatching", 99)], "no row 99"),
    "a row in a state that it has not": ([("transition", "ack", "Idle", "Dispatching", row_of("ack", "current"))], "no row"),
    "another destination": ([("transition", "wake", "Idle", "Failover", row_of("wake", "anyone"))], "it went to Failover"),
    "a step from elsewhere": ([("transition", "wake", "Dispatching", "Dispatching", row_of("wake") + 1)], "the machine is in Idle"),
    "nobody to wake for": ([("transition", "wake", "Idle", "Dispatching", row_of("wake", "anyone")), ("poll",)], "anyone does not hold"),
    "somebody to wake for": (
        [*JOINED, ("transition", "poll_empty", "Dispatching", "Idle", row_of("poll_empty")), ("transition", "wake", "Idle", "Idle", row_of("wake") + 1)],
        "where this one comes first",
    ),
    "another completion": ([*NACKED, ("transition", "wake", "Failover", "Failover", row_of("wake") + 1)], "proceed must follow in the same step"),
    "no completion": (NACKED, "proceed has not followed in Failover"),
    "not its verdict": ([*NACKED, ("transition", "proceed", "Failover", "Redelivering", row_of("proceed", "delayed"))], "where this one comes first"),
    "another policy's verdict": (
        [*NACKED, ("transition", "proceed", "Failover", "DeadLettering", row_of("proceed", "policy_dead_letters")), ("dead_letter", Held(0))],
        "policy_dead_letters does not hold",
    ),
    "an effect too few": ([*JOINED[:-1], *SENT[3:]], "poll did not follow"),
    "an effect too few at the end": (SENT[:-1], "send did not follow"),
    "another effect": ([*JOINED[:-1], ("send", (0, 1, 0, 1))], "send is no effect that can come now"),
    "an effect of nothing": ([*SENT, ("settle", 0, "acked")], "settle is no effect that can come now"),
}


@pytest.mark.parametrize(("told", "complaint"), WRONG.values(), ids=WRONG)
def test_a_wrong_trace_is_found(told: Told, complaint: str) -> None:
    trace = held_to_the_table(told)
    assert any(complaint in wrong for wrong in trace.wrong), trace.wrong


def test_what_an_earlier_run_knows_is_taken_on_trust() -> None:
    assert held_to_the_table([*TAKEN_IN, ("transition", "proceed", "Failover", "Blocked", row_of("proceed", "policy_blocks"))]).wrong == []
    assert held_to_the_table([*TAKEN_IN, ("transition", "proceed", "Failover", "Redelivering", row_of("proceed", "delayed"))]).wrong == []


def test_another_machine_is_not_this_one() -> None:
    trace = Trace(RELIABLE_EXCLUSIVE)
    trace.transition("reliable_shared", "Idle", "wake", "Idle", 1)
    assert trace.wrong == ["no row 1 of reliable_shared is wake in Idle"]


# coverage


def test_fired_rows_are_counted_and_the_others_named() -> None:
    fired = held_to_the_table(blocked()).fired
    left = unfired(RELIABLE_EXCLUSIVE, fired)
    assert row_of("nack", "nacks_current") not in left
    assert row_of("dead_lettered") in left
    assert len(left) + len({row for _, row, _ in fired}) == len(RELIABLE_EXCLUSIVE.table)
    places = unfired_sources(RELIABLE_EXCLUSIVE, fired)
    assert {row for row, _ in places} > set(left)
    assert (row_of("consumer_added", source="Blocked"), "AwaitingAck") not in {*places}
    assert (row_of("consumer_added", source="Blocked"), "Failover") in {*places}
    assert unfired(VARIANTS["reliable_shared"], fired) == list(range(len(VARIANTS["reliable_shared"].table)))


def test_a_row_is_described_in_one_line() -> None:
    row = row_of("consumer_lost", "had_taken")
    assert described(RELIABLE_EXCLUSIVE, row) == f"{row} consumer_lost [holder, had_taken]  AwaitingAck → Failover: goes on at once"
    assert described(RELIABLE_EXCLUSIVE, row_of("tick", source="Idle")).endswith("any state → stays: early")
    for variant in VARIANTS.values():
        lines = [described(variant, row) for row in range(len(variant.table))]
        assert len(set(lines)) == len(lines)


def test_the_report_holds_every_row_of_every_machine_and_fits_into_json() -> None:
    fired = held_to_the_table(blocked()).fired
    report = json.loads(json.dumps(fired_report(VARIANTS.values(), fired)))
    assert {title: len(rows) for title, rows in report.items()} == {title: len(variant.table) for title, variant in VARIANTS.items()}
    nack = report[TITLE][row_of("nack")]
    assert (nack["trigger"], nack["sources"], nack["dest"], nack["times"]) == ("nack", {"AwaitingAck": 1}, "Failover", 1)
    assert sum(row["times"] for row in report[TITLE]) == fired.total()
    assert sum(row["times"] for row in report["reliable_shared"]) == 0
