"""The writer's thread: what shares a commit, what waits, what happens to a group that fails, and what other processes' writes look like."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from danube_dispatcher.errors import InvalidArgument, StoreError, StoreFull, StoreUnavailable
from danube_dispatcher.messages import Message
from danube_dispatcher.storage.protocols import APPEND_BYTES, READ_MESSAGES, Lease, Spec
from danube_dispatcher.storage.sqlite import SqliteStore, open_sqlite, turns
from danube_dispatcher.storage.sqlite.turns import Turns
from danube_dispatcher.storage.sqlite.writer import QUEUE_MESSAGES, Group
from danube_dispatcher.virtual_time import advance
from danube_statemachines import Held, Progress

from .conftest import Clock, Open, watched

TOPIC = "/default/orders"
ONE = [Message(b"x")]


@pytest.fixture
async def store(open_file: Open) -> SqliteStore:
    store = await open_file()
    await store.topic(TOPIC, create=True)
    return store


class HeldUp:
    """Keeps the writer's thread inside a commit until it is told to go on."""

    def __init__(self, store: SqliteStore) -> None:
        self._started, self._ended = threading.Event(), threading.Event()
        self.call = store.writer.call(self._wait)
        assert self._started.wait(30)
        self._before = store.writer.commits
        self._store = store

    def _wait(self, _: sqlite3.Connection) -> None:
        self._started.set()
        assert self._ended.wait(30)

    def go_on(self) -> None:
        self._ended.set()

    @property
    def commits(self) -> int:
        """Commits since, its own not counted."""
        return self._store.writer.commits - self._before - 1


# ---- sharing a commit ----


async def test_concurrent_publishers_share_a_commit(store: SqliteStore) -> None:
    log = await store.topic(TOPIC, create=False)
    other = await store.topic("/default/other", create=True)
    held_up = HeldUp(store)
    calls = [log.append(ONE) for _ in range(100)] + [other.append(ONE) for _ in range(100)]
    held_up.go_on()
    assert [list(call) for call in await asyncio.gather(*calls)] == [[offset] for offset in range(100)] * 2
    assert held_up.commits == 1


async def test_positions_share_it_too(store: SqliteStore) -> None:
    leases = [await store.acquire(TOPIC, f"s{number}", owner="me:1", seconds=10, new=Spec("shared", -1)) for number in range(20)]
    held_up = HeldUp(store)
    calls = [store.store(lease, Progress(5)) for lease in leases if isinstance(lease, Lease)]
    held_up.go_on()
    await asyncio.gather(*calls)
    assert held_up.commits == 1
    assert {row.progress.cursor for row in await store.rows()} == {5}


@pytest.mark.parametrize(
    ("each", "size", "calls", "commits"), [(100, 1, 5, 3), (READ_MESSAGES, 1, 3, 3), (1, APPEND_BYTES // 2, 4, 2), (1, APPEND_BYTES + 1, 2, 2)]
)
async def test_a_commit_is_bounded(store: SqliteStore, each: int, size: int, calls: int, commits: int) -> None:
    log = await store.topic(TOPIC, create=False)
    held_up = HeldUp(store)
    appended = [log.append([Message(b"x" * size)] * each) for _ in range(calls)]
    held_up.go_on()
    await asyncio.gather(*appended)
    assert held_up.commits == commits
    assert log.head == each * calls


async def test_a_renewal_does_not_wait_for_all_that_is_published(store: SqliteStore) -> None:
    log = await store.topic(TOPIC, create=False)
    lease = await store.acquire(TOPIC, "s", owner="me:1", seconds=10, new=Spec("shared", -1))
    assert isinstance(lease, Lease)
    held_up = HeldUp(store)
    calls = [log.append(ONE) for _ in range(3 * QUEUE_MESSAGES)]
    renewed = store.renew({lease: None}, seconds=10)
    assert store.writer._jobs.qsize() <= QUEUE_MESSAGES + 1
    held_up.go_on()
    assert await renewed == {lease}
    assert sum(call.done() for call in calls) <= QUEUE_MESSAGES + READ_MESSAGES
    assert [list(call) for call in await asyncio.gather(*calls)] == [[offset] for offset in range(3 * QUEUE_MESSAGES)]
    assert store.outstanding == 0


async def test_who_waits_for_his_turn_can_still_be_cancelled(store: SqliteStore) -> None:
    log = await store.topic(TOPIC, create=False)
    held_up = HeldUp(store)
    calls = [log.append(ONE) for _ in range(QUEUE_MESSAGES)]
    late = [log.append(ONE) for _ in range(3)]
    late[1].cancel()
    held_up.go_on()
    await asyncio.gather(*calls, late[0], late[2])
    assert list(late[2].result()) == [QUEUE_MESSAGES + 1]
    assert store.outstanding == 0


async def test_closing_commits_what_still_waits_for_its_turn(path: Path) -> None:
    store = await open_sqlite(str(path), create=True)
    watched(store)
    log = await store.topic(TOPIC, create=True)
    held_up = HeldUp(store)
    calls = [log.append(ONE) for _ in range(2 * QUEUE_MESSAGES)]
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    held_up.go_on()
    await closing
    assert [list(call.result()) for call in calls] == [[offset] for offset in range(2 * QUEUE_MESSAGES)]
    assert not Path(f"{path}-wal").exists(), "all is in the one file"


async def test_a_statement_more_for_each_topic_only(store: SqliteStore) -> None:
    log = await store.topic(TOPIC, create=False)
    statements: list[str] = []
    await store.writer.call(lambda writer: writer.set_trace_callback(statements.append))
    statements.clear()
    await log.append(ONE * 200)
    await store.writer.call(lambda writer: writer.set_trace_callback(None))
    assert [statement.split()[0] for statement in statements[:4]] == ["BEGIN", "UPDATE", "INSERT", "COMMIT"]


# ---- a group that fails ----


async def test_a_full_disk_fails_the_publish_and_loses_nothing(store: SqliteStore) -> None:
    log = await store.topic(TOPIC, create=False)
    await log.append([Message(b"before")])
    lease = await store.acquire(TOPIC, "s", owner="me:1", seconds=10, new=Spec("shared", -1))
    assert isinstance(lease, Lease)
    pages = await store.writer.call(lambda writer: writer.execute("PRAGMA page_count").fetchone()[0])
    await store.writer.call(lambda writer: writer.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    big = [Message(b"x" * 100_000)]
    held_up = HeldUp(store)
    calls: list[asyncio.Future[Any]] = [log.append(ONE), log.append(big), store.store(lease, Progress(0))]
    held_up.go_on()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreFull] * 3, "what shares a commit shares its fate"
    assert len(set(map(id, answers))) == 3, "each has an error of its own"
    assert not any(answer.permanent for answer in answers if isinstance(answer, StoreError))
    assert "make room" in str(answers[0])
    assert log.head == 1
    await store.store(lease, Progress(0, Held(1)))
    assert list(await log.append(ONE)) == [1], "what fits goes in"
    with pytest.raises(StoreFull):
        await log.append(big)
    await store.writer.call(lambda writer: writer.execute("PRAGMA max_page_count = 1000000").fetchone())
    assert list(await log.append(big)) == [2]
    assert [message.payload for message in log.read(0).messages] == [b"before", b"x", big[0].payload]
    assert await store.load(lease) == Progress(0, Held(1))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    if not shutil.which("mount") or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_200_000))
    store = await open_sqlite(str(small_disk / "store.db"), create=True)
    watched(store)
    log = await store.topic(TOPIC, create=True)
    payload, published = b"x" * 20_000, 0
    with pytest.raises(StoreFull):
        while True:
            await log.append([Message(payload)])
            published += 1
    assert published > 5
    with pytest.raises(StoreFull):
        await log.append([Message(payload * 10)])
    assert log.head == published
    ballast.unlink()
    assert list(await log.append([Message(payload)])) == [published]
    await store.close()
    store = await open_sqlite(str(small_disk / "store.db"), create=False)
    assert [message.payload for message in (await store.topic(TOPIC, create=False)).read(0).messages] == [payload] * (published + 1)
    await store.close()


async def test_no_room_for_a_new_store(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(2 << 20))
    with pytest.raises(StoreFull):
        await open_sqlite(str(small_disk / "store.db"), create=True)
    assert [entry.name for entry in small_disk.iterdir()] == ["ballast"]


class Flaky(sqlite3.Connection):
    """A connection whose next COMMIT fails, after it has or has not been carried out."""

    fail: str | None = None
    done = False

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql == "COMMIT" and Flaky.fail is not None:
            error = sqlite3.OperationalError("injected")
            error.sqlite_errorname, Flaky.fail = Flaky.fail, None
            if Flaky.done:
                super().execute(sql)
            raise error
        return super().execute(sql, *parameters)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> type[Flaky]:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **named: connect(*given, factory=Flaky, **named))
    monkeypatch.setattr(Flaky, "fail", None)
    return Flaky


@pytest.mark.parametrize("done", [True, False])
async def test_a_failed_fsync_is_of_unknown_outcome_and_begins_anew(flaky: type[Flaky], open_file: Open, done: bool) -> None:
    store = await open_file()
    log = await store.topic(TOPIC, create=True)
    heard: list[list[int]] = []
    log.watch(lambda messages: heard.append([message.offset for message in messages]))
    first = await store.writer.call(lambda writer: writer)
    flaky.done, flaky.fail = done, "SQLITE_IOERR_FSYNC"
    with pytest.raises(StoreUnavailable, match="unknown whether it will last"):
        await log.append(ONE)
    assert (log.head, heard) == (0, [])
    store.refresh()
    assert heard == ([[]] if done else []), "what came through after all is found like another process's"
    assert list(await log.append(ONE)) == [int(done)]
    assert await store.writer.call(lambda writer: writer) is not first
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        first.execute("SELECT 1")


async def test_a_connection_that_cannot_be_made_again_is_tried_each_time(flaky: type[Flaky], open_file: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await open_file()
    log = await store.topic(TOPIC, create=True)
    flaky.done, flaky.fail = False, "SQLITE_IOERR_WRITE"
    with pytest.raises(StoreUnavailable):
        await log.append(ONE)
    connect, refused = store.writer._connect, sqlite3.OperationalError("injected")
    refused.sqlite_errorname = "SQLITE_CANTOPEN"

    def refuse() -> sqlite3.Connection:
        raise refused

    monkeypatch.setattr(store.writer, "_connect", refuse)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="too many files"):
            await log.append(ONE)
    monkeypatch.setattr(store.writer, "_connect", connect)
    assert list(await log.append(ONE)) == [0]


async def test_an_error_of_another_kind_is_told_and_undone(store: SqliteStore) -> None:
    log = await store.topic(TOPIC, create=False)

    def broken(writer: sqlite3.Connection) -> None:
        writer.execute("UPDATE topics SET head = 99")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.writer.call(broken)
    assert list(await log.append(ONE)) == [0]


async def test_a_row_larger_than_sqlite_takes(store: SqliteStore) -> None:
    log = await store.topic(TOPIC, create=False)
    await store.writer.call(lambda writer: writer.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000))
    with pytest.raises(InvalidArgument, match="payload"):
        await log.append([Message(b"x" * 10_001)])
    assert list(await log.append(ONE)) == [0]


# ---- other processes ----


class Ear:
    def __init__(self) -> None:
        self.heard: list[list[int]] = []

    def __call__(self, messages: Sequence[Message]) -> None:
        self.heard.append([message.offset for message in messages])


async def test_what_others_wrote_is_found_by_looking(open_file: Open, clock: Clock) -> None:
    mine, theirs = await open_file(), await open_file()
    log, their_log = await mine.topic(TOPIC, create=True), await theirs.topic(TOPIC, create=True)
    ear = Ear()
    log.watch(ear)
    mine.refresh()
    assert mine.refresh() is False
    await their_log.append([Message(b"a", "k", {"x": "y"}), Message(b"b")])
    assert (log.head, log.read(0).messages) == (0, []), "nothing is read that was not announced"
    assert mine.refresh() is True
    assert (log.head, ear.heard) == (2, [[]])
    assert log.read(0) == their_log.read(0)
    assert mine.refresh() is False
    await theirs.acquire(TOPIC, "s", owner="them:2", seconds=10, new=Spec("shared", -1))
    assert mine.refresh() is True, "anything at all"
    assert ear.heard == [[]]


async def test_what_others_wrote_before_ours_is_announced_before_ours(open_file: Open) -> None:
    mine, theirs = await open_file(), await open_file()
    log, their_log = await mine.topic(TOPIC, create=True), await theirs.topic(TOPIC, create=True)
    seen: list[tuple[list[int], int, list[int]]] = []
    log.watch(lambda messages: seen.append(([message.offset for message in messages], log.head, [message.offset for message in log.read(0).messages])))
    await their_log.append(ONE * 2)
    assert list(await log.append(ONE * 2)) == [2, 3]
    await their_log.append(ONE)
    mine.refresh()
    assert seen == [([], 2, [0, 1]), ([2, 3], 4, [0, 1, 2, 3]), ([], 5, [0, 1, 2, 3, 4])]


@pytest.mark.parametrize("finished", [False, True])
async def test_ours_are_never_taken_for_others(open_file: Open, finished: bool) -> None:
    """Looked at between the commit and its announcement: what the watchers heard twice would be dispatched twice."""
    mine, theirs = await open_file(), await open_file()
    log, their_log = await mine.topic(TOPIC, create=True), await theirs.topic(TOPIC, create=True)
    elsewhere, their_elsewhere = await mine.topic("/a/b", create=True), await theirs.topic("/a/b", create=True)
    ear, ear_elsewhere = Ear(), Ear()
    log.watch(ear)
    elsewhere.watch(ear_elsewhere)
    await their_log.append(ONE)
    await their_elsewhere.append(ONE)
    committed, go_on = threading.Event(), threading.Event()

    class Slow(deque[Group]):
        def append(self, group: Group) -> None:
            if finished:
                super().append(group)
            committed.set()
            assert go_on.wait(30)
            if not finished:
                super().append(group)

    mine.writer._finished = Slow()
    call = log.append(ONE)
    assert committed.wait(30)
    assert mine.refresh() is True
    assert ear.heard == ([[], [1]] if finished else [])
    assert ear_elsewhere.heard == [[]], "other topics need not wait"
    go_on.set()
    assert list(await call) == [1]
    mine.refresh()
    assert ear.heard == [[], [1]]
    assert mine.refresh() is False


async def test_a_new_owner_knows_of_all_that_the_one_before_settled(open_file: Open) -> None:
    mine, theirs = await open_file(), await open_file()
    log, their_log = await mine.topic(TOPIC, create=True), await theirs.topic(TOPIC, create=True)
    await their_log.append(ONE * 5)
    lease = await theirs.acquire(TOPIC, "s", owner="them:2", seconds=10, new=Spec("shared", -1))
    assert isinstance(lease, Lease)
    await theirs.store(lease, Progress(3), let_go=True)
    lease = await mine.acquire(TOPIC, "s", owner="me:1", seconds=10, new=None)
    assert isinstance(lease, Lease)
    assert (await mine.load(lease)).cursor < log.head


# ---- turns ----


async def test_an_idle_store_takes_no_turns(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    log = await store.topic(TOPIC, create=False)
    await advance(1)
    taken: list[None] = []
    monkeypatch.setattr(store.writer._turns, "give", lambda: taken.append(None))
    await log.append(ONE)
    await advance(1)
    assert taken == []
    assert not store.writer._lending


@pytest.mark.real_time
async def test_a_store_at_work_is_lent_turns_by_a_busy_loop(open_file: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[None] = []
    give = Turns.give

    def counted(turns: Turns) -> None:
        given.append(None)
        give(turns)

    monkeypatch.setattr(Turns, "give", counted)
    store = await open_file()
    log = await store.topic(TOPIC, create=True)
    held_up = HeldUp(store)
    call, before = log.append(ONE), len(given)
    while len(given) < before + 3:
        await asyncio.sleep(0)
    held_up.go_on()
    while not call.done():
        await asyncio.sleep(0)
    assert list(call.result()) == [0]


async def test_a_thread_that_gets_on_is_lent_nothing(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    log = await store.topic(TOPIC, create=False)
    given: list[int] = []
    monkeypatch.setattr(store.writer._turns, "give", lambda: given.append(store.writer.commits))
    store.writer._turn()
    for _ in range(3):
        given.clear()
        await log.append(ONE)
        store.writer._turn()
        assert given == [], "it has committed since the last"
        store.writer._turn()
        assert given == [store.writer.commits]


async def test_a_busy_loop_that_awaits_a_message_stands_aside_until_it_is_in(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LONGEST", 30.0)
    monkeypatch.setattr(store.writer._turns, "busy", lambda: True)
    log = await store.topic(TOPIC, create=False)
    call = log.append(ONE)
    follower = log.append(ONE)
    assert type(follower) is asyncio.Future, "one of those that share a commit is enough"
    assert not call.done()
    awaiting = call.__await__()
    assert next(awaiting) is None, "the others on the loop have their turn all the same"
    assert call.done()
    with pytest.raises(StopIteration) as end:
        next(awaiting)
    assert list(end.value.value) == [0]
    assert list(await follower) == [1]


async def test_who_does_not_await_a_message_is_not_held_up(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead letter is written in the middle of a step: nothing may be told before that is over."""
    monkeypatch.setattr(store.writer._turns, "busy", lambda: True)
    hurried: list[None] = []
    monkeypatch.setattr(store.writer, "_hurry", lambda: hurried.append(None))
    log = await store.topic(TOPIC, create=False)
    told: list[int] = []
    call = asyncio.ensure_future(log.append(ONE))
    call.add_done_callback(lambda call: told.extend(call.result()))
    while not told:
        await asyncio.sleep(0.001)
    assert (told, hurried) == ([0], [])
