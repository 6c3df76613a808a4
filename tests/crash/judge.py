"""Compares what was said to a publisher and to consumers with what comes later, over all lives of one store's file.

It knows the records, the messages and what the documents promise, and nothing of the code.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from crash.book import LEASE, Book, Tally
from crash.journal import Record
from crash.workload import BY_NAME, DEAD, TOPIC, Item, digest

LANDMARKS = {"born", "ended"}
OF_THE_PROCESS = {"opened", "rows", "publish", "published", "row", "renew", "killed", "error", "stuck", "stored"}
"""Records about no subscription in particular."""


class Judge:
    """Of one file."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.findings: list[str] = []
        self.kills: Counter[str] = Counter()
        self.at = 0.0
        self.books = {name: Book(profile, self.tally, self._complain) for name, profile in BY_NAME.items()}
        self._alive: set[str] = set()
        """The subscriptions that the life under way had to do with."""
        self._asked: dict[str, int] = {}
        """The ids that were given to publish, in order."""
        self._published: dict[str, int | None] = {}
        """Those that are in, and where, if that was said."""
        self._log: dict[int, str] = {}
        self._dead: Counter[tuple[str, int]] = Counter()
        self._told: list[Record] = []
        self.story: list[str] = []
        """What led to the first finding."""

    def must(self, holds: bool, what: str) -> None:
        if not holds:
            self._complain(what, "")

    def _complain(self, what: str, subscription: str) -> None:
        if not self.findings:
            self.story = self._tell(subscription)
        self.findings.append(what)

    def hear(self, record: Record) -> None:
        self.tally.records += 1
        self._told.append(record)
        self.at, what, values, _ = record
        if what in OF_THE_PROCESS:
            getattr(self, f"on_{what}")(*values)
        elif what not in LANDMARKS:
            name, *rest = values
            self._alive.add(name)
            if what == "took":
                _, offset, _, identity, found = rest
                self.check_message(name, TOPIC, offset, identity, found)
            getattr(self.books[name], f"on_{what}")(self.at, *rest)

    def died(self) -> None:
        """The process that wrote the records is gone."""
        for name in self._alive:
            self.books[name].died(self.at)
        self._alive.clear()

    def _tell(self, subscription: str, lines: int = 40) -> list[str]:
        """The last records about it."""
        about = [
            each for each in self._told if each.what != "acquire" and (each.what in ("born", "killed", "opened") or subscription in ("", *each.values[:1]))
        ]
        return [f"{record.at:.3f} {record.what} {record.values}" for record in about[-lines:]]

    # records

    def on_error(self, text: str) -> None:
        self.must(False, f"the process failed: {text}")

    def on_stuck(self, why: list[str]) -> None:
        self.must(False, f"not everything was settled in the end (L1): {'; '.join(why)}")

    def on_killed(self, why: str) -> None:
        self.kills[why] += 1
        if why == "deadly":
            took = next(record for record in reversed(self._told) if record.what == "took")
            self.books[took.values[0]].on_deadly()

    def on_row(self, machine: str, row: int) -> None:
        self.tally.rows.add((machine, row))

    def on_renew(self, subscriptions: list[str]) -> None:
        for name in subscriptions:
            self.books[name].lease_until = self.at + LEASE

    def on_opened(self, head: int, rows: list[Any]) -> None:
        last = max([offset for offset in self._published.values() if offset is not None], default=-1)
        self.must(head > last, f"the log ends before {head}, but {last} was published")
        self.on_rows(rows)

    def on_rows(self, rows: list[Any]) -> None:
        for name, cursor, owner in rows:
            self.books[name].row(cursor, owner)

    def on_publish(self, identities: list[str]) -> None:
        for identity in identities:
            self._asked[identity] = len(self._asked)

    def on_published(self, identities: list[str], offsets: list[int]) -> None:
        self.tally.published += len(identities)
        for nth, identity in enumerate(identities):
            self._published[identity] = offsets[nth] if offsets else None
            if offsets:
                self._place(offsets[nth], identity)

    def _place(self, offset: int, identity: str) -> None:
        known = self._log.setdefault(offset, identity)
        self.must(known == identity, f"offset {offset} is {identity} now and was {known} before")

    def check_message(self, reader: str, topic: str, offset: int, identity: str, found: str) -> None:
        self.must(identity in self._asked, f"{reader}: {identity[:40]!r} was never published")
        if identity in self._asked:
            self.must(found == digest(Item.of(identity).message), f"{reader}: message {identity} is not as it was published")
            if topic == TOPIC:
                self._place(offset, identity)

    def on_stored(self, topic: str, offset: int, identity: str, found: str, origin: list[str | None]) -> None:
        self.check_message("audit", topic, offset, identity, found)
        if topic == DEAD:
            source, subscription, place = origin
            known = source == TOPIC and subscription in self.books and place is not None and place.isdigit()
            self.must(known, f"dead letter {offset} says that it comes from {origin}")
            self._dead[str(subscription), int(place or -1)] += 1
            self.must(self._log.get(int(place or -1)) == identity, f"dead letter {offset} is {identity}, and {place} was {self._log.get(int(place or -1))}")

    # the end

    def close(self) -> None:
        """Nothing follows: compare what is there with what was said."""
        places = {identity: offset for offset, identity in self._log.items()}
        self.must(len(places) == len(self._log), "a message is in the log twice")
        self.must(sorted(self._log) == list(range(len(self._log))), "the log has gaps")
        for identity, offset in self._published.items():
            self.must(identity in places, f"{identity} was published and is not in the log")
            self.must(offset is None or places.get(identity) == offset, f"{identity} was published as {offset} and is at {places.get(identity)}")
        by_publisher: dict[str, list[str]] = {}
        for _, identity in sorted(self._log.items()):
            by_publisher.setdefault(identity.rpartition(".")[0], []).append(identity)
        for publisher, order in by_publisher.items():
            numbers = [self._asked[identity] for identity in order if identity in self._asked]
            self.must(numbers == sorted(numbers), f"publisher {publisher} finds its messages in another order")
        for book in self.books.values():
            self._close(book)
        for (subscription, offset), copies in self._dead.items():
            book = self.books[subscription]
            earned = book.exhausted(offset) or "dead_letter" in book.releases.get(offset, set())
            self.must(earned, f"{subscription}: {offset} is a dead letter after {book.charges[offset]} failures")
            self.tally.dead_letters += 1
            self.tally.dead_letter_copies += copies - 1

    def _close(self, book: Book) -> None:
        book.pass_to(len(self._log), "everything is settled now")
        book.must(book.floor == len(self._log) - 1, f"its cursor ended at {book.floor}, and the log at {len(self._log) - 1}")
        for offset, fate in book.fates.items():
            if fate == "dead_letter":
                book.must(bool(self._dead[book.profile.name, offset]), f"{offset} was to be dead-lettered, and there is no dead letter")
            self.tally.dropped += fate == "drop"
