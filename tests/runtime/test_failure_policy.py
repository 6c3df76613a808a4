"""What happens to a message that is not processed: blame, delays, and the end of patience."""

from __future__ import annotations

import pytest

from danube_dispatcher import Consumer, Delivery, FailurePolicy, InvalidArgument, NotBlocked, Subscription, Topic
from danube_dispatcher.virtual_time import advance
from delivering import Place, failing, forge, join, now, publish, settle, take, take_and_ack, text, waiting


async def ready(topic: Topic, policy: FailurePolicy | None = None, *, type: str = "failover", payloads: str = "01") -> tuple[Subscription, Consumer]:
    subscription = await topic.subscribe("s", type=type, start="earliest", policy=policy)
    await publish(topic, *payloads)
    return subscription, await join(subscription, "a")


async def fail(consumer: Consumer, *, times: int = 1, reason: str | None = None) -> None:
    """Say no so often, each time as soon as the message comes."""
    for _ in range(times):
        assert await (await take(consumer)).nack(reason=reason) is True


async def delays(consumer: Consumer, *asked: float | None) -> list[float]:
    """Seconds from each nack to the next send."""
    found: list[float] = []
    delivery = await take(consumer)
    for delay in asked:
        said = now()
        assert await delivery.nack(delay) is True
        delivery = await take(consumer)
        found.append(now() - said)
    return found


# blame


CHARGED = ["nack", "silent", "leaves", "is replaced", "is replaced, shared", "leaves, shared"]
INNOCENT = [
    "silent untaken",
    "leaves untaken",
    "is replaced untaken",
    "is replaced untaken, shared",
    "disconnected",
    "disconnected untaken",
    "closed by its owner",
]


async def befall(what: str, topic: Topic, place: Place) -> tuple[Subscription, Consumer, Delivery]:
    """Let it happen to message 0; who gets it next, and how."""
    shared = what.endswith("shared")
    what = what.removesuffix(", shared")
    policy = FailurePolicy(ack_timeout=30, redelivery_delay=2, max_redeliveries=3)
    subscription, a = await ready(topic, policy, type="shared" if shared else "failover")
    if not what.endswith("untaken"):
        first = await take(a)
        if what == "nack":
            assert await first.nack() is True
    if what.startswith("leaves"):
        subscription.dispatcher.remove_consumer("a")
    elif what.startswith("disconnected"):
        await subscription.dispatcher.disconnect_all_consumers()
    elif what.startswith("silent"):
        await advance(30)
    elif what.startswith("closed"):
        topic = await place.restart()
        subscription = await topic.subscribe("s", type="failover", policy=policy)
    successor = a if what.startswith(("nack", "silent")) else await join(subscription, "a" if what.startswith("is replaced") else "b")
    return subscription, successor, await take(successor)


@pytest.mark.parametrize("what", CHARGED)
async def test_charged(topic: Topic, place: Place, what: str) -> None:
    subscription, _, again = await befall(what, topic, place)
    status = subscription.status()
    assert (text(again), again.attempt, status.failures) == ("0", 2, 1)
    assert (status.counts.failures, status.counts.redelivered, status.counts.withdrawn) == (1, 1, 0)


@pytest.mark.parametrize("what", INNOCENT)
async def test_innocent(topic: Topic, place: Place, what: str) -> None:
    subscription, _, again = await befall(what, topic, place)
    status = subscription.status()
    assert (text(again), again.attempt, again.redelivered, status.failures) == ("0", 2, True, 0)
    assert (status.counts.failures, status.counts.redelivered, status.counts.withdrawn) == (0, 1, 1)


async def test_a_message_that_nobody_takes_is_never_exhausted(topic: Topic) -> None:
    subscription, a = await ready(topic, FailurePolicy(ack_timeout=30, max_redeliveries=0))
    await advance(3000)
    delivery = await take(a)
    assert delivery.attempt > 90
    assert subscription.status().failures == 0
    assert await delivery.ack() is True


async def test_deploys_do_not_poison_a_long_job(topic: Topic, place: Place) -> None:
    policy = FailurePolicy(max_redeliveries=1)
    await publish(topic, "0")
    for attempt in range(1, 6):
        subscription = await topic.subscribe("s", start="earliest", policy=policy)
        delivery = await take(await join(subscription, "a"))
        assert (delivery.attempt, subscription.status().failures) == (attempt, 0)
        topic = await place.restart()


async def test_each_charged_failure_counts_once(topic: Topic) -> None:
    subscription, a = await ready(topic, FailurePolicy(ack_timeout=5, max_redeliveries=9))
    delivery = await take(a)
    assert await delivery.nack() is True
    assert await delivery.nack() is False
    await (await take(a)).nack()
    await take(a)
    await advance(5.5)  # silent
    await take(a)
    subscription.dispatcher.remove_consumer("a")
    b = await join(subscription, "b")
    assert (await take(b)).attempt == 5
    assert subscription.status().failures == 4
    assert subscription.status().counts.failures == 4


async def test_attempts_grow_over_failures_releases_and_restarts(topic: Topic, place: Place) -> None:
    policy = FailurePolicy(max_redeliveries=0)
    subscription, a = await ready(topic, policy)
    seen: list[int] = []
    for _ in range(3):
        delivery = await take(a)
        seen.append(delivery.attempt)
        await delivery.nack()
        assert await subscription.release("retry") == 0
        topic = await place.restart()
        subscription = await topic.subscribe("s", type="failover", policy=policy)
        a = await join(subscription, "a")
    assert seen[0] == 1
    assert seen == sorted(set(seen))


# delays


async def test_defaults_are_the_brokers(topic: Topic) -> None:
    subscription, a = await ready(topic)
    assert await delays(a, *[None] * 5) == pytest.approx([1, 2, 4, 8, 16])
    assert waiting(a) == [0]
    before = now()
    await advance(29.5)
    assert subscription.status().state == "AwaitingAck"
    await advance(1)  # the sixth failure is a silence of 30 s: one delivery and five redeliveries, then blocked
    assert subscription.status().state == "Blocked"
    assert now() - before < 31
    assert subscription.status().counts.delivered == 6


async def test_exponential_delays_stop_growing_at_the_maximum(topic: Topic) -> None:
    _, a = await ready(topic, FailurePolicy(redelivery_delay=3, max_redelivery_delay=20, max_redeliveries=9))
    assert await delays(a, *[None] * 5) == pytest.approx([3, 6, 12, 20, 20])


async def test_fixed_delays(topic: Topic) -> None:
    _, a = await ready(topic, FailurePolicy(redelivery_delay=3, backoff="fixed", max_redeliveries=9))
    assert await delays(a, *[None] * 3) == pytest.approx([3, 3, 3])


async def test_an_asked_delay_only_lengthens_up_to_the_maximum(topic: Topic) -> None:
    _, a = await ready(topic, FailurePolicy(redelivery_delay=2, backoff="fixed", max_redelivery_delay=20, max_redeliveries=9))
    assert await delays(a, 0, 1, 2, 7.5, 20, 1000) == pytest.approx([2, 2, 2, 7.5, 20, 20])


async def test_a_timeout_waits_out_the_delay_as_a_nack_does(topic: Topic) -> None:
    _, a = await ready(topic, FailurePolicy(ack_timeout=10, redelivery_delay=3))
    await take(a)
    await take(a)
    assert now() == pytest.approx(13)


@pytest.mark.parametrize("how", ["leaves", "is replaced"])
async def test_a_lost_consumers_message_goes_on_at_once(topic: Topic, how: str) -> None:
    subscription, a = await ready(topic)
    await take(a)
    if how == "leaves":
        b = await join(subscription, "b")
        subscription.dispatcher.remove_consumer("a")
    else:
        b = await join(subscription, "a")
    assert waiting(b) == [1]


async def test_the_send_after_a_charged_loss_does_not_wait_for_its_failure_row(place: Place, topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    subscription, a = await ready(topic)
    b = await join(subscription, "b")
    await take(a)
    with monkeypatch.context() as patch:
        patch.setattr(place.store, "store", failing(OSError("the disk is away")))
        subscription.dispatcher.remove_consumer("a")
        assert waiting(b) == [1]
        assert await (await take(b)).ack() is True
        await settle()


async def test_delays_and_limits_belong_to_one_message(topic: Topic) -> None:
    subscription, a = await ready(topic, FailurePolicy(redelivery_delay=1, max_redeliveries=2))
    await fail(a, times=2)
    assert await (await take(a)).ack() is True
    assert subscription.status().failures == 0
    assert await delays(a, None, None) == pytest.approx([1, 2])


async def jittered(topic: Topic, name: str, seed: int) -> list[float]:
    policy = FailurePolicy(redelivery_delay=10, backoff="fixed", jitter=0.5, seed=seed, max_redeliveries=9)
    subscription = await topic.subscribe(name, start="earliest", policy=policy)
    return await delays(await join(subscription, "a"), None, None, None)


async def test_jitter_lengthens_by_a_fraction_that_the_seed_decides(topic: Topic) -> None:
    await publish(topic, "0")
    one, same, other = [await jittered(topic, name, seed) for name, seed in (("one", 7), ("same", 7), ("other", 8))]
    assert one == pytest.approx(same)
    assert one != pytest.approx(other)
    assert len({round(delay, 3) for delay in one}) == 3  # each failure its own
    assert all(10 <= delay <= 15 for delay in one + other)


# exhausted


@pytest.mark.parametrize("limit", [0, 1, 4])
async def test_exhausted_by_one_more_failure_than_the_limit_and_in_its_own_step(topic: Topic, limit: int) -> None:
    subscription, a = await ready(topic, FailurePolicy(max_redeliveries=limit))
    await fail(a, times=limit)
    assert subscription.status().state == "Redelivering" if limit else "AwaitingAck"
    last = await take(a)
    nack = last.nack()
    assert subscription.status().state == "AwaitingAck"
    await nack
    assert subscription.status().state == "Blocked"
    assert subscription.status().counts.delivered == limit + 1


@pytest.mark.parametrize("how", ["nack", "silent", "leaves", "is replaced"])
async def test_every_kind_of_failure_meets_the_limit(topic: Topic, how: str) -> None:
    subscription, a = await ready(topic, FailurePolicy(max_redeliveries=0))
    b = await join(subscription, "b")
    delivery = await take(a)
    if how == "nack":
        await delivery.nack()
    elif how == "silent":
        await advance(30.1)
    elif how == "leaves":
        subscription.dispatcher.remove_consumer("a")
    else:
        a = await join(subscription, "a")
    assert subscription.status().state == "Blocked"
    assert waiting(a, b) == [0, 0]  # a poisoned message goes to its verdict and to no consumer
    assert subscription.status().failures == 1


async def test_a_blocked_message_holds_back_everything_newer(topic: Topic) -> None:
    subscription, a = await ready(topic, FailurePolicy(max_redeliveries=0))
    await fail(a)
    await publish(topic, "2")
    await join(subscription, "b")
    await advance(10_000)
    assert waiting(a) == [0]
    status = subscription.status()
    assert (status.state, status.cursor, status.in_flight) == ("Blocked", -1, None)
    assert status.lag is not None
    assert status.lag.messages == 3


async def test_drop_goes_on_with_the_next(topic: Topic) -> None:
    subscription, a = await ready(topic, FailurePolicy(max_redeliveries=1, poison_policy="drop"))
    await fail(a, times=2)
    assert waiting(a) == [1]
    assert await take_and_ack(a, count=1) == ["a:1"]
    counts = subscription.status().counts
    assert (counts.dropped, counts.acked, counts.settled) == (1, 1, 2)
    assert subscription.status().cursor == 1


async def test_a_drop_needs_no_other_consumer(topic: Topic) -> None:
    subscription, a = await ready(topic, FailurePolicy(max_redeliveries=0, poison_policy="drop"))
    await take(a)
    subscription.dispatcher.remove_consumer("a")
    await settle()
    assert (subscription.status().cursor, subscription.status().counts.dropped) == (0, 1)
    assert await take_and_ack(await join(subscription, "b"), count=1) == ["b:1"]


# over a restart


async def test_a_nack_returns_when_its_failure_is_durable(topic: Topic) -> None:
    _, a = await ready(topic)
    await fail(a, times=2)
    (info,) = await topic.subscriptions()
    assert info.failures == 2


async def test_the_count_survives_a_restart(topic: Topic, place: Place) -> None:
    policy = FailurePolicy(max_redeliveries=3)
    subscription, a = await ready(topic, policy)
    await fail(a, times=2)
    topic = await place.restart()
    subscription = await topic.subscribe("s", type="failover", policy=policy)
    a = await join(subscription, "a")
    third = await take(a)
    assert (third.attempt, subscription.status().failures) == (3, 2)
    await third.nack()
    fourth = await take(a)
    assert fourth.attempt == 4
    await fourth.nack()
    assert subscription.status().state == "Blocked"


async def test_what_is_left_of_a_delay_survives_a_restart(topic: Topic, place: Place) -> None:
    subscription, a = await ready(topic)
    await (await take(a)).nack(delay=40)
    said = now()
    await advance(15)
    topic = await place.restart()
    subscription = await topic.subscribe("s", type="failover")
    a = await join(subscription, "a")
    assert subscription.status().state == "Redelivering"
    again = await take(a)
    assert (text(again), again.attempt) == ("0", 2)
    assert now() - said == pytest.approx(40)


async def test_a_delay_that_ended_meanwhile_is_over(topic: Topic, place: Place) -> None:
    subscription, a = await ready(topic)
    await (await take(a)).nack(delay=40)
    await subscription.close()
    await advance(100)
    subscription = await topic.subscribe("s", type="failover")
    a = await join(subscription, "a")
    await settle()
    assert waiting(a) == [1]


async def test_a_delay_runs_on_with_nobody_attached(topic: Topic) -> None:
    subscription, a = await ready(topic)
    await (await take(a)).nack(delay=10)
    subscription.dispatcher.remove_consumer("a")
    await advance(60)
    assert subscription.status().state == "Failover"  # the message is in hand and waits for a consumer
    assert waiting(await join(subscription, "b")) == [1]


async def test_a_blocked_message_is_still_blocked_after_a_restart_with_nobody_attached(topic: Topic, place: Place) -> None:
    policy = FailurePolicy(max_redeliveries=0)
    subscription, a = await ready(topic, policy)
    await fail(a, reason="no good")
    for _ in range(2):
        topic = await place.restart()
        subscription = await topic.subscribe("s", type="failover", policy=policy)
        await settle()
        assert (subscription.status().state, subscription.status().failures) == ("Blocked", 1)
        assert "no good" in str(subscription.explain())
    assert waiting(await join(subscription, "a")) == [0]


async def test_the_policy_may_differ_at_the_next_opening(topic: Topic, place: Place) -> None:
    subscription, a = await ready(topic, FailurePolicy(max_redeliveries=0))
    await fail(a)
    assert subscription.status().state == "Blocked"
    topic = await place.restart()
    subscription = await topic.subscribe("s", type="failover", policy=FailurePolicy(max_redeliveries=2))
    a = await join(subscription, "a")
    assert (await take(a)).attempt == 2
    topic = await place.restart()
    subscription = await topic.subscribe("s", type="failover", policy=FailurePolicy(max_redeliveries=0, poison_policy="drop"))
    await settle()  # the verdict needs no consumer
    assert (subscription.status().cursor, subscription.status().counts.dropped) == (0, 1)
    assert await take_and_ack(await join(subscription, "a"), count=1) == ["a:1"]


# release


@pytest.fixture
async def blocked(topic: Topic) -> Subscription:
    """Message 0 is blocked after two failures; consumer a is attached."""
    subscription, a = await ready(topic, FailurePolicy(max_redeliveries=1))
    await fail(a, times=2)
    assert subscription.status().state == "Blocked"
    return subscription


async def test_release_retry_forgives(blocked: Subscription) -> None:
    assert await blocked.release("retry") == 0
    a = await join(blocked, "a")
    again = await take(a)
    assert (text(again), again.attempt > 2, blocked.status().failures) == ("0", True, 0)
    await again.nack()
    await fail(a)  # the whole limit anew
    assert blocked.status().state == "Blocked"


async def test_release_retry_sends_at_once(blocked: Subscription) -> None:
    a = await join(blocked, "a")
    assert waiting(a) == [0]
    await blocked.release("retry")
    assert waiting(a) == [1]


async def test_release_drop_goes_on_with_the_next(blocked: Subscription) -> None:
    assert await blocked.release("drop") == 0
    assert (blocked.status().cursor, blocked.status().durable_cursor) == (0, 0)
    assert await take_and_ack(await join(blocked, "a"), count=1) == ["a:1"]
    assert blocked.status().counts.dropped == 1


async def test_release_dead_letter_without_a_topic_is_refused(blocked: Subscription) -> None:
    with pytest.raises(InvalidArgument, match="dead_letter_topic"):
        await blocked.release("dead_letter")
    assert blocked.status().state == "Blocked"


async def test_release_of_something_unknown_is_refused(blocked: Subscription) -> None:
    with pytest.raises(InvalidArgument, match="action"):
        await blocked.release("forget")
    assert blocked.status().state == "Blocked"


@pytest.mark.parametrize("action", ["retry", "drop"])
async def test_release_is_durable_and_needs_no_consumer(blocked: Subscription, place: Place, action: str) -> None:
    topic = await place.restart()
    policy = FailurePolicy(max_redeliveries=1)
    subscription = await topic.subscribe("s", type="failover", policy=policy)
    assert await subscription.release(action) == 0
    topic = await place.restart()
    subscription = await topic.subscribe("s", type="failover", policy=policy)
    delivery = await take(await join(subscription, "a"))
    assert text(delivery) == {"retry": "0", "drop": "1"}[action]
    assert delivery.redelivered is (action == "retry")


@pytest.mark.parametrize("action", ["retry", "drop"])
async def test_nothing_to_release(topic: Topic, action: str) -> None:
    subscription, a = await ready(topic)
    with pytest.raises(NotBlocked):
        await subscription.release(action)
    delivery = await take(a)
    with pytest.raises(NotBlocked, match="consumer a"):  # it says what is the case instead
        await subscription.release(action)
    assert await delivery.ack() is True
    assert subscription.status().cursor == 0


async def test_answers_to_a_blocked_message_are_stale(topic: Topic) -> None:
    subscription, a = await ready(topic, FailurePolicy(max_redeliveries=0))
    delivery = await take(a)
    await delivery.nack()
    for stale in (delivery, forge(delivery, attempt=1)):
        assert (await stale.ack(), await stale.nack(), await stale.extend(9)) == (False, False, False)
    assert (subscription.status().state, subscription.status().failures) == ("Blocked", 1)
