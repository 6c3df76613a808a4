"""What can be wrong with a store's file, and that it is said and nothing is made worse."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from danube_dispatcher.errors import (
    CursorUnreadable,
    DanubeError,
    NotAStore,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreNotFound,
    StoreReadOnly,
    StoreTooNew,
    StoreUnavailable,
)
from danube_dispatcher.messages import Message
from danube_dispatcher.storage import open_store
from danube_dispatcher.storage.protocols import Batch, Lease, Spec
from danube_dispatcher.storage.sqlite import SqliteStore, open_sqlite, schema
from danube_dispatcher.storage.sqlite.errors import translate
from danube_statemachines import Progress

from .conftest import Open, watched

TOPIC = "/default/orders"


async def make(path: Path, count: int = 3) -> None:
    """A store with messages and a subscription, closed."""
    store = await open_sqlite(str(path), create=True)
    watched(store)
    log = await store.topic(TOPIC, create=True)
    await log.append([Message(f"payload-{number}".encode()) for number in range(count)])
    lease = await store.acquire(TOPIC, "s", owner="me:1", seconds=10, new=Spec("shared", -1))
    assert isinstance(lease, Lease)
    await store.store(lease, Progress(1), let_go=True)
    await store.close()


async def cannot_open(path: Path, error: type[DanubeError], problem: str, *, create: bool = True) -> None:
    before = content(path)
    with pytest.raises(error, match=problem) as raised:
        await open_store(f"sqlite:{path}", create=create)
    assert str(path) in str(raised.value)
    assert not held_open(path)  # while the error, and with it the frames of the attempt, is still there
    assert content(path) == before


def held_open(path: Path) -> list[str]:
    """This process's descriptors of a file, where they can be listed."""
    own = Path("/proc/self/fd")
    return [each.name for each in own.iterdir() if os.path.realpath(each) == os.path.realpath(path)] if own.exists() else []


def content(path: Path) -> dict[str, bytes | None]:
    """Everything beside the path, to see that nothing is changed."""
    if not path.parent.is_dir():
        return {}
    return {entry.name: entry.read_bytes() if entry.is_file() else None for entry in path.parent.iterdir() if not entry.name.endswith("-shm")}


def edit(path: Path, sql: str) -> None:
    """As a stranger would, with another connection."""
    with sqlite3.connect(path) as connection:
        connection.executescript(sql)
    connection.close()


# ---- making one ----


async def test_a_new_store(path: Path) -> None:
    await make(path)
    assert os.listdir(path.parent) == [path.name], "nothing else is left"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (int.from_bytes(b"DNBE", "big"),)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE '%STRICT' AND name NOT LIKE 'sqlite_%'"
        ).fetchone() == (0,)
    connection.close()


async def test_the_connections_are_as_safe_as_they_can_be(open_file: Open) -> None:
    store = await open_file()

    def pragmas(connection: sqlite3.Connection) -> list[int]:
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "trusted_schema", "cell_size_check")]

    assert await store.writer.call(pragmas) == [2, 0, 1]
    assert pragmas(store.reader)[1:] == [0, 1]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        store.reader.execute("DELETE FROM messages")


async def test_stores_have_ids_of_their_own(tmp_path: Path) -> None:
    stores = [await open_sqlite(str(tmp_path / name), create=True) for name in ("a", "b")]
    assert stores[0].seed != stores[1].seed
    for store in stores:
        await store.close()


async def test_several_that_make_it_at_once_get_the_same_one(path: Path) -> None:
    stores = await asyncio.gather(*(open_sqlite(str(path), create=True) for _ in range(8)))
    assert len({store.seed for store in stores}) == 1
    for number, store in enumerate(stores):
        watched(store)
        await store.topic(f"/t/{number}", create=True)
    assert len(await stores[0].topics()) == 8
    for store in stores:
        await store.close()
    assert os.listdir(path.parent) == [path.name]


async def test_who_loses_the_race_takes_the_winners(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await make(path)
    monkeypatch.setattr(schema, "_exists", lambda url, place: False)  # it looked before the other one was there
    store = await open_sqlite(str(path), create=True)
    assert await store.topics() == [TOPIC], "it was not overwritten"
    await store.close()
    assert os.listdir(path.parent) == [path.name]


async def test_a_store_that_could_not_be_made_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    await cannot_open(path, StoreUnavailable, "Operation not supported")


async def test_opening_is_cancelled_without_a_trace(path: Path) -> None:
    opening = asyncio.ensure_future(open_sqlite(str(path), create=True))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    while not path.exists() or len(os.listdir(path.parent)) > 1:
        await asyncio.sleep(0.001)
    await make(path)


# ---- what is no store ----


async def test_missing(path: Path) -> None:
    await cannot_open(path, StoreNotFound, "create=True", create=False)


@pytest.mark.parametrize("create", [True, False])
async def test_a_missing_directory(tmp_path: Path, create: bool) -> None:
    await cannot_open(tmp_path / "none" / "store.db", StoreNotFound, "directory does not exist", create=create)
    assert os.listdir(tmp_path) == []


async def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    await cannot_open(tmp_path / "file" / "store.db", StoreNotFound, "directory is a file")


async def test_a_name_too_long(tmp_path: Path) -> None:
    await cannot_open(tmp_path / ("n" * 300), StoreNotFound, "so long a name")


async def test_a_directory(tmp_path: Path) -> None:
    await cannot_open(tmp_path, NotAStore, "is a directory")


async def test_a_pipe(path: Path) -> None:
    os.mkfifo(path)
    await cannot_open(path, NotAStore, "not a regular file")


async def test_an_empty_file(path: Path) -> None:
    path.touch()
    await cannot_open(path, NotAStore, "empty file")


@pytest.mark.parametrize("text", [b"x", b"This is a text file.\n" * 1000, bytes(10_000)])
async def test_a_file_of_something_else(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    await cannot_open(path, NotAStore, "something else")


async def test_another_database(path: Path) -> None:
    edit(path, "CREATE TABLE messages (id INTEGER)")
    await cannot_open(path, NotAStore, "database of something else")


async def test_a_newer_version(path: Path) -> None:
    await make(path)
    edit(path, "PRAGMA user_version = 2")
    await cannot_open(path, StoreTooNew, "format 2.*upgrade")


async def test_a_log_without_its_store(path: Path) -> None:
    Path(f"{path}-wal").write_bytes(b"what was written last")
    await cannot_open(path, StoreDamaged, "main file is missing")
    await cannot_open(path, StoreDamaged, "main file is missing", create=False)


async def test_an_old_sqlite(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with pytest.raises(StoreUnavailable, match=r"SQLite 3\.38"):
        await open_sqlite(str(path), create=True)
    assert not path.exists()


# ---- what is damaged ----


@pytest.mark.parametrize("sql", ["DELETE FROM store", "DROP TABLE store", "PRAGMA user_version = 0"])
async def test_a_part_is_missing(path: Path, sql: str) -> None:
    await make(path)
    edit(path, sql)
    await cannot_open(path, StoreDamaged, "not what was written")


async def test_a_damaged_page(path: Path) -> None:
    await make(path)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 200)
    before = path.read_bytes()
    with pytest.raises(StoreDamaged, match="not what was written"):
        await open_sqlite(str(path), create=True)
    assert path.read_bytes() == before, "it is never made anew"


async def test_a_flipped_byte_is_found_after_the_sound_messages_were_read(path: Path) -> None:
    await make(path)
    whole = path.read_bytes()
    assert whole.count(b"payload-1") == 1
    path.write_bytes(whole.replace(b"payload-1", b"paylozd-1"))
    store = await open_sqlite(str(path), create=False)
    log = await store.topic(TOPIC, create=False)
    batch = log.read(0)
    assert ([message.payload for message in batch.messages], batch.next_offset) == ([b"payload-0"], 1)
    with pytest.raises(StoreDamaged, match=f"message 1 of {TOPIC}"):
        log.read(batch.next_offset)
    assert [message.payload for message in log.read(2).messages] == [b"payload-2"]
    await store.close()


@pytest.mark.parametrize(
    "change", ["body = x'00'", "body = x''", "body = substr(body, 1, length(body) - 1)", "body = CAST(body || x'00' AS BLOB)", "id = id + 1"]
)
async def test_every_part_of_a_message_is_checked(path: Path, change: str) -> None:
    """Each byte of a body: see test_sqlite_format.py."""
    await make(path, count=1)
    edit(path, f"UPDATE messages SET {change}; UPDATE topics SET head = 2")
    store = await open_sqlite(str(path), create=False)
    with pytest.raises(StoreDamaged):
        (await store.topic(TOPIC, create=False)).read(0)
    await store.close()


async def test_messages_that_change_places_are_found(path: Path) -> None:
    await make(path)
    change = "UPDATE messages SET id = id + {} WHERE id & 0xff = {}"
    edit(path, "; ".join(change.format(*places) for places in ((10, 1), (-1, 2), (-9, 11))))
    store = await open_sqlite(str(path), create=False)
    log = await store.topic(TOPIC, create=False)
    assert [message.payload for message in log.read(0).messages] == [b"payload-0"]
    for start in (1, 2):
        with pytest.raises(StoreDamaged, match=f"message {start} of"):
            log.read(start)
    await store.close()


@pytest.mark.parametrize("change", ["cursor = 0", "paused = 1", "careful = 1", "held = '[2, 1, 0, \"\", null, false]'", "name = 'other'", "checksum = 1"])
async def test_every_part_of_a_position_is_checked(path: Path, change: str) -> None:
    await make(path)
    edit(path, f"UPDATE subscriptions SET {change}")
    store = watched(await open_sqlite(str(path), create=False))
    name = "other" if "name" in change else "s"
    lease = await store.acquire(TOPIC, name, owner="me:1", seconds=10, new=None)
    assert isinstance(lease, Lease)
    with pytest.raises(CursorUnreadable, match="unsubscribe"):
        await store.load(lease)
    with pytest.raises(CursorUnreadable):
        await store.rows()
    await store.remove(lease)
    await store.close()


async def test_a_message_of_another_store_is_found(tmp_path: Path) -> None:
    await make(tmp_path / "a")
    await make(tmp_path / "b")
    edit(tmp_path / "a", f"ATTACH '{tmp_path / 'b'}' AS other; DELETE FROM messages; INSERT INTO messages SELECT * FROM other.messages")
    store = await open_sqlite(str(tmp_path / "a"), create=False)
    with pytest.raises(StoreDamaged):
        (await store.topic(TOPIC, create=False)).read(0)
    await store.close()


async def test_a_file_cut_short(path: Path) -> None:
    await make(path, count=2000)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(StoreDamaged):
        store = await open_sqlite(str(path), create=False)
        try:
            log = await store.topic(TOPIC, create=False)
            start = 0
            while (batch := log.read(start)).messages:
                start = batch.next_offset
        finally:
            await store.close()


async def test_a_log_that_went_back_is_noticed(open_file: Open, path: Path) -> None:
    store = await open_file()
    log = await store.topic(TOPIC, create=True)
    await log.append([Message(b"a"), Message(b"b")])
    store.refresh()
    edit(path, "UPDATE topics SET head = 1; DELETE FROM messages WHERE id & 0xff = 1")
    for _ in range(2):
        with pytest.raises(StoreDamaged, match="had 2 messages and now has 1"):
            store.refresh()
    with pytest.raises(StoreDamaged, match="had 2 messages"):
        await log.append([Message(b"c")])
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT head FROM topics").fetchall() == [(1,)], "nothing was added to it"
    connection.close()


async def test_a_cursor_beyond_the_log_can_be_seen(path: Path) -> None:
    await make(path)
    edit(path, "UPDATE topics SET head = 1")
    store = watched(await open_sqlite(str(path), create=False))
    log = await store.topic(TOPIC, create=False)
    lease = await store.acquire(TOPIC, "s", owner="me:1", seconds=10, new=None)
    assert isinstance(lease, Lease)
    assert ((await store.load(lease)).cursor, log.head) == (1, 1)
    await store.close()


# ---- what goes away while it is open ----


def moved(path: Path) -> None:
    path.rename(path.with_name("moved"))


def replaced(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


@pytest.mark.parametrize("away", [moved, replaced])
async def test_a_file_that_is_no_longer_there_takes_no_messages(open_file: Open, path: Path, away: Callable[[Path], object]) -> None:
    store = await open_file()
    log = await store.topic(TOPIC, create=True)
    os.link(path, path.with_name("kept"))
    away(path)
    with pytest.raises(StoreUnavailable, match="moved, deleted or replaced") as raised:
        await log.append([Message(b"lost")])
    assert not raised.value.permanent
    os.replace(path.with_name("kept"), path)
    if path.with_name("moved").exists():
        path.with_name("moved").unlink()
    assert list(await log.append([Message(b"kept")])) == [0]


# ---- read-only ----


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Makes a file or directory one that cannot be written: by its mode, or for root by mounting it over itself."""
    mounted: list[Path] = []

    def make_read_only(place: Path) -> None:
        if os.geteuid():
            place.chmod(0o500 if place.is_dir() else 0o400)
            return
        for options in (["--bind", str(place), str(place)], ["-o", "remount,ro,bind", str(place)]):
            if not shutil.which("mount") or subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
                pytest.skip("root writes anything, and nothing can be mounted here")
            if place not in mounted:
                mounted.append(place)

    yield make_read_only
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("what", ["file", "directory"])
async def test_a_read_only_place(path: Path, read_only: Callable[[Path], None], what: str) -> None:
    await make(path)
    read_only(path if what == "file" else path.parent)
    await cannot_open(path, StoreReadOnly, "cannot be written", create=False)


async def test_a_read_only_directory_for_a_new_store(path: Path, read_only: Callable[[Path], None]) -> None:
    read_only(path.parent)
    await cannot_open(path, StoreReadOnly, "cannot be written")


# ---- SQLite's errors ----

NAMES = {
    "SQLITE_FULL": StoreFull,
    "SQLITE_IOERR_SHMSIZE": StoreFull,
    "SQLITE_BUSY": StoreBusy,
    "SQLITE_BUSY_SNAPSHOT": StoreBusy,
    "SQLITE_BUSY_RECOVERY": StoreBusy,
    "SQLITE_LOCKED": StoreBusy,
    "SQLITE_READONLY": StoreReadOnly,
    "SQLITE_READONLY_DIRECTORY": StoreReadOnly,
    "SQLITE_CORRUPT": StoreDamaged,
    "SQLITE_CORRUPT_INDEX": StoreDamaged,
    "SQLITE_NOTADB": StoreDamaged,
    "SQLITE_CONSTRAINT_PRIMARYKEY": StoreDamaged,
    "SQLITE_CANTOPEN": StoreUnavailable,
    "SQLITE_IOERR_FSYNC": StoreUnavailable,
    "SQLITE_IOERR_WRITE": StoreUnavailable,
    "SQLITE_PROTOCOL": StoreUnavailable,
    None: StoreUnavailable,
}


@pytest.mark.parametrize(("name", "kind"), NAMES.items())
def test_errors_are_told_apart_by_their_names(name: str | None, kind: type[StoreError]) -> None:
    error = sqlite3.OperationalError("disk is full, database is locked, file is not a database")
    if name is not None:
        error.sqlite_errorname = name
    ours = translate("sqlite:x", error)
    assert type(ours) is kind
    assert ours.__cause__ is error
    assert (name or "OperationalError") in str(ours)


def test_what_is_no_error_of_the_store_stays_itself() -> None:
    error = ZeroDivisionError()
    assert translate("sqlite:x", error) is error


async def test_a_locked_store(path: Path) -> None:
    await make(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store = await open_sqlite(str(path), create=False, busy=0.05)
    watched(store)
    log = await store.topic(TOPIC, create=False)
    assert isinstance(log.read(0), Batch), "who reads does not wait"
    with pytest.raises(StoreBusy, match="locked") as raised:
        await log.append([Message(b"x")])
    assert not raised.value.permanent
    other.execute("COMMIT")
    other.close()
    assert list(await log.append([Message(b"x")])) == [3]
    assert isinstance(store, SqliteStore)
    await store.close()
