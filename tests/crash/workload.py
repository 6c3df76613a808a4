"""What the killed processes publish and how they subscribe. Everything about a message follows from its id, so the judge can make it anew."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from random import Random

from danube_dispatcher import FailurePolicy, Message

TOPIC, DEAD = "/kill/orders", "/kill/dead"
ACK_TIMEOUT = 3.0
FLUSH_MESSAGES = 64
"""In place of 10,000, so that the bound on duplicates, and the end of careful mode, are met in a life of a hundred messages."""


def policy(poison: str, limit: int) -> FailurePolicy:
    return FailurePolicy(
        ack_timeout=ACK_TIMEOUT,
        max_redeliveries=limit,
        redelivery_delay=0.25,
        max_redelivery_delay=2.0,
        poison_policy=poison,  # type: ignore[arg-type]  # one of the three
        dead_letter_topic=None if poison == "drop" else DEAD,
    )


@dataclass(frozen=True)
class Profile:
    """A subscription."""

    name: str
    type: str
    flush_interval: float
    policy: FailurePolicy
    consumers: tuple[str, ...]
    rate_limit: float | None = None


PROFILES = (
    Profile("exact", "exclusive", 0.0, policy("block", 2), ("a",)),
    Profile("lazy", "exclusive", 5.0, policy("dead_letter", 1), ("a",)),
    Profile("shared", "shared", 0.3, policy("drop", 1), ("a", "b", "c")),
    Profile("spare", "failover", 1.0, policy("dead_letter", 0), ("a", "b"), rate_limit=40.0),
    Profile("turns", "shared", 0.0, policy("dead_letter", 3), ("a", "b")),
    Profile("loose", "shared", 5.0, policy("block", 0), ("a", "b")),
)
BY_NAME = {profile.name: profile for profile in PROFILES}


@dataclass(frozen=True)
class Item:
    """A message and what befalls it."""

    message: Message
    deadly_to: str
    """The subscription whose process it kills whenever it is taken."""
    bad_for: str
    """The subscription whose consumers refuse it always."""

    @classmethod
    def of(cls, identity: str) -> Item:
        chance = Random(identity)
        size = int(chance.expovariate(1 / 60)) if chance.random() < 0.97 else chance.randrange(40_000)
        payload = identity.encode() + b" " + chance.randbytes(size)
        key = None if chance.random() < 0.5 else f"key-{chance.randrange(5)}"
        attributes = {} if chance.random() < 0.5 else {"n": identity, "ü": "ß\n"}
        fate, whom = chance.random(), chance.choice(PROFILES).name
        return cls(Message(payload, key, attributes), whom if fate < 0.004 else "", whom if 0.004 <= fate < 0.04 else "")


def identity_of(message: Message) -> str:
    """The id of a message that is one of ours; any other text otherwise."""
    return message.payload.partition(b" ")[0].decode(errors="replace")


def digest(message: Message) -> str:
    """Of all that a publisher gave; what a dead letter adds is left out."""
    attributes = {name: value for name, value in sorted(message.attributes.items()) if not name.startswith("x-")}
    return hashlib.blake2b(repr((message.payload, message.key, attributes)).encode(), digest_size=8).hexdigest()
