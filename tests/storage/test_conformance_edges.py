"""What every back end promises at the edges, where mutants survived."""

from __future__ import annotations

import pytest

from danube_dispatcher import Message
from danube_dispatcher.storage.protocols import Lease, Spec, Store
from danube_statemachines import Held, Progress

from .conftest import Clock

TOPIC = "/default/orders"


async def test_what_is_held_at_the_saved_cursor_is_settled(store: Store) -> None:
    await store.topic(TOPIC, create=True)
    lease = await store.acquire(TOPIC, "s", owner="one:1", seconds=10.0, new=Spec("shared", -1))
    assert isinstance(lease, Lease)
    await store.store(lease, Progress(9))
    await store.store(lease, Progress(4, Held(9, 1)))
    assert await store.load(lease) == Progress(9)
    await store.store(lease, Progress(4))
    assert await store.load(lease) == Progress(9)


async def test_a_watcher_that_an_earlier_one_has_ended_is_not_called_and_nothing_is_wrong(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    log = await store.topic(TOPIC, create=True)
    log.watch(lambda _: end())
    end = log.watch(lambda _: None)
    await log.append([Message(b"a")])
    assert caplog.records == []


async def test_a_request_that_outlives_its_owner_is_forgotten(store: Store, clock: Clock) -> None:
    """Or rows that nobody will ever answer would pile up."""
    await store.topic(TOPIC, create=True)
    assert isinstance(await store.acquire(TOPIC, "s", owner="one:1", seconds=10.0, new=Spec("shared", -1)), Lease)
    request = await store.ask(TOPIC, "s", "release drop")
    clock.now += 10.0
    assert isinstance(await store.acquire(TOPIC, "s", owner="two:2", seconds=10.0, new=Spec("shared", -1)), Lease)
    await store.answer(request, "too late")
    assert await store.answered(request) is None
