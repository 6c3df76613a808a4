"""Every error that the runtime raises on purpose. The tree:

DanubeError                      (danube_statemachines.errors, like the next three)
├── InvalidArgument              a value that cannot be used; also a ValueError
├── DefinitionError
├── IllegalEvent
├── UsageError                   the right call at the wrong time or place
│   ├── Closed                   the object was closed
│   ├── WrongContext             another thread, another event loop, or the child of a fork
│   ├── NotSupported             this dispatcher has no such operation
│   └── NotBlocked               there is nothing to release
├── SubscriptionError            `.topic`, `.subscription`
│   ├── SubscriptionNotFound
│   ├── SubscriptionMismatch     it exists with another type, guarantee or other arguments
│   ├── SubscriptionInUse        consumers are attached
│   ├── SubscriptionOwned        another process has it: `.owner`, `.until`
│   ├── OwnershipLost            another process has taken it over
│   └── CursorUnreadable         the saved position is damaged or lies beyond the log
├── ConsumerError                `.consumer`
│   ├── ConsumerAttached         this consumer was added before
│   ├── ConsumerNotFound
│   ├── ConsumerRefused          an exclusive subscription has its one consumer
│   └── ConsumerReplaced         a new consumer came under the same name
├── Deadlock                     under virtual time: nothing can ever happen any more; `.waiting`
└── StoreError                   `.store`, `.permanent`: whether trying again is pointless
    ├── StoreNotFound            no such store, topic or directory
    ├── NotAStore                a directory, an empty or a foreign file
    ├── StoreTooNew              written by a newer version
    ├── StoreDamaged
    ├── StoreReadOnly
    ├── StoreFull                no room on the disk; works again once there is
    ├── StoreBusy                locked by another process for too long
    ├── StoreUnavailable         any other trouble that may pass
    ├── PublishFailed            `.published` of several messages are in
    └── Fenced                   a write by somebody who no longer owns the subscription
"""

from __future__ import annotations

from danube_statemachines.errors import DanubeError, DefinitionError, IllegalEvent, InvalidArgument

__all__ = [
    "Closed",
    "ConsumerAttached",
    "ConsumerError",
    "ConsumerNotFound",
    "ConsumerRefused",
    "ConsumerReplaced",
    "CursorUnreadable",
    "DanubeError",
    "Deadlock",
    "DefinitionError",
    "Fenced",
    "IllegalEvent",
    "InvalidArgument",
    "NotAStore",
    "NotBlocked",
    "NotSupported",
    "OwnershipLost",
    "PublishFailed",
    "StoreBusy",
    "StoreDamaged",
    "StoreError",
    "StoreFull",
    "StoreNotFound",
    "StoreReadOnly",
    "StoreTooNew",
    "StoreUnavailable",
    "SubscriptionError",
    "SubscriptionInUse",
    "SubscriptionMismatch",
    "SubscriptionNotFound",
    "SubscriptionOwned",
    "UsageError",
    "WrongContext",
]


class UsageError(DanubeError):
    """The right call at the wrong time or place. Nothing has changed."""


class Closed(UsageError):
    """The object was closed; open it again."""


class WrongContext(UsageError):
    """Called from another thread, another event loop, or the child of a fork."""


class NotSupported(UsageError):
    """This dispatcher has no such operation; the text names the one to use."""


class NotBlocked(UsageError):
    """`release` found no blocked message."""


class SubscriptionError(DanubeError):
    """Something about one subscription."""

    def __init__(self, topic: str, subscription: str, problem: str) -> None:
        super().__init__(f"subscription {subscription} of {topic}: {problem}")
        self.topic = topic
        self.subscription = subscription


class SubscriptionNotFound(SubscriptionError):
    """There is no such subscription."""


class SubscriptionMismatch(SubscriptionError):
    """The subscription exists with another type or guarantee, or is open with other arguments."""


class SubscriptionInUse(SubscriptionError):
    """Consumers are attached."""


class SubscriptionOwned(SubscriptionError):
    """Another process owns the subscription. `owner` is its host:pid, `until` when its lease ends (Unix seconds)."""

    def __init__(self, topic: str, subscription: str, owner: str, until: float) -> None:
        from datetime import UTC, datetime

        moment = datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds")
        super().__init__(topic, subscription, f"owned by {owner}, which must renew its lease until {moment}; wait with wait=SECONDS or wait=None")
        self.owner = owner
        self.until = until


class OwnershipLost(SubscriptionError):
    """Another process has taken the subscription over; open it again to compete for it."""


class CursorUnreadable(SubscriptionError):
    """The saved position is damaged or lies beyond the log. It is never guessed."""


class ConsumerError(DanubeError):
    """Something about one consumer."""

    def __init__(self, consumer: str, problem: str) -> None:
        super().__init__(f"consumer {consumer}: {problem}")
        self.consumer = consumer


class ConsumerAttached(ConsumerError):
    """This very consumer was added before."""


class ConsumerNotFound(ConsumerError):
    """No consumer of that name is attached."""


class ConsumerRefused(ConsumerError):
    """An exclusive subscription has its one consumer; a failover subscription admits standbys."""


class ConsumerReplaced(ConsumerError):
    """A new consumer came under the same name; what this one held went to it."""


class Deadlock(DanubeError):
    """Under virtual time (`virtual_time`): this loop would wait for ever. `waiting` says where each task waits."""

    def __init__(self, problem: str, waiting: list[str]) -> None:
        super().__init__("\n  ".join([problem, *waiting]))
        self.problem = problem
        self.waiting = waiting


class StoreError(DanubeError):
    """Trouble with a store. Unless `permanent`, the same call may succeed later."""

    permanent = False

    def __init__(self, store: str, problem: str) -> None:
        super().__init__(f"store {store}: {problem}")
        self.store = store
        self.problem = problem


class StoreNotFound(StoreError):
    """No such store, topic or directory."""

    permanent = True


class NotAStore(StoreError):
    """A directory, an empty file, or a file of something else."""

    permanent = True


class StoreTooNew(StoreError):
    """Written by a newer version of this package."""

    permanent = True


class StoreDamaged(StoreError):
    """What was read is not what was written. It is never recreated."""

    permanent = True


class StoreReadOnly(StoreError):
    """The file or its directory cannot be written."""

    permanent = True


class StoreFull(StoreError):
    """No room on the disk. Nothing is lost, and it works again once there is room."""


class StoreBusy(StoreError):
    """Another process held the lock for too long."""


class StoreUnavailable(StoreError):
    """Any other trouble that may pass; the text carries the cause."""


class PublishFailed(StoreError):
    """Of several messages the first `published` are in, the rest are not; `__cause__` says why."""

    def __init__(self, store: str, published: int, cause: Exception) -> None:
        problem = cause.problem if isinstance(cause, StoreError) else str(cause)
        super().__init__(store, f"{published} of the messages given are in, the rest is not: {problem}")
        self.published = published


class Fenced(StoreError):
    """A write by somebody who no longer owns the subscription; refused."""

    permanent = True
