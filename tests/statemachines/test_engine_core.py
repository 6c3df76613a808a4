"""What the engine answers a poll with, and why not."""

from __future__ import annotations

from typing import Any

import pytest

from danube_statemachines import FLUSH_MESSAGES, LATER, Held, Progress, Resumed, backoff
from engines import Entry, core, fill, settle_all, stocked, write

# polling and reading


def test_a_poll_is_answered_in_order_from_what_was_read() -> None:
    engine = stocked(0, 1, 2)
    for offset in range(3):
        assert engine.poll(0.0) == Entry(offset)
        engine.settle(offset, 0.0)
    assert engine.poll(0.0) is LATER
    assert (engine.wants_read, engine.next_offset, engine.cursor) == (True, 3, 2)


def test_it_starts_behind_the_cursor() -> None:
    assert core().next_offset == 0
    assert core(Progress(41)).next_offset == 42


def test_the_end_of_the_log_is_said_once_and_looked_for_again() -> None:
    engine = stocked()
    assert engine.poll(0.0) is None
    assert engine.refused == "end"
    assert engine.poll(0.0) is LATER
    assert engine.wants_read


def test_a_moved_head_wakes() -> None:
    engine = stocked()
    assert engine.poll(0.0) is None
    assert engine.take_news() is None
    engine.head_moved()
    assert engine.news
    assert engine.take_news() == "wake"
    assert engine.take_news() is None


def test_a_head_that_moves_while_nothing_is_read_is_not_the_end() -> None:
    engine = core()
    assert engine.poll(0.0) is LATER
    engine.read_begun()
    engine.head_moved()
    assert engine.take_news() == "poll"
    assert engine.poll(0.0) is LATER
    assert not engine.wants_read, "one is under way"
    engine.read_done((), 0, 0.0)
    assert engine.take_news() == "poll"
    assert engine.poll(0.0) is LATER, "not the end: what came meanwhile is looked for"
    fill(engine, 0)
    assert engine.poll(0.0) == Entry(0)


def test_reading_asks_for_one_batch_at_a_time() -> None:
    engine = core()
    engine.poll(0.0)
    engine.read_begun()
    assert not engine.wants_read
    engine.poll(0.0)
    assert not engine.wants_read


def test_offsets_may_have_gaps() -> None:
    engine = stocked(3, 10)
    for offset in (3, 10):
        assert engine.poll(0.0) == Entry(offset)
        engine.settle(offset, 0.0)
    assert (engine.cursor, engine.next_offset) == (10, 11)


def test_an_empty_batch_may_still_lead_over_a_gap() -> None:
    engine = core()
    engine.poll(0.0)
    engine.read_begun()
    engine.read_done((), 7, 0.0)
    assert engine.next_offset == 7


def test_a_failed_read_is_tried_again_with_growing_delays_and_heard_of() -> None:
    engine = core()
    engine.poll(0.0)
    now = 0.0
    for failures in (1, 2, 3):
        engine.read_begun()
        engine.read_failed(now)
        assert engine.take_news() == "poll"
        assert engine.poll(now) is None
        assert engine.refused == "store"
        wait = backoff(failures)
        assert engine.alarm(now) == now + wait
        engine.tick(now + wait / 2)
        assert engine.take_news() is None
        now += wait
        engine.tick(now)
        assert engine.take_news() == "wake"
        assert engine.poll(now) is LATER
    fill(engine, 0, now=now)
    assert engine.read_failures == 0


def test_backoff_doubles_up_to_its_maximum() -> None:
    assert [backoff(failures) for failures in (1, 2, 3, 6, 7, 1000)] == pytest.approx([0.1, 0.2, 0.4, 3.2, 5.0, 5.0])


# pause, throttle, lease


def test_a_pause_is_durable_and_stops_the_intake() -> None:
    engine = stocked(0, 1)
    engine.poll(0.0)
    engine.pause(True, 0.0)
    assert write(engine, 0.0) == Progress(paused=True)
    engine.settle(0, 0.0)
    assert engine.poll(0.0) is None
    assert engine.refused == "paused"
    engine.take_news()
    engine.pause(False, 1.0)
    assert engine.take_news() == "wake"
    assert engine.poll(1.0) == Entry(1)
    assert engine.begin_write(1.0) == Progress(0)


def test_a_pause_lasts_over_a_restart() -> None:
    engine = core(Progress(paused=True))
    assert engine.poll(0.0) is None
    assert engine.refused == "paused"


@pytest.mark.parametrize("held", [Held(0, attempt=1), Held(0, attempt=1, failures=1)])
def test_what_was_in_hand_before_is_no_new_intake(held: Held) -> None:
    engine = stocked(0, 1, progress=Progress(held=held, paused=True), rate_limit=0.001)
    engine.tokens = 0.0
    assert engine.poll(0.0) == Resumed(Entry(0), held)
    engine.settle(0, 0.0)
    assert engine.poll(0.0) is None
    assert engine.refused == "paused"


@pytest.mark.parametrize("stopped", ["paused", "throttled"])
def test_a_gap_in_place_of_what_was_in_hand_lets_nothing_new_pass(stopped: str) -> None:
    engine = stocked(5, progress=Progress(held=Held(0, 1, 1), paused=stopped == "paused"), rate_limit=0.001 if stopped == "throttled" else None)
    engine.tokens = 0.0
    assert engine.poll(0.0) is None
    assert engine.refused == stopped


def test_a_rate_limit_lets_a_burst_pass_and_then_delays_and_skips_nothing() -> None:
    engine = stocked(*range(5), rate_limit=2.0)
    for offset in (0, 1):
        assert engine.poll(0.0) == Entry(offset)
        engine.settle(offset, 0.0)
    for offset, due in ((2, 0.5), (3, 1.0), (4, 1.5)):
        assert engine.poll(due - 0.5) is None
        assert (engine.refused, engine.alarm(due - 0.5)) == ("throttled", due)
        engine.tick(due - 0.01)
        assert engine.take_news() is None
        engine.tick(due)
        assert engine.take_news() == "wake"
        assert engine.poll(due) == Entry(offset)
        engine.settle(offset, due)


@pytest.mark.parametrize(("limit", "burst", "at_once"), [(2.0, None, 2), (0.1, None, 1), (2.0, 5, 5), (100.0, 1, 1)])
def test_a_burst_is_one_seconds_worth_unless_told_and_at_least_one(limit: float, burst: float | None, at_once: int) -> None:
    engine = stocked(*range(20), rate_limit=limit, rate_burst=burst)
    assert settle_all(engine, 0.0) == at_once
    assert engine.refused == "throttled"
    assert settle_all(engine, 1e6) == at_once, "no more is saved up"


def test_a_lapsed_lease_stops_until_a_renewal() -> None:
    engine = stocked(0, 1, lease_until=10.0)
    assert engine.poll(0.0) == Entry(0)
    assert engine.alarm(0.0) == 10.0
    engine.tick(10.0)
    engine.settle(0, 10.0)
    assert engine.poll(10.0) is None
    assert engine.refused == "lease"
    engine.take_news()
    engine.renewed(22.0, 12.0)
    assert engine.take_news() == "wake"
    assert engine.poll(12.0) == Entry(1)


def test_a_renewal_in_time_is_no_news() -> None:
    engine = stocked(0, lease_until=10.0)
    engine.take_news()
    engine.renewed(13.0, 3.0)
    assert engine.take_news() is None
    assert engine.alarm(3.0) == 13.0
    assert engine.poll(12.9) == Entry(0)


def test_one_reason_after_the_other() -> None:
    """Whatever ended, what still stands is said."""
    engine = stocked(0, lease_until=10.0)
    engine.tick(10.0)
    engine.pause(True, 10.0)
    assert engine.poll(10.0) is None
    assert engine.refused == "lease"
    engine.take_news()
    engine.renewed(20.0, 11.0)
    assert engine.take_news() is None
    assert engine.refusal(11.0) == "paused"
    engine.pause(False, 12.0)
    assert engine.take_news() == "wake"


def test_all_reasons_in_their_order() -> None:
    engine = stocked(0, lease_until=10.0, rate_limit=1.0)
    assert engine.refusal(9.0) is None
    engine.tokens = 0.0
    engine.refilled_at = 9.0
    assert engine.refusal(9.0) == "throttled"
    engine.read_retry_at = 9.5
    assert engine.refusal(9.0) == "store"
    engine.paused = True
    assert engine.refusal(9.0) == "paused"
    assert engine.refusal(10.0) == "lease"
    engine.end("lost", 10.0)
    assert engine.refusal(10.0) == "lost"


# the end


@pytest.mark.parametrize("how", ["closed", "lost"])
def test_after_the_end_nothing_is_given_out_or_written(how: Any) -> None:
    engine = stocked(0, 1)
    engine.poll(0.0)
    engine.settle(0, 0.0)
    engine.end(how, 0.0)
    assert engine.poll(100.0) is None
    assert engine.refused == how
    assert engine.begin_write(100.0) is None
    assert engine.alarm(100.0) == float("inf")


def test_a_clean_close_keeps_the_history_of_the_message_in_hand_and_takes_its_mark_away() -> None:
    engine = stocked(0, 1, unclean=True)
    engine.poll(0.0)
    write(engine, 0.0)
    engine.poll(0.0)
    assert engine.end("closed", 0.0, Held(0, attempt=2)) == Progress(held=Held(0, attempt=2), careful=FLUSH_MESSAGES)


def test_a_clean_close_takes_the_mark_of_a_message_away_that_was_not_given_out() -> None:
    engine = stocked(0, unclean=True)
    engine.poll(0.0)
    write(engine, 0.0)
    assert engine.end("closed", 0.0) == Progress(careful=FLUSH_MESSAGES)


def test_care_that_has_not_come_to_its_end_is_passed_on_by_a_clean_close() -> None:
    engine = stocked(0, 1, unclean=True, flush_messages=3)
    engine.poll(0.0)
    write(engine, 0.0)
    engine.poll(0.0)
    engine.settle(0, 0.0)
    left = engine.end("closed", 0.0)
    assert left == Progress(0, careful=2)
    assert core(left, flush_messages=3).careful == 2
    assert core(left, unclean=True, flush_messages=3).careful == 3


def test_a_clean_close_keeps_the_history_of_a_message_that_was_not_polled_yet() -> None:
    held = Held(0, 2, 1, "no")
    assert core(Progress(held=held)).end("closed", 0.0) == Progress(held=held)


def test_a_message_that_nobody_was_given_has_no_history() -> None:
    assert core().end("closed", 0.0, Held(0)) == Progress()
