"""The non-reliable machines against boxes as publishers and consumers think of them, step for step, in whatever order things happen."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from danube_statemachines import Lost, NonReliable, Replaced
from machine_rules import MachineRules, check_rows, tour
from modelling import NON_RELIABLE, Effects
from stateful import Call, play


class NonReliableRules(MachineRules):
    """The box that is offered a message answers by chance, while others come and go."""

    machine: NonReliable

    def __init__(self) -> None:
        super().__init__()
        self.left_to_try: list[int] = []
        self.published = self.outcomes = 0

    def expect(self, effects: Effects, trigger: str, event: object = None) -> None:
        super().expect(effects, trigger, event)
        self.outcomes += sum(effect[0] in ("sent", "dropped", "no_consumer") for effect in effects)

    @precondition(lambda self: not self.left_to_try)
    @rule()
    def message(self) -> None:
        self.published += 1
        self.left_to_try = self.turns.order[: 1 if self.exclusive else None]
        self.expect([("offer", self.left_to_try[0])] if self.left_to_try else [("no_consumer",)], "message")

    @precondition(lambda self: self.left_to_try)
    @rule()
    def accepted(self) -> None:
        session = self.left_to_try[0]
        self.left_to_try = []
        self.turns.served(session)
        self.expect([("sent", session)], "accepted", session)

    @precondition(lambda self: self.left_to_try)
    @rule()
    def refused(self) -> None:
        session = self.left_to_try.pop(0)
        self.expect([("offer", self.left_to_try[0])] if self.left_to_try else [("dropped",)], "refused", session)

    @rule(trigger=st.sampled_from(["accepted", "refused"]), session=st.integers(1, 9))
    def foreign(self, trigger: str, session: int) -> None:
        if session not in self.left_to_try[:1]:
            before = self.machine.snapshot()
            self.expect([], trigger, session)
            assert self.machine.snapshot() == before

    @precondition(lambda self: len(self.turns.order) < 4)
    @rule()
    def join(self) -> None:
        session = next(self.sessions)
        self.expect(self.turns.come(session), "consumer_added", session)

    @precondition(lambda self: self.turns.order)
    @rule(pick=st.integers(0, 3), replaced=st.booleans())
    def leave(self, pick: int, replaced: bool) -> None:
        session = self.turns.order[pick % len(self.turns.order)]
        self.left_to_try[1:] = [each for each in self.left_to_try[1:] if each != session]
        if replaced:
            new = next(self.sessions)
            self.expect(self.turns.swap(session, new, first=False), "consumer_replaced", Replaced(session, new))
        else:
            self.expect(self.turns.go(session), "consumer_lost", Lost(session))

    @rule(crash=st.booleans())
    def end(self, crash: bool) -> None:
        """What was offered at that moment has no outcome."""
        if not crash:
            self.close()
        self.published -= bool(self.left_to_try)
        self.left_to_try = []
        self.begin()

    @invariant()
    def s9_each_message_has_one_outcome(self) -> None:
        assert self.published == self.outcomes + bool(self.left_to_try)

    @invariant()
    def s12_an_offer_is_out_iff_dispatching(self) -> None:
        assert (self.machine.state == "Dispatching") == bool(self.left_to_try)
        assert list(self.machine.candidates) == self.left_to_try


WAYS: list[list[Call]] = [[], [("join", {})], [("join", {}), ("join", {}), ("message", {})], [("join", {}), ("message", {})]]
"""To each state."""
STEPS: list[Call] = [
    *(("message", {}), ("accepted", {}), ("refused", {})),
    *(("foreign", {"trigger": trigger, "session": 9}) for trigger in ("accepted", "refused")),
]

NEVER = {
    f"{trigger} in Failover": "the machine never rests in Failover: a refused message goes on, or is dropped, in the same step"
    for trigger in ("accepted", "refused", "consumer_added", "consumer_lost", "consumer_replaced", "close")
}
"""Rows that nothing fires, in one of their states, with the reason."""


@pytest.mark.parametrize("variant", NON_RELIABLE)
def test_a_non_reliable_machine_does_what_its_users_expect(variant: str) -> None:
    rules = type("Rules", (NonReliableRules,), {"name": variant})
    tour(rules, WAYS, STEPS)
    play(rules, examples=60, steps=60)
    check_rows(variant, NEVER)
