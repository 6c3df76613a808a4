"""The tables of a store, and how its file is found fit, opened and built.

Once this process has a store open, nothing here or elsewhere may open its files except through SQLite: closing any descriptor of a
file drops the locks that SQLite holds on it, another process may then delete the live WAL, and committed rows are gone. So what lies
at a path is judged by `os.stat` and by SQLite's own answers.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
import zlib
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import quote_from_bytes

from ...errors import NotAStore, StoreDamaged, StoreNotFound, StoreReadOnly, StoreTooNew, StoreUnavailable
from .errors import DAMAGED, READ_ONLY, translate

APPLICATION_ID = int.from_bytes(b"DNBE", "big")
VERSION = 1
NEEDED = (3, 38)
"""SQLite's version: STRICT came with 3.37, JSON functions in every build with 3.38."""
OFFSET_BITS = 40
"""A message's row is `topic << OFFSET_BITS | offset`: one table, and a topic's messages side by side in it."""

READER_BUSY = 0.2
"""Seconds that a read waits for a lock. Readers meet one only while another process recovers the WAL, and they wait on the event loop."""
STATEMENTS = 32
"""Prepared statements a connection keeps: an INSERT of 256 rows is large, and there is one for each number of rows."""

_TABLES = f"""
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL,
    epoch INTEGER NOT NULL
) STRICT;
CREATE TABLE topics (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    head INTEGER NOT NULL CHECK (head BETWEEN 0 AND {(1 << OFFSET_BITS) - 1})
) STRICT;
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE subscriptions (
    epoch INTEGER PRIMARY KEY,
    topic INTEGER NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    owner TEXT NOT NULL,
    until REAL NOT NULL,
    renewals INTEGER NOT NULL,
    term INTEGER NOT NULL,
    status TEXT NOT NULL,
    cursor INTEGER NOT NULL,
    held TEXT NOT NULL,
    paused INTEGER NOT NULL,
    careful INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    UNIQUE (topic, name)
) STRICT;
CREATE TABLE terms (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    until REAL NOT NULL,
    renewals INTEGER NOT NULL,
    changes INTEGER NOT NULL
) STRICT;
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    epoch INTEGER NOT NULL,
    action TEXT NOT NULL,
    answer TEXT
) STRICT;
"""
# A subscription is found by its epoch, which is unique and changes with its owner: the fence of a write is the look-up of its row.
# The leases of a process share a term, so that renewing thousands of them writes one row; a `term` of 0 is a lease with a time of its own.


class Opened(NamedTuple):
    """Two connections to one store, what its checksums start from, its real path, and which file was there."""

    writer: sqlite3.Connection
    reader: sqlite3.Connection
    seed: int
    path: str
    identity: tuple[int, int]


def open_file(url: str, path: str, *, create: bool, busy: float) -> Opened:
    """Open the store at `path`, building it first if it is missing and `create`. Raises a StoreError."""
    if sqlite3.sqlite_version_info < NEEDED:
        needed, present = ".".join(map(str, NEEDED)), sqlite3.sqlite_version
        raise StoreUnavailable(url, f"needs SQLite {needed} or newer, and this Python has {present}; use another Python")
    path = os.path.realpath(path)
    try:
        if not _exists(url, path):
            if not create:
                raise StoreNotFound(url, f"there is none at {path}; publish to it first (a program can open it with create=True)")
            _build(path)
        writer = connect_writer(path, busy)
        try:
            seed = _verify(url, writer)
            return Opened(writer, _connect(path, "ro", READER_BUSY), seed, path, identity(path))
        except BaseException:
            writer.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise translate(url, error, opening=True) from error


def identity(path: str) -> tuple[int, int]:
    """Which file is at a path now."""
    found = os.stat(path)
    return found.st_dev, found.st_ino


def connect_writer(path: str, busy: float) -> sqlite3.Connection:
    """The connection that writes, which is given to the writer thread."""
    return _connect(path, "rw", busy, "synchronous = FULL")  # with less, a power cut takes rows that were acknowledged


def _connect(path: str, mode: str, busy: float, *more: str) -> sqlite3.Connection:
    uri = f"file:{quote_from_bytes(os.fsencode(path))}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=busy, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS)
    try:
        for pragma in ("trusted_schema = OFF", "cell_size_check = ON", *more):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _exists(url: str, path: str) -> bool:
    """Whether a file that may be a store is there; raises for anything that cannot be one, or of which part is missing."""
    directory = os.path.dirname(path)
    orphan = os.path.exists(f"{path}-wal")  # looked for first: a store that another process builds now has its file before its WAL
    try:
        found = os.stat(path)
    except FileNotFoundError:
        os.stat(directory)
        if orphan:
            raise StoreDamaged(url, f"its main file is missing but its log {path}-wal is there; restore it, or move the log away to start anew") from None
        return False
    if stat.S_ISDIR(found.st_mode):
        raise NotAStore(url, f"{path} is a directory; name a file in it")
    if not stat.S_ISREG(found.st_mode):
        raise NotAStore(url, f"{path} is not a regular file; give another path")
    if found.st_size == 0:
        raise NotAStore(url, f"{path} is an empty file, which no store ever is; remove it, or give another path")
    for place, rights in ((path, os.R_OK | os.W_OK), (directory, os.W_OK | os.X_OK)):
        if not os.access(place, rights):
            raise StoreReadOnly(url, f"{READ_ONLY} ({place})")
    return True


def _verify(url: str, connection: sqlite3.Connection) -> int:
    """Check that this is a store of ours, and return what its checksums start from."""
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    if application != APPLICATION_ID:
        raise NotAStore(url, "the file is an SQLite database of something else; give another path")
    if version > VERSION:
        raise StoreTooNew(url, f"it was written in format {version}, this version knows formats up to {VERSION}; upgrade danube-dispatcher")
    if version != VERSION:
        raise StoreDamaged(url, f"{DAMAGED} (format {version})")
    ((mode,),) = connection.execute("PRAGMA journal_mode = WAL").fetchall()
    if mode != "wal":
        raise StoreUnavailable(url, "its file system cannot share memory between processes; keep the store on a local disk")
    found = connection.execute("SELECT id FROM store").fetchall()
    if len(found) != 1:
        raise StoreDamaged(url, DAMAGED)
    # a WAL of another store, or a page of one, does not carry this one's checksums
    return zlib.crc32(found[0][0].encode())


def _build(path: str) -> None:
    """Build a new store beside `path` and link it there; if another process is first, its store is the one."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name[:100]}.{secrets.token_hex(8)}.new")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        connection = connect_writer(temporary, 0)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; {_TABLES} COMMIT")
            connection.execute("INSERT INTO store VALUES (1, ?, 0)", (secrets.token_hex(16),))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # all goes into the file; closing does that, too, but keeps quiet when it fails
        finally:
            connection.close()  # the last connection: it removes the WAL
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(temporary + suffix)
    if hasattr(os, "O_DIRECTORY"):  # the name must last like the file
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
