"""What goes wrong during the demo, besides the kill: the same for the same seed."""

from __future__ import annotations

import random

NACKS = 6
STALLS = (0.12, 0.35, 0.75)
DEATHS = (0.25, 0.85)
"""Where, as parts of the whole."""


class ConsumerDied(Exception):
    """A consumer ends without warning, with a message in its hands."""


class Faults:
    """Offsets at whose first delivery something happens."""

    def __init__(self, messages: int, seed: int) -> None:
        chance = random.Random(seed)

        def near(part: float) -> int:
            return min(messages - 1, int(messages * (part + chance.uniform(0.0, 0.05))))

        self.deaths = frozenset(map(near, DEATHS))
        """The consumer that holds it is lost."""
        self.stalls = frozenset(map(near, STALLS))
        """The worker answers after its deadline."""
        self.nacks = frozenset(chance.sample(range(messages), min(NACKS, messages // 10))) - self.stalls
        """The worker says no."""
