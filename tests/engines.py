"""Engine cores for tests: with messages read, and a disk that does what it is told."""

from __future__ import annotations

from typing import Any, NamedTuple

from danube_statemachines import LATER, EngineCore, Later, Progress, Resumed

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


def settle_all(engine: EngineCore[Entry], now: float) -> int:
    """Take and settle whatever is given out; how many."""
    given = 0
    while isinstance(entry := engine.poll(now), Entry):
        engine.settle(entry.offset, now)
        given += 1
    return given
