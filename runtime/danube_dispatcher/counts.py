"""What a dispatcher has done since it was opened. Counts are no state of a machine: the runtime counts effects."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """Since the opening, in this process. `settled` is the sum of what was acked, dropped and dead-lettered."""

    delivered: int = 0
    """Sends, redeliveries among them."""
    redelivered: int = 0
    """Sends with attempt > 1."""
    withdrawn: int = 0
    """Of those, the ones that followed no charged failure: nobody had looked at the message, or its owner closed."""
    acked: int = 0
    """Settled by an ack that counted."""
    dropped: int = 0
    """By policy or release; non-reliable: because every box that might be tried was full, or its consumer left."""
    dead_lettered: int = 0
    """Durable in the dead-letter topic."""
    no_consumer: int = 0
    """Non-reliable: nobody was attached."""
    failures: int = 0
    """Charged: nacks, ack timeouts, losses of a consumer that had taken the message."""
    stale_acks: int = 0
    """Late, duplicate or foreign: they changed nothing, like the next two."""
    stale_nacks: int = 0
    stale_extends: int = 0

    @property
    def settled(self) -> int:
        return self.acked + self.dropped + self.dead_lettered
