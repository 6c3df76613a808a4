"""Compares what was said to a publisher and to consumers with what comes later, over all lives of one store's file.

It knows the records, the messages and what the documents promise, and nothing of the code. Where a kill leaves open whether a call took effect, both
are allowed; everything else is a finding.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from crash.journal import Record
from crash.workload import BY_NAME, DEAD, FLUSH_MESSAGES, TOPIC, Item, Profile, digest

LEASE, HEARTBEAT = 10.0, 0.5
"""Seconds, as the documents say."""
OF_THE_PROCESS = {"born", "opened", "rows", "publish", "published", "row", "renew", "killed", "error", "stuck", "stored", "ended"}
"""Records about no subscription in particular."""
SLACK = 0.01
"""Seconds of the virtual clock."""


@dataclass
class Tally:
    """What was seen."""

    records: int = 0
    published: int = 0
    taken: int = 0
    acked: int = 0
    redelivered: int = 0
    """Taken with an attempt beyond the first."""
    duplicates: int = 0
    """Taken though an ack was accepted before."""
    worst: dict[str, int] = field(default_factory=dict[str, int])
    """By subscription, the most duplicates after one kill."""
    takeovers: int = 0
    worst_takeover: float = 0.0
    """Virtual seconds from the last renewal that a dead owner began until its successor owned."""
    dead_letters: int = 0
    dead_letter_copies: int = 0
    dropped: int = 0
    released: int = 0
    deadly: int = 0
    """Payloads that killed their process."""
    deadly_crashes: int = 0
    worst_crashes: int = 0
    """Crashes by one payload beyond its policy's limit, while no clean close came between."""
    rows: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])

    def add(self, other: Tally) -> None:
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(value, set):
                mine |= value
            elif isinstance(value, dict):
                self.worst = {key: max(mine.get(key, 0), value.get(key, 0)) for key in {**mine, **value}}
            else:
                setattr(self, name, max(mine, value) if name.startswith("worst") else mine + value)


class Book:
    """What is known of one subscription."""

    def __init__(self, profile: Profile, judge: Judge) -> None:
        self.profile = profile
        self.judge = judge
        self.end = "none"
        """How its last tenure ended: none, clean, unclean, or unknown."""
        self.lease_until = -1.0
        """When the lease of the last owner ends at the latest."""
        self.acked: dict[int, float] = {}
        """Acks that were accepted, and when."""
        self.asked: set[int] = set()
        """Acks that may have been."""
        self.releases: dict[int, set[str]] = {}
        self.charges: Counter[int] = Counter()
        """Failures that may have been charged."""
        self.certain: Counter[int] = Counter()
        """Those that must have been, since the last retry."""
        self.floor = -1
        """Everything up to here is settled and durable, as promised or as read."""
        self.front = 0
        """The first message that cannot have been settled."""
        self.fates: dict[int, str] = {}
        """Of those that were passed without an ack: the word of the policy or of the release."""
        self.attempts: dict[int, int] = {}
        """The last one that is durable."""
        self.crashes: dict[int, list[bool]] = {}
        """By a deadly message: whether the owner was surely careful, each time."""
        self._begin(careful=0, plain=True)

    def _begin(self, *, careful: int, plain: bool) -> None:
        self.careful = careful
        """For how many more messages the owner is surely careful."""
        self.plain = plain
        """Whether it surely is not."""
        self.last: tuple[int, int] | None = None
        """Offset and attempt of the last one taken."""
        self.answered = False
        self.refused = False
        """Whether a nack is under way that will be charged."""
        self.tenure: list[tuple[float, int]] = []
        """Acks accepted in this tenure."""
        self.asked_now: set[int] = set()
        """Acks that may have been accepted in this tenure."""
        self.again: set[int] = set()
        self.flushing = -1
        self.taken_away: set[int] = set()
        self.closing = False

    def must(self, holds: bool, what: str) -> None:
        self.judge.must(holds, f"{self.profile.name}: {what}", self.profile.name)

    # the subscription

    def on_subscribe(self, at: float) -> None:
        self.opened_as, self.asked_at, self.dead_until = self.end, at, self.lease_until
        self.end = "unclean" if self.end == "unclean" else "unknown"

    def on_acquire(self, at: float) -> None:
        """It tries: killed now, it may or may not have got the lease."""
        self.lease_until = at + LEASE

    def on_owned(self, at: float) -> None:
        unclean = self.opened_as == "unclean"
        if unclean:
            took = at - max(self.dead_until - LEASE, self.asked_at - LEASE - HEARTBEAT)
            if self.asked_at < self.dead_until:
                self.judge.tally.takeovers += 1
                self.judge.tally.worst_takeover = max(self.judge.tally.worst_takeover, took)
            self.must(took <= LEASE + HEARTBEAT + SLACK, f"taken over {took:.2f} s after the last renewal of its dead owner began (L4)")
        self.end = "unclean"
        self._begin(careful=FLUSH_MESSAGES if unclean else 0, plain=self.opened_as == "clean")

    def on_closing(self, at: float) -> None:
        self.end = "unknown"
        self.closing = True

    def on_closed(self, at: float) -> None:
        self.end = "clean"
        if self.tenure:
            self.floor = max(self.floor, self.tenure[-1][1])
        if self.last is not None and self.last[0] not in self.asked:
            self.attempts[self.last[0]] = self.last[1]
        self._begin(careful=0, plain=True)

    def row(self, cursor: int, owner: str) -> None:
        """What the store says, read by a later process."""
        self.must(cursor >= self.floor, f"the stored cursor is {cursor}, but everything up to {self.floor} was durable")
        self.pass_to(cursor + 1, "the stored cursor is behind it")
        self.must(owner == "" or self.end != "clean", f"it was closed, and yet {owner} owns it")
        self.floor = max(self.floor, cursor)

    def died(self, at: float) -> None:
        """The process is gone; the last record was written then."""
        if self.end not in ("unclean", "unknown") or self.judge.life_of(self.profile.name) is False:
            return
        if not self.closing:
            for when, offset in self.tenure:
                if when + self.profile.flush_interval < at - SLACK:
                    self.floor = max(self.floor, offset)
        last = None if self.last is None else self.last[0]
        if not self.plain:
            top = last if last is not None else max([*self.asked, *self.fates, self.floor])
            while self.verdict(top + 1):  # it met its verdict as soon as the next was asked for
                top += 1
            self.charges.update(range(self.floor + 1, top + 2))
        if self.careful and last is not None and not self.closing and not self.answered:
            self.certain[last] += 1
        self._begin(careful=0, plain=True)

    # deliveries

    def settled(self, offset: int) -> bool:
        """Whether it may be."""
        return offset in self.asked or self.verdict(offset)

    def verdict(self, offset: int) -> bool:
        """Whether it may be, by policy or by a release."""
        return bool(self.releases.get(offset, set()) & {"drop", "dead_letter"}) or self.exhausted(offset)

    def exhausted(self, offset: int) -> bool:
        return self.profile.policy.poison_policy != "block" and self.charges[offset] > self.profile.policy.max_redeliveries

    def pass_to(self, offset: int, why: str) -> None:
        """Everything before `offset` must have been settled by now."""
        while self.front < offset:
            passed = self.front
            self.must(self.settled(passed), f"message {passed} was never settled ({self.charges[passed]} possible failures), and {why} (S2)")
            if passed not in self.asked:
                released = self.releases.get(passed, set())
                self.fates[passed] = "drop" if "drop" in released else "dead_letter" if released else self.profile.policy.poison_policy
            self.front += 1

    def on_took(self, at: float, consumer: str, offset: int, attempt: int, identity: str, found: str) -> None:
        tally = self.judge.tally
        tally.taken += 1
        tally.redelivered += attempt > 1
        self.judge.check_message(self.profile.name, TOPIC, offset, identity, found)
        self.pass_to(offset, f"{offset} was given out")
        self.must(offset > self.floor, f"{offset} came again, though everything up to {self.floor} was durable")
        limit = self.profile.policy.max_redeliveries
        self.must(self.certain[offset] <= limit, f"{offset} was given out after {self.certain[offset]} failures, and its limit is {limit} (S13)")
        if self.last is not None:
            before, number = self.last
            self.must(offset >= before, f"{offset} was given out after {before} (S7)")
            if offset == before:
                self.must(attempt > number, f"attempt {attempt} of {offset} follows attempt {number}")
                self.must(not any(each == offset for _, each in self.tenure[-1:]), f"{offset} was given out again after its ack was accepted (S3)")
            for passed in range(before, offset):
                settled = passed in self.asked_now or self.verdict(passed)
                self.must(settled, f"{offset} was given out while {passed} was not settled (S1, S2)")
        # what met its verdict counts in careful mode like what was acked
        since = self.floor + 1 if self.last is None else self.last[0]
        self.careful = max(0, self.careful - sum(passed not in self.asked_now for passed in range(since, offset)))
        known = self.attempts.get(offset, 0)
        self.must(attempt > known, f"attempt {attempt} of {offset} came again: {known} was durable")
        if offset in self.acked and offset not in self.again:
            self.again.add(offset)
            tally.duplicates += 1
            tally.worst[self.profile.name] = max(tally.worst.get(self.profile.name, 0), len(self.again))
        if self.careful:
            self.floor = max(self.floor, offset - 1)
            if self.last is None or self.last[0] != offset:
                self.attempts[offset] = attempt
        self.last = (offset, attempt)
        self.answered = False

    def on_ack(self, at: float, offset: int, attempt: int, kind: str) -> None:
        if kind == "prompt":
            self.answered = True
            self.asked.add(offset)
            self.asked_now.add(offset)
            self.strict = self.profile.flush_interval == 0 or self.careful > 0
            self.careful = max(0, self.careful - 1)

    def on_acked(self, at: float, offset: int, attempt: int, kind: str, counted: bool) -> None:
        if not self.may_fail(offset) or (counted and kind == "late"):
            self.must(counted == (kind == "prompt"), f"a {kind} ack of {offset} was answered {counted} (S3)")
        if not counted:
            return
        self.judge.tally.acked += 1
        self.acked[offset] = at
        self.tenure.append((at, offset))
        if self.strict:
            self.floor = max(self.floor, offset)
        if len(self.tenure) > FLUSH_MESSAGES:
            self.floor = max(self.floor, self.tenure[-FLUSH_MESSAGES - 1][1])

    def on_nack(self, at: float, offset: int, attempt: int) -> None:
        self.charges[offset] += 1
        self.answered = self.refused = True

    def on_nacked(self, at: float, offset: int, attempt: int, counted: bool) -> None:
        self.must(counted or self.may_fail(offset), f"a nack of {offset} was answered False")
        if counted:
            self.certain[offset] += self.refused
            self.floor = max(self.floor, offset - 1)
            self.attempts[offset] = attempt

    def on_stall(self, at: float, offset: int) -> None:
        self.charges[offset] += 1
        self.answered = True

    on_leave = on_replace = on_stall

    def on_intrude(self, at: float) -> None:
        """Another consumer takes over from one that may have the message."""
        if self.last is not None:
            self.taken_away.add(self.last[0])
            self.charges[self.last[0]] += 1

    def may_fail(self, offset: int) -> bool:
        """Whether an answer in time may count for nothing."""
        return self.closing or offset in self.taken_away

    def on_extended(self, at: float, offset: int, counted: bool) -> None:
        self.must(counted or self.may_fail(offset), f"an extension of {offset} was answered False")

    def on_repeated(self, at: float, offset: int, *counted: bool) -> None:
        self.must(not any(counted), f"{offset} was acked, and then a nack and an extension were answered {counted} (S3)")

    def on_flush(self, at: float) -> None:
        self.flushing = self.tenure[-1][1] if self.tenure else -1

    def on_flushed(self, at: float, done: bool) -> None:
        if done:
            self.floor = max(self.floor, self.flushing)

    def on_release(self, at: float, offset: int, action: str) -> None:
        self.releases.setdefault(offset, set()).add(action)
        if action == "retry":
            self.certain[offset] = 0
            self.refused = False  # a nack that is not answered yet was forgiven, too
            self.crashes.pop(offset, None)
            self.last = (offset, self.attempts.get(offset, 0))  # what comes is no first send

    def on_released(self, at: float, offset: int, action: str) -> None:
        self.judge.tally.released += 1
        if action != "retry":
            self.floor = max(self.floor, offset)

    def on_deadly(self) -> None:
        """The message just taken kills the process."""
        assert self.last is not None
        tally, crashes = self.judge.tally, self.crashes.setdefault(self.last[0], [])
        tally.deadly += not crashes
        tally.deadly_crashes += 1
        crashes.append(self.careful > 0)
        beyond = len(crashes) - self.profile.policy.max_redeliveries - max(0, crashes.count(False) - 1)
        tally.worst_crashes = max(tally.worst_crashes, beyond)
        self.must(beyond <= 2, f"{self.last[0]} has killed its process {len(crashes)} times, and its limit is {self.profile.policy.max_redeliveries}")


class Judge:
    """Of one file."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.findings: list[str] = []
        self.kills: Counter[str] = Counter()
        self.at = 0.0
        self.books = {name: Book(profile, self) for name, profile in BY_NAME.items()}
        self.lives = self.ended = 0
        self._alive: set[str] = set()
        self._asked: dict[str, int] = {}
        """The ids that were given to publish, in order."""
        self._published: dict[str, int | None] = {}
        """Those that are in, and where, if that was said."""
        self._log: dict[int, str] = {}
        self._dead: Counter[tuple[str, int]] = Counter()
        self._told: list[Record] = []
        self.story: list[str] = []
        """What led to the first finding."""

    def must(self, holds: bool, what: str, subscription: str = "") -> None:
        if not holds:
            if not self.findings:
                self.story = self._tell(subscription)
            self.findings.append(what)

    def life_of(self, subscription: str) -> bool:
        """Whether the life under way had to do with it."""
        return subscription in self._alive

    def hear(self, record: Record) -> None:
        self.tally.records += 1
        self._told.append(record)
        self.at, what, values, _ = record
        if what in OF_THE_PROCESS:
            getattr(self, f"on_{what}")(*values)
        else:
            name, *rest = values
            self._alive.add(name)
            getattr(self.books[name], f"on_{what}")(self.at, *rest)

    def died(self) -> None:
        """The process that wrote the records is gone."""
        for book in self.books.values():
            if self.life_of(book.profile.name):
                book.died(self.at)
        self._alive.clear()

    def _tell(self, subscription: str, lines: int = 40) -> list[str]:
        """The last records about it."""
        about = [
            each for each in self._told if each.what != "acquire" and (each.what in ("born", "killed", "opened") or subscription in ("", *each.values[:1]))
        ]
        return [f"{record.at:.3f} {record.what} {record.values}" for record in about[-lines:]]

    # records

    def on_born(self, number: int) -> None:
        self.lives += 1

    def on_ended(self) -> None:
        self.ended += 1

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
            _, subscription, place = origin
            self.must(subscription in self.books and place is not None and place.isdigit(), f"dead letter {offset} comes from {origin}")
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
