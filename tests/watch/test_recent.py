"""What an owner tells somebody who watches from another process: the last transitions, kept only while somebody looks."""

from __future__ import annotations

import asyncio

import pytest

import processes
from danube_dispatcher import NotSupported, StoreUnavailable, Subscription
from danube_dispatcher.adapter import ReliableAdapter
from danube_dispatcher.asking import ask
from danube_dispatcher.clock import HEARTBEAT, LEASE, RENEWAL
from danube_dispatcher.recent import KEPT, Glance, Recent
from danube_dispatcher.storage.protocols import Store
from danube_dispatcher.virtual_time import advance
from delivering import TOPIC, Record, take
from processes import Machine, kill, owner, settle_next

machine = processes.machine

FORGOTTEN = LEASE + RENEWAL + HEARTBEAT
"""Seconds after which an owner has noticed that nobody looks any more."""


async def look(store: Store, seen: object = 0) -> Glance:
    """A look from another process."""
    return Glance.decode(await ask(store, TOPIC, "s", "the owner", f"watch:{seen}", NotSupported))


def adapter_of(subscription: Subscription) -> ReliableAdapter:
    adapter = subscription.dispatcher._adapter
    assert isinstance(adapter, ReliableAdapter)
    return adapter


def watched(subscription: Subscription) -> bool:
    """Whether its machine tells anybody of its transitions, which costs."""
    return adapter_of(subscription)._port is not None


def shown(glance: Glance) -> list[str]:
    """Without the wakes that find it busy, which come with renewals."""
    return [f"{each.source} {each.trigger} {each.dest}" for each in glance.transitions if each.trigger != "wake"]


async def test_the_first_look_tells_what_is_and_the_next_what_happened(machine: Machine) -> None:
    _, subscription, consumer = await owner(machine)
    elsewhere = await machine.process()
    first = await look(elsewhere)
    assert (first.transitions, first.taken) == ([], 0)
    assert (first.report["state"], first.report["active"], first.report["in_flight"], first.report["code"]) == ("AwaitingAck", "c", 0, "awaiting_ack")
    assert "its deadline in " in first.report["explanation"]
    await settle_next(consumer, 2)
    await (await take(consumer)).nack()
    second = await look(elsewhere, first.taken)
    turn = ["AwaitingAck ack Dispatching", "Dispatching polled AwaitingAck"]
    assert shown(second) == [*turn, *turn, "AwaitingAck nack Failover", "Failover proceed Redelivering"]
    rows = [adapter_of(subscription)._declaration.table[each.row] for each in second.transitions]
    assert [row["trigger"] for row in rows] == [each.trigger for each in second.transitions]
    assert first.at < second.transitions[0].at <= second.transitions[-1].at <= second.at <= machine.now()
    await advance(1.0)
    third = await look(elsewhere, second.taken)
    assert shown(third) == ["Redelivering tick Failover", "Failover proceed AwaitingAck"]
    assert shown(await look(elsewhere, third.taken)) == [], "nothing since"


async def test_no_more_than_so_many_are_kept_and_all_are_counted(machine: Machine) -> None:
    _, _, consumer = await owner(machine, "x" * KEPT)
    elsewhere = await machine.process()
    await look(elsewhere)
    await settle_next(consumer, KEPT)
    glance = await look(elsewhere)
    assert len(glance.transitions) == KEPT
    assert glance.taken == 2 * KEPT
    assert shown(glance)[-1] == "Dispatching poll_empty Idle"


@pytest.mark.parametrize("what", ["is busy", "waits", "is at rest"])
async def test_nobody_pays_before_anybody_looks_and_once_nobody_does(machine: Machine, what: str) -> None:
    _, subscription, consumer = await owner(machine, "x" * 100)
    if what == "is at rest":
        await settle_next(consumer, 100)
        await advance(3 * RENEWAL)
    elsewhere = await machine.process()
    assert not watched(subscription)
    for _ in range(int(2 * LEASE)):
        await look(elsewhere)
        assert watched(subscription)
        await advance(1.0)
    for _ in range(int(FORGOTTEN)):
        if what == "is busy":
            await settle_next(consumer)
        await advance(1.0)
    assert not watched(subscription)
    assert subscription.dispatcher._recent is None
    again = await look(elsewhere, 7)
    assert (again.taken, again.transitions) == (0, [])


def test_a_wall_clock_that_is_set_back_keeps_nobody_looking() -> None:
    clock = [1000.0]
    recent = Recent(lambda: clock[0])
    assert recent.wanted
    clock[0] -= 3600
    assert not recent.wanted


async def test_it_is_kept_while_somebody_looks_now_and_then(machine: Machine) -> None:
    _, _, consumer = await owner(machine)
    elsewhere = await machine.process()
    await look(elsewhere)
    for nth in range(4):
        await advance(LEASE - 2 * HEARTBEAT)
        await settle_next(consumer)
        assert (await look(elsewhere, 2 * nth)).taken >= 2 * (nth + 1)


async def test_several_may_watch_and_each_is_told_what_is_new_to_it(machine: Machine) -> None:
    _, _, consumer = await owner(machine)
    one, other = await machine.process(), await machine.process()
    await look(one)
    await settle_next(consumer)
    assert len((await look(one, 0)).transitions) == 2
    await settle_next(consumer)
    assert len((await look(one, 2)).transitions) == 2
    assert len((await look(other, 0)).transitions) == 4


@pytest.mark.parametrize("seen", ["", "x", "-1", "1.5", "²", "9" * 5000, "99"])
async def test_what_no_watcher_of_this_owner_has_seen_is_told_anew(machine: Machine, seen: str) -> None:
    _, _, consumer = await owner(machine)
    elsewhere = await machine.process()
    await look(elsewhere)
    await settle_next(consumer)
    assert len((await look(elsewhere, seen)).transitions) == 2


async def test_an_observer_of_the_owners_own_stays(machine: Machine) -> None:
    record = Record()
    _, subscription, consumer = await owner(machine, observer=record)
    await look(await machine.process())
    await advance(FORGOTTEN)
    record.told.clear()
    await settle_next(consumer)
    assert watched(subscription)
    assert record.effects("settle") == [("settle", 0, "acked")]


async def test_no_payload_is_told(machine: Machine) -> None:
    topic, _, consumer = await owner(machine, "a")
    await topic.publish(b"secret", key="secret", attributes={"secret": "secret"})
    elsewhere = await machine.process()
    await look(elsewhere)
    await settle_next(consumer, 2)
    assert "secret" not in str(await look(elsewhere))


async def test_an_owner_that_knows_no_such_request_says_so(machine: Machine) -> None:
    await owner(machine)
    with pytest.raises(NotSupported, match="the owner answers: unknown request 'stare'"):
        await ask(await machine.process(), TOPIC, "s", "the owner", "stare:0", NotSupported)


async def test_an_owner_that_is_gone_does_not_answer(machine: Machine) -> None:
    topic, _, _ = await owner(machine)
    elsewhere = await machine.process()
    kill(topic)
    with pytest.raises(StoreUnavailable, match="has not answered within 10 s"):
        await look(elsewhere)
    assert await elsewhere.asked() == [], "nothing is left behind"


@pytest.mark.parametrize("late", [0.0, 1.0], ids=["while it waits", "while it asks"])
async def test_who_stops_looking_leaves_no_request_behind(machine: Machine, late: float) -> None:
    topic, _, _ = await owner(machine)
    elsewhere = await machine.process()
    kill(topic)
    elsewhere.lag("ask", after=late)
    looking = asyncio.create_task(look(elsewhere))
    await advance(HEARTBEAT / 3)
    assert len(await elsewhere.asked()) == 1
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert await elsewhere.asked() == []


GOOD = Glance(1.0, 1, [], {"state": "Idle"})


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "5",
        "[]",
        pytest.param("[" * 100_000, id="deep"),
        "null",
        "{}",
        '{"at": 1, "taken": 1e999, "transitions": [], "report": {}}',
        '{"at": 1, "taken": 1, "transitions": [[1]], "report": {}}',
    ]
    + [GOOD.encode().replace('{"state": "Idle"}', other) for other in ("5", "null", '"x"')],
)
def test_an_answer_of_another_version_is_not_understood(answer: str) -> None:
    assert Glance.decode(GOOD.encode()) == GOOD
    with pytest.raises(NotSupported, match="of another version"):
        Glance.decode(answer)


def test_an_answer_of_a_later_version_may_say_more() -> None:
    assert Glance.decode(GOOD.encode().replace("{", '{"more": [1], ', 1)) == GOOD
