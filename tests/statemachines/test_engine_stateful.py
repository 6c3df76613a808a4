"""The engine's core between a log and a disk that lag and fail, under an owner that crashes: what must hold whatever happens.

The reference knows the log, what is on the disk, and what was given out and settled; nothing of how the core decides.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from danube_statemachines import LATER, EngineCore, Held, Progress, Resumed

LEASE = 10.0
TURNS = 200
"""Rounds after which a driver that still has something to do, at one moment, is spinning."""


class Entry(NamedTuple):
    offset: int


class EngineRules(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.log: list[int] = []
        self.head = 0
        self.disk = Progress()
        self.settled: set[int] = set()

    @initialize(interval=st.sampled_from([0.0, 5.0]), messages=st.integers(2, 5), limit=st.sampled_from([None, None, 1.0]), published=st.integers(0, 5))
    def begin(self, interval: float, messages: int, limit: float | None, published: int) -> None:
        self.interval, self.messages, self.limit = interval, messages, limit
        self.publish(published, 0)
        self.open(unclean=False)

    def core_of(self, progress: Progress, *, unclean: bool) -> EngineCore[Entry]:
        return EngineCore[Entry](
            progress,
            now=self.now,
            lease_until=self.now + LEASE,
            unclean=unclean,
            flush_interval=self.interval,
            flush_messages=self.messages,
            rate_limit=self.limit,
        )

    def open(self, *, unclean: bool) -> None:
        """A run of an owner, with a consumer that is always there."""
        self.core = self.core_of(self.disk, unclean=unclean)
        self.reading: list[Entry] | None = None
        self.writing: Progress | None = None
        self.in_hand: Held | None = None
        self.idle = True
        self.tickets: list[int] = []
        self.lease_until = self.now + LEASE
        self.careful = self.messages if unclean else 0
        self.paused = self.disk.paused
        self.last = self.cursor = self.disk.cursor
        self.began, self.fresh = self.now, 0
        self.history = self.disk.held
        if self.history is not None and self.history.sent:
            charged = self.history.failures + unclean
            self.history = self.history._replace(sent=False, failures=charged, reason="process lost" if unclean else self.history.reason)
        self.poll()

    # the driver: as an adapter does it

    def poll(self) -> None:
        self.idle = False
        self.follow(asked=True)

    def follow(self, *, asked: bool = False) -> None:
        core = self.core
        decided = False
        for _ in range(TURNS):
            if asked:
                asked = False
                answer = core.poll(self.now)
                if answer is None:
                    self.idle = True
                elif answer is not LATER:
                    assert isinstance(answer, Entry | Resumed)
                    self.given(answer)
            if not core.attention and not core.news:
                break
            if core.attention:
                core.attention = False
                decided = True
                if core.wants_read:
                    assert self.reading is None
                    core.read_begun()
                    self.reading = [Entry(offset) for offset in self.log if offset >= core.next_offset][:3]
            news = core.take_news()
            asked = news == "poll" or (news == "wake" and self.idle)
            if asked:
                assert self.in_hand is None
                self.idle = False
        else:
            raise AssertionError("the core keeps its driver busy without anything happening")
        if not decided:
            return
        progress = core.begin_write(self.now)
        if progress is not None:
            assert self.writing is None, "one write at a time"
            self.writing = progress

    def given(self, answer: Entry | Resumed[Entry]) -> None:
        """A message is given out: was it its turn, and was all durable that must be?"""
        entry, held = answer if isinstance(answer, Resumed) else (answer, Held(answer.offset))
        offset = entry.offset
        assert self.in_hand is None
        assert offset == min(each for each in self.log if each > self.last), "in order, each once"
        history = self.history if self.history is not None and self.history.offset == offset else None
        if history is not None and (history.attempt or history.failures):
            assert (held.attempt, held.failures) == (history.attempt, history.failures), "with all of its history"
        else:
            assert isinstance(answer, Entry)
            assert not self.paused, "no intake while paused"
            self.fresh += 1
            if self.limit is not None:
                assert self.fresh <= 1 + self.limit * (self.now - self.began) + 1e-6, "throttled"
        assert self.now < self.lease_until, "not ours any more"
        if self.careful:
            assert self.disk.held is not None
            assert self.disk.held == held._replace(attempt=held.attempt + 1, sent=True), "marked before it is given out"
        if self.careful or self.interval == 0:
            assert not self.beyond(), "what was settled is durable before the next message leaves"
        self.last = offset
        self.history = None
        self.in_hand = held._replace(attempt=held.attempt + 1)

    def beyond(self) -> set[int]:
        """What this run has settled and a crash would have delivered again."""
        return {offset for offset in self.log if self.disk.cursor < offset <= self.cursor}

    def store(self, progress: Progress) -> None:
        assert progress.cursor >= self.disk.cursor, "the cursor on disk went back"
        self.disk = progress

    # rules

    @rule(count=st.integers(1, 3), gap=st.sampled_from([0, 0, 0, 1, 7]))
    def publish(self, count: int, gap: int) -> None:
        for _ in range(count):
            self.head += gap
            self.log.append(self.head)
            self.head += 1
        if hasattr(self, "core"):
            self.core.head_moved()
            self.follow()

    @precondition(lambda self: self.reading is not None)
    @rule(late=st.booleans())
    def read_done(self, late: bool) -> None:
        """With what was there when it was asked for, or when it was answered."""
        found = self.reading or []
        if late:
            found = [Entry(offset) for offset in self.log if offset >= self.core.next_offset][:3]
        self.reading = None
        self.core.read_done(found, found[-1].offset + 1 if found else self.core.next_offset, self.now)
        self.follow()

    @precondition(lambda self: self.reading is not None)
    @rule()
    def read_failed(self) -> None:
        self.reading = None
        self.core.read_failed(self.now)
        self.follow()

    @precondition(lambda self: self.writing is not None)
    @rule()
    def write_done(self) -> None:
        assert self.writing is not None
        self.store(self.writing)
        self.writing = None
        self.core.write_done(self.now)
        self.follow()

    @precondition(lambda self: self.writing is not None)
    @rule(undecided=st.booleans())
    def write_failed(self, undecided: bool) -> None:
        assert self.writing is not None
        if undecided:
            self.store(self.writing)
        self.writing = None
        self.core.write_failed(self.now)
        self.follow()

    @precondition(lambda self: self.in_hand is not None)
    @rule()
    def settle(self) -> None:
        assert self.in_hand is not None
        offset, self.in_hand = self.in_hand.offset, None
        self.settled.add(offset)
        self.cursor = offset
        self.careful = max(0, self.careful - 1)
        self.core.settle(offset, self.now)
        self.poll()

    @precondition(lambda self: self.in_hand is not None)
    @rule(forgiven=st.sampled_from([False, False, True]))
    def fail(self, forgiven: bool) -> None:
        """The delivery fails and the next begins, or its failures are forgiven."""
        assert self.in_hand is not None
        saved = self.in_hand._replace(failures=0 if forgiven else self.in_hand.failures + 1, reason="no")
        self.core.save_failure(saved, self.now)
        self.in_hand = saved._replace(attempt=saved.attempt + 1)
        self.follow()

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.paused = paused
        self.core.pause(paused, self.now)
        self.follow()
        self.wait()

    @rule()
    def wait(self) -> None:
        """Somebody waits until everything up to now is durable."""
        self.tickets.append(self.core.ticket(self.now))
        self.follow()

    @rule()
    def renew(self) -> None:
        self.lease_until = self.now + LEASE
        self.core.renewed(self.lease_until, self.now)
        self.follow()

    @rule(seconds=st.sampled_from([0.05, 0.5, 1.0, 5.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        until = self.now + seconds
        for _ in range(TURNS):
            alarm = self.core.alarm(self.now)
            if alarm > until:
                break
            self.now = max(self.now, alarm)
            self.core.tick(self.now)
            self.follow()
        else:
            raise AssertionError("the core's alarm rings without end")
        self.now = until
        self.core.tick(self.now)
        self.follow()

    @rule()
    def restore(self) -> None:
        """Another core with the same snapshot is the same."""
        snapshot = self.core.snapshot()
        hash(snapshot)
        self.core = self.core_of(Progress(), unclean=False)
        self.core.restore(snapshot, self.now)
        assert self.core.snapshot() == snapshot

    @rule()
    def close(self) -> None:
        """A clean end: what is in hand keeps its history and is charged nothing."""
        in_hand = self.in_hand
        self.store(self.core.end("closed", self.now, in_hand))
        assert not self.beyond()
        self.open(unclean=False)
        if in_hand is not None and self.history is not None:
            assert (self.history.attempt, self.history.failures) == (in_hand.attempt, in_hand.failures)

    @rule(landed=st.booleans())
    def crash(self, landed: bool) -> None:
        if landed and self.writing is not None:
            self.store(self.writing)
        self.open(unclean=True)

    @rule()
    def faults_stop(self) -> None:
        """From wherever we are: while storage answers and consumers settle, everything published is settled, durably, and whoever waits is told."""
        self.pause(paused=False)
        for _ in range(20 * (len(self.log) + 5)):
            self.renew()
            if self.reading is not None:
                self.read_done(late=True)
            if self.writing is not None:
                self.write_done()
            if self.in_hand is not None:
                self.settle()
            elif self.reading is None and self.writing is None:
                self.time_passes(5.0)
            if not self.unsettled() and not self.beyond() and self.writing is None and all(ticket <= self.core.writes_done for ticket in self.tickets):
                break
        assert not self.unsettled(), "a message is lost"
        assert not self.beyond(), "a settled message is never durable"
        assert all(ticket <= self.core.writes_done for ticket in self.tickets), "somebody waits for ever"
        assert self.disk == Progress(self.disk.cursor), "the disk says what is not so"

    def unsettled(self) -> set[int]:
        return {offset for offset in self.log if offset > self.last} | ({self.last} if self.in_hand is not None else set())

    # what always holds

    @invariant()
    def the_durable_cursor_passes_nothing_unsettled(self) -> None:
        assert all(offset in self.settled for offset in self.log if offset <= self.disk.cursor)

    @precondition(lambda self: hasattr(self, "core"))
    @invariant()
    def a_poll_is_answered_once(self) -> None:
        """Something is in hand, or nothing was to be had, or the answer is owed: exactly one of them."""
        assert (self.in_hand is not None) + self.idle + (self.core.owed and self.in_hand is None and not self.idle) == 1

    @precondition(lambda self: hasattr(self, "core"))
    @invariant()
    def duplicates_are_bounded(self) -> None:
        assert len(self.beyond()) <= self.messages

    @precondition(lambda self: hasattr(self, "core") and self.careful and self.in_hand is not None)
    @invariant()
    def a_mark_stays_until_its_message_is_settled(self) -> None:
        assert self.in_hand is not None
        assert self.disk.held is not None
        assert (self.disk.held.offset, self.disk.held.sent) == (self.in_hand.offset, True)

    @precondition(lambda self: hasattr(self, "core"))
    @invariant()
    def what_the_core_says_is_so(self) -> None:
        assert self.core.cursor == self.cursor
        assert self.core.durable.cursor <= self.disk.cursor
        assert self.core.paused == self.paused


EngineRules.TestCase.settings = settings(max_examples=150, stateful_step_count=50)
TestEngine = EngineRules.TestCase
