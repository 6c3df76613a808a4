"""The engine's rules, one story each. Times are in seconds and stand where the story puts them."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from danube_statemachines import FLUSH_MESSAGES, LATER, EngineCore, Held, Later, Progress, Resumed, backoff

FOR_EVER = 1e9


class Entry(NamedTuple):
    offset: int


Answer = Entry | Resumed[Entry] | Later | None


def core(progress: Progress = Progress(), **more: Any) -> EngineCore[Entry]:  # noqa: B008 - it is immutable
    return EngineCore[Entry](progress, **{"now": 0.0, "lease_until": FOR_EVER, **more})


def fill(engine: EngineCore[Entry], *offsets: int, now: float = 0.0) -> None:
    """The log answers the read that is wanted."""
    assert engine.wants_read
    engine.read_begun()
    engine.read_done([Entry(offset) for offset in offsets], max((offset + 1 for offset in offsets), default=engine.next_offset), now)


def stocked(*offsets: int, progress: Progress = Progress(), **more: Any) -> EngineCore[Entry]:  # noqa: B008
    """An engine that has read these offsets, and owes a poll."""
    engine = core(progress, **more)
    assert engine.poll(0.0) is LATER
    fill(engine, *offsets)
    assert engine.take_news() == "poll"
    return engine


def write(engine: EngineCore[Entry], now: float) -> Progress | None:
    """The disk does at once what it is asked to."""
    progress = engine.begin_write(now)
    if progress is not None:
        engine.write_done(now)
    return progress


def fail(engine: EngineCore[Entry], now: float) -> Progress | None:
    progress = engine.begin_write(now)
    if progress is not None:
        engine.write_failed(now)
    return progress


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
    engine.head_moved(1.0)
    assert engine.attention
    assert engine.take_news() == "wake"
    assert engine.take_news() is None


def test_a_head_that_moves_while_nothing_is_read_is_not_the_end() -> None:
    engine = core()
    assert engine.poll(0.0) is LATER
    engine.read_begun()
    engine.head_moved(0.0)
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


# writing the cursor


def test_writes_are_debounced_with_a_trailing_one() -> None:
    engine = stocked(0, 1, 2)
    for offset, now in ((0, 10.0), (1, 12.0), (2, 14.9)):
        engine.poll(now)
        engine.settle(offset, now)
        assert engine.begin_write(now) is None
    assert engine.alarm(14.9) == 15.0
    assert engine.begin_write(15.0) == Progress(2)
    engine.write_done(15.0)
    assert (engine.durable, engine.begin_write(100.0), engine.alarm(100.0)) == (Progress(2), None, FOR_EVER)


def test_what_is_settled_during_a_write_is_written_after_it() -> None:
    engine = stocked(0, 1)
    engine.poll(0.0)
    engine.settle(0, 0.0)
    assert engine.begin_write(5.0) == Progress(0)
    engine.poll(5.1)
    engine.settle(1, 5.1)
    assert engine.begin_write(100.0) is None, "one write at a time"
    engine.write_done(6.0)
    assert engine.begin_write(10.0) is None
    assert engine.begin_write(10.1) == Progress(1)


def test_at_half_the_bound_it_writes_without_waiting() -> None:
    engine = stocked(*range(20), flush_messages=10)
    for offset in range(5):
        assert engine.begin_write(0.0) is None
        engine.poll(0.0)
        engine.settle(offset, 0.0)
    assert engine.begin_write(0.0) == Progress(4)


def test_the_bound_on_duplicates_is_ten_thousand() -> None:
    assert FLUSH_MESSAGES == core().flush_messages == 10_000


def settle_all(engine: EngineCore[Entry], now: float) -> int:
    """Take and settle whatever is given out; how many."""
    given = 0
    while isinstance(entry := engine.poll(now), Entry):
        engine.settle(entry.offset, now)
        given += 1
    return given


def test_while_writes_fail_no_more_than_the_bound_is_given_out() -> None:
    engine = stocked(*range(50), flush_messages=10)
    engine.poll(0.0)
    engine.settle(0, 0.0)
    assert fail(engine, 5.0) is not None
    assert settle_all(engine, 5.0) == 9
    assert (engine.refused, engine.refusal(5.0)) == ("store", "store")
    assert write(engine, 5.1) == Progress(9)
    assert engine.take_news() == "wake"
    assert engine.poll(5.1) == Entry(10)


def test_while_a_write_takes_its_time_no_more_than_the_bound_is_given_out() -> None:
    """A crash repeats what is not durable, whether the disk fails or hangs."""
    engine = stocked(*range(50), flush_messages=10)
    settle_all(engine, 0.0)
    assert engine.begin_write(0.0) is not None
    settle_all(engine, 0.0)
    assert engine.cursor - engine.durable.cursor <= 10


def test_a_failed_write_stays_dirty_and_is_tried_again_with_growing_delays() -> None:
    engine = stocked(0)
    engine.poll(0.0)
    engine.settle(0, 0.0)
    now = 5.0
    for failures in (1, 2, 3):
        assert fail(engine, now) == Progress(0)
        assert (engine.durable, engine.write_failures) == (Progress(), failures)
        assert engine.begin_write(now) is None
        assert engine.alarm(now) == now + backoff(failures)
        now += backoff(failures)
    assert write(engine, now) == Progress(0)
    assert (engine.durable, engine.write_failures) == (Progress(0), 0)


@pytest.mark.parametrize("careful", [False, True])
def test_a_failing_disk_is_not_asked_again_at_once_when_every_settlement_must_be_durable(careful: bool) -> None:
    engine = stocked(0, 1, flush_interval=5.0 if careful else 0.0, unclean=careful)
    if careful:
        assert engine.poll(0.0) is LATER
        assert write(engine, 0.0) is not None
        assert engine.take_news() == "poll"
    assert engine.poll(0.0) == Entry(0)
    engine.settle(0, 0.0)
    assert engine.poll(0.0) is LATER
    assert fail(engine, 0.0) is not None
    assert engine.take_news() == "poll"
    assert engine.poll(0.0) is LATER
    assert engine.begin_write(0.0) is None
    assert engine.alarm(0.0) == backoff(1)


def test_an_undecided_write_is_followed_by_another() -> None:
    """A write that failed may be on the disk all the same: what is there then must not stay, though it is what was there before that we want."""
    engine = core()
    engine.pause(True, 0.0)
    assert fail(engine, 0.0) == Progress(paused=True)
    engine.pause(False, 0.05)
    assert write(engine, 1.0) == Progress()


# strict: every settlement is durable before the next message leaves


def test_with_no_flush_interval_the_next_message_leaves_when_the_cursor_is_durable() -> None:
    engine = stocked(0, 1, flush_interval=0.0)
    assert engine.poll(0.0) == Entry(0)
    engine.settle(0, 0.0)
    assert engine.poll(0.0) is LATER
    assert engine.begin_write(0.0) == Progress(0)
    assert engine.poll(0.0) is LATER
    engine.write_done(0.0)
    assert engine.take_news() == "poll"
    assert engine.poll(0.0) == Entry(1)


# tickets: when is everything up to now durable?


def test_a_ticket_names_the_write_that_makes_everything_durable() -> None:
    engine = stocked(0, 1)
    assert engine.ticket(0.0) == 0
    engine.poll(0.0)
    engine.settle(0, 0.0)
    assert engine.ticket(0.0) == 1
    assert engine.begin_write(0.0) == Progress(0), "whoever waits does not wait for the debounce"
    assert engine.ticket(0.0) == 1
    engine.poll(0.0)
    engine.settle(1, 0.0)
    assert engine.ticket(0.0) == 2
    engine.write_done(0.0)
    assert engine.writes_done == 1
    assert write(engine, 0.0) == Progress(1)
    assert engine.writes_done == 2
    assert engine.ticket(0.0) == 0


def test_a_ticket_survives_a_failed_write() -> None:
    engine = stocked(0)
    engine.poll(0.0)
    engine.settle(0, 0.0)
    ticket = engine.ticket(0.0)
    fail(engine, 0.0)
    assert engine.writes_done < ticket
    write(engine, 0.1)
    assert engine.writes_done >= ticket


def served(engine: EngineCore[Entry], ticket: int) -> bool:
    """Whether the ticket is served once the disk has done all that it is asked to."""
    for now in range(10, 100):
        write(engine, float(now))
    return engine.writes_done >= ticket


def test_a_ticket_is_served_though_what_it_was_for_is_wanted_no_more() -> None:
    engine = core()
    engine.pause(True, 0.0)
    first = engine.ticket(0.0)
    fail(engine, 0.0)
    engine.pause(False, 0.05)
    assert served(engine, first)


def test_a_ticket_is_served_though_the_write_before_it_carried_everything() -> None:
    engine = core()
    engine.pause(True, 0.0)
    assert engine.begin_write(0.0) is not None
    engine.pause(False, 0.0)
    second = engine.ticket(0.0)
    engine.pause(True, 0.0)
    engine.write_done(0.0)
    assert served(engine, second)


def test_a_flush_writes_at_once() -> None:
    engine = stocked(0)
    engine.poll(0.0)
    engine.settle(0, 0.0)
    engine.flush(0.0)
    assert engine.begin_write(0.0) == Progress(0)


# failures


def test_a_charged_failure_is_durable_at_once_in_one_write_with_the_cursor() -> None:
    engine = stocked(0, 1)
    engine.poll(0.0)
    engine.settle(0, 0.0)
    engine.poll(0.0)
    engine.save_failure(held := Held(1, 1, 1, "no"), 0.0)
    assert engine.begin_write(0.0) == Progress(0, held)


def test_settling_ends_the_history() -> None:
    engine = stocked(0)
    engine.poll(0.0)
    engine.save_failure(Held(0, 1, 1), 0.0)
    write(engine, 0.0)
    engine.settle(0, 0.0)
    assert write(engine, 5.0) == Progress(0)


def test_a_message_with_a_history_comes_back_with_it() -> None:
    held = Held(3, attempt=2, failures=1, reason="no", due_at=9.0)
    engine = stocked(3, 4, progress=Progress(2, held))
    assert engine.poll(0.0) == Resumed(Entry(3), held)
    engine.settle(3, 0.0)
    assert engine.poll(0.0) == Entry(4)


def test_a_history_that_a_gap_swallowed_is_forgotten() -> None:
    engine = stocked(5, progress=Progress(2, Held(3, 2, 1)))
    assert engine.poll(0.0) == Entry(5)
    engine.settle(5, 0.0)
    assert write(engine, 5.0) == Progress(5)


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


# careful: after an unclean end, what kills its process is found


def test_a_careful_engine_marks_a_message_durably_before_it_answers() -> None:
    engine = stocked(0, 1, unclean=True)
    for offset in (0, 1):
        assert engine.poll(0.0) is LATER
        assert write(engine, 0.0) == Progress(offset - 1, Held(offset, attempt=1, sent=True)), "in one write with the cursor behind its predecessor"
        assert engine.take_news() == "poll"
        assert engine.poll(0.0) == Entry(offset)
        engine.settle(offset, 0.0)


def test_a_marked_message_found_after_an_unclean_end_is_charged() -> None:
    engine = stocked(0, progress=Progress(held=Held(0, attempt=1, sent=True)), unclean=True)
    charged = Held(0, attempt=1, failures=1, reason="process lost")
    assert write(engine, 0.0) == Progress(held=charged)
    assert engine.poll(0.0) is LATER
    assert write(engine, 0.0) == Progress(held=charged._replace(attempt=2, sent=True))
    assert engine.poll(0.0) == Resumed(Entry(0), charged)


def test_a_marked_message_found_after_a_clean_end_is_innocent() -> None:
    engine = core(Progress(held=Held(0, attempt=1, sent=True)))
    assert engine.held == Held(0, attempt=1)


def test_a_payload_that_kills_its_process_is_charged_at_every_crash_and_meets_the_limit() -> None:
    disk = Progress()
    failures: list[int] = []
    for _ in range(5):
        engine = stocked(0, progress=disk, unclean=True)
        answer = engine.poll(0.0)
        while answer is LATER:
            disk = write(engine, 0.0) or disk
            answer = engine.poll(0.0)
        assert isinstance(answer, Entry | Resumed)
        failures.append(answer.held.failures if isinstance(answer, Resumed) else 0)
    assert failures == [0, 1, 2, 3, 4]


def test_a_mark_stays_until_the_message_is_settled() -> None:
    engine = stocked(0, unclean=True)
    engine.poll(0.0)
    write(engine, 0.0)
    assert engine.poll(0.0) == Entry(0)
    engine.save_failure(Held(0, 1, 1, "no"), 0.0)
    assert write(engine, 0.0) == Progress(held=Held(0, 1, 1, "no", sent=True))
    engine.settle(0, 0.0)
    assert write(engine, 0.0) == Progress(0)


def test_a_message_that_is_not_given_out_after_all_is_not_marked() -> None:
    engine = stocked(0, unclean=True)
    engine.poll(0.0)
    write(engine, 0.0)
    engine.pause(True, 0.0)
    assert engine.take_news() == "poll"
    assert engine.poll(0.0) is None
    assert write(engine, 0.0) == Progress(paused=True)


def test_care_ends_after_as_many_messages_as_could_have_been_given_out() -> None:
    engine = stocked(*range(6), unclean=True, flush_messages=3)
    marked = 0
    for offset in range(6):
        answer = engine.poll(0.0)
        while answer is LATER:
            written = write(engine, 0.0)
            marked += written is not None and written.held is not None
            answer = engine.poll(0.0)
        assert answer == Entry(offset)
        engine.settle(offset, 0.0)
    assert marked == 3


def test_the_last_mark_is_gone_from_the_disk_before_the_next_message_leaves() -> None:
    """Or a crash then would charge a message that was acknowledged."""
    engine = stocked(0, 1, unclean=True, flush_messages=1)
    engine.poll(0.0)
    write(engine, 0.0)
    assert engine.poll(0.0) == Entry(0)
    engine.settle(0, 0.0)
    assert engine.strict, "whoever acknowledges waits"
    assert engine.poll(0.0) is LATER
    assert write(engine, 0.0) == Progress(0)
    assert not engine.strict
    assert engine.poll(0.0) == Entry(1)


@pytest.mark.parametrize("undecided", [True, False])
def test_a_mark_that_a_later_write_may_take_away_is_written_again(undecided: bool) -> None:
    """Paused and resumed while the mark was made: a write under way, or one that failed, is without it."""
    engine = stocked(0, unclean=True)
    engine.poll(0.0)
    marked = write(engine, 0.0)
    engine.pause(True, 0.0)
    assert engine.poll(0.0) is None
    assert engine.begin_write(0.0) == Progress(paused=True)
    if undecided:
        engine.write_failed(0.0)
    engine.pause(False, 0.0)
    assert engine.poll(0.0) is LATER
    if not undecided:
        engine.write_done(0.0)
    assert write(engine, 1.0) == marked
    assert engine.poll(1.0) == Entry(0)


def test_marking_takes_no_token_twice() -> None:
    engine = stocked(0, 1, unclean=True, rate_limit=1.0)
    engine.poll(0.0)
    write(engine, 0.0)
    assert engine.poll(0.0) == Entry(0)
    assert engine.tokens == 0


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
    assert engine.end("closed", 0.0, Held(0, attempt=2)) == Progress(held=Held(0, attempt=2))


def test_a_clean_close_takes_the_mark_of_a_message_away_that_was_not_given_out() -> None:
    engine = stocked(0, unclean=True)
    engine.poll(0.0)
    write(engine, 0.0)
    assert engine.end("closed", 0.0) == Progress()


def test_a_clean_close_keeps_the_history_of_a_message_that_was_not_polled_yet() -> None:
    held = Held(0, 2, 1, "no")
    assert core(Progress(held=held)).end("closed", 0.0) == Progress(held=held)


def test_a_message_that_nobody_was_given_has_no_history() -> None:
    assert core().end("closed", 0.0, Held(0)) == Progress()
