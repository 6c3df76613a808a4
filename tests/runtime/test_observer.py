"""What an observer is told, in which order, and what it may not do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from danube_dispatcher import FailurePolicy, InvalidArgument, Subscription, Topic, UsageError
from danube_dispatcher.virtual_time import advance
from danube_statemachines import VARIANTS
from delivering import Place, Record, join, publish, settle, take, take_and_ack, waiting

POLICY = FailurePolicy(ack_timeout=30, redelivery_delay=1, max_redeliveries=1)


def shown(record: Record) -> list[str]:
    """Transitions as "from trigger to", effects by name; without the wakes that find it busy, which depend on when the store answers."""
    told = [f"{each[1]} {each[2]} {each[3]}" if each[0] == "transition" else str(each[0]) for each in record.told]
    return [each for each in told if each not in {f"{state} wake {state}" for state in ("AwaitingAck", "Redelivering", "Blocked")}]


async def watched(topic: Topic, type: str = "failover", *, reliable: bool = True) -> tuple[Subscription, Record]:
    record = Record()
    policy = POLICY if reliable else None
    return await topic.subscribe("s", type=type, reliable=reliable, policy=policy, observer=record), record


async def test_the_life_of_a_message(topic: Topic) -> None:
    subscription, record = await watched(topic)
    a = await join(subscription, "a")
    await publish(topic, "0")
    await (await take(a)).ack()
    assert shown(record) == [
        "Idle wake Idle",  # opening looks whether there is something to do
        *("Idle consumer_added Dispatching", "active_changed", "poll"),
        "Dispatching poll_empty Idle",
        *("Idle wake Dispatching", "poll"),
        *("Dispatching polled AwaitingAck", "send"),
        *("AwaitingAck ack Dispatching", "settle", "poll"),
        "Dispatching poll_empty Idle",
    ]


async def test_an_effect_says_what_it_does_and_carries_no_payload(topic: Topic) -> None:
    subscription, record = await watched(topic)
    a = await join(subscription, "a")
    await topic.publish(b"secret", attributes={"also": "secret"})
    delivery = await take(a)
    await delivery.nack(reason="no good")
    await (await take(a)).ack()
    assert record.effects("send") == [("send", delivery.id), ("send", (*delivery.id[:3], 2))]
    assert record.effects("settle") == [("settle", 0, "acked")]
    (saved,) = record.effects("save_failure")
    assert "no good" in str(saved)
    assert record.effects("active_changed") == [("active_changed", a.session)]
    assert "secret" not in str(record.told)


async def test_failures_go_through_failover_in_one_step(topic: Topic) -> None:
    subscription, record = await watched(topic)
    a = await join(subscription, "a")
    await publish(topic, "0")
    delivery = await take(a)
    record.told.clear()
    await delivery.nack()
    assert shown(record) == ["AwaitingAck nack Failover", "save_failure", "Failover proceed Redelivering"]
    await (await take(a)).nack()
    assert shown(record)[3:] == [
        "Redelivering tick Failover",
        *("Failover proceed AwaitingAck", "send"),
        *("AwaitingAck nack Failover", "save_failure"),
        "Failover proceed Blocked",
    ]


@pytest.mark.parametrize("how", ["leaves", "leaves untaken", "disconnected"])
async def test_a_change_of_the_active_consumer_is_announced_before_its_first_message(topic: Topic, how: str) -> None:
    subscription, record = await watched(topic)
    a, b = await join(subscription, "a"), await join(subscription, "b")
    await publish(topic, "0")
    if how == "leaves":
        await take(a)
    record.told.clear()
    if how == "disconnected":
        await subscription.dispatcher.disconnect_all_consumers()
        b = await join(subscription, "b")
    else:
        subscription.dispatcher.remove_consumer("a")
    told = record.effects("active_changed", "send")
    assert told[-2][:2] == ("active_changed", b.session)
    assert told[-1][0] == "send"
    assert isinstance(told[-1][1], tuple)
    assert told[-1][1][1] == b.session


async def test_a_takeover_is_announced_before_the_message_that_goes_with_it(topic: Topic) -> None:
    subscription, record = await watched(topic)
    await join(subscription, "a")
    await publish(topic, "0")
    record.told.clear()
    new = await join(subscription, "a")
    assert [each[0] for each in record.effects("active_changed", "send")] == ["active_changed", "send"]
    assert record.effects("active_changed") == [("active_changed", new.session)]


async def test_nobody_is_announced_when_the_last_leaves(topic: Topic) -> None:
    subscription, record = await watched(topic)
    await join(subscription, "a")
    subscription.dispatcher.remove_consumer("a")
    assert record.effects("active_changed")[-1] == ("active_changed", None)


async def test_shared_announces_nobody(topic: Topic) -> None:
    subscription, record = await watched(topic, "shared")
    await join(subscription, "a")
    await join(subscription, "a")
    subscription.dispatcher.remove_consumer("a")
    assert record.effects("active_changed") == []


async def test_a_stale_answer_is_an_effect_of_its_own(topic: Topic) -> None:
    subscription, record = await watched(topic)
    a = await join(subscription, "a")
    await publish(topic, "0")
    delivery = await take(a)
    await delivery.ack()
    record.told.clear()
    await delivery.ack()
    await delivery.nack()
    await delivery.extend(1)
    assert shown(record) == ["Idle ack Idle", "stale", "Idle nack Idle", "stale", "Idle extend Idle", "stale"]
    assert record.effects("stale") == [("stale", "ack"), ("stale", "nack"), ("stale", "extend")]


async def test_a_non_reliable_one_is_watched_the_same_way(topic: Topic) -> None:
    subscription, record = await watched(topic, "shared", reliable=False)
    await publish(topic, "nobody")
    a = await join(subscription, "a", capacity=1)
    b = await join(subscription, "b", capacity=2)
    await publish(topic, "0", "1", "2", "3")
    assert record.effects("sent", "dropped", "no_consumer") == [
        ("no_consumer",),
        *(("sent", a.session), ("sent", b.session), ("sent", b.session)),
        ("dropped",),
    ]
    assert shown(record)[-8:] == [  # both are full: each is offered it once
        *("Idle message Dispatching", "offer"),
        *("Dispatching refused Failover", "Failover proceed Dispatching", "offer"),
        *("Dispatching refused Failover", "Failover proceed Idle", "dropped"),
    ]


async def test_a_transition_names_its_row(topic: Topic) -> None:
    """Two ways to lose a holder lead from the same state to the same state."""
    subscription, record = await watched(topic)
    await publish(topic, "0")
    for taken in (False, True):
        a = await join(subscription, "a")
        if taken:
            await take(a)
        record.told.clear()
        subscription.dispatcher.remove_consumer("a")
        _, source, trigger, dest, row = next(each for each in record.told if each[0] == "transition")
        assert (source, trigger, dest) == ("AwaitingAck", "consumer_lost", "Failover")
        assert isinstance(row, int)
        assert VARIANTS["reliable_exclusive"].table[row]["conditions"] == ["holder", "had_taken"][: 1 + taken]


async def test_each_message_names_its_machine(topic: Topic) -> None:
    machines: list[str] = []

    class Names(Record):
        def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
            machines.append(machine)

        def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
            machines.append(machine)

    for kind, reliable in (("exclusive", True), ("failover", True), ("shared", True), ("exclusive", False), ("shared", False)):
        machines.clear()
        subscription = await topic.subscribe(f"{kind}-{reliable}", type=kind, reliable=reliable, observer=Names())
        await join(subscription, "a")
        assert set(machines) == {f"{'' if reliable else 'non_'}reliable_{'shared' if kind == 'shared' else 'exclusive'}"}


CALLS: dict[str, Callable[[Subscription], object]] = {
    "add": lambda subscription: subscription.dispatcher.add_consumer(subscription.consumer("b")),
    "remove": lambda subscription: subscription.dispatcher.remove_consumer("a"),
    "poll": lambda subscription: subscription.dispatcher.poll_and_dispatch(),
}


@pytest.mark.parametrize("call", CALLS)
async def test_it_may_not_call_back(topic: Topic, call: str) -> None:
    raised: list[Exception] = []

    class Meddler(Record):
        watched: Subscription | None = None

        def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
            if self.watched is not None:
                try:
                    CALLS[call](self.watched)
                except Exception as error:
                    raised.append(error)

    meddler = Meddler()
    subscription = await topic.subscribe("s", type="failover", observer=meddler)
    a = await join(subscription, "a")
    meddler.watched = subscription
    await publish(topic, "0")
    assert await (await take(a)).ack() is True
    assert len(raised) >= 3
    assert all(isinstance(error, UsageError) and "observer" in str(error) for error in raised)
    status = subscription.status()
    assert ([consumer.name for consumer in status.consumers], status.cursor, status.counts.delivered) == (["a"], 0, 1)


async def test_nor_answer(topic: Topic) -> None:
    raised: list[BaseException] = []

    class Meddler(Record):
        def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
            if name == "settle":
                for answer in (delivery.ack(), delivery.nack(), delivery.extend(1)):
                    with pytest.raises(UsageError, match="observer") as caught:
                        answer.send(None)
                    raised.append(caught.value)

    subscription = await topic.subscribe("s", observer=Meddler())
    a = await join(subscription, "a")
    await publish(topic, "0")
    delivery = await take(a)
    assert await delivery.ack() is True
    assert len(raised) == 3
    assert subscription.status().counts.stale_acks == 0


async def test_it_may_look(topic: Topic) -> None:
    states: list[str] = []

    class Looks(Record):
        watched: Subscription | None = None

        def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
            if self.watched is not None:
                states.append(self.watched.status().state)
                assert str(self.watched.explain())

    looks = Looks()
    looks.watched = subscription = await topic.subscribe("s", observer=looks)
    a = await join(subscription, "a")
    await publish(topic, "0")
    await take_and_ack(a, count=1)
    assert len(states) == 6


async def test_what_it_raises_is_logged_and_changes_nothing(topic: Topic, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
            raise ValueError("broken at a transition")

        def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
            raise ValueError("broken at an effect")

    with caplog.at_level(logging.ERROR, "danube_dispatcher"):
        subscription = await topic.subscribe("s", policy=POLICY, observer=Broken())
        a = await join(subscription, "a")
        await publish(topic, "0", "1")
        await (await take(a)).nack()
        assert await take_and_ack(a, count=2) == ["a:0", "a:1"]
        live = await topic.subscribe("live", reliable=False, observer=Broken())
        b = await join(live, "b")
        await publish(topic, "2")
        assert waiting(b) == [1]
    assert "broken at a transition" in caplog.text
    assert "broken at an effect" in caplog.text
    assert {record.name for record in caplog.records} == {"danube_dispatcher"}


async def test_ticks_and_closing_are_told_too(topic: Topic, place: Place) -> None:
    subscription, record = await watched(topic)
    a = await join(subscription, "a")
    await publish(topic, "0")
    await take(a)
    record.told.clear()
    await advance(30.5)
    assert shown(record) == ["AwaitingAck tick Failover", "withdraw", "save_failure", "Failover proceed Redelivering"]
    await subscription.close()
    assert shown(record)[-1] == "Redelivering close Closed"
    await settle()
    await asyncio.sleep(0)
    assert shown(record)[-1] == "Redelivering close Closed"


@pytest.mark.parametrize("reliable", [True, False])
async def test_one_may_come_and_go_while_messages_pass(topic: Topic, reliable: bool) -> None:
    early, late = Record(), Record()
    subscription = await topic.subscribe("s", type="shared", reliable=reliable)
    a = await join(subscription, "a")
    passed: list[tuple[int, int]] = []
    for nth, change in enumerate(("add early", "add late", "add late", "remove early", "remove late", "remove late")):
        await publish(topic, f"{nth}")
        assert await (await take(a)).ack() is reliable
        verb, whom = change.split()
        getattr(subscription.dispatcher, f"{verb}_observer")(early if whom == "early" else late)
        passed.append(tuple(len(record.effects("send", "sent")) for record in (early, late)))  # type: ignore[arg-type]
    assert passed == [(0, 0), (1, 0), (2, 1), (3, 2), (3, 3), (3, 3)]
    status = subscription.status()
    assert status.counts.delivered == 6
    assert status.state == "Idle"


async def test_two_that_are_equal_are_two(topic: Topic) -> None:
    class Same(Record):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    one, two = Same(), Same()
    subscription = await topic.subscribe("s", observer=one)
    subscription.dispatcher.add_observer(two)
    await join(subscription, "a")
    assert one.effects("poll") == two.effects("poll") == [("poll",)]


async def test_nobody_is_no_observer(topic: Topic) -> None:
    subscription = await topic.subscribe("s", observer=None)
    with pytest.raises(InvalidArgument, match="observer: needs the methods"):
        subscription.dispatcher.add_observer(None)  # type: ignore[arg-type]
    await join(subscription, "a")


async def test_one_that_is_given_when_it_is_open_already_watches_too(topic: Topic) -> None:
    first, second = Record(), Record()
    subscription = await topic.subscribe("s", observer=first)
    assert await topic.subscribe("s", observer=second) is subscription
    a = await join(subscription, "a")
    await publish(topic, "0")
    await take_and_ack(a, count=1)
    assert first.effects("settle") == second.effects("settle") == [("settle", 0, "acked")]


async def test_it_comes_with_a_delivery_open_and_sees_it_settled(topic: Topic) -> None:
    subscription = await topic.subscribe("s", policy=POLICY)
    a = await join(subscription, "a")
    await publish(topic, "0")
    delivery = await take(a)
    record = Record()
    subscription.dispatcher.add_observer(record)
    assert await delivery.ack() is True
    assert record.effects("settle") == [("settle", 0, "acked")]


async def test_who_fails_does_not_keep_the_next_from_hearing(topic: Topic, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Record):
        def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
            raise ValueError("broken")

    record = Record()
    subscription = await topic.subscribe("s", observer=Broken())
    subscription.dispatcher.add_observer(record)
    a = await join(subscription, "a")
    await publish(topic, "0")
    await take_and_ack(a, count=1)
    assert record.effects("settle") == [("settle", 0, "acked")]
    assert "broken" in caplog.text


async def test_none_comes_or_goes_from_inside_a_step(topic: Topic) -> None:
    raised: list[Exception] = []

    class Meddler(Record):
        watched: Subscription | None = None

        def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
            if self.watched is not None:
                for call in (self.watched.dispatcher.add_observer, self.watched.dispatcher.remove_observer):
                    try:
                        call(self)
                    except UsageError as error:
                        raised.append(error)

    meddler = Meddler()
    meddler.watched = subscription = await topic.subscribe("s", observer=meddler)
    await join(subscription, "a")
    assert len(raised) == 4
    await subscription.close()
    subscription.dispatcher.remove_observer(meddler)  # a late good-bye is harmless
