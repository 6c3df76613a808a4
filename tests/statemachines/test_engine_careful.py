"""What the engine does after an unclean end."""

from __future__ import annotations

import pytest

from danube_statemachines import LATER, Held, Progress, Resumed
from engines import Entry, core, stocked, write

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
