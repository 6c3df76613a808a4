"""What tests of the pure model share: a machine on a recorder, and events that fit what it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from danube_statemachines import (
    VARIANTS,
    Declaration,
    DeliveryId,
    Extend,
    FailurePolicy,
    Held,
    Lost,
    Nack,
    NonReliable,
    Recorder,
    Reliable,
    Replaced,
)

Effects = list[tuple[object, ...]]
Variant = Declaration[Reliable] | Declaration[NonReliable]

RELIABLE = ("reliable_exclusive", "reliable_shared")
NON_RELIABLE = ("non_reliable_exclusive", "non_reliable_shared")
EPOCH = 7
SESSIONS = (1, 2, 3)
POLICIES = {
    "block": FailurePolicy(max_redeliveries=1),
    "drop": FailurePolicy(max_redeliveries=0, poison_policy="drop", backoff="fixed"),
    "dead_letter": FailurePolicy(max_redeliveries=2, poison_policy="dead_letter", dead_letter_topic="/test/dead", jitter=0.5, max_hold=45.0),
}


def make(variant: Variant, port: Recorder, policy: FailurePolicy, kind: type[Any] | None = None, epoch: int = EPOCH) -> Any:
    """A fresh machine of the variant; of its lean class unless another `kind` is given."""
    kind = kind or variant.lean
    return kind(port, policy, epoch=epoch) if issubclass(kind, Reliable) else kind(port)


def listed(variant: Variant, state: str) -> list[str]:
    """The events that the state lists and that come from outside."""
    inner = set(variant.completion.values())
    return [name for name, event in variant.events.items() if state in event.transitions and name not in inner]


def likely(variant: Variant, state: str) -> list[str]:
    """Listed events for a walk that gets somewhere: those that can leave the state stand three times, and nothing closes."""
    names = [name for name in listed(variant, state) if name != "close" or state == variant.final]
    return [name for name in names for _ in range(3 if any(row.dest for row in variant.events[name].transitions[state]) else 1)]


def offset_of(machine: Reliable) -> int:
    """The offset of the next message, beyond whatever is in hand."""
    return 10 if machine.offset is None else machine.offset + 1


def delivery(machine: Reliable, pick: int) -> DeliveryId:
    """The open delivery, or one that differs from it in one part."""
    epoch, session, offset, attempt = machine.delivery or (EPOCH, 1, offset_of(machine), 1)
    return [
        *[(epoch, session, offset, attempt)] * 3,
        (epoch - 1, session, offset, attempt),
        (epoch, session + 1, offset, attempt),
        (epoch, session, offset - 1, attempt),
        (epoch, session, offset, attempt + 1),
    ][pick % 7]


def attached(machine: Reliable | NonReliable, pick: int) -> int:
    return machine.roster[pick % len(machine.roster)] if machine.roster else SESSIONS[pick % len(SESSIONS)]


def newcomer(machine: Reliable | NonReliable, pick: int) -> int:
    return max((0, *machine.roster, *SESSIONS)) + 1 + pick % 2


ARGUMENTS: dict[str, Callable[[Any, int, int], object]] = {
    "polled": lambda machine, pick, _: offset_of(machine) + pick % 2,
    "resumed": lambda machine, pick, more: Held(offset_of(machine), 1 + more % 3, pick % 4, "earlier", (None, machine.now + 5.0)[more % 2]),
    "ack": lambda machine, pick, _: delivery(machine, pick),
    "nack": lambda machine, pick, more: Nack(delivery(machine, pick), (0.0, 7.0, 1e9)[more % 3], ("", "no")[more % 2]),
    "extend": lambda machine, pick, more: Extend(delivery(machine, pick), (1.0, 40.0, 1e6)[more % 3]),
    "tick": lambda _, pick, __: pick % 2 == 0,
    "dead_letter_failed": lambda _, pick, __: 0.1 + pick % 3,
    "consumer_added": lambda machine, pick, _: newcomer(machine, pick),
    "consumer_lost": lambda machine, pick, more: Lost(attached(machine, pick), more % 2 == 0),
    "consumer_replaced": lambda machine, pick, more: Replaced(attached(machine, pick), newcomer(machine, pick), more % 2 == 0),
    "accepted": lambda machine, pick, _: machine.candidates[0] if machine.candidates and pick % 4 else attached(machine, pick),
    "refused": lambda machine, pick, _: machine.candidates[0] if machine.candidates and pick % 4 else attached(machine, pick),
}
"""What an event carries, by two small numbers that choose; events that are not here carry nothing."""


def argument(machine: Any, event: str, pick: int, more: int = 0) -> object:
    choose = ARGUMENTS.get(event)
    return None if choose is None else choose(machine, pick, more)


class Story:
    """A machine of a variant, driven step by step: each call returns the effects of its step."""

    def __init__(self, name: str = "reliable_exclusive", **policy: Any) -> None:
        self.port = Recorder()
        self.variant: Any = VARIANTS[name]
        self.machine: Any = make(self.variant, self.port, FailurePolicy(**policy))

    def __call__(self, trigger: str, event: object = None) -> Effects:
        assert getattr(self.machine, trigger)(event) is True
        return self.port.take()

    def at(self, now: float) -> Story:
        """Time is `now` from here on."""
        self.machine.now = now
        return self

    @property
    def state(self) -> str:
        return str(self.machine.state)

    @property
    def open(self) -> DeliveryId:
        """The open delivery."""
        found: DeliveryId | None = self.machine.delivery
        assert found is not None, f"nothing is open in {self.state}"
        return found

    def join(self, *sessions: int) -> Story:
        for session in sessions:
            self("consumer_added", session)
        return self

    def given(self, offset: int = 0, *sessions: int) -> Story:
        """With these consumers (one, unless told), and the message at `offset` with the first."""
        self.join(*sessions or (1,))("polled", offset)
        return self


def sends(effects: Effects) -> list[tuple[int, int, int]]:
    """(session, offset, attempt) of each message given out."""
    return [effect[1][1:] for effect in effects if effect[0] == "send" and isinstance(effect[1], tuple)]
