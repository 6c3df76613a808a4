"""The leases that a process renews share a term: one row is written, and nothing else is promised than if each had its own time."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Never

import pytest

from danube_dispatcher.errors import Fenced, StoreFull
from danube_dispatcher.storage.memory import MemoryStore
from danube_dispatcher.storage.protocols import Lease, Occupied, Spec, Store
from danube_statemachines import Progress

from .conftest import Clock, Open

TOPIC = "/default/orders"
NEW = Spec("shared", -1)


async def take(store: Store, name: str, *, owner: str = "one:1") -> Lease:
    lease = await store.acquire(TOPIC, name, owner=owner, seconds=10.0, new=NEW)
    assert isinstance(lease, Lease)
    return lease


async def taken(store: Store, count: int) -> dict[Lease, str | None]:
    await store.topic(TOPIC, create=True)
    return {await take(store, f"s{nth:03}"): None for nth in range(count)}


@pytest.fixture
def written(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows written by each commit, when a test asks for them."""
    counts: list[int] = []
    from danube_dispatcher.storage.sqlite.writer import Writer

    commit = Writer._commit

    def counted(self: Writer, connection: sqlite3.Connection, group: object) -> None:
        before = connection.total_changes
        commit(self, connection, group)  # type: ignore[arg-type]
        counts.append(connection.total_changes - before)

    monkeypatch.setattr(Writer, "_commit", counted)
    return counts


async def test_a_renewal_writes_one_row_however_many_leases_there_are(open_file: Open, clock: Clock, written: list[int]) -> None:
    store = await open_file()
    leases = await taken(store, 300)
    await store.renew(leases, seconds=10.0)
    del written[:]
    clock.now += 3
    assert await store.renew(leases, seconds=10.0) == set(leases)
    assert written == [1]
    assert {row.until for row in await store.rows()} == {clock.now + 10}


async def test_a_new_lease_costs_its_own_row_once(open_file: Open, clock: Clock, written: list[int]) -> None:
    store = await open_file()
    leases = await taken(store, 50)
    await store.renew(leases, seconds=10.0)
    leases[await take(store, "more")] = None
    del written[:]
    await store.renew(leases, seconds=10.0)
    await store.renew(leases, seconds=10.0)
    assert written == [2, 1]


async def test_what_another_process_took_is_lost_at_the_next_renewal(open_file: Open, clock: Clock) -> None:
    store, other = await open_file(), await open_file()
    leases = await taken(store, 5)
    await store.renew(leases, seconds=10.0)
    clock.now += 10
    gone = next(iter(leases))
    await take(other, gone.subscription, owner="two:2")
    assert await store.renew(leases, seconds=10.0) == set(leases) - {gone}
    assert await store.renew(leases, seconds=10.0) == set(leases) - {gone}
    assert {row.subscription: row.owner for row in await other.rows()} == {lease.subscription: "two:2" if lease == gone else "one:1" for lease in leases}


async def test_a_lease_that_is_left_out_runs_out(open_file: Open, clock: Clock) -> None:
    store, other = await open_file(), await open_file()
    leases = await taken(store, 5)
    await store.renew(leases, seconds=10.0)
    abandoned = leases.popitem()[0]
    clock.now += 9
    await store.renew(leases, seconds=10.0)
    clock.now += 1
    assert (await take(other, abandoned.subscription, owner="two:2")).unclean


async def test_one_of_many_can_be_run_out(open_file: Open, clock: Clock, written: list[int]) -> None:
    store, other = await open_file(), await open_file()
    leases = await taken(store, 50)
    await store.renew(leases, seconds=10.0)
    del written[:]
    one = next(iter(leases))
    assert await store.renew({one: None}, seconds=0.0) == {one}
    assert sum(written) < 5, "the others are left alone"
    assert {row.until - clock.now for row in await other.rows()} == {0.0, 10.0}
    assert (await take(other, one.subscription, owner="two:2")).unclean
    assert await store.renew(leases, seconds=10.0) == set(leases) - {one}


@pytest.mark.parametrize("alone", [True, False])
async def test_whatever_else_was_run_out_many_share_a_term_in_the_end(open_file: Open, written: list[int], alone: bool) -> None:
    """What was run out keeps its term until somebody takes it, which may be never."""
    store = await open_file()
    leases: dict[Lease, str | None] = {} if alone else await taken(store, 1)
    await store.topic(TOPIC, create=True)
    abandoned = await take(store, "abandoned")
    await store.renew({**leases, abandoned: None}, seconds=10.0)
    await store.renew({abandoned: None}, seconds=0.0)
    leases.update(await taken(store, 50) if alone else {await take(store, "more"): None})
    await store.renew(leases, seconds=10.0)
    del written[:]
    assert await store.renew(leases, seconds=10.0) == set(leases)
    assert written == [1]
    assert {row.subscription for row in await store.rows() if row.until <= store.now()} == {"abandoned"}


async def test_a_stamp_goes_on_from_one_term_to_the_next(open_file: Open, clock: Clock) -> None:
    stamps: list[int] = []
    first, second, waiter = [await open_file() for _ in range(3)]
    leases = await taken(first, 3)
    one = next(iter(leases))

    async def renewed(store: Store, which: dict[Lease, str | None]) -> None:
        await store.renew(which, seconds=10.0)
        clock.now -= 1  # nothing runs out
        answer = await waiter.acquire(TOPIC, one.subscription, owner="two:2", seconds=10.0, new=NEW)
        assert isinstance(answer, Occupied)
        stamps.append(answer.stamp)

    alone: dict[Lease, str | None] = {one: None}
    for store in (first, second, first):
        for which in (leases, leases, leases, alone):
            await renewed(store, which)
    assert stamps == sorted(set(stamps))


async def test_a_renewal_that_fails_promises_nothing(open_file: Open, clock: Clock, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await open_file()
    leases = await taken(store, 5)
    broken = sqlite3.OperationalError("database or disk is full")
    broken.sqlite_errorname = "SQLITE_FULL"

    def full(*_: object) -> Never:
        raise broken

    with monkeypatch.context() as patch:
        patch.setattr(store.writer, "_check", full)
        with pytest.raises(StoreFull):
            await store.renew(leases, seconds=20.0)
    with monkeypatch.context() as patch:  # rolled back after all of it was written
        renew = store._leases.renew
        patch.setattr(store._leases, "renew", lambda *arguments: full(renew(*arguments)))
        with pytest.raises(StoreFull):
            await store.renew(leases, seconds=20.0)
    assert {row.until for row in await store.rows()} == {clock.now + 10}
    assert await store.renew(leases, seconds=20.0) == set(leases)
    assert {row.until for row in await store.rows()} == {clock.now + 20}


async def test_terms_of_processes_that_are_gone_go_too(open_file: Open, path: Path) -> None:
    for _ in range(4):
        store = await open_file()
        leases = await taken(store, 2)
        await store.renew(leases, seconds=10.0)
        for lease in leases:
            await store.store(lease, Progress(-1), let_go=True)
        await store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM terms").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize("seed", range(20))
async def test_shared_terms_promise_what_single_ones_do(open_file: Open, clock: Clock, seed: int) -> None:
    """Two processes on a file and on the plain store in memory, which has a time for each lease: the same calls, the same answers."""
    random = Random(seed)
    files = [await open_file(), await open_file()]
    plain = MemoryStore(clock=clock)
    stores: list[Store] = [*files, plain]
    for store in stores:
        await store.topic(TOPIC, create=True)
    held: list[dict[Lease, str | None]] = [{}, {}]
    stamps: dict[str, tuple[int, int]] = {}
    pairs: set[tuple[int, int]] = set()
    for step in range(60):
        clock.now += random.choice([0.0, 1.0, 4.0])
        who = random.randrange(2)
        both: list[Store] = [files[who], plain]
        file, mine, name = files[who], held[who], f"s{random.randrange(4)}"
        known = next((lease for lease in mine if lease.subscription == name), None)
        what = random.choice(["acquire", "acquire", "renew", "renew", "renew", "some", "run out", "let go", "remove"])
        if what == "acquire":
            seen = stamps.get(name, (None, None)) if random.random() < 0.3 else (None, None)
            answer, other = [
                await each.acquire(TOPIC, name, owner=f"{who}:0", seconds=10.0, new=NEW, stamp=stamp) for each, stamp in zip(both, seen, strict=True)
            ]
            if isinstance(answer, Lease):
                assert answer == other
                mine[answer] = None
            else:
                assert isinstance(other, Occupied)
                assert answer[:2] == other[:2]
                stamps[name] = answer.stamp, other.stamp
                pairs.add(stamps[name])
                assert len(pairs) == len(dict(pairs)) == len({stamp for _, stamp in pairs}), "a stamp changes when a lease is renewed, and only then"
        elif what in ("renew", "some"):
            asked = dict(mine) if what == "renew" else {lease: None for lease in mine if random.random() < 0.5}
            assert await file.renew(asked, seconds=10.0) == await plain.renew(asked, seconds=10.0)
        elif known is not None and what == "run out":
            assert await file.renew({known: None}, seconds=0.0) == await plain.renew({known: None}, seconds=0.0)
        elif known is not None:
            for each in both:
                with suppress(Fenced):
                    await (each.remove(known) if what == "remove" else each.store(known, Progress(step), let_go=True))
        assert await files[0].rows() == await plain.rows(), (step, what)
