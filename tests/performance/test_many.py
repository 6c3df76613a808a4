"""Many idle subscriptions cost next to nothing: nobody asks them anything, and what others do does not concern them."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

import pytest

from danube_dispatcher import Topic
from danube_dispatcher.clock import RENEWAL, watchdog
from danube_dispatcher.session import Session
from danube_dispatcher.storage.sqlite.turns import Turns
from danube_dispatcher.virtual_time import advance
from delivering import Place
from performance.counting import Calls
from performance.paths import never

FEW, MANY = 20, 200
EACH = 8 << 10
"""Bytes that an idle subscription may take."""


async def subscribed(topic: Topic, names: range) -> None:
    await asyncio.gather(*(topic.subscribe(f"s{nth}") for nth in names))
    await advance(3.1 * RENEWAL)  # told what there is to tell, and at rest between two heartbeats


async def idle(seconds: float) -> dict[str, int]:
    """What is called while time passes, but for what the loop of the tests asks while the disk is at work."""
    with Calls() as calls:
        await advance(seconds)
    return {name: times for name, times in calls.ours.items() if not name.endswith(".stores_of")}


async def test_the_calls_of_an_idle_process_are_as_many_however_many_subscriptions_it_has(place: Place) -> None:
    topic = await place.topic()
    await subscribed(topic, range(FEW))
    few = await idle(4 * RENEWAL)
    await subscribed(topic, range(FEW, MANY))
    many = await idle(4 * RENEWAL)
    assert few["danube_dispatcher.session.Session._renew"] > 0
    assert few == many


async def test_an_idle_subscription_has_no_task_and_no_timer(place: Place) -> None:
    topic = await place.topic()
    tasks = len(asyncio.all_tasks())
    await subscribed(topic, range(MANY))
    assert len(asyncio.all_tasks()) == tasks
    assert watchdog()._live == 1, "the store's heartbeat"


async def test_publishing_is_as_many_calls_however_many_subscriptions_other_topics_have(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turns, "busy", never)
    topic, other = await place.topic("/test/busy"), await place.topic("/test/idle")

    async def publishing() -> dict[str, int]:
        with Calls() as calls:
            await topic.publish(b"x")
        return calls.ours

    await topic.publish(b"x")
    await topic.subscribe("mine")
    alone = await publishing()
    await subscribed(other, range(MANY))
    await topic.publish(b"x")
    assert await publishing() == alone


async def test_a_subscription_that_takes_a_step_is_asked_at_the_next_renewal_and_no_other(place: Place) -> None:
    topic = await place.topic()
    await subscribed(topic, range(FEW))
    busy = await topic.subscribe("s7")
    async with busy.consumer("c"):
        with Calls() as calls:
            await advance(2 * RENEWAL)
    assert calls.ours["danube_dispatcher.dispatcher.Dispatcher.report"] == 1
    (row,) = [each for each in await topic.subscriptions() if each.status.get("consumers") == ["c"]]
    assert row.name == "s7"


async def test_an_idle_subscription_takes_little_memory(place: Place) -> None:
    topic = await place.topic()
    await subscribed(topic, range(FEW))
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await subscribed(topic, range(FEW, FEW + MANY))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / MANY < EACH


async def test_a_renewal_that_asks_everybody_is_noticed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    renew = Session._renew

    async def asking_everybody(self: Session, began: float) -> None:
        self.holdings.stirred = dict(self.holdings.engines)
        await renew(self, began)

    monkeypatch.setattr(Session, "_renew", asking_everybody)
    topic = await place.topic()
    await subscribed(topic, range(FEW))
    few = await idle(2 * RENEWAL)
    await subscribed(topic, range(FEW, MANY))
    assert sum((await idle(2 * RENEWAL)).values()) > sum(few.values()) + MANY - FEW
