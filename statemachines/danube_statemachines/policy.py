"""What happens to a message that a consumer did not process.

Defaults are the Danube broker's: 30 s to acknowledge, 5 redeliveries, delays from 1 s doubling to 60 s, then blocked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .checks import choice, count, number, shown
from .errors import InvalidArgument

Backoff = Literal["exponential", "fixed"]
PoisonPolicy = Literal["block", "drop", "dead_letter"]

BACKOFFS = ("exponential", "fixed")
POISON_POLICIES: tuple[PoisonPolicy, ...] = ("block", "drop", "dead_letter")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePolicy:
    """When a delivery has failed, how long a message waits, and what becomes of one that keeps failing. Times in seconds.

    ack_timeout           a delivery neither settled nor extended for so long has failed; counted from the send
    max_redeliveries      charged failures beyond this exhaust a message; 0: the first failure does
    redelivery_delay      the wait after the first charged failure
    max_redelivery_delay  no wait is longer, whoever asks for it
    backoff               "exponential": the wait doubles with every charged failure; "fixed": it stays
    jitter                up to this fraction of the policy's wait is added, the same for the same seed, offset and failure
    poison_policy         an exhausted message: "block" the subscription, "drop" it, or move it to a "dead_letter" topic
    dead_letter_topic     where to; also the target of a manual release to dead letters
    max_hold              a delivery cannot be extended beyond so long after its send; None: no bound

    Raises InvalidArgument, which names the argument.
    """

    ack_timeout: float = 30.0
    max_redeliveries: int = 5
    redelivery_delay: float = 1.0
    max_redelivery_delay: float = 60.0
    backoff: Backoff = "exponential"
    jitter: float = 0.0
    seed: int = 0
    poison_policy: PoisonPolicy = "block"
    dead_letter_topic: str | None = None
    max_hold: float | None = None

    def __post_init__(self) -> None:
        for name in ("ack_timeout", "redelivery_delay", "max_redelivery_delay"):
            number(name, getattr(self, name))
        count("max_redeliveries", self.max_redeliveries, least=0)
        choice("backoff", self.backoff, BACKOFFS)
        if number("jitter", self.jitter, zero=True, unit="parts of the delay") > 1:
            raise InvalidArgument("jitter", f"needs a fraction from 0 to 1, not {shown(self.jitter)}")
        count("seed", self.seed, least=-(2**63))
        choice("poison_policy", self.poison_policy, POISON_POLICIES)
        if self.redelivery_delay > self.max_redelivery_delay:
            raise InvalidArgument("redelivery_delay", f"{shown(self.redelivery_delay)} is longer than max_redelivery_delay={shown(self.max_redelivery_delay)}")
        if self.poison_policy == "dead_letter" and self.dead_letter_topic is None:
            raise InvalidArgument("dead_letter_topic", "poison_policy='dead_letter' needs a topic to move messages to")
        if self.max_hold is not None and number("max_hold", self.max_hold) < self.ack_timeout:
            raise InvalidArgument("max_hold", f"{shown(self.max_hold)} is shorter than ack_timeout={shown(self.ack_timeout)}")

    def exhausted(self, failures: int) -> bool:
        """Whether a message with so many charged failures has met the limit."""
        return failures > self.max_redeliveries

    def delay(self, offset: int, failures: int, asked: float = 0.0) -> float:
        """Seconds until the next delivery after the `failures`-th charged failure: min(max(policy, asked), maximum)."""
        # 2.0**1023 is the largest power of two that a float holds
        delay = self.redelivery_delay * (2.0 ** min(failures - 1, 1000) if self.backoff == "exponential" else 1.0)
        if self.jitter:
            delay *= 1 + self.jitter * _fraction(self.seed, offset, failures)
        return min(max(delay, asked), self.max_redelivery_delay)


def _fraction(*numbers: int) -> float:
    """A number in [0, 1) that depends on nothing but `numbers`."""
    import hashlib

    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
