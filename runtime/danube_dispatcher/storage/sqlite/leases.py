"""The SQL behind leases, positions and requests. Each function runs inside a transaction and raises before it has written anything."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from danube_statemachines import Progress, advanced

from ...errors import CursorUnreadable
from ..protocols import Lease, Occupied, Request, Row, Spec
from ..rules import Tenure, fenced, no_subscription, no_topic, occupied, sound
from .codec import decode_progress, encode_held, progress_checksum

_OWNED = "epoch = ? AND owner <> ''"
_PROGRESS = "cursor, held, paused, careful, checksum"
_THESE = "epoch IN (SELECT value FROM json_each(?))"
# of a lease that shares a term, what counts of its time is the term's; renewals only ever add up, so that a stamp never repeats
_JOINED = "subscriptions LEFT JOIN terms ON terms.id = term"
_UNTIL = "coalesce(terms.until, subscriptions.until)"


class Shared(NamedTuple):
    """The leases that share a term, as of a commit: they are the same as long as the term's count of `changes` is."""

    term: int = 0
    changes: int = 0
    epochs: frozenset[int] = frozenset()


class Leases:
    """What these statements need to know of their store."""

    def __init__(self, url: str, seed: int) -> None:
        self._url = url
        self._seed = seed

    def load(self, connection: sqlite3.Connection, lease: Lease) -> Progress:
        found = connection.execute(f"SELECT {_PROGRESS} FROM subscriptions WHERE {_OWNED}", (lease.epoch,)).fetchall()
        if not found:
            raise fenced(self._url, lease)
        return self._progress(lease.topic, lease.subscription, *found[0])

    def store(self, connection: sqlite3.Connection, lease: Lease, progress: Progress, let_go: bool) -> None:
        if not self._write(connection, lease, progress, let_go):
            saved = self.load(connection, lease)  # raises Fenced; otherwise the cursor would have gone back
            self._write(connection, lease, advanced(saved, progress), let_go)
        if let_go:
            self._leave(connection, [lease.epoch])

    def _write(self, connection: sqlite3.Connection, lease: Lease, progress: Progress, let_go: bool) -> bool:
        held = encode_held(progress.held)
        total = progress_checksum(self._seed, lease.topic, lease.subscription, progress.cursor, held, progress.paused, progress.careful)
        done = connection.execute(
            f"UPDATE subscriptions SET cursor = ?, held = ?, paused = ?, careful = ?, checksum = ?, owner = iif(?, '', owner) WHERE {_OWNED} AND cursor <= ?",
            (progress.cursor, held, progress.paused, progress.careful, total, let_go, lease.epoch, progress.cursor),
        )
        return done.rowcount == 1

    def acquire(
        self, connection: sqlite3.Connection, topic: str, subscription: str, owner: str, now: float, seconds: float, new: Spec | None, stamp: int | None
    ) -> Lease | Occupied:
        number = connection.execute("SELECT id FROM topics WHERE name = ?", (topic,)).fetchall()
        found = (
            number
            and connection.execute(
                f"SELECT type, owner, {_UNTIL}, epoch, subscriptions.renewals + coalesce(terms.renewals, 0) FROM {_JOINED} WHERE topic = ? AND name = ?",
                (number[0][0], subscription),
            ).fetchall()
        )
        if found:
            tenure = Tenure(*found[0])
            other = occupied(topic, subscription, tenure, new, now=now, stamp=stamp)
            if other is not None:
                return other
            self._leave(connection, [tenure.epoch])
            epoch = self._next_epoch(connection)
            connection.execute(
                "UPDATE subscriptions SET epoch = ?, owner = ?, until = ?, renewals = 0, status = '' WHERE epoch = ?",
                (epoch, owner, now + seconds, tenure.epoch),
            )
            # an old request must not be carried out on whatever the new owner happens to hold
            connection.execute("DELETE FROM requests WHERE epoch = ? AND answer IS NULL", (tenure.epoch,))
            return Lease(topic, subscription, epoch, unclean=bool(tenure.owner))
        if new is None:
            raise no_subscription(topic, subscription)
        if not number:
            raise no_topic(self._url, topic)
        epoch = self._next_epoch(connection)
        total = progress_checksum(self._seed, topic, subscription, new.cursor, "", False, 0)
        connection.execute(
            f"INSERT INTO subscriptions (epoch, topic, name, type, owner, until, renewals, term, status, {_PROGRESS})"
            " VALUES (?, ?, ?, ?, ?, ?, 0, 0, '', ?, '', 0, 0, ?)",
            (epoch, number[0][0], subscription, new.type, owner, now + seconds, new.cursor, total),
        )
        return Lease(topic, subscription, epoch, unclean=False, created=True)

    def renew(self, connection: sqlite3.Connection, known: Shared, leases: Mapping[Lease, str | None], until: float) -> tuple[set[Lease], Shared]:
        """Prolong them; return those still held, and who shares the term of this process now. `known`: who did when the last renewal was committed.

        The leases that a process renews share a term, so that as a rule one short row is written, however many they are.
        """
        epochs = frozenset([lease.epoch for lease in leases])
        as_before = epochs == known.epochs and connection.execute(
            "UPDATE terms SET until = ?, renewals = renewals + 1 WHERE id = ? AND changes = ?", (until, known.term, known.changes)
        )
        if as_before and as_before.rowcount == 1:
            held = set(leases)
        else:
            known = self._sharing(connection, known)
            named = known.epochs & epochs
            others = known.epochs - epochs
            if len(others) > len(epochs):
                alive: Collection[int] = self._renew_apart(connection, epochs, until)
            else:
                self._leave(connection, others)
                joined, known = self._renew_together(connection, known, epochs - named, until)
                alive = named | joined
            known = self._sharing(connection, known)
            held = {lease for lease in leases if lease.epoch in alive}
        statuses = [(lease.epoch, status) for lease, status in leases.items() if status is not None and lease in held]
        if statuses:
            connection.execute(
                "UPDATE subscriptions SET status = json_extract(wanted.value, '$[1]')"
                " FROM json_each(?) AS wanted WHERE epoch = json_extract(wanted.value, '$[0]')",
                (json.dumps(statuses),),
            )
        return held, known

    def _sharing(self, connection: sqlite3.Connection, known: Shared) -> Shared:
        """Who shares the term now: others may have taken a lease meanwhile, and this process have let go of one."""
        found = connection.execute("SELECT changes FROM terms WHERE id = ?", (known.term,)).fetchall()
        if not found:
            return Shared()
        if found[0][0] == known.changes:
            return known
        epochs = connection.execute("SELECT epoch FROM subscriptions WHERE term = ?", (known.term,)).fetchall()
        return Shared(known.term, found[0][0], frozenset([epoch for (epoch,) in epochs]))

    def _renew_together(self, connection: sqlite3.Connection, known: Shared, newcomers: Collection[int], until: float) -> tuple[set[int], Shared]:
        joined: set[int] = set()
        if newcomers:
            self._leave(connection, newcomers)
            if not known.term:
                connection.execute("DELETE FROM terms WHERE id NOT IN (SELECT term FROM subscriptions)")  # of processes that are gone
                ((term,),) = connection.execute("INSERT INTO terms (until, renewals, changes) VALUES (0, 0, 0) RETURNING id").fetchall()
                known = Shared(term)
            rows = connection.execute(
                f"UPDATE subscriptions SET term = ? WHERE {_THESE} AND owner <> '' RETURNING epoch", (known.term, json.dumps(list(newcomers)))
            ).fetchall()
            joined.update([epoch for (epoch,) in rows])
        connection.execute("UPDATE terms SET until = ?, renewals = renewals + 1, changes = changes + 1 WHERE id = ?", (until, known.term))
        return joined, known

    def _renew_apart(self, connection: sqlite3.Connection, epochs: Collection[int], until: float) -> set[int]:
        """A few of many that share a term, as when one is run out."""
        self._leave(connection, epochs)
        rows = connection.execute(
            f"UPDATE subscriptions SET until = ?, renewals = renewals + 1 WHERE {_THESE} AND owner <> '' RETURNING epoch", (until, json.dumps(list(epochs)))
        ).fetchall()
        return {epoch for (epoch,) in rows}

    def _leave(self, connection: sqlite3.Connection, epochs: Collection[int]) -> None:
        """From now on each has its own time: what it was until now."""
        these = json.dumps(list(epochs))
        left = connection.execute(f"UPDATE terms SET changes = changes + 1 WHERE id IN (SELECT term FROM subscriptions WHERE {_THESE} AND term <> 0)", (these,))
        if left.rowcount:
            connection.execute(
                "UPDATE subscriptions SET until = terms.until, renewals = subscriptions.renewals + terms.renewals, term = 0"
                f" FROM terms WHERE terms.id = term AND {_THESE}",
                (these,),
            )

    def remove(self, connection: sqlite3.Connection, lease: Lease) -> None:
        gone = connection.execute(f"DELETE FROM subscriptions WHERE {_OWNED} RETURNING term", (lease.epoch,)).fetchall()
        if not gone:
            raise fenced(self._url, lease)
        connection.execute("UPDATE terms SET changes = changes + 1 WHERE id = ?", gone[0])
        connection.execute("DELETE FROM requests WHERE epoch = ?", (lease.epoch,))

    def rows(self, connection: sqlite3.Connection, topic: str | None) -> list[Row]:
        found = connection.execute(
            f"SELECT topics.name, subscriptions.name, type, owner, {_UNTIL}, epoch, status, {_PROGRESS}"
            f" FROM {_JOINED} JOIN topics ON topics.id = topic WHERE ?1 IS NULL OR topics.name = ?1 ORDER BY topics.name, subscriptions.name",
            (topic,),
        ).fetchall()
        return [
            Row(name, subscription, type_, owner, until, epoch, self._progress(name, subscription, *progress), status)
            for name, subscription, type_, owner, until, epoch, status, *progress in found
        ]

    def ask(self, connection: sqlite3.Connection, topic: str, subscription: str, action: str) -> int:
        asked = connection.execute(
            "INSERT INTO requests (epoch, action) SELECT epoch, ? FROM subscriptions JOIN topics ON topics.id = topic"
            " WHERE topics.name = ? AND subscriptions.name = ? RETURNING id",
            (sound(action), topic, subscription),
        ).fetchall()
        if not asked:
            raise no_subscription(topic, subscription)
        number: int = asked[0][0]
        return number

    def asked(self, connection: sqlite3.Connection) -> list[Request]:
        found = connection.execute("SELECT id, epoch, action FROM requests WHERE answer IS NULL ORDER BY id")
        return [Request(*row) for row in found.fetchall()]

    def answer(self, connection: sqlite3.Connection, request: int, answer: str) -> None:
        connection.execute("UPDATE requests SET answer = ? WHERE id = ?", (sound(answer), request))

    def answered(self, connection: sqlite3.Connection, request: int) -> str | None:
        found = connection.execute("SELECT answer FROM requests WHERE id = ?", (request,)).fetchall()
        return found[0][0] if found else None

    def take_answer(self, connection: sqlite3.Connection, request: int) -> str | None:
        answer = self.answered(connection, request)
        connection.execute("DELETE FROM requests WHERE id = ?", (request,))
        return answer

    def _next_epoch(self, connection: sqlite3.Connection) -> int:
        ((epoch,),) = connection.execute("UPDATE store SET epoch = epoch + 1 RETURNING epoch").fetchall()
        number: int = epoch
        return number

    def _progress(self, topic: str, subscription: str, *columns: Any) -> Progress:
        progress = decode_progress(self._seed, topic, subscription, *columns)
        if progress is None:
            raise CursorUnreadable(
                topic, subscription, "its saved position is not what was written; unsubscribe, then subscribe again from where it shall go on"
            )
        return progress
