"""Turns for the writer's thread: how long one lasts, when they are taken, and which loop is busy."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

from danube_dispatcher.storage.sqlite import turns
from danube_dispatcher.storage.sqlite.turns import EVERY, Turns, lend
from danube_dispatcher.virtual_time import advance


def test_a_turn_lasts_until_the_thread_rests() -> None:
    its, started, worked = Turns(), threading.Event(), threading.Event()
    story: list[str] = []

    def work() -> None:
        its.go_on()
        started.set()
        assert worked.wait(30)
        story.append("worked")
        its.rest()

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(30)
    threading.Timer(0.0, worked.set).start()
    for _ in range(1000):  # a turn has an end of its own, and the test machine may be slow
        its.give()
        if story:
            break
        its.go_on()
    assert story == ["worked"]
    thread.join()


def test_a_turn_ends_though_the_thread_never_rests() -> None:
    its = Turns()
    its.go_on()
    for _ in range(3):
        its.give()


def test_an_old_rest_does_not_end_a_new_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    its, asked = Turns(), []

    class Lock:
        def __init__(self) -> None:
            self.held = True

        def locked(self) -> bool:
            return self.held

        def release(self) -> None:
            self.held = False

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            asked.append((blocking, self.held))
            taken, self.held = not self.held, True
            return taken

    monkeypatch.setattr(its, "_mark", Lock())
    its.rest()
    its.go_on()
    its.give()
    assert asked == [(False, False), (True, True)], "the second waits in earnest"


async def test_turns_are_taken_only_while_they_are_needed() -> None:
    taken: list[float] = []
    loop = asyncio.get_running_loop()
    lend(loop, lambda: len(taken) < 5, lambda: taken.append(loop.time()))
    await advance(1)
    assert taken == pytest.approx([EVERY * number for number in range(1, 6)])


def test_a_loop_is_busy_by_its_own_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0, 0.0]
    monkeypatch.setattr(turns, "time", SimpleNamespace(perf_counter=lambda: clock[0], thread_time=lambda: clock[1]))
    monkeypatch.setattr(turns, "moment", lambda: clock.__setitem__(0, clock[0] + 1))
    its = Turns()

    def after(seconds: float, used: float) -> bool:
        clock[0] += seconds
        clock[1] += used
        return its.busy()

    assert not after(1, 0.7)
    assert after(1, 0.9)
    assert after(EVERY / 2, 0), "too short to tell"
    assert not after(1, 0.7)
    its.rest()
    its.give()
    assert after(1, 0.9), "standing aside is not being idle"
