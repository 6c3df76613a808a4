"""Compares what several processes took and had acknowledged of one file, whoever was stopped, woken or killed meanwhile."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from crash.journal import Record
from crash.rivals import FLUSH
from crash.workload import Item, digest


@dataclass
class Overlaps:
    """What was measured. Times in seconds."""

    published: int = 0
    taken: int = 0
    accepted: int = 0
    refused: int = 0
    """Acks answered False."""
    takeovers: int = 0
    """Owners that were alive, awake or not, when another took over."""
    noticed: int = 0
    """Of them, those that lived to hear of it."""
    both: int = 0
    """Messages that the old owner had in hand when the new one took them, too."""
    late_takes: int = 0
    """Taken by an old owner after a new one owned: they lay in a box, or it had not looked at its clock yet."""
    worst_late_takes: int = 0
    """Most after one takeover."""
    accepted_late: int = 0
    """Acks that an old owner accepted after a new one owned (flush_interval > 0 only): not durable, so they come again."""
    duplicates: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FLUSH, 0))
    """Taken by a later owner though an ack had been accepted, by subscription."""
    unaware: list[float] = field(default_factory=list[float])
    """From the takeover until the old owner noticed."""
    waking: list[float] = field(default_factory=list[float])
    """From its waking until it noticed."""

    def add(self, other: Overlaps) -> None:
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(value, dict):
                for key, count in value.items():
                    mine[key] += count
            else:
                setattr(self, name, max(mine, value) if name.startswith("worst") else mine + value)


class Referee:
    """Of one file."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.findings: list[str] = []
        self.overlaps = Overlaps()
        self.published: dict[int, str] = {}
        self.asked: set[str] = set()
        self.acked: dict[str, dict[int, int]] = {name: {} for name in FLUSH}
        """Offset and first epoch of each ack that was accepted."""
        self.undecided: dict[str, set[tuple[int, int, int]]] = {name: set() for name in FLUSH}
        """Epoch, offset and attempt of each ack without an answer."""
        self.stored: dict[int, str] = {}
        self.audited: str | None = None
        """What the last audit found that is not settled; "" when all is."""
        self.owner: dict[str, tuple[int, int] | None] = dict.fromkeys(FLUSH)
        """Epoch and process of the owner, as far as it was said."""

    def must(self, holds: bool, what: str) -> None:
        if not holds:
            self.findings.append(what)

    def hear(self, record: Record) -> None:
        self.records.append(record)
        what, values = record.what, record.values
        if what == "publish":
            self.asked.add(values[0])
        elif what == "published":
            self.published[values[1]] = values[0]
        elif what == "ack":
            self.undecided[values[0]].add((values[1], values[2], values[3]))
        elif what == "acked":
            self.undecided[values[0]].discard((values[1], values[2], values[3]))
            if values[-1]:
                acked = self.acked[values[0]]
                acked[values[2]] = min(values[1], acked.get(values[2], values[1]))
        elif what == "owned":
            self.owner[values[0]] = (values[1], record.by)
        elif what == "stored":
            offset, identity, found = values
            self.stored[offset] = identity
            self.must(found == digest(Item.of(identity).message), f"message {offset} is not stored as it was published")
        elif what == "audited":
            self.audited = "" if values[0] else f"cursors {values[1]}, head {values[2]}"
        elif what == "error":
            self.must(False, f"a process failed: {values[0]}")

    def close(self) -> None:
        """Nothing follows: judge."""
        self.overlaps.published = len(self.published)
        self.must(self.audited == "", f"not settled in time (L1): {self.audited}")
        for offset, identity in self.published.items():
            self.must(self.stored.get(offset) == identity, f"{identity} was published as {offset}, where {self.stored.get(offset)} is stored")
        self.must(len(set(self.stored.values())) == len(self.stored), "a message is in the log twice")
        self.must(set(self.stored.values()) <= self.asked, "messages in the log that nobody published")
        for name in FLUSH:
            self._judge(name)

    def _judge(self, name: str) -> None:
        overlaps, acked = self.overlaps, self.acked[name]
        newest = -1
        """The epoch that owns, as far as was heard: by an "owned", or by something taken."""
        since: dict[int, float] = {}
        front: dict[int, tuple[int, int]] = {}
        """By epoch, the last taken offset and attempt."""
        tried: set[int] = set()
        in_hand: dict[int, int] = {}
        late: Counter[int] = Counter()
        gone: set[int] = set()
        woken: dict[int, float] = {}
        process: dict[int, int] = {}
        for at, what, values, by in self.records:
            if what == "woken":
                woken[values[0]] = at
            elif what in ("killed", "ended"):
                gone |= {epoch for epoch, whose in process.items() if whose == values[0]}
            if what not in ("owned", "lost", "took", "ack", "acked") or values[0] != name:
                continue
            epoch = values[1]
            process[epoch] = by
            if what == "owned" and epoch > newest:
                if newest in process and newest not in gone:
                    overlaps.takeovers += 1
                newest = epoch
                since[epoch] = at
            elif what == "lost":
                gone.add(epoch)
                if epoch != newest:
                    overlaps.noticed += 1
                    after = min((when for other, when in since.items() if other > epoch), default=at)
                    overlaps.unaware.append(max(0.0, at - after))
                    if woken.get(by, 0.0) > after:
                        overlaps.waking.append(at - woken[by])
            elif what == "took":
                _, _, offset, attempt, identity, found = values
                overlaps.taken += 1
                self.must(found == digest(Item.of(identity).message), f"{name}: message {offset} is not as it was published")
                self.must(self.stored.get(offset) == identity, f"{name}: {offset} was {identity}, and {self.stored.get(offset)} is stored")
                self.must(
                    all(each in tried for each in range(front.get(epoch, (0, 0))[0], offset)), f"{name}: {offset} came, and one before it was never acked (S2)"
                )
                before = front.get(epoch)
                if before is not None:
                    self.must(offset > before[0] or (offset == before[0] and attempt > before[1]), f"{name}: {offset} (attempt {attempt}) came after {before}")
                front[epoch] = (offset, attempt)
                if epoch < newest:
                    late[epoch] += 1
                if any(other < epoch and held == offset and other not in gone for other, held in in_hand.items()):
                    overlaps.both += 1
                in_hand[epoch] = offset
                if acked.get(offset, epoch) < epoch:
                    overlaps.duplicates[name] += 1
                    self.must(FLUSH[name] > 0, f"{name}: {offset} came to epoch {epoch}, though epoch {acked[offset]} had its ack accepted, durably (S4)")
            elif what == "ack":
                tried.add(values[2])
            elif what == "acked":
                in_hand.pop(epoch, None)
                overlaps.accepted += values[-1]
                overlaps.refused += not values[-1]
                overlaps.accepted_late += values[-1] and epoch < newest
        overlaps.late_takes += late.total()
        overlaps.worst_late_takes = max([overlaps.worst_late_takes, *late.values()])
        for epoch, count in late.items():
            self.must(count <= 1, f"{name}: epoch {epoch} took {count} messages after a later one owned, and may have one in hand")
        missing = self.stored.keys() - acked.keys() - {offset for _, offset, _ in self.undecided[name]}
        self.must(not missing, f"{name}: never acknowledged: {sorted(missing)[:10]}")
