"""What is told of the dispatchers, to whom, and for how long."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from danube_dispatcher import Closed, Dispatcher, FailurePolicy, InvalidArgument, Subscription, Topic, UsageError, WrongContext
from danube_dispatcher.live import LivePage
from danube_dispatcher.live import page as pages
from danube_dispatcher.live.feed import MOST_CONSUMERS, MOST_NAMES, STORY, Feed, Watched
from danube_dispatcher.live.page import MOST_WATCHED
from danube_dispatcher.live.server import BEAT, PERIOD, Reader, Server
from danube_dispatcher.virtual_time import advance
from delivering import Place, attach, join, publish, settle, take, take_and_ack
from looking import looking

TOLD = tuple[str, str]


@pytest_asyncio.fixture
async def topic() -> AsyncIterator[Topic]:
    place = await Place.open("memory:")
    yield await place.topic()
    await place.close()


def seen(subject: Subscription | Dispatcher) -> Watched:
    """Watched, and looked at."""
    dispatcher = subject.dispatcher if isinstance(subject, Subscription) else subject
    watched = Watched(1, "it", dispatcher)
    watched.attach()
    return watched


def story(watched: Watched) -> list[TOLD]:
    return [(head, tail) for _, _, head, tail in watched.tell(all=False)["steps"]]


# the story


async def test_a_message_on_its_way(topic: Topic) -> None:
    subscription = await topic.subscribe("readers", type="failover", start="earliest")
    watched = seen(subscription)
    anna = await join(subscription, "anna")
    await publish(topic, "secret")
    delivery = await take(anna)
    assert story(watched) == [
        ("consumer added → Dispatching", "anna is active"),
        ("poll empty → Idle", ""),
        ("wake → Dispatching", ""),
        ("polled → AwaitingAck", "message 0 to anna"),
    ]
    assert await delivery.ack()
    assert not await delivery.ack()
    told = watched.tell(all=True)
    assert [step[2:] for step in told["steps"]][-3:] == [
        ["ack → Dispatching", "message 0 acked"],
        ["poll empty → Idle", ""],
        ["ack, still Idle", "the ack changes nothing; late, duplicate, foreign or forged"],
    ]
    assert (told["state"], told["machine"], told["number"]) == ("Idle", "reliable_exclusive", 7)
    assert told["why"] == {"code": "end", "sentence": "everything published is settled", "ends_with": "the next publish"}
    assert "secret" not in json.dumps(told)


async def test_failures_and_what_becomes_of_them(topic: Topic) -> None:
    policy = FailurePolicy(max_redeliveries=1, redelivery_delay=1, ack_timeout=5)
    subscription = await topic.subscribe("readers", start="earliest", policy=policy)
    anna = await join(subscription, "anna")
    await publish(topic, "a")
    watched = seen(subscription)
    await (await take(anna)).nack(reason="<b>not now</b>" * 20)
    await advance(1)
    await take(anna)
    await advance(5)
    assert subscription.explain().code == "blocked"
    await subscription.release("retry")
    await (await take(anna)).ack()
    told = story(watched)
    shortened = ("<b>not now</b>" * 20)[:119] + "…"
    assert [line for line in told if not line[0].startswith(("wake", "poll"))] == [
        ("nack → Failover", f"failure 1 of message 0: {shortened}"),
        ("proceed → Redelivering", "[delayed]"),
        ("tick → Failover", ""),
        ("proceed → AwaitingAck", "message 0 to anna, attempt 2; [anyone]"),
        ("tick → Failover", "message 0 is taken back from anna; failure 2 of message 0: ack timeout; its consumer is silent"),
        ("proceed → Blocked", "[exhausted, policy blocks]"),
        ("release retry → Failover", "message 0 is forgiven"),
        ("proceed → AwaitingAck", "message 0 to anna, attempt 3; [anyone]"),
        ("ack → Dispatching", "message 0 acked"),
    ]


async def test_a_dead_letter(topic: Topic) -> None:
    policy = FailurePolicy(max_redeliveries=0, poison_policy="dead_letter", dead_letter_topic="/test/dead")
    subscription = await topic.subscribe("readers", type="shared", start="earliest", policy=policy)
    anna = await join(subscription, "anna")
    await publish(topic, "a")
    watched = seen(subscription)
    await (await take(anna)).nack()
    await settle()
    assert ("proceed → DeadLettering", "message 0 to the dead-letter topic; [exhausted, policy dead letters]") in (told := story(watched))
    assert ("dead lettered → Dispatching", "message 0 dead-lettered") in told
    assert watched.machine == "reliable_shared"


async def test_at_most_once(topic: Topic) -> None:
    subscription = await topic.subscribe("live", reliable=False)
    watched = seen(subscription)
    await publish(topic, "a")
    anna = await join(subscription, "anna", capacity=1)
    await publish(topic, "b", "c")
    assert story(watched) == [
        ("message, still Idle", "nobody is there; an outcome, not an error of the publisher's"),
        ("consumer added, still Idle", "anna is active"),
        ("message → Dispatching", "offered to anna"),
        ("accepted → Idle", "anna has it"),
        ("message → Dispatching", "offered to anna"),
        ("refused → Failover", ""),
        ("proceed → Idle", "the message is dropped"),
    ]
    subscription.dispatcher.remove_consumer(anna.name)
    assert story(watched) == [("consumer lost, still Idle", "nobody is active")]
    told = watched.tell(all=False)
    assert (told["machine"], told["counts"]["dropped"], told["cursor"]) == ("non_reliable_exclusive", 2, None)


async def test_one_who_came_and_went_between_two_looks_has_a_number() -> None:
    async with Dispatcher.non_reliable_shared() as dispatcher:
        watched = seen(dispatcher)
        attach(dispatcher, "anna")
        dispatcher.remove_consumer("anna")
        attach(dispatcher, "berta")
        watched.tell(all=False)
        assert watched._consumer(1) == "consumer 1"
        assert watched._consumer(2) == "berta"


async def test_names_of_those_who_have_gone_are_remembered_for_a_while() -> None:
    async with Dispatcher.non_reliable_shared() as dispatcher:
        watched = seen(dispatcher)
        attach(dispatcher, "anna")
        for n in range(2, MOST_NAMES + 10):
            attach(dispatcher, f"guest-{n}")
            watched.tell(all=False)
            dispatcher.remove_consumer(f"guest-{n}")
        watched.tell(all=False)
        names = {session: watched._consumer(session) for session in (1, 2, n)}
        assert names == {1: "anna", 2: "consumer 2", n: f"guest-{n}"}
        assert len(watched._names) == MOST_NAMES + 1


async def test_of_many_consumers_some_are_told_of() -> None:
    async with Dispatcher.non_reliable_shared() as dispatcher:
        watched = seen(dispatcher)
        for n in range(MOST_CONSUMERS + 3):
            attach(dispatcher, f"c-{n}")
        told = watched.tell(all=False)
        assert (len(told["consumers"]), told["others"]) == (MOST_CONSUMERS, 3)
        assert watched._consumer(MOST_CONSUMERS + 3) == f"c-{MOST_CONSUMERS + 2}"


# the measure


class Counter:
    """Another observer."""

    steps = 0

    def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
        self.steps += 1

    def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
        pass


async def test_however_much_happens_little_is_told_and_nothing_miscounted(topic: Topic) -> None:
    subscription = await topic.subscribe("readers", start="earliest")
    anna = await join(subscription, "anna")
    watched, counter = seen(subscription), Counter()
    subscription.dispatcher.add_observer(counter)
    await topic.publish_many([b"x"] * 1000)
    await take_and_ack(anna, count=1000)
    watched.tell(all=True)  # to somebody else, who has just come
    told = watched.tell(all=False)
    assert told["number"] == counter.steps > 2000
    numbers = [step[0] for step in told["steps"]]
    assert numbers == [*range(told["number"] - STORY + 1, told["number"] + 1)]
    assert [way[:2] for way in told["taken"] if way[0] != way[1]] == [
        ["Idle", "Dispatching"],
        ["Dispatching", "AwaitingAck"],
        ["AwaitingAck", "Dispatching"],
        ["Dispatching", "Idle"],
    ]
    assert told["counts"]["delivered"] == told["counts"]["acked"] == 1000
    again = watched.tell(all=False)
    assert (again["steps"], again["taken"], again["number"]) == ([], [], told["number"])
    assert watched.tell(all=True)["steps"] == told["steps"], "whoever comes later is told the same"


async def test_nothing_is_noted_while_nobody_looks(topic: Topic) -> None:
    subscription = await topic.subscribe("readers", start="earliest")
    anna = await join(subscription, "anna")
    feed = Feed()
    watched = Watched(1, "it", subscription.dispatcher)
    feed.add(watched)

    async def steps() -> int:
        before: int = watched.tell(all=True)["number"]
        await publish(topic, "a")
        await (await take(anna)).ack()
        number: int = watched.tell(all=True)["number"]
        return number - before

    assert await steps() == 0
    feed.begin()
    assert await steps() > 0
    feed.end()
    assert await steps() == 0
    feed.begin()
    feed.remove(watched)
    assert await steps() == 0
    feed.add(watched)
    assert await steps() > 0, "somebody looks"


async def test_one_that_has_closed_is_told_as_it_was(topic: Topic) -> None:
    subscription = await topic.subscribe("readers", start="earliest")
    feed = Feed()
    feed.add(watched := Watched(1, "it", subscription.dispatcher))
    feed.begin()
    await subscription.close()
    assert story(watched) == [("close → Closed", "")]
    told = watched.tell(all=True)
    assert (told["state"], told["why"]["code"]) == ("Closed", "closed")
    feed.end()
    feed.begin()
    assert watched.tell(all=True) == told
    feed.end()


class Listener(Reader):
    """One who looks, without a connection."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def send(self, event: bytes, now: float) -> None:
        self.heard.append(event)


@pytest.mark.parametrize(("busy", "told"), [(True, 10 / PERIOD), (False, 10 / BEAT)])
async def test_what_is_new_is_told_at_once_and_that_nothing_is_now_and_then(monkeypatch: pytest.MonkeyPatch, busy: bool, told: float) -> None:
    feed, listener, looks = Feed(), Listener(), count()
    monkeypatch.setattr(feed, "news", lambda: b"%d" % (next(looks) if busy else 0))
    server = Server({}, feed)
    server._readers.add(listener)
    telling = asyncio.create_task(server._tell())
    await advance(10)
    telling.cancel()
    assert told * 0.9 <= len(listener.heard) <= told + 1


# the page, on a real loop


@pytest_asyncio.fixture
async def page() -> AsyncIterator[LivePage]:
    async with await LivePage.open() as page:
        yield page


@pytest_asyncio.fixture
async def real() -> AsyncIterator[Topic]:
    async with await Topic.open("memory:", "/test/orders") as topic:
        yield topic


async def until(events: AsyncIterator[dict[str, Any]], name: str, number: int) -> list[dict[str, Any]]:
    """What was told of one until its steps have that number."""
    found: list[dict[str, Any]] = []
    async for event in events:
        found += [each for each in event["watched"] if each["name"] == name]
        if found and found[-1]["number"] >= number:
            return found
    raise AssertionError("it hung up")


@pytest.mark.real_time
async def test_two_who_look_are_told_the_same(page: LivePage, real: Topic) -> None:
    subscription = await real.subscribe("readers", start="earliest")
    page.watch(subscription)
    name = "/test/orders readers"
    async with looking(page.url) as first, looking(page.url) as second:
        (hello,) = await until(first, name, 0)
        assert (hello["state"], hello["steps"], hello["key"]) == ("Idle", [], 1)
        await until(second, name, 0)
        async with subscription.consumer("anna") as anna:
            await real.publish(b"a")
            await (await anext(anna)).ack()
            told = [await until(each, name, 6) for each in (first, second)]
        heads = [[step[2] for each in some for step in each["steps"]] for some in told]
        assert heads[0] == heads[1]
        assert heads[0][-2:] == ["ack → Dispatching", "poll empty → Idle"]
        assert told[0][-1]["consumers"][0]["name"] == "anna"
    async with looking(page.url) as third:
        (hello,) = await until(third, name, 0)
        assert [step[2] for step in hello["steps"]][:6] == heads[0][:6], "who comes back finds the story"


@pytest.mark.real_time
async def test_it_is_watched_once_and_not_after_the_end(page: LivePage, real: Topic) -> None:
    subscription = await real.subscribe("readers", start="earliest")
    page.watch(subscription, name="mine")
    page.watch(subscription.dispatcher, name="again")
    async with looking(page.url) as events:
        assert [each["name"] for each in (await anext(events))["watched"]] == ["mine"]
        page.unwatch(subscription)
        page.unwatch(subscription)
        async for event in events:
            if not event["watched"]:
                break
        page.watch(subscription.dispatcher)
        (found,) = await until(events, "exclusive dispatcher", 0)
        assert found["key"] == 2
        watched = page._feed.watched[2]
        await page.close()
        assert [event async for event in events] == [], "it has hung up"
    async with subscription.consumer("anna"):
        assert watched.tell(all=True)["number"] == 0
    for call in (page.watch, page.unwatch):
        with pytest.raises(Closed, match="the live page is closed"):
            call(subscription)
    await page.close()
    assert not page._feed.watched, "it keeps nothing alive"


@pytest.mark.real_time
async def test_what_cannot_be_watched(page: LivePage, real: Topic) -> None:
    with pytest.raises(UsageError, match=r"await ready\(\) first"):
        page.watch(Dispatcher.non_reliable_shared())
    subscription = await real.subscribe("readers")
    await subscription.close()
    with pytest.raises(Closed):
        page.watch(subscription)
    for call in (page.watch, page.unwatch):
        with pytest.raises(WrongContext, match="the live page belongs to another thread"):
            await asyncio.to_thread(call, subscription)
        with pytest.raises(InvalidArgument, match="watched: needs a Dispatcher, not Topic"):
            call(real)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="name: needs a str, not int"):
        page.watch(await real.subscribe("readers"), name=1)  # type: ignore[arg-type]
    for n in range(MOST_WATCHED):
        page.watch(await real.subscribe(f"live-{n}", reliable=False))
    with pytest.raises(UsageError, match="32 dispatchers at most"):
        page.watch(await real.subscribe("readers"))


@pytest.mark.real_time
async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pages._files.cache_clear()
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    with pytest.raises(UsageError, match=r"pip install 'danube-dispatcher\[diagrams\]'"):
        await LivePage.open()


@pytest.mark.real_time
async def test_the_loop_of_the_page_ends_with_its_last_reader(page: LivePage) -> None:
    before = len(asyncio.all_tasks())
    async with looking(page.url) as events:
        await anext(events)
        assert len(asyncio.all_tasks()) == before + 2
    for _ in range(100):
        if len(asyncio.all_tasks()) == before:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(asyncio.all_tasks())
