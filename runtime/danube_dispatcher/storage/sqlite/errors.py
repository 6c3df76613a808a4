"""SQLite's and the operating system's errors as ours. They are told apart by SQLite's error names and by errno, never by text."""

from __future__ import annotations

import errno
import sqlite3

from ...errors import DanubeError, InvalidArgument, NotAStore, StoreBusy, StoreDamaged, StoreError, StoreFull, StoreNotFound, StoreReadOnly, StoreUnavailable

FULL = "no room on the disk; nothing is lost, make room and try again"
READ_ONLY = "the file or its directory cannot be written; give this user the right to write both"
MOVED = "is no longer the file that was opened: it was moved, deleted or replaced"
DAMAGED = "what it holds is not what was written; restore it, with its -wal file, from a copy"
CORRUPT = (
    "what it holds is not what was written, or the disk failed to read it (SQLite does not tell); check the disk and open it again before you restore a copy"
)

_BY_NAME: tuple[tuple[str, type[StoreError], str], ...] = (
    ("SQLITE_FULL", StoreFull, FULL),
    ("SQLITE_IOERR_SHMSIZE", StoreFull, FULL),
    ("SQLITE_BUSY", StoreBusy, "another process has kept it locked; try again, and look for a transaction that somebody left open"),
    ("SQLITE_LOCKED", StoreBusy, "another connection has kept it locked; try again"),
    ("SQLITE_READONLY", StoreReadOnly, READ_ONLY),
    ("SQLITE_PERM", StoreReadOnly, READ_ONLY),
    ("SQLITE_CORRUPT", StoreDamaged, CORRUPT),
    ("SQLITE_NOTADB", StoreDamaged, DAMAGED),
    ("SQLITE_FORMAT", StoreDamaged, DAMAGED),
    ("SQLITE_CONSTRAINT", StoreDamaged, DAMAGED),  # our statements break none on what we wrote
    ("SQLITE_CANTOPEN", StoreUnavailable, "it could not be opened though it is there; look whether this process has too many files open (ulimit -n)"),
    ("SQLITE_IOERR_FSYNC", StoreUnavailable, "the disk did not confirm a write, so it is unknown whether it will last; check the disk"),
    ("SQLITE_IOERR", StoreUnavailable, "the disk could not be read or written; check it, and try again"),
)
"""The first prefix that fits holds."""

_BY_NUMBER: dict[int, tuple[type[StoreError], str]] = {
    errno.ENOSPC: (StoreFull, FULL),
    errno.EDQUOT: (StoreFull, FULL),
    errno.EROFS: (StoreReadOnly, READ_ONLY),
    errno.EACCES: (StoreReadOnly, READ_ONLY),
    errno.EPERM: (StoreReadOnly, READ_ONLY),
    errno.ENOENT: (StoreNotFound, "its directory does not exist; create that first"),
    errno.ENOTDIR: (StoreNotFound, "its directory is a file; name a directory that exists"),
    errno.ENAMETOOLONG: (StoreNotFound, "no file can have so long a name; give a shorter path"),
}


def name_of(error: sqlite3.Error) -> str:
    """SQLite's name of the error; "" for one that came from the Python module itself."""
    return getattr(error, "sqlite_errorname", None) or ""


def translate(url: str, error: Exception, *, opening: bool = False) -> Exception:
    """A new error of ours for one of SQLite's or the system's, which becomes its cause. Any other is returned as it is."""
    ours: DanubeError
    if isinstance(error, sqlite3.Error):
        ours = _from_sqlite(url, error, opening)
    elif isinstance(error, OSError):
        kind, problem = _BY_NUMBER.get(error.errno or 0, (StoreUnavailable, "the system refused; try again"))
        ours = kind(url, f"{problem} ({error.strerror or error})")
    else:
        return error
    ours.__cause__ = error
    return ours


def _from_sqlite(url: str, error: sqlite3.Error, opening: bool) -> DanubeError:
    name = name_of(error)
    if name == "SQLITE_TOOBIG":
        return InvalidArgument("payload", "with key and attributes larger than the 1,000,000,000 bytes that a row can hold")
    if opening and name == "SQLITE_NOTADB":
        return NotAStore(url, "the file is something else, not a store; give another path")
    if opening and name == "SQLITE_ERROR":  # a table or column is missing
        return StoreDamaged(url, f"{DAMAGED} ({error})")
    for prefix, kind, problem in _BY_NAME:
        if name.startswith(prefix):
            return kind(url, f"{problem} ({name}: {error})")
    return StoreUnavailable(url, f"{name or type(error).__name__}: {error}")
