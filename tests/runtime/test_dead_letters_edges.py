"""The writes of dead letters at the edges, where mutants survived."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from danube_dispatcher import Message, StoreFull
from danube_dispatcher.dead_letters import DeadLetters
from danube_statemachines import Held, backoff


class Target:
    """A topic of which each write fails or not, as it is told."""

    def __init__(self, *fails: bool) -> None:
        self._fails = list(fails)

    async def append(self, messages: Sequence[Message]) -> range:
        if self._fails.pop(0):
            raise StoreFull("memory:", "there is no room")
        return range(len(messages))


class Driver:
    machine = SimpleNamespace(dead_lettered="dead_lettered", dead_letter_failed="dead_letter_failed")

    def __init__(self) -> None:
        self.told: list[tuple[object, object]] = []

    def step(self, trigger: object, event: object) -> None:
        self.told.append((trigger, event))


async def test_after_a_success_trouble_is_tried_again_as_soon_as_at_first() -> None:
    driver = Driver()
    letters = DeadLetters(cast("Any", Target(True, True, False, True)), "s", "dead_letter", cast("Any", driver))
    for _ in range(4):
        letters.write(Message(b"bad", topic="/default/orders", offset=0), Held(0, 1, 1, "no"))
        for _ in range(3):
            await asyncio.sleep(0)
    assert driver.told == [
        ("dead_letter_failed", backoff(1)),
        ("dead_letter_failed", backoff(2)),
        ("dead_lettered", None),
        ("dead_letter_failed", backoff(1)),
    ]
