"""When the engine writes, what, and who waits for it."""

from __future__ import annotations

import pytest

from danube_statemachines import FLUSH_MESSAGES, LATER, EngineCore, Held, Progress, Resumed, backoff
from engines import FOR_EVER, Entry, core, fail, settle_all, stocked, write

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
