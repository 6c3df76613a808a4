"""What a non-reliable machine can break, each sentence with a bug that breaks it."""

from __future__ import annotations

import pytest

from danube_statemachines import NON_RELIABLE_EXCLUSIVE, NON_RELIABLE_SHARED, NonReliable, RoundRobin

from .sentences import alone


@alone("A full box drops the new message.", "S9", "each message has one outcome", NON_RELIABLE_EXCLUSIVE)
def dropped_in_silence(p: pytest.MonkeyPatch) -> None:
    p.setattr(NonReliable, "drop", lambda it, _: setattr(it, "candidates", ()))


@alone("Nobody there is an outcome of its own.", "S9", "each message has one outcome", NON_RELIABLE_EXCLUSIVE)
def nobody_is_a_full_box(p: pytest.MonkeyPatch) -> None:
    p.setattr(NonReliable, "no_consumer", lambda it, _: it.port.dropped())


@alone("Shared: a message that one has no room for is offered to the next.", "S9", "offered to", NON_RELIABLE_SHARED)
def one_try(p: pytest.MonkeyPatch) -> None:
    p.setattr(NonReliable, "line_up", lambda it, _: setattr(it, "candidates", it.roster[:1]))


@alone("Each is tried once.", "S9", "offered to", NON_RELIABLE_SHARED)
def tried_again(p: pytest.MonkeyPatch) -> None:
    p.setattr(NonReliable, "pass_over", lambda it, _: setattr(it, "candidates", it.candidates[1:] or it.roster[-1:]))


@alone("Who has left is offered nothing.", "S5", "a message goes to nobody", NON_RELIABLE_SHARED)
def offered_to_who_left(p: pytest.MonkeyPatch) -> None:
    p.setattr(NonReliable, "strike", lambda it, gone: None)


@alone("A late answer of a box changes nothing.", "S9", "each message has one outcome", NON_RELIABLE_SHARED)
def any_box_answers(p: pytest.MonkeyPatch) -> None:
    p.setattr(NonReliable, "offered", lambda it, session: True)


@alone("Sent is what the box that had room took.", "S9", "sent to another than the one who had room", NON_RELIABLE_SHARED)
def sent_to_the_next(p: pytest.MonkeyPatch) -> None:
    sent = NonReliable.sent
    p.setattr(NonReliable, "sent", lambda it, session: sent(it, it.roster[-1] if it.roster else session))


@alone("What was not taken in is forgotten at a close.", "S12", "somebody is lined up iff Dispatching", NON_RELIABLE_SHARED)
def lined_up_for_ever(p: pytest.MonkeyPatch) -> None:
    p.setattr(NonReliable, "let_go", lambda it, _: None)


@alone("Shared: who was sent a message goes to the end.", "S6", "0 is served again, and 1 was not", NON_RELIABLE_SHARED)
def unmoved_at_most_once(p: pytest.MonkeyPatch) -> None:
    p.setattr(RoundRobin, "served", staticmethod(lambda roster, session: roster))


@alone("A takeover keeps the place in the order, here too.", "S11", "attached are", NON_RELIABLE_SHARED)
def newcomer_at_the_end(p: pytest.MonkeyPatch) -> None:
    p.setattr(NonReliable, "replace", lambda it, gone: it._seat((*(each for each in it.roster if each != gone.session), gone.new)))


@alone("A full box costs nobody a turn.", "S11", "attached are", NON_RELIABLE_SHARED)
def passed_over_for_a_round(p: pytest.MonkeyPatch) -> None:
    pass_over = NonReliable.pass_over

    def wrong(it: NonReliable, event: object) -> None:
        it.roster = it.roster[1:] + it.roster[:1]
        pass_over(it, event)

    p.setattr(NonReliable, "pass_over", wrong)
