"""Real processes, a real file, and kill -9. The clock of whoever comes later is set ahead, so that nobody has to wait for a lease."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from danube_dispatcher import NotBlocked, SubscriptionOwned, Topic
from danube_dispatcher.storage import open_store
from danube_dispatcher.storage.protocols import Batch, Row
from processes import OUTLIVED

pytestmark = pytest.mark.real_time

TOPIC = "/test/orders"
WORKER = Path(__file__).with_name("worker.py")


class Worker:
    """A child of the test."""

    def __init__(self, url: str, what: str, *options: object) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, str(WORKER), url, what, *map(str, options)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def lines(self) -> Iterator[str]:
        """What it says, line by line, until it is gone; killed in the middle of a line, it has not said that."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):
                yield line.strip()

    def hear(self) -> str:
        return next(self.lines())

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go on\n")
        self.process.stdin.flush()

    def kill(self) -> list[str]:
        """Kill it; return what it had said before."""
        self.process.kill()
        return list(self.lines())

    def end(self) -> list[str]:
        rest = list(self.lines())
        assert self.process.wait(timeout=30) == 0
        return rest


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/store.db"


async def publish(url: str, *payloads: bytes) -> None:
    async with await Topic.open(url, TOPIC) as topic:
        await topic.publish_many(payloads)


async def contents(url: str) -> list[bytes]:
    async with await Topic.open(url, TOPIC) as topic:
        found: list[bytes] = []
        while len(found) < topic.head:
            batch = topic.hub.log.read(len(found))
            assert isinstance(batch, Batch)
            assert [message.offset for message in batch.messages] == list(range(len(found), len(found) + len(batch.messages)))
            found += [message.payload for message in batch.messages]
        return found


async def row(url: str) -> Row:
    async with await Topic.open(url, TOPIC) as topic:
        (found,) = await topic.store.rows(TOPIC)
        return found


async def test_what_publish_returned_for_survives_kill_9(url: str) -> None:
    said = 0
    found: list[bytes] = []
    for prefix in ("a", "b"):
        with Worker(url, "publish", "--prefix", prefix) as publisher:
            for _ in range(100):
                publisher.hear()
            said += 100 + len(publisher.kill())
        found = await contents(url)
        assert said <= len(found) <= said + 1  # the last may be in without a word
        said = len(found)
    for prefix in "ab":
        numbers = [int(payload[1:]) for payload in found if payload.startswith(prefix.encode())]
        assert numbers == list(range(len(numbers)))


async def test_several_processes_publish_at_once(url: str) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(url, "publish", "--prefix", prefix, "--count", 100)) for prefix in "abc"]
        offsets = [[int(line) for line in worker.end()] for worker in workers]
    assert sorted(offset for each in offsets for offset in each) == list(range(300))
    found = await contents(url)
    for prefix, mine in zip("abc", offsets, strict=True):
        assert mine == sorted(mine)
        assert [found[offset].decode() for offset in mine] == [f"{prefix}{number}" for number in range(100)]


async def test_a_consumer_killed_again_and_again_loses_nothing_and_repeats_little(url: str) -> None:
    await publish(url, *[b"x"] * 400)
    acked: list[int] = []
    taken: list[int] = []

    def note(line: str) -> bool:
        word, offset, *_ = line.split()
        if word == "acked":
            acked.append(int(offset))
        elif word == "took":
            taken.append(int(offset))
        return word == "idle"

    for crash, count in enumerate((40, 10, 1, 120)):
        with Worker(url, "consume", "--later", crash * OUTLIVED) as consumer:
            for _ in range(count):
                assert not note(consumer.hear())
            for line in consumer.kill():
                note(line)
        before = (await row(url)).progress.cursor
        # never past what was acknowledged; the last ack may be durable without a word
        assert before <= max(acked[-1:] + taken[-1:], default=-1)
        if before == taken[-1]:
            acked.append(before)
    with Worker(url, "consume", "--later", 4 * OUTLIVED) as consumer:
        while not note(consumer.hear()):
            pass
        consumer.tell()
        consumer.end()
    assert sorted(set(acked)) == list(range(400))
    assert (await row(url)).progress.cursor == 399
    assert (await row(url)).owner == ""
    assert len(taken) < 400 + 4 * 200


@pytest.mark.parametrize("limit", [0, 1])
async def test_a_payload_that_kills_its_process_is_blocked(url: str, limit: int) -> None:
    await publish(url, b"fine", b"deadly", b"fine")
    crashes = 0
    while True:
        with Worker(url, "consume", "--limit", limit, "--later", crashes * OUTLIVED) as consumer:
            said = []
            for line in consumer.lines():
                said.append(line)
                if line.startswith("idle"):
                    break
            else:
                assert said[-1].startswith("took 1 ")
                crashes += 1
                assert crashes <= limit + 2
                continue
            consumer.tell()
            consumer.end()
            break
    assert crashes == limit + 2
    assert said[-1].startswith("idle blocked")
    assert "process lost" in said[-1]
    store = await open_store(url, create=False, clock=lambda: time.time() + (crashes + 1) * OUTLIVED)
    async with await Topic.open(store, TOPIC) as topic:
        assert await topic.release("s", "drop") == 1
    await store.close()
    with Worker(url, "consume", "--later", (crashes + 1) * OUTLIVED) as consumer:
        assert consumer.hear().startswith("took 2 ")


async def test_the_owner_is_named_and_is_replaced_when_it_dies_or_goes(url: str) -> None:
    await publish(url, b"a", b"b")
    with Worker(url, "hold") as owner:
        assert owner.hear() == "took 0 1"
        async with await Topic.open(url, TOPIC) as topic:
            with pytest.raises(SubscriptionOwned) as caught:
                await topic.subscribe("s")
            assert caught.value.owner.endswith(f":{owner.process.pid}")
            assert 0 < caught.value.until - time.time() <= 10
        owner.kill()
    with Worker(url, "hold", "--later", OUTLIVED) as owner:
        assert owner.hear() == "took 0 1"  # the crash left no trace of the first send
        owner.tell()
        assert owner.hear() == "acked True"
        assert owner.hear() == "took 1"
        owner.end()
    with Worker(url, "hold") as owner:  # let go: at once, though its clock is behind
        assert owner.hear() == "took 1 2"


async def test_an_owner_that_was_stopped_past_its_lease_changes_nothing(url: str) -> None:
    await publish(url, b"a", b"b")
    with Worker(url, "hold") as sleeper:
        assert sleeper.hear() == "took 0 1"
        os.kill(sleeper.process.pid, signal.SIGSTOP)
        with Worker(url, "hold", "--later", OUTLIVED) as owner:
            assert owner.hear().startswith("took 0 ")
            os.kill(sleeper.process.pid, signal.SIGCONT)
            sleeper.tell()
            said = sleeper.end()
            assert said[0] == "acked False"
            assert said[1].startswith("lost ")
            found = await row(url)
            assert found.progress.cursor == -1
            assert found.owner.endswith(f":{owner.process.pid}")
            owner.tell()
            assert owner.hear() == "acked True"


async def test_messages_of_another_process_arrive(url: str) -> None:
    async with await Topic.open(url, TOPIC) as topic:
        subscription, live = await topic.subscribe("s"), await topic.subscribe("live", reliable=False)
        async with subscription.consumer("c") as consumer, live.consumer("c", capacity=100) as live_consumer:
            with Worker(url, "publish", "--count", 20) as publisher:
                publisher.end()
            async with asyncio.timeout(20):
                for number in range(20):
                    delivery = await anext(consumer)
                    assert delivery.message.payload == str(number).encode()
                    assert await delivery.ack()
                    assert (await anext(live_consumer)).message.payload == str(number).encode()


async def test_a_blocked_message_is_released_from_another_process(url: str) -> None:
    await publish(url, b"a", b"b")
    with Worker(url, "block") as owner:
        assert owner.hear() == "blocked"
        async with await Topic.open(url, TOPIC) as topic:
            assert await topic.release("s", "drop") == 0
            assert owner.hear() == "acked 1 True"
            owner.end()
            with pytest.raises(NotBlocked):
                await topic.release("s", "drop")
