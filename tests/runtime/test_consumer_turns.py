"""How many messages a consumer takes before the loop gets its turn, by how long its work takes."""

from __future__ import annotations

import asyncio

import pytest

from danube_dispatcher import Consumer
from danube_dispatcher.consumer import FIRST_TURN, SLICE, TURN


async def test_a_turn_grows_while_work_is_quick_and_shrinks_to_what_fits_while_it_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Consumer("a")
    clock = [100.0]
    consumer._since = 100.0
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "time", lambda: clock[0])

        async def after(took: float) -> int:
            clock[0] += took
            await consumer._give_turn()
            return consumer._turn

        assert [await after(0) for _ in range(4)] == [2 * FIRST_TURN, 4 * FIRST_TURN, TURN, TURN]
        assert await after(4 * SLICE) == TURN // 4
        assert await after(1000 * SLICE) == 1
        assert await after(SLICE / 2) == 2
