"""What a machine asks of the world: its effects.

A port notes an effect or carries it out at once, and never calls back into the machine; what follows from an effect arrives as a later event.
The effects of one step come in this order, and a runtime keeps to it:

    withdraw       first, so that nobody takes what is given to another
    save_failure   before anything follows from the failure
    active_changed before the first message to the new active consumer
    settle         before the next message is asked for
    send, poll or dead_letter   at most one of them, last
    stale          alone: the step changed nothing
"""

from __future__ import annotations

from typing import Literal, Protocol

from .identity import DeliveryId
from .progress import Held

Settlement = Literal["acked", "dropped", "dead_lettered"]
Stale = Literal["ack", "nack", "extend"]


class RosterPort(Protocol):
    """What every machine asks for."""

    def active_changed(self, session: int | None) -> None:
        """The active consumer is another one now, or there is none."""
        ...

    def transition(self, trigger: str, source: str, dest: str, row: int) -> None:
        """Told by observed machines only: the row taken (its index in the declaration's `table`), before its effects."""
        ...


class ReliablePort(RosterPort, Protocol):
    """What a reliable machine asks for."""

    def poll(self) -> None:
        """Answer once: with `polled`, `resumed` or `poll_empty`."""
        ...

    def send(self, delivery: DeliveryId) -> None:
        """Put the message in hand into the box of the delivery's session."""
        ...

    def withdraw(self, delivery: DeliveryId) -> None:
        """Take the delivery back out of its box, if it is still there."""
        ...

    def save_failure(self, held: Held) -> None:
        """Make a charged failure (or its being forgiven) durable."""
        ...

    def settle(self, offset: int, outcome: Settlement) -> None:
        """The message is done with: the cursor may pass it."""
        ...

    def dead_letter(self, held: Held) -> None:
        """Write the message in hand to the dead-letter topic; answer with `dead_lettered`, `dead_letter_failed` or `dead_letter_refused`."""
        ...

    def stale(self, kind: Stale) -> None:
        """A late, duplicate, foreign or forged answer changed nothing."""
        ...


class NonReliablePort(RosterPort, Protocol):
    """What a non-reliable machine asks for."""

    def offer(self, session: int) -> None:
        """Offer the message to the session's box; answer with `accepted` or `refused`."""
        ...

    def sent(self, session: int) -> None:
        """The message is in that session's box, and done with."""
        ...

    def dropped(self) -> None:
        """Every box that may be tried is full; the message is gone."""
        ...

    def no_consumer(self) -> None:
        """There is nobody; the message is gone."""
        ...


class Recorder:
    """A port for either kind that makes values of the effects: (name, argument …)."""

    def __init__(self) -> None:
        self.effects: list[tuple[object, ...]] = []

    def take(self) -> list[tuple[object, ...]]:
        """The effects since the last call."""
        effects, self.effects = self.effects, []
        return effects

    def poll(self) -> None:
        self.effects.append(("poll",))

    def send(self, delivery: DeliveryId) -> None:
        self.effects.append(("send", delivery))

    def withdraw(self, delivery: DeliveryId) -> None:
        self.effects.append(("withdraw", delivery))

    def save_failure(self, held: Held) -> None:
        self.effects.append(("save_failure", held))

    def settle(self, offset: int, outcome: Settlement) -> None:
        self.effects.append(("settle", offset, outcome))

    def dead_letter(self, held: Held) -> None:
        self.effects.append(("dead_letter", held))

    def stale(self, kind: Stale) -> None:
        self.effects.append(("stale", kind))

    def offer(self, session: int) -> None:
        self.effects.append(("offer", session))

    def sent(self, session: int) -> None:
        self.effects.append(("sent", session))

    def dropped(self) -> None:
        self.effects.append(("dropped",))

    def no_consumer(self) -> None:
        self.effects.append(("no_consumer",))

    def active_changed(self, session: int | None) -> None:
        self.effects.append(("active_changed", session))

    def transition(self, trigger: str, source: str, dest: str, row: int) -> None:
        self.effects.append(("transition", trigger, source, dest, row))
