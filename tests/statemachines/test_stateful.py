"""Each machine against a subscription as its users think of it, step for step, in whatever order things happen.

`Book` and the list of boxes that are left to try are that subscription: written without a look at the tables, they say what must come of each event.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from danube_statemachines import DeliveryId, Extend, FailurePolicy, Held, Lost, Nack, NonReliable, Reliable, Replaced
from machine_rules import MachineRules, check_rows, tour
from modelling import EPOCH, NON_RELIABLE, POLICIES, RELIABLE, Effects
from stateful import Call, play
from turns import Turns


class Book:
    """A reliable subscription."""

    def __init__(self, policy: FailurePolicy, turns: Turns, epoch: int) -> None:
        self.policy = policy
        self.epoch = epoch
        self.turns = turns
        self.polling = False
        self.message: Held | None = None
        self.open: DeliveryId | None = None
        self.sent_at = 0.0
        self.due: float | None = None
        self.verdict: str | None = None

    @property
    def idle(self) -> bool:
        return self.message is None and not self.polling

    def history(self) -> Held:
        assert self.message is not None
        exhausted = self.message.failures > self.policy.max_redeliveries
        return self.message._replace(due_at=None if self.open else self.due, exhausted=exhausted)

    def ask(self) -> Effects:
        self.polling = True
        return [("poll",)]

    def got(self, message: Held, now: float) -> Effects:
        self.polling = False
        self.message, self.due = message._replace(due_at=None), message.due_at
        return self.onward(now)

    def onward(self, now: float) -> Effects:
        """What becomes of a message that nobody has."""
        assert self.message is not None
        assert self.open is None
        offset, attempt, failures = self.message[:3]
        if failures > self.policy.max_redeliveries:
            self.due = None
            self.verdict = self.policy.poison_policy
            if self.verdict == "dead_letter":
                return [("dead_letter", self.history())]
            return self.settle("dropped") if self.verdict == "drop" else []
        if self.due is not None or not self.turns.order:
            return []
        session = self.turns.order[0]
        self.turns.served(session)
        self.message = self.message._replace(attempt=attempt + 1)
        self.open = (self.epoch, session, offset, attempt + 1)
        self.sent_at, self.due = now, now + self.policy.ack_timeout
        return [("send", self.open)]

    def settle(self, outcome: str) -> Effects:
        assert self.message is not None
        offset = self.message.offset
        self.message = self.open = self.due = self.verdict = None
        return [("settle", offset, outcome), *self.ask()]

    def failed(self, reason: str, now: float, asked: float | None = None) -> Effects:
        """A charged failure; without `asked` the message waits for nothing."""
        assert self.message is not None
        self.message = self.message._replace(failures=self.message.failures + 1, reason=reason)
        self.open = None
        self.due = None if asked is None else now + self.policy.delay(self.message.offset, self.message.failures, asked)
        return [("save_failure", self.history())]

    def gone(self, session: int, taken: bool, now: float, new: int | None = None) -> Effects:
        held = self.open is not None and self.open[1] == session
        effects: Effects = []
        if held:
            if taken:
                effects += self.failed("consumer lost", now)
            self.open = self.due = None
        effects += self.turns.go(session) if new is None else self.turns.swap(session, new, first=held)
        return effects + (self.onward(now) if held else [])


class ReliableRules(MachineRules):
    machine: Reliable

    def __init__(self) -> None:
        super().__init__()
        self.open(EPOCH)
        self.head = 0
        self.past: list[DeliveryId] = [(EPOCH - 1, 1, 0, 1)]
        self.settled: list[int] = []
        self.first_sent: list[int] = []

    def open(self, epoch: int) -> None:
        self.epoch = epoch
        self.book = Book(self.policy, self.turns, epoch)
        self.taken = False

    @property
    def now(self) -> float:
        return self.machine.now

    def expect(self, effects: Effects, trigger: str, event: object = None) -> None:
        before = self.machine.delivery
        super().expect(effects, trigger, event)
        if before is not None and before != self.machine.delivery:
            self.past = [*self.past[-4:], before]
        for effect in effects:
            if effect[0] == "send":
                self.taken = False
                assert isinstance(effect[1], tuple)
                if effect[1][3] == 1:
                    self.first_sent.append(effect[1][2])
            elif effect[0] == "settle":
                assert isinstance(effect[1], int)
                self.settled.append(effect[1])

    # the engine

    @rule(trigger=st.sampled_from(["wake", "recover"]))
    def wake(self, trigger: str) -> None:
        heard = self.book.idle and (bool(self.turns.order) or trigger == "recover")
        self.expect(self.book.ask() if heard else [], trigger)

    @precondition(lambda self: self.book.polling)
    @rule(gap=st.integers(0, 2))
    def polled(self, gap: int) -> None:
        self.head += gap + 1
        self.expect(self.book.got(Held(self.head), self.now), "polled", self.head)

    @precondition(lambda self: self.book.polling)
    @rule(attempt=st.integers(1, 3), failures=st.integers(0, 4), delay=st.sampled_from([None, None, 3.0, -1.0]))
    def resumed(self, attempt: int, failures: int, delay: float | None) -> None:
        self.head += 1
        held = Held(self.head, attempt, failures, "earlier", None if delay is None else self.now + delay)
        self.expect(self.book.got(held, self.now), "resumed", held)

    @precondition(lambda self: self.book.polling)
    @rule()
    def poll_empty(self) -> None:
        self.book.polling = False
        self.expect([], "poll_empty")

    # consumers

    @precondition(lambda self: len(self.turns.order) < 4)
    @rule()
    def join(self) -> None:
        session = next(self.sessions)
        book, effects = self.book, self.turns.come(session)
        if book.idle:
            effects += book.ask()
        elif book.message is not None and book.open is None and book.due is None and book.verdict is None:
            effects += book.onward(self.now)
        self.expect(effects, "consumer_added", session)

    @precondition(lambda self: self.turns.order)
    @rule(pick=st.integers(0, 3), replaced=st.booleans())
    def leave(self, pick: int, replaced: bool) -> None:
        session = self.turns.order[pick % len(self.turns.order)]
        taken = self.taken and self.book.open is not None and self.book.open[1] == session
        if replaced:
            new = next(self.sessions)
            self.expect(self.book.gone(session, taken, self.now, new), "consumer_replaced", Replaced(session, new, taken))
        else:
            self.expect(self.book.gone(session, taken, self.now), "consumer_lost", Lost(session, taken))

    @precondition(lambda self: self.book.open is not None and not self.taken)
    @rule()
    def take(self) -> None:
        self.taken = True

    @precondition(lambda self: self.taken and self.book.open is not None)
    @rule()
    def ack(self) -> None:
        answer = self.book.open
        self.expect(self.book.settle("acked"), "ack", answer)

    @precondition(lambda self: self.taken and self.book.open is not None)
    @rule(delay=st.sampled_from([0.0, 5.0, 1e9]), reason=st.sampled_from(["", "no"]))
    def nack(self, delay: float, reason: str) -> None:
        assert self.book.open is not None
        event = Nack(self.book.open, delay, reason)
        effects = self.book.failed(reason or "nack", self.now, delay)
        self.expect(effects + self.book.onward(self.now), "nack", event)

    @precondition(lambda self: self.taken and self.book.open is not None)
    @rule(seconds=st.sampled_from([0.5, 20.0, 1000.0]))
    def extend(self, seconds: float) -> None:
        book = self.book
        assert book.open is not None
        book.due = self.now + seconds
        if self.policy.max_hold is not None:
            book.due = min(book.due, book.sent_at + self.policy.max_hold)
        self.expect([], "extend", Extend(book.open, seconds))

    @rule(back=st.integers(1, 6), kind=st.sampled_from(["ack", "nack", "extend"]), forged=st.booleans(), part=st.integers(0, 3))
    def stale(self, back: int, kind: str, forged: bool, part: int) -> None:
        """Late, twice, or of nobody: whatever is not the answer to the open delivery."""
        answer: Any = self.past[-1 - back % len(self.past)]
        if forged and self.book.open is not None:
            answer = tuple(number + (nth == part) for nth, number in enumerate(self.book.open))
        event = {"ack": answer, "nack": Nack(answer, 1.0), "extend": Extend(answer, 1.0)}[kind]
        before = self.machine.snapshot()
        self.expect([("stale", kind)], kind, event)
        assert self.machine.snapshot() == before

    # time

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        due = self.book.due
        self.machine.now = self.now + seconds if due is None or self.now + seconds < due else self.now
        self.expect([], "tick", self.taken) if due is None or self.now < due else self.time_is_up()

    @precondition(lambda self: self.book.due is not None)
    @rule()
    def time_is_up(self) -> None:
        book = self.book
        assert book.due is not None
        self.machine.now = max(self.now, book.due)
        effects: Effects = []
        if book.open is not None:
            effects = [("withdraw", book.open)]
            if self.taken:
                effects += book.failed("ack timeout", self.now, 0.0)
            else:
                book.open = book.due = None
            effects += book.onward(self.now)
        else:
            book.due = None
            effects = [("dead_letter", book.history())] if book.verdict else book.onward(self.now)
        self.expect(effects, "tick", self.taken)

    # poison

    @precondition(lambda self: self.book.verdict == "dead_letter" and self.book.due is None)
    @rule(how=st.sampled_from(["dead_lettered", "dead_letter_failed", "dead_letter_refused"]))
    def dead_letter(self, how: str) -> None:
        if how == "dead_lettered":
            self.expect(self.book.settle("dead_lettered"), how)
        elif how == "dead_letter_failed":
            self.book.due = self.now + 0.2
            self.expect([], how, 0.2)
        else:
            self.book.verdict = "block"
            self.expect([], how)

    @precondition(lambda self: self.book.verdict == "block")
    @rule(how=st.sampled_from(["release_retry", "release_drop", "release_dead_letter"]))
    def release(self, how: str) -> None:
        book = self.book
        assert book.message is not None
        if how == "release_drop":
            self.expect(book.settle("dropped"), how)
        elif how == "release_dead_letter":
            book.verdict = "dead_letter"
            self.expect([("dead_letter", book.history())], how)
        else:
            book.verdict = None
            book.message = book.message._replace(failures=0)
            self.expect([("save_failure", book.history()), *book.onward(self.now)], how)

    # the end of a run

    @rule(crash=st.booleans())
    def end(self, crash: bool) -> None:
        """The next run knows the deliveries of this one no more."""
        if not crash:
            self.close()
            assert (self.machine.held, self.machine.delivery, self.machine.due_at) == (None, None, None)
        if self.book.open is not None:
            self.past = [*self.past[-4:], self.book.open]
        self.begin(now=self.now, epoch=self.epoch + 1)
        self.open(self.epoch + 1)

    # what always holds

    @invariant()
    def s1_s12_it_holds_what_the_book_says(self) -> None:
        machine, book = self.machine, self.book
        assert machine.delivery == book.open
        assert machine.due_at == book.due
        assert machine.held == (None if book.message is None else book.history())
        assert (machine.state == "AwaitingAck") == (book.open is not None)
        assert (machine.state == "Dispatching") == book.polling
        assert (machine.state == "Idle") == book.idle
        assert (machine.state == "Blocked") == (book.verdict == "block")
        assert (machine.state == "DeadLettering") == (book.verdict == "dead_letter")

    @invariant()
    def s4_s7_offsets_only_grow(self) -> None:
        assert self.settled == sorted(set(self.settled))
        assert self.first_sent == sorted(set(self.first_sent))

    @invariant()
    def s13_nobody_is_given_poison(self) -> None:
        assert self.book.open is None or self.machine.failures <= self.policy.max_redeliveries


WAYS: list[list[Call]] = [
    [],
    [("join", {}), ("poll_empty", {})],
    [("join", {})],
    [("join", {}), ("join", {}), ("polled", {"gap": 0})],
    [("join", {}), ("join", {}), ("polled", {"gap": 0}), ("take", {})],
    [("join", {}), ("polled", {"gap": 0}), ("leave", {"pick": 0, "replaced": False})],
    [("join", {}), ("leave", {"pick": 0, "replaced": False})],
    [("join", {}), ("resumed", {"attempt": 1, "failures": 0, "delay": 3.0})],
    [("join", {}), ("resumed", {"attempt": 1, "failures": 4, "delay": None})],
    [("join", {}), ("resumed", {"attempt": 1, "failures": 4, "delay": None}), ("dead_letter", {"how": "dead_letter_failed"})],
]
"""To each state."""
STEPS: list[Call] = [
    *(("wake", {"trigger": trigger}) for trigger in ("wake", "recover")),
    *(("polled", {"gap": 0}), ("poll_empty", {})),
    *(("resumed", {"attempt": 1, "failures": failures, "delay": delay}) for failures in (0, 4) for delay in (None, 3.0)),
    *(("take", {}), ("ack", {}), ("nack", {"delay": 0.0, "reason": ""}), ("extend", {"seconds": 1000.0})),
    *(("stale", {"back": 1, "kind": kind, "forged": False, "part": 0}) for kind in ("ack", "nack", "extend")),
    *(("time_passes", {"seconds": 0.1}), ("time_is_up", {})),
    *(("dead_letter", {"how": how}) for how in ("dead_lettered", "dead_letter_failed", "dead_letter_refused")),
    *(("release", {"how": how}) for how in ("release_retry", "release_drop", "release_dead_letter")),
]

NEVER = {
    f"{trigger} in Failover": "whoever goes is attached, and it rests in Failover only while nobody is" for trigger in ("consumer_lost", "consumer_replaced")
}
"""Rows that nothing fires, in one of their states, with the reason."""


@pytest.mark.parametrize("variant", RELIABLE)
def test_a_reliable_machine_does_what_its_users_expect(variant: str) -> None:
    for policy in POLICIES.values():
        rules = type("Rules", (ReliableRules,), {"name": variant, "policy": policy})
        tour(rules, WAYS, STEPS)
        play(rules, examples=60, steps=60)
    check_rows(variant, NEVER)


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


OFFER_WAYS: list[list[Call]] = [[], [("join", {})], [("join", {}), ("join", {}), ("message", {})], [("join", {}), ("message", {})]]
"""To each state."""
OFFER_STEPS: list[Call] = [
    *(("message", {}), ("accepted", {}), ("refused", {})),
    *(("foreign", {"trigger": trigger, "session": 9}) for trigger in ("accepted", "refused")),
]

OFFER_NEVER = {
    f"{trigger} in Failover": "the machine never rests in Failover: a refused message goes on, or is dropped, in the same step"
    for trigger in ("accepted", "refused", "consumer_added", "consumer_lost", "consumer_replaced", "close")
}
"""Rows that nothing fires, in one of their states, with the reason."""


@pytest.mark.parametrize("variant", NON_RELIABLE)
def test_a_non_reliable_machine_does_what_its_users_expect(variant: str) -> None:
    rules = type("Rules", (NonReliableRules,), {"name": variant})
    tour(rules, OFFER_WAYS, OFFER_STEPS)
    play(rules, examples=60, steps=60)
    check_rows(variant, OFFER_NEVER)
