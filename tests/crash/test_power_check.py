"""Whoever compares what is there with what was said sees each kind of loss."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from crash.power_check import Said, check
from crash.power_worker import POLICY, STORE, TOPIC, payload
from danube_dispatcher import Topic
from danube_dispatcher.storage.sqlite import open_sqlite

SEED = 5
Word = tuple[str, dict[str, object]]

PUBLISHED: list[Word] = [("opened", {}), ("topic", {}), ("published", {"numbers": [0], "offset": 0}), ("published", {"numbers": [1, 2]})]
ACKED: list[Word] = [("subscribed", {}), ("acking", {"offset": 0}), ("acked", {"offset": 0}), ("failed", {"offset": 1})]


def said(*words: Word) -> Said:
    heard = Said(SEED)
    for what, figures in words:
        subscription = figures.get("subscription", "now" if (what, figures) in ACKED else "")
        heard.hear(json.dumps({"what": what, **figures, "subscription": subscription}).encode())
    return heard


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Topic]:
    store = await open_sqlite(str(directory / STORE), create=True, clock=asyncio.get_running_loop().time)
    async with await Topic.open(store, TOPIC) as topic:
        yield topic
    await store.close()


async def make(directory: Path) -> None:
    """What is there: three messages, the first acknowledged, the second failed once."""
    async with opened(directory) as topic:
        await topic.publish_many([payload(SEED, number) for number in range(3)])
        subscription = await topic.subscribe("now", start="earliest", policy=POLICY, flush_interval=0)
        async with subscription.consumer("c") as consumer:
            await (await anext(consumer)).ack()
            await (await anext(consumer)).nack()


async def test_what_is_as_it_was_said(tmp_path: Path) -> None:
    await make(tmp_path)
    found = await check(tmp_path, said(*PUBLISHED, *ACKED), Random(1))
    assert (found.lost, found.missing, found.messages, found.acks) == ([], False, 3, 1)


@pytest.mark.parametrize(
    ("word", "loss"),
    [
        (("published", {"numbers": [3]}), "message 3 was acknowledged to its publisher and is gone"),
        (("published", {"numbers": [1], "offset": 2}), "message 1 was said to be at 2 and is at 1"),
        (("refused", {"numbers": [2]}), "refused are there"),
        (("acked", {"offset": 1, "subscription": "now"}), "1 was durably acknowledged, the cursor is 0"),
        (("flushed", {"offset": 2, "subscription": "now"}), "2 was durably acknowledged, the cursor is 0"),
        (("failed", {"offset": 1, "subscription": "now"}), "2 failures of message 1 were saved"),
        (("subscribed", {"subscription": "later"}), "subscription later is gone"),
        (("removed", {"subscription": "now"}), "subscriptions that were removed are there"),
    ],
)
async def test_what_is_not(tmp_path: Path, word: Word, loss: str) -> None:
    await make(tmp_path)
    (lost,) = (await check(tmp_path, said(*PUBLISHED, *ACKED, word), Random(1))).lost
    assert loss in lost


async def test_what_nobody_acknowledged(tmp_path: Path) -> None:
    await make(tmp_path)
    (lost,) = (await check(tmp_path, said(*PUBLISHED, ("subscribed", {"subscription": "now"})), Random(1))).lost
    assert "beyond message 0, which was neither acknowledged nor is a dead letter" in lost


async def test_what_was_published_by_nobody(tmp_path: Path) -> None:
    await make(tmp_path)
    async with opened(tmp_path) as topic:
        await topic.publish(b"2:something else")
    (lost,) = (await check(tmp_path, said(*PUBLISHED, *ACKED), Random(1))).lost
    assert "message 3 has another payload" in lost


async def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    found = await check(tmp_path, said(), Random(1))
    assert (found.lost, found.missing) == ([], True)


async def test_a_store_that_is_no_longer_there(tmp_path: Path) -> None:
    (lost,) = (await check(tmp_path, said(("opened", {})), Random(1))).lost
    assert "the store is gone" in lost


async def test_a_damaged_store(tmp_path: Path) -> None:
    await make(tmp_path)
    path = tmp_path / STORE
    path.write_bytes(path.read_bytes().replace(payload(SEED, 1), payload(SEED, 1)[::-1]))
    (lost,) = (await check(tmp_path, said(*PUBLISHED), Random(1))).lost
    assert "StoreDamaged" in lost
