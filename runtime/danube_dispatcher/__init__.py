"""Danube's subscriptions inside a Python program: topics on an embedded file, four dispatchers that are state machines.

Start with `Topic.open`.
"""

from danube_statemachines import FailurePolicy

from .adapter import Outcome
from .consumer import Consumer
from .counts import Counts
from .delivery import Delivery
from .dispatcher import Dispatcher
from .engine import SubscriptionEngine
from .errors import (
    Closed,
    ConsumerAttached,
    ConsumerError,
    ConsumerNotFound,
    ConsumerRefused,
    ConsumerReplaced,
    CursorUnreadable,
    DanubeError,
    Deadlock,
    DefinitionError,
    Fenced,
    IllegalEvent,
    InvalidArgument,
    NotAStore,
    NotBlocked,
    NotSupported,
    OwnershipLost,
    PublishFailed,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreNotFound,
    StoreReadOnly,
    StoreTooNew,
    StoreUnavailable,
    SubscriptionError,
    SubscriptionInUse,
    SubscriptionMismatch,
    SubscriptionNotFound,
    SubscriptionOwned,
    UsageError,
    WrongContext,
)
from .messages import Message
from .observer import Observer
from .status import ConsumerStatus, Explanation, Lag, Leftover, Status, SubscriptionInfo
from .subscription import Subscription
from .topic import Topic

__all__ = [
    "Closed",
    "Consumer",
    "ConsumerAttached",
    "ConsumerError",
    "ConsumerNotFound",
    "ConsumerRefused",
    "ConsumerReplaced",
    "ConsumerStatus",
    "Counts",
    "CursorUnreadable",
    "DanubeError",
    "Deadlock",
    "DefinitionError",
    "Delivery",
    "Dispatcher",
    "Explanation",
    "FailurePolicy",
    "Fenced",
    "IllegalEvent",
    "InvalidArgument",
    "Lag",
    "Leftover",
    "Message",
    "NotAStore",
    "NotBlocked",
    "NotSupported",
    "Observer",
    "Outcome",
    "OwnershipLost",
    "PublishFailed",
    "Status",
    "StoreBusy",
    "StoreDamaged",
    "StoreError",
    "StoreFull",
    "StoreNotFound",
    "StoreReadOnly",
    "StoreTooNew",
    "StoreUnavailable",
    "Subscription",
    "SubscriptionEngine",
    "SubscriptionError",
    "SubscriptionInUse",
    "SubscriptionInfo",
    "SubscriptionMismatch",
    "SubscriptionNotFound",
    "SubscriptionOwned",
    "Topic",
    "UsageError",
    "WrongContext",
]
