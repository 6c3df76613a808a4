"""How often what goes wrong. Every fault is drawn from the one source of chance of its run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

from ..errors import InvalidArgument

PER_CALL = {
    "failed": 0.02,  # a call of the store is refused and not carried out
    "slow": 0.02,  # carried out late, answered later
    "undecided": 0.01,  # carried out, and reported as failed
    "damaged": 0.0002,  # a read finds what was not written
}
"""Chance of each call of a store to go wrong in that way."""

PER_HOUR = {
    "crash": 6.0,  # a process is gone, with everything that was not durable
    "stall": 8.0,  # a process does not run for a while, often past its lease
    "outage": 6.0,  # the store answers nobody in that process
    "clock": 4.0,  # the wall clock of a process jumps
    "deaf": 4.0,  # a process sees nothing of what others write for a while
    "rival": 12.0,  # a consumer comes under the name of another, whether that holds something or not; of each open subscription
}
"""How often in an hour, for each process."""

PER_DELIVERY = {
    "nack": 0.06,
    "delayed_nack": 0.02,
    "twice": 0.02,  # answered twice
    "late": 0.01,  # answered after its deadline
    "forged": 0.03,  # another delivery's answer comes first
    "silent": 0.005,  # never answered
    "extend": 0.02,
    "dozing": 0.01,  # the consumer does not take its next one for a while
    "leaving": 0.01,  # it leaves with it
    "cancelled": 0.01,  # it is cancelled with it
    "takeover": 0.01,  # another one comes under its name
}
"""Chance of each delivery to be treated in that way."""

PER_MESSAGE = {
    "poison": 0.002,  # whoever processes it, fails
    "killer": 0.0005,  # whoever processes it in one of the subscriptions, crashes
}
"""Chance of each message to be so."""

BASE: Mapping[str, float] = {**PER_CALL, **PER_HOUR, **PER_DELIVERY, **PER_MESSAGE}
KINDS = tuple(BASE)


class Faults:
    """Draws what goes wrong, and counts it. After `calm` nothing does."""

    def __init__(self, random: Random, factors: Mapping[str, float]) -> None:
        """`factors` multiply the rates above, "all" all of them. Raises InvalidArgument."""
        for kind, factor in factors.items():
            if kind != "all" and kind not in BASE:
                raise InvalidArgument("rate", f"there is no fault {kind!r}; there are: all, {', '.join(KINDS)}")
            if not 0 <= factor <= 1000:
                raise InvalidArgument("rate", f"{kind}={factor:g}: needs a factor from 0 to 1000")
        self.random = random
        self.counts: Counter[str] = Counter()
        self.calm = False
        self._rates = {kind: rate * factors.get("all", 1.0) * factors.get(kind, 1.0) for kind, rate in BASE.items()}
        self._tables = [(group, [(kind, self._rates[kind]) for kind in group]) for group in (PER_CALL, PER_DELIVERY, PER_MESSAGE)]
        self.per_call, self.per_delivery, self.per_message = (table for _, table in self._tables)

    def draw(self, table: list[tuple[str, float]]) -> str | None:
        """What goes wrong this time; most often nothing."""
        if self.calm:
            return None
        chance = self.random.random()
        for kind, rate in table:
            if chance < rate:
                self.counts[kind] += 1
                return kind
            chance -= rate
        return None

    def pause(self, kind: str) -> float:
        """Seconds until the next fault of that kind in a process."""
        rate = self._rates[kind]
        return self.random.expovariate(rate / 3600.0) if rate else float("inf")
