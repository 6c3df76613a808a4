"""What a consumer is handed: a message, and the answers it can give."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from danube_statemachines import DeliveryId

from .messages import Message
from .validation import check_delay, check_reason, check_seconds


class Answers(Protocol):
    """Where a delivery's answers go. Each says whether it counted; a stale one is counted and changes nothing."""

    async def ack_message(self, delivery: DeliveryId) -> bool: ...
    async def nack_message(self, delivery: DeliveryId, delay: float, reason: str) -> bool: ...
    def extend_message(self, delivery: DeliveryId, seconds: float) -> bool: ...
    def is_open(self, delivery: DeliveryId) -> bool: ...


class Delivery:
    """One message, handed over once. The answers return exactly True or False, and never raise for coming too late."""

    __slots__ = ("_answers", "id", "message")

    message: Message
    """What was published."""
    id: DeliveryId
    """(epoch, session, offset, attempt): no other delivery has the same."""

    def __init__(self, message: Message, id: DeliveryId, answers: Answers) -> None:
        self.message = message
        self.id = id
        self._answers = answers

    def __repr__(self) -> str:
        return f"Delivery({self.message!r}, attempt={self.attempt})"

    @property
    def attempt(self) -> int:
        """The number of this send of the message, from 1."""
        return self.id[3]

    @property
    def redelivered(self) -> bool:
        """Whether the message was sent before: its attempt is greater than 1. After a crash nobody may know any more that it was."""
        return self.id[3] > 1

    @property
    def open(self) -> bool:
        """Whether an answer would count now."""
        return self._answers.is_open(self.id)

    def ack(self) -> Coroutine[Any, Any, bool]:
        """The message is processed. With `flush_interval=0` this returns when that is durable.

        False: it did not count, because the delivery is no longer the open one (it was answered, timed out, taken over, or everything is closed).
        """
        return self._answers.ack_message(self.id)  # the coroutine itself: one frame less on the path of a message

    async def nack(self, delay: float | None = None, reason: str | None = None) -> bool:
        """The message is not processed: deliver it again after the policy's delay, or after `delay` seconds if that is longer.

        `reason` goes into the dead letter; beyond 1,000 characters it is cut. Returns when the failure is durable, and True if it counted.
        Raises InvalidArgument.
        """
        return await self._answers.nack_message(self.id, check_delay(delay), check_reason(reason))

    async def extend(self, seconds: float) -> bool:
        """Move the ack deadline to `seconds` from now, within the policy's `max_hold`. True if it counted. Raises InvalidArgument."""
        return self._answers.extend_message(self.id, check_seconds("seconds", seconds))
