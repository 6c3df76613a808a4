"""Several processes on one clock."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from danube_dispatcher import Deadlock
from danube_dispatcher.simulation.cluster import Cluster, ProcessLoop

Said = list[tuple[str, float]]


class Stage:
    """Two processes that say what they do, and the world that runs them."""

    def __init__(self) -> None:
        self.forgotten: list[ProcessLoop] = []
        self.cluster = Cluster(self.forgotten.append)
        self.home, self.a, self.b = (self.cluster.process(name) for name in ("world", "a", "b"))
        self.said: Said = []

    def say(self, what: str) -> None:
        self.said.append((what, asyncio.get_running_loop().time()))

    async def tick(self, name: str, times: int = 1_000_000) -> None:
        for nth in range(times):
            self.say(f"{name}{nth}")
            await asyncio.sleep(1.0)

    def run(self, main: Callable[[], Any]) -> Any:
        return self.cluster.run(self.home, main())


def test_all_processes_share_the_time_and_each_has_a_loop_of_its_own() -> None:
    stage = Stage()

    async def main() -> str:
        assert asyncio.get_running_loop() is stage.home
        tasks = [loop.create_task(stage.tick(loop.name, 3)) for loop in (stage.a, stage.b)]
        await asyncio.sleep(2.5)
        assert all(not task.done() for task in tasks)
        await asyncio.sleep(1.0)
        assert all(task.done() for task in tasks)
        return "fine"

    assert stage.run(main) == "fine"
    assert stage.said == [("a0", 0.0), ("b0", 0.0), ("a1", 1.0), ("b1", 1.0), ("a2", 2.0), ("b2", 2.0)]


def test_what_comes_due_in_a_stalled_process_comes_late() -> None:
    stage = Stage()

    async def main() -> None:
        tasks = [loop.create_task(stage.tick(loop.name)) for loop in (stage.a, stage.b)]
        await asyncio.sleep(1.5)
        stage.cluster.stall(stage.a)
        await asyncio.sleep(3.0)
        stage.cluster.resume(stage.a)
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in tasks)

    stage.run(main)
    assert [said for said in stage.said if said[0][0] == "a"] == [("a0", 0.0), ("a1", 1.0), ("a2", 4.5)]
    assert [said for said in stage.said if said[0][0] == "b"] == [("b0", 0.0), ("b1", 1.0), ("b2", 2.0), ("b3", 3.0), ("b4", 4.0)]


def test_a_killed_process_is_gone_without_a_word() -> None:
    stage = Stage()

    async def stubborn() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            stage.say("cleaning up")
            await asyncio.ensure_future(stage.tick("too late"))

    async def suicidal() -> None:
        await asyncio.sleep(1.0)
        stage.cluster.kill(stage.a)
        await asyncio.sleep(1.0)
        stage.say("still alive")

    async def main() -> None:
        tasks = [stage.a.create_task(work) for work in (stage.tick("a"), stubborn(), suicidal())]
        await asyncio.sleep(5.0)
        assert not any(task.done() for task in tasks)

    stage.run(main)
    gc.collect()
    # its clean-ups run when it is taken apart, at once and in a loop that reaches nothing any more
    assert stage.said == [("a0", 0.0), ("a1", 1.0), ("cleaning up", 1.0)]
    assert stage.forgotten[0] is stage.a
    assert stage.cluster.strays == []


def test_a_timer_finds_that_its_time_has_come() -> None:
    stage = Stage()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for nth in range(1, 2000):
            when = loop.time() + nth / 7e3
            woken = loop.create_future()
            loop.call_at(when, woken.set_result, None)
            await woken
            assert when <= loop.time() < when + 2e-9

    stage.run(main)


def test_where_nothing_can_happen_there_is_a_deadlock() -> None:
    stage = Stage()

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match="nothing is scheduled in any process"):
        stage.run(main)


def test_errors_that_nobody_caught_are_kept() -> None:
    stage = Stage()

    async def fail() -> None:
        raise KeyError("oops")

    async def main() -> None:
        task = stage.a.create_task(fail())
        await asyncio.sleep(1.0)
        assert task.done()
        del task
        gc.collect()

    stage.run(main)
    assert len(stage.cluster.strays) == 1
    assert "KeyError('oops')" in stage.cluster.strays[0]
