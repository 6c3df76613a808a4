"""Releases a blocked message of a subscription that this process does not have open."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from danube_statemachines import FailurePolicy

from .asking import ask
from .dispatcher import Dispatcher
from .engine import SubscriptionEngine
from .errors import NotBlocked
from .hub import Hub
from .storage.protocols import Row
from .validation import check_policy


class Topic(Protocol):
    @property
    def hub(self) -> Hub: ...


async def release_from_outside(topic: Topic, row: Row, action: str, dead_letter_topic: str | None) -> int:
    """Ask the owner; without one, take the lease and do it."""
    if row.owner and row.until > topic.hub.store.now():
        return int(await ask(topic.hub.store, row.topic, row.subscription, row.owner, f"release:{action}", NotBlocked))
    held = row.progress.held
    if held is None or not held.exhausted:
        raise NotBlocked(f"subscription {row.subscription}: nothing is blocked")
    # this policy gives the verdict that the message has already met
    policy = check_policy(FailurePolicy(max_redeliveries=held.failures - 1, dead_letter_topic=dead_letter_topic), row.topic)
    engine = SubscriptionEngine(topic, row.subscription, flush_interval=0)
    make = Dispatcher.reliable_shared if row.type == "shared" else partial(Dispatcher.reliable_exclusive, standbys=row.type == "failover")
    async with make(engine, policy=policy) as dispatcher:
        return await dispatcher.release(action)
