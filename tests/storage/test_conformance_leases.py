"""What every back end promises of subscriptions: leases, saved positions, requests (storage/protocols.py)."""

from __future__ import annotations

import asyncio

import pytest

from danube_dispatcher.errors import Fenced, StoreNotFound, SubscriptionMismatch, SubscriptionNotFound
from danube_dispatcher.storage.protocols import Lease, Occupied, Request, Row, Spec, Store
from danube_statemachines import Held, Progress

from .conftest import Clock

TOPIC = "/default/orders"
NEW = Spec("shared", -1)
SECONDS = 10.0


@pytest.fixture(autouse=True)
async def topic(store: Store) -> str:
    await store.topic(TOPIC, create=True)
    return TOPIC


async def take(store: Store, owner: str = "one:1", *, name: str = "s", new: Spec | None = NEW, stamp: int | None = None) -> Lease:
    lease = await store.acquire(TOPIC, name, owner=owner, seconds=SECONDS, new=new, stamp=stamp)
    assert isinstance(lease, Lease)
    return lease


async def refused(store: Store, owner: str = "two:2", *, stamp: int | None = None) -> Occupied:
    answer = await store.acquire(TOPIC, "s", owner=owner, seconds=SECONDS, new=NEW, stamp=stamp)
    assert isinstance(answer, Occupied)
    return answer


async def row(store: Store) -> Row:
    (only,) = await store.rows(TOPIC)
    return only


# ---- leases ----


async def test_a_new_subscription(store: Store, clock: Clock) -> None:
    lease = await take(store, new=Spec("failover", 6))
    assert lease == Lease(TOPIC, "s", lease.epoch, unclean=False, created=True)
    assert await store.load(lease) == Progress(6, None, False)
    assert await store.rows() == [Row(TOPIC, "s", "failover", "one:1", clock.now + SECONDS, lease.epoch, Progress(6), "")]


async def test_a_missing_subscription_is_not_made_up(store: Store) -> None:
    with pytest.raises(SubscriptionNotFound, match="s of /default/orders"):
        await take(store, new=None)
    with pytest.raises(StoreNotFound, match="/default/none"):
        await store.acquire("/default/none", "s", owner="one:1", seconds=SECONDS, new=NEW)
    with pytest.raises(SubscriptionNotFound):
        await store.acquire("/default/none", "s", owner="one:1", seconds=SECONDS, new=None)
    assert await store.rows() == []


async def test_a_lease_is_held_by_one(store: Store, clock: Clock) -> None:
    lease = await take(store)
    clock.now += SECONDS - 0.001
    occupied = await refused(store)
    assert (occupied.owner, occupied.until) == ("one:1", clock.now + 0.001)
    assert await store.load(lease) == Progress(-1)


async def test_one_of_many_gets_it(store: Store) -> None:
    answers = await asyncio.gather(*(store.acquire(TOPIC, "s", owner=f"host:{number}", seconds=SECONDS, new=NEW) for number in range(20)))
    (winner,) = [answer for answer in answers if isinstance(answer, Lease)]
    assert {answer.owner for answer in answers if isinstance(answer, Occupied)} == {(await row(store)).owner}
    assert winner.created


async def test_a_lease_that_ran_out_may_be_taken_and_was_unclean(store: Store, clock: Clock) -> None:
    first = await take(store)
    clock.now += SECONDS
    second = await take(store, "two:2")
    assert (second.unclean, second.created) == (True, False)
    assert second.epoch > first.epoch
    assert (await row(store)).owner == "two:2"


async def test_a_lease_that_was_let_go_may_be_taken_and_was_clean(store: Store) -> None:
    first = await take(store)
    await store.store(first, Progress(4), let_go=True)
    assert (await row(store)).owner == ""
    second = await take(store, "two:2", new=None)
    assert (second.unclean, second.created) == (False, False)
    assert await store.load(second) == Progress(4)


async def test_an_unchanged_stamp_takes_the_lease_whatever_the_wall_clock_says(store: Store, clock: Clock) -> None:
    first = await take(store)
    seen = await refused(store)
    clock.now -= 1000
    assert await refused(store) == seen, "asking changes nothing"
    await store.renew({first: None}, seconds=SECONDS)
    renewed = await refused(store, stamp=seen.stamp)
    assert renewed.stamp != seen.stamp, "the owner lives"
    second = await take(store, "two:2", stamp=renewed.stamp)
    assert second.unclean
    assert (await refused(store, "three:3", stamp=renewed.stamp)).owner == "two:2"


async def test_stamps_never_repeat(store: Store) -> None:
    stamps: list[int] = []
    for owner in ("one:1", "two:2", "three:3"):
        lease = await take(store, owner)
        for _ in range(3):
            stamps.append((await refused(store)).stamp)
            await store.renew({lease: None}, seconds=SECONDS)
        await store.remove(lease)
    assert len(set(stamps)) == 9


async def test_renewing_prolongs_all_that_are_still_held(store: Store, clock: Clock) -> None:
    kept, let_go, lost, removed = [await take(store, name=name) for name in ("kept", "let-go", "lost", "removed")]
    await store.store(let_go, Progress(), let_go=True)
    await store.remove(removed)
    clock.now += SECONDS
    taken = await take(store, "two:2", name="lost")
    assert await store.renew(dict.fromkeys((kept, let_go, lost, removed)), seconds=20) == {kept}
    until = {row.subscription: row.until for row in await store.rows()}
    assert until == {"kept": clock.now + 20, "let-go": clock.now, "lost": clock.now + SECONDS}
    assert await store.renew({taken: None}, seconds=0) == {taken}
    assert (await take(store, "three:3", name="lost")).unclean, "renewed for no time is run out"
    assert await store.renew({}, seconds=20) == set()


async def test_a_late_owner_keeps_what_nobody_took(store: Store, clock: Clock) -> None:
    lease = await take(store)
    clock.now += 100 * SECONDS
    assert await store.renew({lease: None}, seconds=SECONDS) == {lease}
    assert (await refused(store)).until == clock.now + SECONDS


async def test_a_status_is_written_where_there_is_a_new_one(store: Store) -> None:
    one, other = await take(store, name="one"), await take(store, name="other")
    await store.renew({one: '{"lag": 1}', other: None}, seconds=SECONDS)
    await store.renew({one: None, other: '{"text": "ü \\ud800 \\u0000"}'}, seconds=SECONDS)
    assert {row.subscription: row.status for row in await store.rows()} == {"one": '{"lag": 1}', "other": '{"text": "ü \\ud800 \\u0000"}'}


async def test_a_new_owner_has_said_nothing_yet(store: Store) -> None:
    lease = await take(store)
    await store.renew({lease: '{"state": "of the first"}'}, seconds=SECONDS)
    await store.store(lease, Progress(-1), let_go=True)
    assert (await row(store)).status == '{"state": "of the first"}'
    await take(store, "two:2")
    assert (await row(store)).status == ""


async def test_another_type_is_a_mismatch(store: Store) -> None:
    lease = await take(store)
    with pytest.raises(SubscriptionMismatch, match="stored as shared, not exclusive"):
        await take(store, "two:2", new=Spec("exclusive", -1))
    await store.store(lease, Progress(3), let_go=True)
    with pytest.raises(SubscriptionMismatch):
        await take(store, "two:2", new=Spec("exclusive", -1))
    assert (await row(store))[2:] == ("shared", "", (await row(store)).until, lease.epoch, Progress(3), "")
    assert (await take(store, new=None)).epoch > lease.epoch


async def test_the_first_position_is_of_a_new_subscription_only(store: Store) -> None:
    lease = await take(store, new=Spec("shared", 5))
    await store.store(lease, Progress(7), let_go=True)
    assert await store.load(await take(store, new=Spec("shared", 99))) == Progress(7)


async def test_rows_are_of_one_topic_or_of_all(store: Store) -> None:
    await store.topic("/a/first", create=True)
    await store.acquire("/a/first", "z", owner="o:1", seconds=1, new=NEW)
    await take(store, name="b")
    await take(store, name="a")
    assert [(row.topic, row.subscription) for row in await store.rows()] == [("/a/first", "z"), (TOPIC, "a"), (TOPIC, "b")]
    assert [row.subscription for row in await store.rows(TOPIC)] == ["a", "b"]
    assert await store.rows("/default/none") == []


# ---- fencing ----


async def assert_fenced(store: Store, lease: Lease) -> None:
    before = await store.rows()
    with pytest.raises(Fenced):
        await store.load(lease)
    with pytest.raises(Fenced):
        await store.store(lease, Progress(1000))
    with pytest.raises(Fenced):
        await store.store(lease, Progress(-1), let_go=True)
    with pytest.raises(Fenced):
        await store.remove(lease)
    assert await store.renew({lease: "{}"}, seconds=SECONDS) == set()
    assert await store.rows() == before


async def test_who_was_replaced_is_fenced(store: Store, clock: Clock) -> None:
    zombie = await take(store)
    clock.now += SECONDS
    lease = await take(store, "two:2")
    await assert_fenced(store, zombie)
    await store.store(lease, Progress(0))
    assert await store.load(lease) == Progress(0)


async def test_who_let_go_is_fenced(store: Store) -> None:
    lease = await take(store)
    await store.store(lease, Progress(2), let_go=True)
    await assert_fenced(store, lease)


async def test_who_removed_is_fenced(store: Store) -> None:
    lease = await take(store)
    await store.remove(lease)
    await assert_fenced(store, lease)
    assert await store.rows() == []


async def test_a_zombie_stays_fenced_after_unsubscribe_and_subscribe(store: Store, clock: Clock) -> None:
    zombie = await take(store)
    clock.now += SECONDS
    await store.remove(await take(store, "two:2"))
    lease = await take(store, "one:1")
    assert lease.created
    assert lease.epoch > zombie.epoch
    await assert_fenced(store, zombie)
    assert await store.load(lease) == Progress(-1)


async def test_epochs_are_unique_in_the_store(store: Store) -> None:
    epochs: list[int] = []
    for name in ("a", "b", "a", "c", "b"):
        lease = await take(store, name=name)
        epochs.append(lease.epoch)
        await store.remove(lease)
    assert epochs == sorted(set(epochs))


# ---- positions ----


@pytest.mark.parametrize(
    "progress",
    [
        Progress(),
        Progress(0),
        Progress(2**39, None, True),
        Progress(6, Held(7)),
        Progress(6, careful=9_999),
        Progress(6, Held(7, 3, 2, 'a reason: ü ✓ " \n \0 \ud800', 1_700_000_000.123456, True), True),
        Progress(-1, Held(0, 2**62, 2**62, "", 0.1 + 0.2, False)),
    ],
)
async def test_progress_is_kept_whole(store: Store, progress: Progress) -> None:
    lease = await take(store)
    await store.store(lease, progress)
    loaded = await store.load(lease)
    assert loaded == progress
    assert type(loaded.paused) is bool
    assert loaded.held is None or (type(loaded.held) is Held and type(loaded.held.sent) is bool)
    assert (await row(store)).progress == progress


async def test_a_cursor_never_goes_back(store: Store) -> None:
    lease = await take(store)
    await store.store(lease, Progress(9, Held(10, 1)))
    await store.store(lease, Progress(4, Held(5, 1), paused=True))
    assert await store.load(lease) == Progress(9, None, True), "5 is settled"
    await store.store(lease, Progress(4, Held(10, 2)))
    assert await store.load(lease) == Progress(9, Held(10, 2), False)
    await store.store(lease, Progress(9))
    assert await store.load(lease) == Progress(9)
    await store.store(lease, Progress(-1, Held(3), True), let_go=True)
    assert (await row(store))[3:] == ("", (await row(store)).until, lease.epoch, Progress(9, None, True), "")


async def test_many_positions_at_once(store: Store) -> None:
    leases = [await take(store, name=f"s{number:03}") for number in range(300)]
    await asyncio.gather(*(store.store(lease, Progress(number)) for number, lease in enumerate(leases)))
    assert [row.progress.cursor for row in await store.rows()] == list(range(300))


async def test_one_refusal_leaves_the_others_alone(store: Store) -> None:
    good, bad = await take(store, name="good"), await take(store, name="bad")
    await store.remove(bad)
    log = await store.topic(TOPIC, create=True)
    from danube_dispatcher.messages import Message

    answers = await asyncio.gather(
        log.append([Message(b"a")]),
        store.store(bad, Progress(1)),
        store.acquire(TOPIC, "good", owner="x:1", seconds=1, new=Spec("exclusive", 0)),
        store.store(good, Progress(1)),
        log.append([Message(b"b")]),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [range, Fenced, SubscriptionMismatch, type(None), range]
    assert (await store.load(good)).cursor == 1
    assert log.head == 2


# ---- requests ----


async def test_a_request_is_asked_carried_out_and_answered_once(store: Store) -> None:
    lease = await take(store)
    request = await store.ask(TOPIC, "s", "release drop")
    assert await store.answered(request) is None
    assert await store.asked() == [Request(request, lease.epoch, "release drop")]
    await store.answer(request, "7")
    assert await store.asked() == []
    assert await store.answered(request) == "7"
    assert await store.answered(request) is None


async def test_requests_go_to_the_owner(store: Store) -> None:
    one, other = await take(store, name="one"), await take(store, name="other")
    first = await store.ask(TOPIC, "one", "a")
    second = await store.ask(TOPIC, "other", "b")
    third = await store.ask(TOPIC, "one", "c")
    assert await store.asked() == [Request(first, one.epoch, "a"), Request(second, other.epoch, "b"), Request(third, one.epoch, "c")]
    with pytest.raises(SubscriptionNotFound):
        await store.ask(TOPIC, "none", "a")


async def test_a_withdrawn_request_is_forgotten(store: Store) -> None:
    await take(store)
    request = await store.ask(TOPIC, "s", "a")
    assert await store.answered(request, withdraw=True) is None
    assert await store.asked() == []
    await store.answer(request, "too late")
    assert await store.answered(request) is None
    request = await store.ask(TOPIC, "s", "a")
    await store.answer(request, "just in time")
    assert await store.answered(request, withdraw=True) == "just in time"


async def test_a_later_owner_does_not_carry_out_an_old_request(store: Store, clock: Clock) -> None:
    await take(store)
    old = await store.ask(TOPIC, "s", "release drop")
    clock.now += SECONDS
    lease = await take(store, "two:2")
    assert await store.asked() == []
    assert await store.answered(old) is None
    new = await store.ask(TOPIC, "s", "release retry")
    assert new != old
    assert await store.asked() == [Request(new, lease.epoch, "release retry")]


async def test_requests_go_with_their_subscription(store: Store) -> None:
    lease = await take(store)
    request = await store.ask(TOPIC, "s", "a")
    await store.answer(request, "b")
    await store.remove(lease)
    assert await store.answered(request) is None


async def test_odd_text_in_requests_is_kept_readable(store: Store) -> None:
    await take(store)
    request = await store.ask(TOPIC, "s", "ü \ud800")
    assert (await store.asked())[0].action == "ü \\ud800"
    await store.answer(request, "no: \udcff")
    assert await store.answered(request) == "no: \\udcff"
