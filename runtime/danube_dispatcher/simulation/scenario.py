"""What is simulated: topics, subscriptions of every kind, and the policies with which they are opened, each time others."""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

from danube_statemachines import FailurePolicy, PoisonPolicy

ORDERS, EVENTS, LEFT, RIGHT, DEAD = "/sim/orders", "/sim/events", "/sim/left", "/sim/right", "/sim/dead"
"""LEFT and RIGHT are each other's dead-letter topic."""
MOVER = "mover"
"""The subscriptions of these two: what nobody can process goes to and fro until it is blocked."""
PUBLISHED = (ORDERS, EVENTS, LEFT, RIGHT)
TOPICS = (*PUBLISHED, DEAD)
MOVED = (LEFT, RIGHT, DEAD)
"""Topics that get dead letters."""


class Kind(NamedTuple):
    """A subscription as it is stored; the rest is the opening's."""

    topic: str
    name: str
    type: str
    reliable: bool = True
    strict: bool = False
    """Every ack is durable before it returns."""
    limited: bool = False
    """It has a rate limit."""
    fleeting: bool = False
    """It is unsubscribed now and then, and begins anew anywhere."""
    dead_letters: str | None = DEAD

    @property
    def key(self) -> str:
        """As the history calls it."""
        return f"{self.topic}:{self.name}"


KINDS = (
    Kind(ORDERS, "exclusive", "exclusive"),
    Kind(ORDERS, "failover", "failover"),
    Kind(ORDERS, "shared", "shared"),
    Kind(EVENTS, "shared", "shared", strict=True),
    Kind(EVENTS, "limited", "failover", limited=True),
    Kind(EVENTS, "fleeting", "exclusive", fleeting=True),
    Kind(LEFT, MOVER, "shared", dead_letters=RIGHT),
    Kind(RIGHT, MOVER, "exclusive", dead_letters=LEFT),
    Kind(DEAD, "morgue", "failover", dead_letters=None),
    Kind(ORDERS, "live", "exclusive", reliable=False),
    Kind(ORDERS, "live-failover", "failover", reliable=False),
    Kind(EVENTS, "live-shared", "shared", reliable=False),
)
"""All subscriptions. A reliable one is open in one process at a time, a non-reliable one in each."""

ACK_TIMEOUT = (2.0, 8.0)
"""Seconds: from, to."""
MOST_REDELIVERIES = 4
MAX_DELAY = 6.0
"""Seconds until a redelivery at most."""
RATE_LIMIT = (2.0, 20.0)
"""Messages a second: from, to."""
FLUSH_INTERVAL = (1.0, 5.0)
"""Seconds: from, to."""

BACKWARDS = 20
"""Messages before the head at which a new fleeting subscription begins at most."""

# what whoever is behind the processes does; the bound on liveness rests on these
HOLD = 1.6 * ACK_TIMEOUT[1]
"""Seconds that a consumer is silent, or does not take, at most: beyond any deadline."""
AWAY = 8.0
"""Seconds at most until a consumer that has left comes back."""
WORK = 0.5
"""Seconds that a message takes at most, where it takes any."""
NAP = 60.0
"""Seconds at most that a process does without a subscription before it tries again."""
WATCH = 10.0
"""Seconds until a process notices that a subscription has ended."""
CARE = 0.5
"""Seconds between two looks of an operator when all is to be well."""
SLOWEST = 4.0
"""Seconds that a slow call of the store takes at most."""


def opening(kind: Kind, random: Random, head: int) -> dict[str, Any]:
    """Arguments for `Topic.subscribe`, but for the name and `wait`; `head` is the topic's."""
    arguments: dict[str, Any] = {"type": kind.type, "reliable": kind.reliable}
    if not kind.reliable:
        return arguments
    timeout = random.uniform(*ACK_TIMEOUT)
    fates: list[PoisonPolicy] = ["block", "drop"] if kind.dead_letters is None else ["dead_letter"] if kind.name == MOVER else ["block", "drop", "dead_letter"]
    policy = FailurePolicy(
        ack_timeout=timeout,
        max_redeliveries=random.randrange(MOST_REDELIVERIES + 1),
        redelivery_delay=random.uniform(0.05, 1.0),
        max_redelivery_delay=random.uniform(1.0, MAX_DELAY),
        backoff="fixed" if random.random() < 0.5 else "exponential",
        jitter=random.choice([0.0, 0.5]),
        seed=random.randrange(1000),
        poison_policy=random.choice(fates),
        dead_letter_topic=kind.dead_letters,
        max_hold=random.choice([None, timeout * 1.5]),
    )
    start = random.choice(("latest", max(0, head - BACKWARDS))) if kind.fleeting else "earliest"
    arguments |= {"start": start, "policy": policy, "flush_interval": 0.0 if kind.strict else random.uniform(*FLUSH_INTERVAL)}
    if kind.limited:
        limit = random.uniform(*RATE_LIMIT)
        arguments |= {"rate_limit": limit, "rate_burst": random.choice([None, 1, 2 * round(limit)])}
    return arguments
