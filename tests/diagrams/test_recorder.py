"""A recorder writes down what any dispatcher does, as far as an observer is told."""

from __future__ import annotations

import pytest

from danube_dispatcher import FailurePolicy, Topic
from danube_dispatcher.sequence import Recorder, sequence, svg
from danube_dispatcher.sequence import recorder as module
from danube_dispatcher.sequence.elements import Note
from danube_dispatcher.virtual_time import advance
from danube_statemachines import VARIANTS
from delivering import TOPIC, join, settle, take
from sequences import shorthand


async def test_a_run_is_written_down_as_it_happens() -> None:
    async with await Topic.open("memory:", TOPIC) as topic:
        await advance(100.0)
        recorder = Recorder()  # time counts from now
        await topic.publish(b"secret")
        subscription = await topic.subscribe("s", start="earliest", observer=recorder)
        consumer = await join(subscription, "anna")
        delivery = await take(consumer)
        await advance(1.5)
        await delivery.nack(reason="no")
        await advance(1.5)
        await delivery.ack()
        await (await take(consumer)).ack()
    assert shorthand(recorder.story) == [
        "0 s",
        "a consumer -> machine: consumer added",
        "machine -> consumer 1: active changed: your turn",
        "machine -> engine and log: poll",
        "machine = Dispatching",
        "engine and log -> machine: polled: a message",
        "machine -> consumer 1: send message 0, attempt 1, epoch 1",
        "machine = AwaitingAck",
        "1.5 s",
        "consumer 1 -> machine: nack: message 0, attempt 1",
        "machine -> engine and log: save failure message 0: failures 1, 'no', due at 2.5 s",
        "machine = Failover → Redelivering",
        "2.5 s",
        "clock -> machine: tick: time is up",
        "machine -> consumer 1: send message 0, attempt 2, epoch 1",
        "machine = Failover → AwaitingAck",
        "3 s",
        "a consumer -> machine: ack",
        "machine: stale: this ack changes nothing",
        "consumer 1 -> machine: ack: message 0, attempt 2",
        "machine -> engine and log: settle message 0: acked",
        "machine -> engine and log: poll",
        "machine = Dispatching",
        "engine and log -> machine: poll empty",
        "machine = Idle",
        "machine = Closed",
    ]
    for drawn in (sequence("t", recorder.story), svg("t", recorder.story)):
        assert "secret" not in drawn


async def test_consumers_and_calls_are_named_by_those_who_know_them() -> None:
    async with await Topic.open("memory:", TOPIC) as topic:
        recorder = Recorder(machine="dispatcher", engine="dispatcher", named=lambda offset: f"order {offset + 1}")
        subscription = await topic.subscribe("s", type="shared", observer=recorder)
        anna = subscription.consumer("anna")
        recorder.consumers.append(anna)
        recorder.calls("anna", "for the first time")
        async with anna:
            await topic.publish(b"x")
            recorder.calls("anna", "at last")
            await (await take(anna)).ack()
            await settle()
            recorder.calls("anna")
    assert shorthand(recorder.story) == [
        "0 s",
        "anna -> dispatcher: consumer added: for the first time",
        "dispatcher = Dispatching → Idle",
        "dispatcher -> anna: send order 1, attempt 1, epoch 1",
        "dispatcher = Dispatching → AwaitingAck",
        "anna -> dispatcher: ack: at last",
        "dispatcher: settle order 1: acked",
        "dispatcher = Dispatching → Idle",
        "0.001 s",
        "anna -> dispatcher: consumer lost",
        "dispatcher = Closed",
    ]


async def test_a_non_reliable_dispatcher_is_recorded_too() -> None:
    async with await Topic.open("memory:", TOPIC) as topic:
        recorder = Recorder()
        subscription = await topic.subscribe("s", reliable=False, observer=recorder)
        await topic.publish(b"x")
        await join(subscription, "anna", capacity=1)
        await topic.publish_many([b"y", b"z"])
    assert shorthand(recorder.story) == [
        "0 s",
        "publisher -> machine: message",
        "machine -> publisher: no consumer",
        "a consumer -> machine: consumer added",
        "machine -> consumer 1: active changed: your turn",
        "publisher -> machine: message",
        "machine -> consumer 1: offer(1)",
        "machine = Dispatching",
        "consumer 1 -> machine: accepted",
        "machine -> publisher: sent(1)",
        "machine = Idle",
        "publisher -> machine: message",
        "machine -> consumer 1: offer(1)",
        "machine = Dispatching",
        "consumer 1 -> machine: refused",
        "machine -> publisher: dropped",
        "machine = Failover → Idle",
        "machine = Closed",
    ]


async def test_what_it_passes_later_stands_at_its_own_time() -> None:
    recorder = Recorder(machine="dispatcher", engine="dispatcher")
    table = VARIANTS["reliable_exclusive"].table

    def goes(source: str, trigger: str, dest: str) -> None:
        number = next(nth for nth, spec in enumerate(table) if spec["trigger"] == trigger and source in spec["source"] and spec["dest"] == dest)
        recorder.transition("reliable_exclusive", source, trigger, dest, number)

    goes("Idle", "consumer_added", "Dispatching")
    await advance(0.5)  # a slow store
    goes("Dispatching", "poll_empty", "Idle")
    assert shorthand(recorder.story) == ["0 s", "a consumer -> dispatcher: consumer added", "dispatcher = Dispatching", "0.5 s", "dispatcher = Idle"]


async def test_a_story_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 20)
    async with await Topic.open("memory:", TOPIC) as topic:
        recorder = Recorder()
        subscription = await topic.subscribe("s", start="earliest", policy=FailurePolicy(), observer=recorder)
        consumer = await join(subscription, "anna")
        for _ in range(20):
            await topic.publish(b"x")
            await (await take(consumer)).ack()
    assert 20 <= len(recorder.story) <= 21
    before = len(recorder.story)
    recorder.write(Note((), "more"))
    assert len(recorder.story) == before
