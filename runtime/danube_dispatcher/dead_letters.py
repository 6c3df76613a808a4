"""Moves an exhausted message to the dead-letter topic: at least once, and durable before the cursor passes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from danube_statemachines import Held, PoisonPolicy, Reliable, backoff

from .errors import StoreError
from .messages import Message
from .storage.protocols import TopicLog

E = TypeVar("E")
log = logging.getLogger(__package__)

DEATHS = "x-death-count"
MOST_DEATHS = 16
"""A message that has died so often is blocked instead: two topics that are each other's dead-letter topic do not feed each other for ever."""


class Driver(Protocol):
    @property
    def machine(self) -> Reliable: ...

    def step(self, trigger: Callable[[E], bool], event: E) -> None: ...


def deaths(message: Message) -> int:
    """How often the message has been moved to a dead-letter topic."""
    value = message.attributes.get(DEATHS, "0")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0


class DeadLetters:
    """`last_error` is the trouble of the last write, None once one has succeeded."""

    def __init__(self, target: TopicLog, subscription: str, policy: PoisonPolicy, driver: Driver) -> None:
        self._target = target
        self._subscription = subscription
        self._policy = policy
        self._driver = driver
        self._failures = 0
        self.last_error: str | None = None

    def write(self, message: Message, held: Held) -> None:
        """Answer the machine later with `dead_lettered`, `dead_letter_failed` or `dead_letter_refused`."""
        loop = asyncio.get_running_loop()
        if deaths(message) >= MOST_DEATHS:
            loop.call_soon(self._driver.step, self._driver.machine.dead_letter_refused, None)
            return
        attributes = {
            **message.attributes,
            "x-original-topic": message.topic,
            "x-original-subscription": self._subscription,
            "x-original-topic-offset": str(message.offset),
            "x-poison-policy": self._policy,
            "x-delivery-attempt": str(held.attempt),
            "x-failure-reason": held.reason,
            DEATHS: str(deaths(message) + 1),
        }
        asyncio.ensure_future(self._target.append([Message(message.payload, message.key, attributes)])).add_done_callback(self._written)

    def _written(self, write: asyncio.Future[Sequence[int]]) -> None:
        if write.cancelled():
            return
        error = write.exception()
        if error is None:
            self._failures = 0
            self.last_error = None
            self._driver.step(self._driver.machine.dead_lettered, None)
            return
        if not isinstance(error, StoreError):
            log.error("subscription %s: the write of a dead letter broke: %r", self._subscription, error)
        elif not self._failures:
            log.warning("subscription %s: the write of a dead letter failed, trying again: %s", self._subscription, error)
        self._failures += 1
        self.last_error = f"write of a dead letter failed: {error}"
        self._driver.step(self._driver.machine.dead_letter_failed, backoff(self._failures))
