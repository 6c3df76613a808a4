"""What both back ends decide in the same way: who may take a lease, how to refuse."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ..errors import Closed, Fenced, StoreNotFound, SubscriptionMismatch, SubscriptionNotFound
from ..messages import NO_ATTRIBUTES, Message
from .protocols import Lease, Occupied, Spec, Watcher

log = logging.getLogger("danube_dispatcher")


class Tenure(NamedTuple):
    """Who owns a stored subscription. `owner` is "" once it was let go."""

    type: str
    owner: str
    until: float
    epoch: int
    renewals: int

    @property
    def stamp(self) -> int:
        """Never repeats: epochs do not, and a lease of 10 s is renewed fewer than 2**32 times in 400 years."""
        return self.epoch << 32 | self.renewals


def occupied(topic: str, subscription: str, tenure: Tenure, new: Spec | None, *, now: float, stamp: int | None) -> Occupied | None:
    """Who keeps the lease from being taken now; None when it may be."""
    if new is not None and new.type != tenure.type:
        raise SubscriptionMismatch(topic, subscription, f"it is stored as {tenure.type}, not {new.type}; open it as that, or unsubscribe first")
    if tenure.owner and tenure.until > now and tenure.stamp != stamp:
        return Occupied(tenure.owner, tenure.until, tenure.stamp)
    return None


def fenced(url: str, lease: Lease) -> Fenced:
    return Fenced(url, f"epoch {lease.epoch} of subscription {lease.subscription} of {lease.topic} is over; acquire the lease again")


def no_subscription(topic: str, subscription: str) -> SubscriptionNotFound:
    return SubscriptionNotFound(topic, subscription, "there is none of that name; subscribe first")


def no_topic(url: str, topic: str) -> StoreNotFound:
    return StoreNotFound(url, f"there is no topic {topic}; publish to it first (a program can open it with create=True)")


def closed(url: str) -> Closed:
    return Closed(f"store {url} was closed; open it again")


def sound(text: str) -> str:
    """Text that any back end can keep: what is no character is written out."""
    return text.encode(errors="backslashreplace").decode()


def frozen(attributes: Mapping[str, str]) -> Mapping[str, str]:
    """A copy: neither the publisher's dict nor one reader may change what the next one reads."""
    return MappingProxyType(dict(attributes)) if attributes else NO_ATTRIBUTES


class Watchers:
    """Who is told when a topic's head has moved."""

    def __init__(self) -> None:
        self._watchers: dict[object, Watcher] = {}

    def __bool__(self) -> bool:
        return bool(self._watchers)

    def add(self, watcher: Watcher) -> Callable[[], None]:
        key = object()
        self._watchers[key] = watcher

        def end() -> None:
            self._watchers.pop(key, None)

        return end

    def call(self, messages: Sequence[Message]) -> None:
        for key in tuple(self._watchers):
            watcher = self._watchers.get(key)  # one that an earlier one has ended is not called
            if watcher is None:
                continue
            try:
                watcher(messages)
            except Exception:  # the messages are durable: whoever published them must hear so, whatever a watcher does
                log.exception("a watcher of a topic failed")
