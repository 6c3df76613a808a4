"""The back end `sqlite:PATH`: one file for a store, shared by any number of processes of one machine.

schema.py    the tables, and the opening and building of a file
codec.py     rows and their checksums
writer.py    the one thread that writes: group commit
log.py       a topic's messages
leases.py    subscriptions: the SQL behind their leases, positions and requests
store.py     the store, which puts them together
errors.py    SQLite's and the system's errors as ours
"""

from .store import SqliteStore, open_sqlite

__all__ = ["SqliteStore", "open_sqlite"]
