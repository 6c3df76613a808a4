"""Every error that the runtime raises on purpose. Each says when it is raised, and then what to do; docs/reference/errors.md has all of them as a tree."""

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
    """The right call at the wrong time or place, or without something that it needs. Nothing has changed.

    Change the program as the text says: await `ready()` first, give each task a consumer of its own, install an extra.
    """


class Closed(UsageError):
    """The object was closed.

    Open it again. Inside of a program that is shutting down: stop.
    """


class WrongContext(UsageError):
    """Called from another thread, another event loop, or the child of a fork.

    From another thread use the loop's `call_soon_threadsafe` or `asyncio.run_coroutine_threadsafe`. In another loop or process open a topic of its own.
    """


class NotSupported(UsageError):
    """This dispatcher has no such operation: a non-reliable one keeps no position and no message, a reliable one reads its topic by itself.

    Leave the call out, or use the kind of subscription that has it.
    """


class NotBlocked(UsageError):
    """`release` found no blocked message.

    The text says what the subscription is doing instead. Nothing needs to be released.
    """


class SubscriptionError(DanubeError):
    """Something about one subscription: `subscription` of `topic`.

    Do as the kind of it says. Catch this one to treat them alike.
    """

    def __init__(self, topic: str, subscription: str, problem: str) -> None:
        super().__init__(f"subscription {subscription} of {topic}: {problem}")
        self.topic = topic
        self.subscription = subscription


class SubscriptionNotFound(SubscriptionError):
    """The topic stores no subscription of that name. Non-reliable ones are stored nowhere.

    Look at the name (`danube-dispatcher status STORE`), or make it with `Topic.subscribe`.
    """


class SubscriptionMismatch(SubscriptionError):
    """The subscription exists with another type or guarantee, or is open in this process with other arguments.

    Ask for what it is, or close it first; to change its type or guarantee, unsubscribe and subscribe anew.
    """


class SubscriptionInUse(SubscriptionError):
    """Consumers are attached, so that the subscription cannot be forgotten.

    Let them leave, or close the subscription, and then unsubscribe.
    """


class SubscriptionOwned(SubscriptionError):
    """Another process owns the subscription, and `wait` is over.

    Wait for it with `wait=SECONDS` or `wait=None`, or end the other process. `owner` is its host:pid, `until` when its lease ends unless it renews it
    (Unix seconds).
    """

    def __init__(self, topic: str, subscription: str, owner: str, until: float) -> None:
        from datetime import UTC, datetime

        moment = datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds")
        super().__init__(topic, subscription, f"owned by {owner}, which must renew its lease until {moment}; wait with wait=SECONDS or wait=None")
        self.owner = owner
        self.until = until


class OwnershipLost(SubscriptionError):
    """Another process has taken the subscription over, since this one did not renew its lease in time. Acknowledgements count no more.

    Subscribe again, with `wait=None`, to compete for it. Find out what blocked the event loop or the store: a lease lasts 10 s and is renewed every 3.
    """


class CursorUnreadable(SubscriptionError):
    """The saved position is damaged or lies beyond the log. It is never guessed.

    Restore the store from a copy, or unsubscribe and subscribe again from where it shall go on.
    """


class ConsumerError(DanubeError):
    """Something about one consumer: `consumer` is its name.

    Do as the kind of it says. Catch this one to treat them alike.
    """

    def __init__(self, consumer: str, problem: str) -> None:
        super().__init__(f"consumer {consumer}: {problem}")
        self.consumer = consumer


class ConsumerAttached(ConsumerError):
    """This very consumer object was added before.

    Make a new `Consumer` for each attachment; the same name is fine.
    """


class ConsumerNotFound(ConsumerError):
    """No consumer of that name is attached.

    Look at the name in `status().consumers`; it may have left by itself.
    """


class ConsumerRefused(ConsumerError):
    """An exclusive subscription has its one consumer.

    Subscribe as `"failover"` for standbys, as `"shared"` for several at a time, or let the other leave.
    """


class ConsumerReplaced(ConsumerError):
    """A new consumer came under the same name; what this one held went to it.

    Stop: somebody else does the work now. If that was not meant, give each consumer a name of its own.
    """


class Deadlock(DanubeError):
    """Under virtual time (`danube_dispatcher.virtual_time`) the loop would wait for ever, is stuck outside, or is past its limit.

    See in `waiting` where each task waits, and end that wait; `problem` says which of the three it is. A program that takes longer sets `loop.limit`.
    """

    def __init__(self, problem: str, waiting: list[str]) -> None:
        super().__init__("\n  ".join([problem, *waiting]))
        self.problem = problem
        self.waiting = waiting


class StoreError(DanubeError):
    """Trouble with a store: `store` is its URL, `problem` the text without it.

    Unless `permanent`, the same call may succeed later: try again. A subscription does so by itself, and `explain()` says so meanwhile.
    """

    permanent = False

    def __init__(self, store: str, problem: str) -> None:
        super().__init__(f"store {store}: {problem}")
        self.store = store
        self.problem = problem


class StoreNotFound(StoreError):
    """No such store, topic or directory.

    Look at the path; publish to it first, or open it with `create=True`. A missing directory is for you to make.
    """

    permanent = True


class NotAStore(StoreError):
    """A directory, an empty file, or a file of something else. It is left as it is.

    Give another path, or move what is there away.
    """

    permanent = True


class StoreTooNew(StoreError):
    """Written by a newer version of this package.

    Upgrade danube-dispatcher.
    """

    permanent = True


class StoreDamaged(StoreError):
    """What was read is not what was written. It is never recreated.

    Check the disk, and restore the file from a copy, when nobody has it open: remove its -wal and -shm, and put the copy in place.
    """

    permanent = True


class StoreReadOnly(StoreError):
    """The file or its directory cannot be written.

    Give this user the right to write both.
    """

    permanent = True


class StoreFull(StoreError):
    """No room on the disk. Nothing is lost.

    Make room, and try again. Nothing needs to be opened anew.
    """


class StoreBusy(StoreError):
    """Another process held the lock for too long.

    Try again; look for a transaction that somebody left open on the file.
    """


class StoreUnavailable(StoreError):
    """Any other trouble that may pass: the disk, the system, an owner that does not answer.

    See the cause in the text, and try again.
    """


class PublishFailed(StoreError):
    """Of several messages the first `published` are in, the rest are not.

    Mend what `__cause__` says, and publish the rest, from the item with that index on.
    """

    def __init__(self, store: str, published: int, cause: Exception) -> None:
        problem = cause.problem if isinstance(cause, StoreError) else str(cause)
        super().__init__(store, f"{published} of the messages given are in, the rest is not: {problem}")
        self.published = published


class Fenced(StoreError):
    """A write by somebody who no longer owns the subscription. It was refused, and nothing has changed.

    A subscription turns it into `OwnershipLost`. If you use a store yourself, acquire the lease again.
    """

    permanent = True
