"""The SQL behind leases, positions and requests. Each function runs inside a transaction and raises before it has written anything."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from danube_statemachines import Progress, advanced

from ...errors import CursorUnreadable
from ..protocols import Lease, Occupied, Request, Row, Spec
from ..rules import Tenure, fenced, no_subscription, no_topic, occupied, sound
from .codec import decode_progress, encode_held, progress_checksum

_OWNED = "epoch = ? AND owner <> ''"
_PROGRESS = "cursor, held, paused, careful, checksum"


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
        if self._write(connection, lease, progress, let_go):
            return
        saved = self.load(connection, lease)  # raises Fenced; otherwise the cursor would have gone back
        self._write(connection, lease, advanced(saved, progress), let_go)

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
                "SELECT type, owner, until, epoch, renewals FROM subscriptions WHERE topic = ? AND name = ?", (number[0][0], subscription)
            ).fetchall()
        )
        if found:
            tenure = Tenure(*found[0])
            other = occupied(topic, subscription, tenure, new, now=now, stamp=stamp)
            if other is not None:
                return other
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
            f"INSERT INTO subscriptions (epoch, topic, name, type, owner, until, renewals, status, {_PROGRESS})"
            " VALUES (?, ?, ?, ?, ?, ?, 0, '', ?, '', 0, 0, ?)",
            (epoch, number[0][0], subscription, new.type, owner, now + seconds, new.cursor, total),
        )
        return Lease(topic, subscription, epoch, unclean=False, created=True)

    def renew(self, connection: sqlite3.Connection, leases: Mapping[Lease, str | None], until: float) -> set[Lease]:
        wanted = json.dumps([(lease.epoch, status) for lease, status in leases.items()])
        renewed = connection.execute(
            "UPDATE subscriptions SET until = ?, renewals = renewals + 1, status = coalesce(json_extract(wanted.value, '$[1]'), status)"
            " FROM json_each(?) AS wanted WHERE epoch = json_extract(wanted.value, '$[0]') AND owner <> '' RETURNING epoch",
            (until, wanted),
        ).fetchall()
        epochs = {epoch for (epoch,) in renewed}
        return {lease for lease in leases if lease.epoch in epochs}

    def remove(self, connection: sqlite3.Connection, lease: Lease) -> None:
        if connection.execute(f"DELETE FROM subscriptions WHERE {_OWNED}", (lease.epoch,)).rowcount != 1:
            raise fenced(self._url, lease)
        connection.execute("DELETE FROM requests WHERE epoch = ?", (lease.epoch,))

    def rows(self, connection: sqlite3.Connection, topic: str | None) -> list[Row]:
        found = connection.execute(
            f"SELECT topics.name, subscriptions.name, type, owner, until, epoch, status, {_PROGRESS}"
            " FROM subscriptions JOIN topics ON topics.id = topic WHERE ?1 IS NULL OR topics.name = ?1 ORDER BY topics.name, subscriptions.name",
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

    def asked(self, connection: sqlite3.Connection, epochs: Sequence[int]) -> list[Request]:
        found = connection.execute(
            "SELECT id, epoch, action FROM requests WHERE answer IS NULL AND epoch IN (SELECT value FROM json_each(?)) ORDER BY id", (json.dumps(list(epochs)),)
        )
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
