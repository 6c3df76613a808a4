"""Bad input at the public face: a clear error that names it, before anything has changed. (tests/test_validation.py tries the checks one by one.)"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Coroutine
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

import processes
from danube_dispatcher import (
    Consumer,
    ConsumerAttached,
    ConsumerNotFound,
    ConsumerRefused,
    CursorUnreadable,
    Dispatcher,
    FailurePolicy,
    InvalidArgument,
    Message,
    NotAStore,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreNotFound,
    StoreReadOnly,
    StoreTooNew,
    Subscription,
    SubscriptionEngine,
    Topic,
)
from danube_dispatcher.session import stores_of
from danube_dispatcher.storage.sqlite import open_sqlite
from danube_statemachines import DanubeError
from delivering import TOPIC, join, placeless, publish, take, text
from processes import Machine

machine = processes.machine

SURROGATE = "\ud800"
NAMES: list[Any] = ["", "a b", "a/b", "ä", "x" * 256, ".", None, 7, b"a"]
TOPICS: list[Any] = ["", "orders", "/orders", "/a/b/c", "//b", "/a/b ", "/a/ü", "/a/" + "x" * 300, None, 7]
TIMES: list[Any] = [0, -1, nan, inf, -inf, True, "1"]
COUNTS: list[Any] = [0, -1, nan, True, "1", 1.5]

Call = Callable[[Topic, Subscription], Coroutine[Any, Any, Any]]


async def later(call: Callable[..., object], *arguments: Any) -> None:
    call(*arguments)


def cases() -> list[Any]:
    found: list[Any] = []

    def case(name: str, values: list[Any], call: Callable[[Topic, Subscription, Any], Coroutine[Any, Any, Any]]) -> None:
        found.extend(pytest.param(name, value, call, id=f"{name}-{placeless(value)}"[:40]) for value in values)

    case("payload", ["text", None, 7, bytearray(b"x"), memoryview(b"x"), b"x" * 101], lambda t, s, v: t.publish(v))
    case("key", [b"k", 7, "k" * 1025, SURROGATE], lambda t, s, v: t.publish(b"x", key=v))
    case("attributes", ["a", [("a", "b")], {1: "a"}, {"": "a"}, {SURROGATE: "a"}, {"a": "x" * 70_000}], lambda t, s, v: t.publish(b"x", attributes=v))
    case("attributes['a']", [1, None, b"a", SURROGATE], lambda t, s, v: t.publish(b"x", attributes={"a": v}))
    case("items", [b"x", "text", 7, None, Message(b"x")], lambda t, s, v: t.publish_many(v))
    case("items[1].payload", ["text", b"x" * 101], lambda t, s, v: t.publish_many([b"x", v]))
    case("subscription", NAMES, lambda t, s, v: t.subscribe(v))
    case("subscription", NAMES, lambda t, s, v: t.unsubscribe(v))
    case("subscription", NAMES, lambda t, s, v: t.release(v, "drop"))
    case("action", ["", "explode", None, 1], lambda t, s, v: t.release("s", v))
    case("action", ["", "explode", None, 1], lambda t, s, v: s.release(v))
    case("type", ["", "topic", None, 1, "Exclusive"], lambda t, s, v: t.subscribe("new", type=v))
    case("reliable", [0, 1, None, "yes"], lambda t, s, v: t.subscribe("new", reliable=v))
    case("start", ["", "now", -1, 1.0, True, None, 99], lambda t, s, v: t.subscribe("new", start=v))
    case("policy", ["block", {}, 7], lambda t, s, v: t.subscribe("new", policy=v))
    case("rate_limit", TIMES, lambda t, s, v: t.subscribe("new", rate_limit=v))
    case("rate_burst", COUNTS, lambda t, s, v: t.subscribe("new", rate_limit=1, rate_burst=v))
    case("rate_burst", [1], lambda t, s, v: t.subscribe("new", rate_burst=v))
    case("flush_interval", [-1, nan, inf, True, "1"], lambda t, s, v: t.subscribe("new", flush_interval=v))
    case("wait", [-1, nan, inf, True, "1"], lambda t, s, v: t.subscribe("new", wait=v))
    case("policy", [FailurePolicy()], lambda t, s, v: t.subscribe("new", reliable=False, policy=v))
    case("rate_limit", [1], lambda t, s, v: t.subscribe("new", reliable=False, rate_limit=v))
    case("flush_interval", [1], lambda t, s, v: t.subscribe("new", reliable=False, flush_interval=v))
    case("start", ["earliest", 0], lambda t, s, v: t.subscribe("new", reliable=False, start=v))
    case("dead_letter_topic", [TOPIC], lambda t, s, v: t.subscribe("new", policy=FailurePolicy(poison_policy="dead_letter", dead_letter_topic=v)))
    case("dead_letter_topic", TOPICS[:-2], lambda t, s, v: t.subscribe("new", policy=FailurePolicy(poison_policy="dead_letter", dead_letter_topic=v)))
    case("observer", [3, object()], lambda t, s, v: t.subscribe("new", observer=v))
    case("observer", [3, object()], lambda t, s, v: t.subscribe("new", reliable=False, observer=v))
    case("observer", [3, object()], lambda t, s, v: t.subscribe("s", observer=v))
    case("handler", [None, "print"], lambda t, s, v: s.run(v))
    case("delivery", [None, 7], lambda t, s, v: s.dispatcher.ack_message(v))
    case("delivery", [None, 7], lambda t, s, v: s.dispatcher.nack_message(v))
    case("consumer", [None, "c"], lambda t, s, v: later(s.dispatcher.add_consumer, v))
    case("message", [b"secret", None], lambda t, s, v: later(s.dispatcher.dispatch_message, v))
    case("topic", [None, "/test/a"], lambda t, s, v: later(SubscriptionEngine, v, "new"))
    case("engine", [None, "/test/a"], lambda t, s, v: later(Dispatcher.reliable_exclusive, v))
    case("engine", [None, "/test/a"], lambda t, s, v: later(Dispatcher.reliable_shared, v))
    case("timeout", [-1, nan, inf, True, "1"], lambda t, s, v: s.drain(v))
    case("consumer", NAMES, lambda t, s, v: s.consumer(v).__aenter__())
    case("consumer", NAMES, lambda t, s, v: s.run(print, name=v))
    case("capacity", COUNTS, lambda t, s, v: s.consumer("new", capacity=v).__aenter__())
    case("capacity", COUNTS, lambda t, s, v: s.run(print, capacity=v))
    case("topic", TOPICS, lambda t, s, v: Topic.open(t.store, v))
    case("max_payload", COUNTS, lambda t, s, v: Topic.open(t.store, "/test/new", max_payload=v))
    return found


@pytest.mark.parametrize(("name", "value", "call"), cases())
async def test_bad_input_is_named_before_anything_changes(machine: Machine, name: str, value: Any, call: Callable[[Topic, Subscription, Any], Any]) -> None:
    store = await machine.process()
    topic = await Topic.open(store, TOPIC, max_payload=100)
    machine._topics.append((store, topic))
    subscription = await topic.subscribe("s")
    consumer = await join(subscription, "c")
    before = (topic.head, machine.rows(), await machine.inner.topics(), subscription.status())
    with pytest.raises(InvalidArgument) as caught:
        await call(topic, subscription, value)
    assert caught.value.name == name
    assert str(caught.value).startswith(f"{name}: ")
    assert isinstance(caught.value, (ValueError, DanubeError))
    assert (topic.head, machine.rows(), await machine.inner.topics(), subscription.status()) == before
    await publish(topic, "fine")
    assert text(await take(consumer)) == "fine"


async def test_what_is_no_message_leaves_a_non_reliable_dispatcher_as_it_was(topic: Topic) -> None:
    live = await topic.subscribe("live", reliable=False)
    consumer = await join(live, "c")
    with pytest.raises(InvalidArgument, match="message: needs a Message, not bytes") as caught:
        live.dispatcher.dispatch_message(b"secret")  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)
    assert live.status().state == "Idle"
    await publish(topic, "fine")
    assert text(await take(consumer)) == "fine"


@pytest.mark.parametrize("value", [-1, nan, inf, True, "1"], ids=repr)
async def test_a_bad_delay_settles_nothing(machine: Machine, value: Any) -> None:
    topic = await machine.topic()
    consumer = await join(await topic.subscribe("s"), "c")
    await publish(topic, "x")
    delivery = await take(consumer)
    with pytest.raises(InvalidArgument, match="delay: "):
        await delivery.nack(delay=value)
    with pytest.raises(InvalidArgument, match="seconds: "):
        await delivery.extend(value)
    with pytest.raises(InvalidArgument, match="seconds: "):
        await delivery.extend(0)
    with pytest.raises(InvalidArgument, match="reason: "):
        await delivery.nack(reason=7)  # type: ignore[arg-type]
    assert await delivery.ack() is True


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *((name, {name: value}) for name in ("ack_timeout", "redelivery_delay", "max_redelivery_delay") for value in TIMES),
        *(("max_redeliveries", {"max_redeliveries": value}) for value in (-1, nan, True, 1.5)),
        ("redelivery_delay", {"redelivery_delay": 5, "max_redelivery_delay": 4}),
        ("dead_letter_topic", {"poison_policy": "dead_letter"}),
        ("poison_policy", {"poison_policy": "ignore"}),
        ("backoff", {"backoff": "linear"}),
        ("jitter", {"jitter": 2}),
        ("max_hold", {"max_hold": 1}),
    ],
    ids=str,
)
def test_a_contradictory_policy_is_refused_when_it_is_made(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        FailurePolicy(**arguments)


async def test_an_engine_checks_like_subscribe(machine: Machine) -> None:
    topic = await machine.topic()
    for name, value in {"start": "now", "rate_limit": 0, "rate_burst": 5, "flush_interval": -1, "wait": -1}.items():
        arguments: dict[str, Any] = {name: value}
        with pytest.raises(InvalidArgument, match=f"^{name}: "):
            SubscriptionEngine(topic, "s", **arguments)
    with pytest.raises(InvalidArgument, match=r"^subscription: "):
        SubscriptionEngine(topic, "a b")
    assert machine.rows() == []


# consumers


async def test_a_consumer_that_is_unknown_or_added_twice_is_refused(machine: Machine) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s", type="shared")
    dispatcher = subscription.dispatcher
    with pytest.raises(ConsumerNotFound, match="ghost"):
        dispatcher.remove_consumer("ghost")
    consumer = Consumer("c")
    dispatcher.add_consumer(consumer)
    before = subscription.status()
    with pytest.raises(ConsumerAttached, match="c"):
        dispatcher.add_consumer(consumer)
    assert subscription.status() == before
    dispatcher.remove_consumer("c")
    with pytest.raises(ConsumerAttached):
        dispatcher.add_consumer(consumer)


async def test_an_exclusive_subscription_refuses_a_second_name(machine: Machine) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s")
    consumer = await join(subscription, "c")
    with pytest.raises(ConsumerRefused, match=r"failover"):
        await join(subscription, "d")
    await publish(topic, "x")
    assert text(await take(consumer)) == "x"


# stores


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "known"),
        ("store.db", "known"),
        ("nats://localhost", "'memory:' and 'sqlite:'"),
        ("memory:here", "nothing after the colon"),
        ("sqlite:", "path"),
        ("sqlite://store.db", "write 'sqlite:/store.db'"),
        ("sqlite:a\0b", "NUL"),
        ("sqlite:a/", "directory"),
        ("sqlite:" + SURROGATE, "characters"),
        (None, "URL"),
        (7, "URL"),
        (Path("store.db"), "URL"),
        (b"memory:", "URL"),
    ],
    ids=repr,
)
async def test_a_url_that_cannot_be_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: Any, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgument, match=says) as caught:
        await Topic.open(url, TOPIC)
    assert caught.value.name == "store"
    assert os.listdir(tmp_path) == []


def directory(path: Path) -> None:
    path.mkdir()


def empty(path: Path) -> None:
    path.touch()


def text_file(path: Path) -> None:
    path.write_text("not a store\n" * 1000, encoding="utf-8")


def foreign_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.close()


def run(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


async def store_at(path: Path) -> None:
    async with await Topic.open(f"sqlite:{path}", TOPIC) as topic:
        await publish(topic, *"abc")
        await topic.subscribe("s", start="earliest")


@pytest.mark.parametrize("make", [directory, empty, text_file, foreign_database])
@pytest.mark.parametrize("create", [True, False])
async def test_a_path_that_is_no_store_is_refused_and_left_alone(tmp_path: Path, make: Callable[[Path], None], create: bool) -> None:
    path = tmp_path / "s.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(NotAStore, match=r"s\.db"):
        await Topic.open(f"sqlite:{path}", TOPIC, create=create)
    assert os.listdir(tmp_path) == ["s.db"]
    assert (path.read_bytes() if path.is_file() else None) == before
    assert stores_of(asyncio.get_running_loop()) == []


@pytest.mark.parametrize("create", [True, False])
async def test_a_missing_directory_is_always_an_error(tmp_path: Path, create: bool) -> None:
    with pytest.raises(StoreNotFound, match="directory"):
        await Topic.open(f"sqlite:{tmp_path}/missing/s.db", TOPIC, create=create)
    assert os.listdir(tmp_path) == []


async def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    await store_at(path)
    run(path, "PRAGMA user_version = 99")
    with pytest.raises(StoreTooNew, match=r"99.*upgrade"):
        await Topic.open(f"sqlite:{path}", TOPIC)


async def test_a_damaged_position_is_an_error_each_time_and_never_a_new_start(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    await store_at(path)
    run(path, "UPDATE subscriptions SET cursor = cursor + 1")
    async with await Topic.open(f"sqlite:{path}", TOPIC) as topic:
        for _ in range(2):
            with pytest.raises(CursorUnreadable, match="subscription s of"):
                await topic.subscribe("s", start="latest")
        await topic.subscribe("other")


async def test_a_damaged_message_ends_the_iteration_and_is_not_skipped(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    await store_at(path)
    run(path, "UPDATE messages SET body = x'00' WHERE id & 0xff = 1")
    async with await Topic.open(f"sqlite:{path}", TOPIC) as topic:
        subscription = await topic.subscribe("s", start="earliest")
        consumer = await join(subscription, "c")
        delivery = await take(consumer)
        assert text(delivery) == "a"
        await delivery.ack()
        with pytest.raises(StoreDamaged, match=f"message 1 of {TOPIC}"):
            await take(consumer)
        assert subscription.status().cursor == 0


async def test_a_truncated_file_is_damaged_and_not_recreated(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    await store_at(path)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(StoreError) as caught:
        async with await Topic.open(f"sqlite:{path}", TOPIC) as topic:
            await publish(topic, "x")
    assert isinstance(caught.value, StoreDamaged | NotAStore)
    assert path.read_bytes()[4096:8192] == b"\xff" * 4096


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="the superuser may write anything")
async def test_a_read_only_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    await store_at(path)
    path.chmod(0o400)
    with pytest.raises(StoreReadOnly):
        await Topic.open(f"sqlite:{path}", TOPIC)


async def test_a_locked_store_says_so_and_works_again(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    await store_at(path)
    store = await open_sqlite(str(path), create=False, busy=0.05)
    topic = await Topic.open(store, TOPIC)
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreBusy, match="locked"):
            await topic.publish(b"x")
        with pytest.raises(StoreBusy):
            await topic.subscribe("s")
        assert topic.head == 3
    finally:
        locker.execute("ROLLBACK")
        locker.close()
    assert await topic.publish(b"x") == 3
    await topic.close()
    await store.close()


async def test_on_a_full_disk_publish_fails_nothing_is_lost_and_it_works_again_once_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    await store_at(path)
    store = await open_sqlite(str(path), create=False)
    topic = await Topic.open(store, TOPIC)
    consumer = await join(await topic.subscribe("s", start="earliest", flush_interval=0), "c")

    async def room(pages: int) -> None:
        await store.writer.call(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchall())

    async def fill() -> None:
        for _ in range(100):
            await topic.publish(bytes(3000))

    await room(1)  # as many as it has
    with pytest.raises(StoreFull, match="room"):
        await fill()
    head = topic.head
    with pytest.raises(StoreFull):
        await topic.publish(bytes(3000))
    assert topic.head == head
    for payload in "abc":  # what is in can be read and settled
        delivery = await take(consumer)
        assert text(delivery) == payload
        assert await delivery.ack() is True
    await room(1 << 30)
    assert await topic.publish(b"there is room") == head
    while True:
        delivery = await take(consumer)
        await delivery.ack()
        if delivery.message.offset == head:
            break
    assert text(delivery) == "there is room"
    await topic.close()
    await store.close()
