"""The edges of the engine's rules: each of these was open until a mutant of the engine survived there."""

from __future__ import annotations

from danube_statemachines import LATER, Held, Progress, backoff
from engines import core


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
    assert engine.wants_read
