"""What a back end must do. One conformance suite (tests/storage) holds every back end to it.

Nothing here assumes one process, one machine, or offsets without gaps. A back end knows no machine and no policy: a
subscription's type is a word it compares, its progress a value it keeps.

Calls return awaitables; one that can answer without waiting may say so by its type (see `TopicLog.read`). All of a store's
objects belong to the event loop that opened it. Errors are `StoreError`s; `permanent` ones are not tried again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from danube_statemachines import Progress

from ..messages import Message

READ_MESSAGES = 256
"""Messages of one read-ahead batch and of one commit at most (measured: more gains nothing)."""
READ_BYTES = 1 << 20
"""Payload bytes of one read-ahead batch at most, though always one message: it is read on the event loop."""
APPEND_BYTES = 8 << 20
"""Payload bytes of one commit at most, though always one message."""

Watcher = Callable[[Sequence[Message]], None]


class Batch(NamedTuple):
    """What a read found: messages in offset order, and the offset to read on from (it may skip a gap)."""

    messages: list[Message]
    next_offset: int


class TopicLog(Protocol):
    """The messages of one topic, in the order in which they were committed."""

    @property
    def topic(self) -> str: ...

    @property
    def head(self) -> int:
        """The offset that the next message will get, as far as this process knows; 0 when empty."""
        ...

    def append(self, messages: Sequence[Message]) -> Awaitable[Sequence[int]]:
        """Commit 1 to READ_MESSAGES messages, at most APPEND_BYTES of payload unless it is one, together; return their offsets once durable.

        `topic`, `offset` and `published_at` are the store's to give, inside the transaction: commit order is offset order.
        Before the awaitable is done, watchers have been called.
        """
        ...

    def read(self, start: int, *, messages: int = READ_MESSAGES, size: int = READ_BYTES) -> Batch | Awaitable[Batch]:
        """Up to `messages` messages with offset ≥ `start` and up to `size` payload bytes, though always one message if there is one.

        A back end that can answer at once returns the batch itself. An empty batch means that nothing at or above `start` is readable now.
        A message that is not what was written raises StoreDamaged.
        """
        ...

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher` in the loop's thread, in commit order, whenever `head` has moved; return a call that ends it.

        It is given the messages when this process appended them and nothing when another process did: read those.
        """
        ...


class Spec(NamedTuple):
    """What a new subscription starts as."""

    type: str
    cursor: int


class Lease(NamedTuple):
    """The right to write a subscription's progress. `epoch` is unique in the store, also after unsubscribe and subscribe."""

    topic: str
    subscription: str
    epoch: int
    unclean: bool
    """The owner before did not let go: its lease ran out."""
    created: bool = False
    """The subscription is new."""


class Occupied(NamedTuple):
    """Somebody else's lease. `stamp` changes with every renewal: who sees it unchanged for a whole lease may take it."""

    owner: str
    until: float
    stamp: int


class Request(NamedTuple):
    """What another process asks the owner of a lease to do."""

    id: int
    epoch: int
    action: str


class Row(NamedTuple):
    """What anyone may read of a stored subscription. `status` is what its owner last wrote (JSON, or ""); `owner` is "" when let go."""

    topic: str
    subscription: str
    type: str
    owner: str
    until: float
    epoch: int
    progress: Progress
    status: str


class CursorStore(Protocol):
    """Where subscriptions have got. Every write is fenced: it counts only under the epoch that owns the row now."""

    def load(self, lease: Lease) -> Awaitable[Progress]:
        """The saved progress, read under the fence. Raises Fenced, or CursorUnreadable."""
        ...

    def store(self, lease: Lease, progress: Progress, *, let_go: bool = False) -> Awaitable[None]:
        """Make progress durable, in one write; with `let_go` end the lease in the same write. A cursor never goes back. Raises Fenced."""
        ...


class LeaseStore(Protocol):
    """Who owns a subscription."""

    def acquire(self, topic: str, subscription: str, *, owner: str, seconds: float, new: Spec | None, stamp: int | None = None) -> Awaitable[Lease | Occupied]:
        """Take the lease if nobody holds it, if its time (the store's wall clock) is over, or if its stamp is still `stamp`.

        A missing row is created from `new` in the same write (SubscriptionNotFound if None). A row of another type raises SubscriptionMismatch.
        """
        ...

    def renew(self, leases: Mapping[Lease, str | None], *, seconds: float) -> Awaitable[set[Lease]]:
        """Prolong all of them in one write, with the status JSON of those that have a new one; return those still held."""
        ...

    def remove(self, lease: Lease) -> Awaitable[None]:
        """Forget the subscription: cursor, held message, lease. Raises Fenced."""
        ...

    def rows(self, topic: str | None = None) -> Awaitable[list[Row]]:
        """The stored subscriptions, of one topic or of all."""
        ...

    def ask(self, topic: str, subscription: str, action: str) -> Awaitable[int]:
        """Leave a request for the owner; return its id. Raises SubscriptionNotFound."""
        ...

    def asked(self) -> Awaitable[list[Request]]:
        """All requests that are not answered yet, whosever they are."""
        ...

    def answer(self, request: int, answer: str) -> Awaitable[None]:
        """The owner's answer."""
        ...

    def answered(self, request: int, *, withdraw: bool = False) -> Awaitable[str | None]:
        """The answer, which is then forgotten, or None; with `withdraw` the request is forgotten too."""
        ...


class Store(CursorStore, LeaseStore, Protocol):
    """One opened store."""

    @property
    def url(self) -> str: ...

    @property
    def outstanding(self) -> int:
        """Calls under way. A virtual clock must not advance while there are any."""
        ...

    def now(self) -> float:
        """The wall clock that leases and delays are kept in (Unix seconds)."""
        ...

    def topic(self, name: str, *, create: bool) -> Awaitable[TopicLog]:
        """The log of a topic; the same object each time. Raises StoreNotFound unless `create`."""
        ...

    def topics(self) -> Awaitable[list[str]]: ...

    def refresh(self) -> bool:
        """Look, in place and cheaply, whether other processes wrote; move heads and call watchers. True when anything at all was written."""
        ...

    def close(self) -> Awaitable[None]:
        """Finish what was handed in, then let go of everything."""
        ...
