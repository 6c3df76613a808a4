"""What the view is fed with: a store that is read again and again, and an owner that is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import processes
from danube_dispatcher import Lag, StoreError, StoreNotFound, SubscriptionInfo, Topic
from danube_dispatcher.clock import HEARTBEAT, LEASE, RENEWAL
from danube_dispatcher.dispatcher import Dispatcher
from danube_dispatcher.recent import KEPT, Glance, Transition
from danube_dispatcher.storage import open_store
from danube_dispatcher.storage.protocols import Store
from danube_dispatcher.virtual_time import VirtualLoop, advance
from danube_dispatcher.watch.feed import Feed, Picked, Sight
from danube_dispatcher.watch.lines import Rate
from delivering import TOPIC, take
from faults import TROUBLE, FaultStore
from processes import Machine, kill, owner, settle_next

machine = processes.machine

TOLD = RENEWAL + 2 * HEARTBEAT
"""Seconds after which an owner has told what it does, and it was read."""
S = (TOPIC, "s")


class Eye:
    """A process that watches the machine, and the stores that it has opened for that."""

    def __init__(self, machine: Machine) -> None:
        self.stores: list[FaultStore] = []

        async def opening() -> Store:
            self.stores.append(await machine.process())
            return self.stores[-1]

        self.feed = Feed(opening)

    async def look(self, seconds: float = 1.0) -> None:
        """Look, and then ask, once a second for so long."""
        for _ in range(round(seconds)):
            await self.feed.look()
            await self.feed.ask()
            await advance(1.0)
        await self.feed.look()

    @property
    def sight(self) -> Sight:
        return self.feed.sight


@pytest.fixture
async def eye(machine: Machine) -> AsyncIterator[Eye]:
    eye = Eye(machine)
    yield eye
    await eye.feed.close()


def story(picked: Picked) -> list[str | int]:
    return [each if isinstance(each, int) else f"{each.source} {each.trigger} {each.dest}" for each in picked.story if not wake(each)]


def wake(each: Transition | int) -> bool:
    return not isinstance(each, int) and each.trigger == "wake"


async def test_an_empty_store(eye: Eye) -> None:
    await eye.feed.read()
    assert eye.sight.lines == ()


async def test_lines_say_what_owners_told_and_how_fast_they_go(machine: Machine, eye: Eye) -> None:
    topic, _, consumer = await owner(machine, "x" * 100)
    await topic.subscribe("idle", type="shared")
    await advance(TOLD)
    await eye.feed.read()
    await settle_next(consumer, 12)
    await advance(RENEWAL)
    await eye.feed.read()
    busy, idle = sorted(eye.sight.lines, key=lambda line: line.lag, reverse=True)
    assert (busy.key, busy.type, busy.state, busy.status["active"], busy.status["in_flight"], busy.lag, busy.urgency) == (
        *(S, "exclusive", "AwaitingAck", "c", 12, 88, "well"),
    )
    assert busy.rate.delivered == busy.rate.settled == pytest.approx(4.0, rel=0.01)
    assert (idle.name, idle.type, idle.state, idle.status["code"], idle.urgency, idle.rate) == ("idle", "shared", "Idle", "no_consumer", "well", Rate(0.0, 0.0))
    assert not any(store.made(call) for store in eye.stores for call in ("acquire", "renew", "store", "load", "ask", "append")), "it only reads"


async def test_one_topic_of_several(machine: Machine) -> None:
    await owner(machine)
    other = await machine.topic(name="/test/other")
    await other.subscribe("else")
    for topic, names in (("/test/other", ["else"]), (TOPIC, ["s"]), (None, ["s", "else"])):
        feed = Feed(machine.process, topic)
        await feed.read()
        assert [line.name for line in feed.sight.lines] == names


async def test_the_picked_one_is_told_live(machine: Machine, eye: Eye) -> None:
    _, _, consumer = await owner(machine, "x" * 100)
    await eye.look()
    eye.feed.picked = picked = Picked(S)
    await eye.look(2)
    assert (picked.trouble, story(picked)) == ("", [])
    await settle_next(consumer, 2)
    await eye.feed.ask()
    assert [line.status["cursor"] for line in eye.sight.lines] == [1], "what the owner tells is seen at once"
    turn = ["AwaitingAck ack Dispatching", "Dispatching polled AwaitingAck"]
    assert story(picked) == [*turn, *turn]
    assert len(picked.fresh) == 4
    await eye.feed.look()
    (line,) = eye.sight.lines
    assert (line.status["cursor"], line.lag, line.told["lag"]["cursor"]) == (1, 98, 1), "fresher than the last renewal"
    assert line.told["age"] < HEARTBEAT, "as fresh as that"
    await eye.look(1)
    assert (len(story(picked)), picked.fresh) == (4, [])
    await settle_next(consumer, KEPT // 2 + 10)
    await eye.look(1)
    assert story(picked)[0] == 2 * 10, "nobody has kept the first ones"
    assert len(picked.story) == KEPT + 1
    await eye.look(3 * LEASE)
    await settle_next(consumer)
    await eye.look(1)
    assert story(picked)[-2:] == turn


async def test_a_new_owner_is_asked_anew_and_the_story_goes_on(machine: Machine, eye: Eye) -> None:
    topic, _, consumer = await owner(machine)
    await eye.look()
    eye.feed.picked = picked = Picked(S)
    await eye.look(2)
    await settle_next(consumer, 3)
    await eye.look(1)
    kill(topic)
    await eye.look(2 * LEASE)
    assert "no process has it open" in picked.trouble
    assert picked.glance is None
    assert eye.sight.lines[0].urgency == "stuck"
    _, _, consumer = await owner(machine)
    await eye.look(2)
    assert picked.trouble == ""
    await settle_next(consumer)
    await eye.look(1)
    assert len([each for each in story(picked) if each == "AwaitingAck ack Dispatching"]) == 4


def test_what_another_owner_has_counted_is_not_missed() -> None:
    picked = Picked(S)
    step = Transition(1.0, "Idle", "wake", "Dispatching", 0)
    for name, taken in (("host:1", 10), ("host:2", 50)):
        picked.heard(name, Glance(1.0, taken, [step], {}))
    assert [*picked.story] == [step, step]
    picked.heard("host:2", Glance(2.0, 60, [step], {}))
    assert [*picked.story][2:] == [9, step]


@pytest.mark.parametrize(
    ("name", "at", "state"), [("host:1", 1.0, "Blocked"), ("host:2", 1.0, "Idle"), ("host:1", -1.0, "Idle")], ids=["later", "other", "earlier"]
)
def test_an_answer_counts_where_it_is_the_last_that_the_owner_has_told(eye: Eye, name: str, at: float, state: str) -> None:
    eye.feed.picked = Picked(S)
    eye.feed.picked.heard(name, Glance(at, 0, [], {"state": "Blocked"}))
    info = SubscriptionInfo("s", "shared", True, "host:1", LEASE, Lag(-1, 0, 0), 0, False, False, {"state": "Idle"})  # renewed, and told, at 0
    assert eye.feed._line(TOPIC, info, 2.0).state == state


async def test_an_owner_of_an_older_version_says_that_it_does_not_know(machine: Machine, eye: Eye, monkeypatch: pytest.MonkeyPatch) -> None:
    async def request(self: Dispatcher, action: str) -> str:
        return f"error unknown request {action.partition(':')[0]!r}"

    monkeypatch.setattr(Dispatcher, "request", request)
    await owner(machine)
    await eye.look()
    eye.feed.picked = picked = Picked(S)
    await eye.look(1)
    assert picked.trouble.startswith("its transitions are not told: ")
    assert picked.trouble.endswith("answers: unknown request 'watch'")


async def test_an_owner_that_does_not_answer(machine: Machine, eye: Eye) -> None:
    topic, _, _ = await owner(machine)
    await eye.look()
    eye.feed.picked = picked = Picked(S)
    kill(topic)
    await eye.feed.ask()
    assert "has not answered within 10 s" in picked.trouble


async def test_a_subscription_that_is_gone(machine: Machine, eye: Eye) -> None:
    topic, subscription, consumer = await owner(machine)
    await eye.look()
    eye.feed.picked = picked = Picked(S)
    await eye.look()
    await consumer.__aexit__(None, None, None)
    await topic.unsubscribe("s")
    await eye.look()
    assert eye.sight.lines == ()
    await eye.feed.ask()
    assert picked.trouble == "the subscription is not there any more"
    assert eye.feed._rates._last == {}
    assert subscription.dispatcher.ended


@pytest.mark.parametrize("call", ["topics", "rows", "topic"])
async def test_a_reading_that_fails_is_told_and_tried_again(machine: Machine, eye: Eye, call: str) -> None:
    await owner(machine)
    await eye.look()
    eye.stores[-1].fail(call, TROUBLE)
    await eye.feed.look()
    assert eye.sight.trouble == str(TROUBLE)
    assert [line.name for line in eye.sight.lines] == ["s"], "what was seen last"
    await eye.feed.look()
    assert eye.sight.trouble == ""


async def test_a_question_that_fails_is_told_and_asked_again(machine: Machine, eye: Eye) -> None:
    await owner(machine)
    await eye.look()
    eye.feed.picked = picked = Picked(S)
    eye.stores[-1].fail("ask", TROUBLE, times=1)
    await eye.look(1)
    assert picked.trouble == f"its transitions are not told: {TROUBLE}"
    await eye.look(1)
    assert picked.trouble == ""
    assert picked.glance is not None


async def test_nothing_is_asked_of_whom_nobody_has_picked(machine: Machine, eye: Eye) -> None:
    await owner(machine)
    await eye.look(5)
    assert not any(store.made("ask") for store in eye.stores)


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[tuple[Path, Feed]]:
    """A store in a file that nobody has open, and a feed of it."""
    path = tmp_path / "queue.db"
    async with await Topic.open(f"sqlite:{path}", TOPIC) as topic:
        await topic.publish(b"x")
        await (await topic.subscribe("s", start="earliest")).close()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    opened: list[Store] = []
    loop.busy.append(lambda: any(store.outstanding for store in opened))

    async def opening() -> Store:
        opened.append(await open_store(f"sqlite:{path}", create=False))
        return opened[-1]

    feed = Feed(opening)
    yield path, feed
    await feed.close()


async def test_a_file_that_goes_is_said_at_once_and_as_long_as_it_is_gone(file: tuple[Path, Feed]) -> None:
    path, feed = file
    await feed.read()
    before = feed.sight
    kept = path.rename(path.with_name("kept.db"))
    for _ in range(2):
        await feed.look()
        assert feed.sight.trouble.endswith("it is no longer the file that was opened: it was moved, deleted or replaced")
        assert feed.sight.lines == before.lines, "what was seen last"
    kept.rename(path)
    await feed.look()
    assert (feed.sight.trouble, len(feed.sight.lines)) == ("", 1)


async def test_a_file_in_the_place_of_another_is_said_and_then_read(file: tuple[Path, Feed]) -> None:
    path, feed = file
    await feed.read()
    other = path.with_name("other.db")
    async with await Topic.open(f"sqlite:{other}", TOPIC):
        pass
    other.replace(path)
    await feed.look()
    assert "moved, deleted or replaced" in feed.sight.trouble
    await feed.look()
    assert (feed.sight.trouble, feed.sight.lines) == ("", ())


async def test_a_file_that_is_written_over_is_noticed_and_one_that_comes_back_is_read(file: tuple[Path, Feed]) -> None:
    path, feed = file
    await feed.read()
    before = feed.sight
    assert [line.status["code"] for line in before.lines] == ["unowned"]
    kept = path.read_bytes()
    path.write_bytes(b"anything else but a store" * 1000)
    await advance(LEASE)
    await feed.look()
    assert feed.sight.trouble
    assert feed.sight.lines == before.lines
    with pytest.raises(StoreError):
        await feed.read()
    for each in path.parent.glob(path.name + "*"):
        each.unlink()
    path.write_bytes(kept)
    await feed.look()
    assert (feed.sight.trouble, len(feed.sight.lines)) == ("", 1)


async def test_a_store_that_is_not_there_at_the_beginning_is_an_error(tmp_path: Path) -> None:
    async def opening() -> Store:
        return await open_store(f"sqlite:{tmp_path / 'missing.db'}", create=False)

    with pytest.raises(StoreNotFound):
        await Feed(opening).read()


async def test_a_store_that_changes_is_not_opened_anew(machine: Machine, eye: Eye) -> None:
    _, _, consumer = await owner(machine)
    await eye.look(3 * LEASE)
    assert len(eye.stores) == 1
    await (await take(consumer)).ack()
