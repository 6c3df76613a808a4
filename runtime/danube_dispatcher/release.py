"""Releases a blocked message of a subscription that this process does not have open."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

from danube_statemachines import FailurePolicy

from .cancellation import to_the_end
from .clock import HEARTBEAT, LEASE
from .dispatcher import Dispatcher
from .engine import SubscriptionEngine
from .errors import NotBlocked, StoreUnavailable
from .hub import Hub
from .storage.protocols import Row
from .validation import check_policy


class Topic(Protocol):
    @property
    def hub(self) -> Hub: ...


async def release_from_outside(topic: Topic, row: Row, action: str, dead_letter_topic: str | None) -> int:
    """Ask the owner; without one, take the lease and do it."""
    if row.owner and row.until > topic.hub.store.now():
        return await _ask(topic.hub, row, action)
    held = row.progress.held
    if held is None or not held.exhausted:
        raise NotBlocked(f"subscription {row.subscription}: nothing is blocked")
    # this policy gives the verdict that the message has already met
    policy = check_policy(FailurePolicy(max_redeliveries=held.failures - 1, dead_letter_topic=dead_letter_topic), row.topic)
    engine = SubscriptionEngine(topic, row.subscription, flush_interval=0)
    make = Dispatcher.reliable_shared if row.type == "shared" else partial(Dispatcher.reliable_exclusive, standbys=row.type == "failover")
    async with make(engine, policy=policy) as dispatcher:
        return await dispatcher.release(action)


async def _ask(hub: Hub, row: Row, action: str) -> int:
    request = await hub.store.ask(row.topic, row.subscription, f"release:{action}")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LEASE
    try:
        while loop.time() < deadline:
            await asyncio.sleep(HEARTBEAT / 4)
            answer = await hub.store.answered(request)
            if answer is not None:
                word, _, rest = answer.partition(" ")
                if word == "ok":
                    return int(rest)
                raise NotBlocked(f"{row.owner} answers: {rest}")
    except asyncio.CancelledError:
        await to_the_end(_withdraw(hub, request))  # unless the owner is about to do it
        raise
    await _withdraw(hub, request)
    raise StoreUnavailable(hub.store.url, f"the owner {row.owner} has not answered within {LEASE:g} s; its lease may have run out, try again")


async def _withdraw(hub: Hub, request: int) -> None:
    await hub.store.answered(request, withdraw=True)
