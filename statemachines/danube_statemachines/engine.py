"""The engine's rules: what a poll is answered with and why not, where the cursor is, when it is written, and whether we own the subscription.

Pure, like the machines. What storage answers comes in as events; what storage must do is read off (as etcd raft's `Ready`), in this order:

    1. `wants_read`   read from `next_offset`, then `read_done` or `read_failed`
    2. `take_news`    repeat the poll that is owed, or wake the machine
    3. `begin_write`  one write at a time, so that it carries all that the step decided; then `write_done`, `write_failed` or, when it was fenced, `end`
    4. `alarm`        when `tick` matters next

`attention` says that any of these may have changed, and `news` that there is some. On the path of a message `poll` and `settle` make one check each:
`plain` says that nothing is out of the ordinary, and `_countdown` runs out when a settlement needs more than a new cursor.

A *careful* engine follows an unclean end: it marks a message as sent, durably, before it answers with it, so that a message that kills its
process is found and charged; an exhausted one was in nobody's hands. It stays careful for as many messages as could have been given out since the
last durable cursor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from enum import Enum
from operator import attrgetter
from typing import Any, Final, Generic, Literal, NamedTuple, Protocol, TypeVar, final

from .progress import Held, Progress

FLUSH_INTERVAL = 5.0
"""Seconds until a new cursor is durable, unless told otherwise (the Danube broker's)."""
FLUSH_MESSAGES = 10_000
"""Settled messages that are not durable at most: the bound on duplicates after a crash. The cursor is written at half of it, although `flush_interval`
has not passed; at the bound nothing more is given out until it is durable."""
RETRY_FIRST, RETRY_MOST = 0.1, 5.0
"""Seconds to wait after a storage call failed: doubling from the first to the last."""
NEVER: Final = float("inf")

Refusal = Literal["closed", "lost", "lease", "paused", "store", "throttled", "end"]
"""Why a poll is answered with nothing now."""


class Readable(Protocol):
    @property
    def offset(self) -> int: ...


T = TypeVar("T", bound=Readable)


@final
class Resumed(NamedTuple, Generic[T]):
    """The answer with a message that has a history."""

    message: T
    held: Held


class Later(Enum):
    """The type of `LATER`, the answer that there is no answer yet."""

    LATER = "the answer follows: the poll is owed"


LATER: Final = Later.LATER


def backoff(failures: int) -> float:
    """Seconds to wait after so many storage failures in a row."""
    return min(RETRY_FIRST * 2.0 ** min(failures - 1, 60), RETRY_MOST)


class EngineCore(Generic[T]):
    """The rules for one owned subscription. All times are on one monotonic clock; None stands for never."""

    state = (
        *("cursor", "held", "paused", "durable", "writing", "write_due", "write_failures", "writes_begun", "writes_done", "promised", "careful"),
        *("buffer", "next_offset", "wants_read", "reading", "at_end", "read_failures", "read_retry_at"),
        *("owed", "news", "attention", "refused", "ended", "lease_until", "tokens", "refilled_at", "_moved", "_countdown"),
    )
    __slots__ = (*state, "burst", "flush_interval", "flush_messages", "plain", "rate_limit")

    def __init__(
        self,
        progress: Progress,
        *,
        now: float,
        lease_until: float,
        unclean: bool = False,
        flush_interval: float = FLUSH_INTERVAL,
        flush_messages: int = FLUSH_MESSAGES,
        rate_limit: float | None = None,
        rate_burst: float | None = None,
        exhausted: Callable[[int], bool] = lambda failures: False,
    ) -> None:
        """Start from what is durable; `unclean`: the owner before did not let go. Without `rate_burst` one second's worth may go at once. `exhausted`
        says it of a message with so many failures."""
        self.flush_interval = flush_interval
        self.flush_messages = flush_messages
        self.rate_limit = rate_limit
        self.burst = 0.0 if rate_limit is None else max(1.0, rate_limit if rate_burst is None else rate_burst)

        self.cursor = progress.cursor
        self.held = progress.held
        self.paused = progress.paused
        self.durable = progress
        self.writing: Progress | None = None
        self.write_due: float | None = None
        self.write_failures = 0
        self.writes_begun = self.writes_done = self.promised = 0
        self.careful = flush_messages if unclean else progress.careful

        self.buffer: deque[T] = deque()
        self.next_offset = progress.cursor + 1
        self.wants_read = self.reading = self.at_end = self._moved = False
        self.read_failures = 0
        self.read_retry_at: float | None = None

        self.owed = self.news = False
        self.refused: Refusal | None = None
        self.ended: Literal["closed", "lost"] | None = None
        self.lease_until = lease_until
        self.tokens = self.burst
        self.refilled_at = now
        self.attention = True

        if (held := self.held) is not None:
            if held.sent and unclean and not held.exhausted:  # that one was in nobody's hands any more
                held = held._replace(failures=held.failures + 1, reason="process lost", due_at=None)
                self.write_due = now
            self.held = held._replace(sent=False, exhausted=exhausted(held.failures))
        self._countdown = 1
        self._judge(now)

    # what stands now

    @property
    def want(self) -> Progress:
        """What should be durable."""
        return Progress(self.cursor, self.held, self.paused)

    @property
    def dirty(self) -> bool:
        """Whether the disk may say anything else than `want`: also while a write is under way, or when one has failed, for it may have landed all the same."""
        return self.writing is not None or self.write_failures > 0 or self.want != self.durable

    @property
    def strict(self) -> bool:
        """Whether each settlement is durable before the next message leaves. It is until the last mark is gone: a crash would charge what was settled."""
        return self.flush_interval == 0 or self.careful > 0 or ((held := self.durable.held) is not None and held.sent)

    def doubtful(self, now: float) -> bool:
        """Whether a settlement counts only once it is durable. Past the lease it may be another's to settle."""
        return self.strict or now >= self.lease_until

    @property
    def returning(self) -> bool:
        """Whether the next message was in hand before: it is no new intake, so neither a pause nor a rate limit holds it back."""
        return self.held is not None and (self._sends() > 0 or self.held.failures > 0)

    def refusal(self, now: float) -> Refusal | None:
        """Why a message that is there would not be given out now."""
        if self.ended is not None:
            return self.ended
        if now >= self.lease_until:
            return "lease"
        if self.paused and not self.returning:
            return "paused"
        if self.read_retry_at is not None and now < self.read_retry_at:
            return "store"
        if self._behind:
            return "store"  # the bound on duplicates holds, too, while a write fails or hangs
        if self.rate_limit is not None and self._tokens(now) < 1 - 1e-9 and not self.returning:
            return "throttled"
        return None

    def alarm(self, now: float) -> float:
        """The next time at which `tick` matters."""
        if self.ended:
            return NEVER
        alarm = self.lease_until if now < self.lease_until else NEVER
        if self.writing is None and self.write_due is not None:
            alarm = min(alarm, self.write_due)
        if self.read_retry_at is not None:
            alarm = min(alarm, self.read_retry_at)
        if self.refused == "throttled" and self.rate_limit is not None:
            alarm = min(alarm, self.refilled_at + (1 - self.tokens) / self.rate_limit)
        return alarm

    # the path of a message

    def poll(self, now: float) -> T | Resumed[T] | Later | None:
        """The next message (with its history, if it has one), nothing now (`refused` says why), or LATER."""
        if self.plain and self.buffer:
            return self.buffer.popleft()
        self.refused = None if self.plain else self.refusal(now)
        self.owed = False
        if self.refused is not None and self._behind:
            self._write_soon(now)
        if self.refused is None and not self.buffer and self.at_end:
            self.at_end = False
            self.refused = "end"
        if self.refused is not None:
            self.attention = self.attention or self.refused != "end"
            self._unmark(now)
            return None
        if not self.buffer:
            self.wants_read = not self.reading
            self.owed = self.attention = True
            return LATER
        message = self.buffer[0]
        if self.held is not None and self.held.offset < message.offset:
            self.held = None  # a gap swallowed it, and what comes instead is new
            return self.poll(now)
        if self.careful and not (self.held is not None and self.held.sent):
            held = self.held or Held(message.offset)
            self.held = held._replace(attempt=held.attempt + 1, sent=True)
        if self.strict and self.dirty:
            self._write_soon(now)
            self.owed = True
            return LATER
        self._judge(now)
        self.buffer.popleft()
        if self.held is not None and self.returning:
            return Resumed(message, self.held._replace(attempt=self._sends(), sent=False))
        if self.rate_limit is not None:
            self.tokens = self._tokens(now) - 1
            self.refilled_at = now
        return message

    def settle(self, offset: int, now: float) -> None:
        """Everything at or below `offset` is settled."""
        self.cursor = offset
        self._countdown -= 1
        if self._countdown <= 0:
            self._settled(now)

    def _settled(self, now: float) -> None:
        self.held = None
        if self.careful:
            self.careful -= 1
        if self.strict or self.write_due is not None:
            self._write_soon(now)
        else:
            self.write_due = now + self.flush_interval
            # half of what may be settled meanwhile, so that nobody waits for a write that takes its time
            self._countdown = min(self.flush_messages // 2, self.flush_messages - (self.cursor - self.durable.cursor)) - 1
        self._judge(now)

    def take_news(self) -> Literal["poll", "wake"] | None:
        """What the machine is to be told: repeat the poll that is owed, or wake."""
        if not self.news:
            return None
        self.news = False
        if self.owed:
            self.owed = False
            return "poll"
        return "wake"

    # events

    def save_failure(self, held: Held, now: float) -> None:
        """A charged failure, or its being forgiven: durable at once, in one write with the cursor."""
        marked = self.held is not None and self.held.sent
        self.held = held._replace(sent=marked)
        self._write_soon(now)
        self._judge(now)

    def pause(self, paused: bool, now: float) -> None:
        """Stop or resume the intake, durably."""
        self.paused = paused
        self._write_soon(now)
        self._news(now)

    def flush(self, now: float) -> None:
        """Write what is not durable yet."""
        self.ticket(now)

    def head_moved(self, messages: Sequence[T] = ()) -> None:
        """There is, or may be, more to read. `messages` moved the head, if they are at hand: when they are what comes next, nobody reads them again."""
        self._moved = True
        self.at_end = False
        if messages and messages[0].offset == self.next_offset and not self.buffer and not self.reading:
            self.buffer.extend(messages)
            self.next_offset = messages[-1].offset + 1
            self.at_end = True
        self.news = True

    def read_begun(self) -> None:
        self.wants_read = self._moved = False
        self.reading = True

    def read_done(self, messages: Sequence[T], next_offset: int, now: float) -> None:
        """What was at `next_offset` or above; nothing means the end, unless the head moved meanwhile."""
        self.reading = False
        self.read_failures = 0
        self.read_retry_at = None
        self.buffer.extend(messages)
        self.next_offset = max(self.next_offset, next_offset)
        self.at_end = not messages and not self._moved
        self._news(now)

    def read_failed(self, now: float) -> None:
        self.reading = False
        self.read_failures += 1
        self.read_retry_at = now + backoff(self.read_failures)
        self._news(now)

    def begin_write(self, now: float) -> Progress | None:
        """What to write now, if anything."""
        if self.ended or self.writing is not None or self.write_due is None or now < self.write_due:
            return None
        self.write_due = None
        self._countdown = 1
        if not self.dirty and self.writes_begun >= self.promised:
            return None
        self.writing = self.want
        self.writes_begun += 1
        return self.writing

    def write_done(self, now: float) -> None:
        assert self.writing is not None
        self.durable, self.writing = self.writing, None
        self.writes_done = self.writes_begun
        self.write_failures = 0
        self._news(now)

    def write_failed(self, now: float) -> None:
        self.writing = None
        self.write_failures += 1
        self.write_due = now + backoff(self.write_failures)
        self._news(now)

    def renewed(self, until: float, now: float) -> None:
        """The lease is ours until then."""
        lapsed = now >= self.lease_until
        self.lease_until = until
        if lapsed:
            self.tick(now)

    def end(self, how: Literal["closed", "lost"], now: float, held: Held | None = None) -> Progress:
        """Nothing more is given out or written by itself. Return what a clean close makes durable: the history of the message in hand, too."""
        self._unmark(now)
        self.ended = how
        if held is not None:
            self.held = held if held.attempt or held.failures else None
        self._judge(now)
        return self.want._replace(careful=self.careful)

    def tick(self, now: float) -> None:
        """Time has passed `alarm`."""
        if self.read_retry_at is not None and now >= self.read_retry_at:
            self.read_retry_at = None
        if self.refused not in (None, "end"):
            self.refused = self.refusal(now)  # there may be another reason by now
            self.news = self.news or self.refused is None
        self._judge(now)

    def ticket(self, now: float) -> int:
        """The number of the write with which everything up to now is durable; 0: it is. Compare with `writes_done`."""
        if not self.dirty:
            return 0
        if self.want == self.writing:
            return self.writes_begun
        self._write_soon(now)
        self.promised = self.writes_begun + 1
        return self.promised

    # everything as one hashable value

    def snapshot(self) -> tuple[Hashable, ...]:
        values: tuple[Hashable, ...] = _values(self)
        return (*values[:_BUFFER], tuple(self.buffer), *values[_BUFFER + 1 :])

    def restore(self, snapshot: tuple[Any, ...], now: float) -> None:
        for field, value in zip(self.state, snapshot, strict=True):
            setattr(self, field, value)
        self.buffer = deque(snapshot[_BUFFER])
        attention = self.attention
        self._judge(now)
        self.attention = attention

    # helpers

    @property
    def _behind(self) -> bool:
        """Whether as much is settled and not durable as a crash may repeat. Offsets may have gaps, so it may be less."""
        return self.cursor - self.durable.cursor >= self.flush_messages and not self.strict

    def _write_soon(self, now: float) -> None:
        if self.write_due is None or not self.write_failures or self.write_due < now:
            self.write_due = now
        self._countdown = 1
        self.attention = True

    def _news(self, now: float) -> None:
        self.news = True
        self._judge(now)

    def _judge(self, now: float) -> None:
        """Whether nothing is out of the ordinary: the one thing that is kept though it could be derived, for every message asks it."""
        self.attention = True
        self.plain = self.held is None and self.rate_limit is None and not self.write_failures and not self.strict and self.refusal(now) is None

    def _sends(self) -> int:
        """How often the next message was sent; a mark that nobody has acted on yet does not count."""
        return 0 if self.held is None else self.held.attempt - self.held.sent

    def _unmark(self, now: float) -> None:
        """The marked message is not given out after all."""
        if self.held is not None and self.held.sent:
            sends = self._sends()
            self.held = self.held._replace(attempt=sends, sent=False) if sends or self.held.failures else None
            self._write_soon(now)

    def _tokens(self, now: float) -> float:
        assert self.rate_limit is not None
        return min(self.burst, self.tokens + (now - self.refilled_at) * self.rate_limit)


_values = attrgetter(*EngineCore.state)
_BUFFER = EngineCore.state.index("buffer")
