"""The edges of the engine's rules: each of these was open until a mutant of the engine survived there."""

from __future__ import annotations

from danube_statemachines import LATER, Held, Progress, Resumed, backoff
from engines import FOR_EVER, Entry, core, fill, settle_all, stocked, write


def test_a_history_without_a_mark_is_innocent_of_an_unclean_end() -> None:
    known = Progress(held=Held(0, attempt=1, failures=1, reason="no"))
    engine = core(known, unclean=True)
    assert engine.want == known
    assert engine.begin_write(0.0) is None


def test_reading_is_tried_again_in_time_whether_or_not_a_tick_has_come() -> None:
    engine = core()
    engine.poll(0.0)
    engine.read_begun()
    engine.read_failed(0.0)
    assert engine.poll(backoff(1) / 2) is None
    assert engine.refused == "store"
    assert engine.poll(backoff(1)) is LATER
    fill(engine, 0, now=backoff(1))
    assert engine.alarm(backoff(1)) == FOR_EVER, "there is nothing to try again"


def test_a_throttled_poll_is_repeated_when_there_is_a_whole_token() -> None:
    engine = stocked(0, 1, rate_limit=2.0, rate_burst=1.5)
    assert engine.poll(0.0) == Entry(0)
    engine.settle(0, 0.0)
    assert engine.poll(0.0) is None
    assert engine.refused == "throttled"
    assert engine.alarm(0.0) == 0.25, "half a token is there, and a second makes two"
    engine.tick(0.25)
    assert engine.take_news() == "wake"
    assert engine.poll(0.25) == Entry(1)


def test_behind_the_bound_on_duplicates_the_cursor_is_written_at_once() -> None:
    engine = stocked(0, 50, 51, flush_messages=10)
    for offset in (0, 50):
        assert engine.poll(0.0) == Entry(offset)
        engine.settle(offset, 0.0)
    engine.read_begun()
    engine.read_done((), engine.next_offset, 0.0)
    assert engine.poll(0.0) is None
    assert engine.refused == "store"
    assert write(engine, 0.0) == Progress(50)
    assert engine.take_news() == "wake"
    assert engine.poll(0.0) == Entry(51)


def test_a_paused_engine_at_the_end_of_the_log_is_paused() -> None:
    engine = stocked()
    engine.pause(True, 0.0)
    assert engine.poll(0.0) is None
    assert engine.refused == "paused"


def test_a_head_that_moves_before_the_end_was_said_takes_it_back() -> None:
    engine = stocked()
    engine.head_moved()
    assert engine.poll(0.0) is LATER
    assert engine.wants_read


def test_what_changes_back_before_it_was_written_needs_no_write() -> None:
    engine = core()
    engine.pause(True, 0.0)
    engine.pause(False, 0.0)
    assert engine.begin_write(0.0) is None


def test_a_lease_that_is_renewed_at_the_moment_at_which_it_lapses_wakes() -> None:
    engine = stocked(0, lease_until=10.0)
    engine.tick(10.0)
    assert engine.poll(10.0) is None
    assert engine.refused == "lease"
    engine.renewed(20.0, 10.0)
    assert engine.take_news() == "wake"
    assert engine.poll(10.0) == Entry(0)


def test_time_that_changes_nothing_takes_no_news_away() -> None:
    engine = stocked(0, 1, rate_limit=1.0)
    assert engine.poll(0.0) == Entry(0)
    assert engine.poll(0.0) is None
    engine.head_moved()
    engine.tick(0.0)
    assert engine.take_news() == "wake"


def test_a_restored_engine_refuses_what_its_original_refused() -> None:
    original = stocked(0)
    original.pause(True, 0.0)
    engine = core()
    engine.restore(original.snapshot(), 0.0)
    assert engine.poll(0.0) is None
    assert engine.refused == "paused"


def test_a_failed_message_that_is_settled_before_its_failure_is_written_is_forgotten() -> None:
    engine = stocked(0, 1)
    engine.poll(0.0)
    engine.settle(0, 0.0)
    assert engine.poll(0.0) == Entry(1)
    engine.save_failure(Held(1, 1, 1, "no"), 0.0)
    engine.settle(1, 0.0)
    assert engine.want == Progress(1)


def test_a_history_stays_when_its_mark_is_taken_back() -> None:
    engine = stocked(0, progress=Progress(held=Held(0, attempt=1)), unclean=True, lease_until=10.0)
    engine.poll(0.0)
    assert write(engine, 0.0) == Progress(held=Held(0, attempt=2, sent=True))
    engine.tick(10.0)
    assert engine.poll(10.0) is None
    assert engine.refused == "lease"
    assert write(engine, 10.0) == Progress(held=Held(0, attempt=1)), "it was sent once, and that it was not sent again is no reason to forget it"


def test_a_write_that_begins_late_and_hangs_leaves_as_many_messages_as_the_bound_does() -> None:
    engine = stocked(*range(20), flush_messages=10)
    for offset in range(8):
        assert engine.poll(0.0) == Entry(offset)
        engine.settle(offset, 0.0)
    assert engine.begin_write(0.0) == Progress(7)
    assert settle_all(engine, 0.0) == 2


def test_a_failure_marks_no_message_that_was_not_marked() -> None:
    """Or an unclean end would charge it once more."""
    engine = stocked(0, progress=Progress(held=Held(0, attempt=1)))
    assert engine.poll(0.0) == Resumed(Entry(0), Held(0, attempt=1))
    engine.save_failure(Held(0, 2, 1, "no"), 0.0)
    assert write(engine, 0.0) == Progress(held=Held(0, 2, 1, "no"))


def test_an_exhausted_message_was_in_nobodys_hands_when_its_process_ended() -> None:
    verdict = Held(0, attempt=1, failures=1, reason="no", exhausted=True)
    engine = core(Progress(held=verdict._replace(sent=True)), unclean=True, exhausted=lambda failures: failures > 0)
    assert engine.held == verdict
