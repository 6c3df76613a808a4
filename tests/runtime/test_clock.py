"""The one timer of an event loop."""

from __future__ import annotations

import asyncio
import gc
from weakref import ref

from danube_dispatcher import Topic
from danube_dispatcher.clock import NEVER, Watchdog, watchdog
from danube_dispatcher.virtual_time import VirtualLoop, advance


class Target:
    """Notes when it is called; arms itself again for each of `again`."""

    def __init__(self, dog: Watchdog, *again: float) -> None:
        self.armed = NEVER
        self.dog = dog
        self.again = list(again)
        self.called: list[float] = []

    def on_alarm(self, now: float) -> None:
        assert now == asyncio.get_running_loop().time()
        self.called.append(round(now, 6))
        if self.again:
            self.dog.arm(self, self.again.pop(0))


def timers() -> int:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return sum(not handle.cancelled() for handle in loop._scheduled)  # type: ignore[attr-defined]


async def dog_and(*targets: int) -> tuple[Watchdog, list[Target]]:
    dog = Watchdog(asyncio.get_running_loop())
    return dog, [Target(dog) for _ in targets]


async def test_each_target_is_called_once_at_its_time_and_not_before() -> None:
    dog, targets = await dog_and(0, 1, 2)
    for target, when in zip(targets, (3.0, 1.0, 2.0), strict=True):
        dog.arm(target, when)
    await advance(0.99)
    assert [target.called for target in targets] == [[], [], []]
    await advance(10)
    assert [target.called for target in targets] == [[3.0], [1.0], [2.0]]
    assert [target.armed for target in targets] == [NEVER] * 3


async def test_what_was_asked_for_last_holds() -> None:
    dog, (later, earlier, never) = await dog_and(0, 1, 2)
    dog.arm(later, 1.0)
    dog.arm(later, 5.0)
    dog.arm(earlier, 5.0)
    dog.arm(earlier, 1.0)
    dog.arm(never, 1.0)
    dog.arm(never, NEVER)
    await advance(10)
    assert (later.called, earlier.called, never.called) == ([5.0], [1.0], [])


async def test_arming_back_and_forth_calls_once() -> None:
    dog, (target,) = await dog_and(0)
    for _ in range(10):
        dog.arm(target, 2.0)
        dog.arm(target, 3.0)
        dog.arm(target, 1.0)
        dog.arm(target, 2.0)
    await advance(10)
    assert target.called == [2.0]


async def test_a_target_may_arm_again_while_it_is_called() -> None:
    dog = Watchdog(asyncio.get_running_loop())
    target = Target(dog, 1.0, 1.5, 4.0)  # 1.0 again, at 1.0: at once
    dog.arm(target, 1.0)
    await advance(10)
    assert target.called == [1.0, 1.0, 1.5, 4.0]


async def test_a_time_that_has_passed_is_now() -> None:
    dog, (target,) = await dog_and(0)
    await advance(5)
    dog.arm(target, 1.0)
    await advance(0.001)
    assert target.called == [5.0]


async def test_one_target_may_disarm_another_that_is_due_at_the_same_moment() -> None:
    dog = Watchdog(asyncio.get_running_loop())
    other = Target(dog)

    class Disarms(Target):
        def on_alarm(self, now: float) -> None:
            super().on_alarm(now)
            dog.arm(other, NEVER)

    target = Disarms(dog)
    dog.arm(target, 1.0)
    dog.arm(other, 1.0)
    await advance(2)
    assert (target.called, other.called) == ([1.0], [])


async def test_one_that_fails_does_not_stop_the_others() -> None:
    dog = Watchdog(asyncio.get_running_loop())
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context.get("exception")))

    class Fails(Target):
        def on_alarm(self, now: float) -> None:
            raise ZeroDivisionError

    targets = [Fails(dog), Target(dog), Target(dog)]
    for target, when in zip(targets, (1.0, 1.0, 2.0), strict=True):
        dog.arm(target, when)
    await advance(10)
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert [target.called for target in targets[1:]] == [[1.0], [2.0]]


async def test_one_timer_serves_all_and_none_is_left() -> None:
    dog, targets = await dog_and(*range(500))
    for number, target in enumerate(targets):
        dog.arm(target, 10.0 + number % 7)
    assert timers() == 1
    for target in targets:
        dog.arm(target, NEVER)
    assert timers() == 0


async def test_old_entries_do_not_pile_up() -> None:
    dog, (busy, far) = await dog_and(0, 1)
    dog.arm(far, 1e6)
    for number in range(10_000):
        dog.arm(busy, 100.0 + number)
        assert len(dog._heap) <= 70
    assert busy.armed == 10_099.0


async def test_what_is_disarmed_is_let_go() -> None:
    dog, (target,) = await dog_and(0)
    dog.arm(target, 5.0)
    dog.arm(target, NEVER)
    gone = ref(target)
    del target
    gc.collect()
    assert gone() is None


async def test_a_loop_has_one() -> None:
    assert watchdog() is watchdog()


def test_another_loop_has_another() -> None:
    async def mine() -> Watchdog:
        return watchdog()

    with asyncio.Runner() as first, asyncio.Runner() as second:
        assert first.run(mine()) is not second.run(mine())


def test_a_loop_that_has_ended_is_forgotten() -> None:
    async def use() -> ref[asyncio.AbstractEventLoop]:
        async with await Topic.open("memory:", "/test/orders") as topic:
            await topic.subscribe("s")
            await advance(1.0)
        return ref(asyncio.get_running_loop())

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.run(use())
    del runner
    gc.collect()
    assert loop() is None
