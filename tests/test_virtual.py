"""The loop that the other tests stand on."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from danube_dispatcher.virtual_time import Deadlock, VirtualLoop, advance


def loop() -> VirtualLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualLoop)
    return running


async def test_days_pass_at_once_and_exactly() -> None:
    loop().limit = 10 * 86_400
    for day in range(1, 8):
        await advance(86_400)
        assert loop().time() == day * 86_400


async def test_timers_fire_in_order_at_their_own_time() -> None:
    fired: list[tuple[str, float]] = []

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        fired.append((name, loop().time()))

    async with asyncio.TaskGroup() as group:
        for name, seconds in (("c", 0.3), ("a", 0.001), ("b", 0.25), ("d", 3600)):
            group.create_task(wait(name, seconds))
    assert fired == [("a", 0.001), ("b", 0.25), ("c", 0.3), ("d", 3600.0)]


async def test_time_stands_still_while_anything_is_ready() -> None:
    for _ in range(1000):
        await asyncio.sleep(0)
    assert loop().time() == 0


async def test_steps_too_small_for_the_clock_still_move_it() -> None:
    loop().limit = 4e6
    await advance(3.9e6)
    before = loop().time()
    for _ in range(100):
        await advance(2e-9)
    assert before + 99e-6 <= loop().time() < before + 1e-3
    with pytest.raises(ValueError, match="beyond"):
        loop().limit = 5e6


async def test_a_timeout_is_virtual_too() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30):
            await asyncio.Event().wait()
    assert loop().time() == 30


def test_waiting_for_nothing_is_a_deadlock_that_says_where() -> None:
    async def stuck() -> None:
        await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner, pytest.raises(Deadlock, match=r"(?s)nothing is scheduled.*Event\.wait"):
        runner.run(stuck())


def test_a_heartbeat_alone_does_not_hide_a_deadlock() -> None:
    async def stuck() -> None:
        async def beat() -> None:
            while await asyncio.sleep(0.5, True):
                pass

        loop().limit = 60
        task = asyncio.create_task(beat())
        await asyncio.Event().wait()
        task.cancel()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner, pytest.raises(Deadlock, match="60 virtual seconds"):
        runner.run(stuck())


async def test_time_stands_still_while_a_thread_is_busy() -> None:
    running, outstanding, allowed = loop(), [1], threading.Event()
    running.busy.append(lambda: bool(outstanding))
    answer: asyncio.Future[float] = running.create_future()

    def call() -> None:
        assert allowed.wait(10)
        outstanding.clear()
        running.call_soon_threadsafe(answer.set_result, 42.0)

    thread = threading.Thread(target=call)
    thread.start()
    timer = asyncio.create_task(advance(0.001))
    running.call_soon(allowed.set)
    assert await answer == 42.0
    assert not timer.done()
    assert running.time() == 0
    thread.join()
    await timer


async def test_something_busy_that_ends_without_a_wake_up_is_noticed() -> None:
    asked: list[None] = []

    def busy() -> bool:
        asked.append(None)
        return len(asked) < 3

    loop().busy.append(busy)
    await advance(1)
    assert len(asked) == 3
    assert loop().time() == 1


async def test_calls_in_an_executor_are_waited_for() -> None:
    timer = asyncio.create_task(advance(0.001))
    assert await asyncio.to_thread(sum, (1, 2, 3)) == 6
    assert not timer.done()
    await timer


@pytest.mark.real_time
async def test_marked_tests_run_on_an_ordinary_loop() -> None:
    running = asyncio.get_running_loop()
    assert not isinstance(running, VirtualLoop)
    assert abs(running.time() - time.monotonic()) < 60
