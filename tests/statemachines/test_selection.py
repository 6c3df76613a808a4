"""Who is served next: the rules by themselves, without a machine."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danube_statemachines.selection import Roster, RoundRobin, Selection, SingleActive

NAMES = range(5)


Script = list[tuple[str, int | frozenset[int]]]


class Send(NamedTuple):
    """One message: who could have taken it and who got it."""

    eligible: frozenset[int]
    to: int | None


joins = st.tuples(st.just("join"), st.sampled_from(NAMES))
leaves = st.tuples(st.just("leave"), st.sampled_from(NAMES))
sends = st.tuples(st.just("send"), st.frozensets(st.sampled_from(NAMES)))  # with room
# mostly sends, and mostly with room for most, or few would ever be served twice
crowds = st.tuples(st.just("send"), st.frozensets(st.sampled_from(NAMES), max_size=1).map(lambda full: frozenset(NAMES) - full))
steps = st.lists(st.one_of(joins, leaves, sends, crowds, crowds), max_size=60)


def offer(selection: Selection, roster: Roster, room: frozenset[int]) -> tuple[Roster, int | None]:
    """What a machine does with a message: try from the first on, and say who was served."""
    for session in roster[: selection.tries(roster)]:
        if session in room:
            return selection.served(roster, session), session
    return roster, None


def play(selection: Selection, script: Script, roster: Roster = (0, 1, 2)) -> list[Send]:
    """Sessions are never used again: who leaves and comes back under the same name is somebody new."""
    sent: list[Send] = []
    names = {session: session for session in roster}
    for what, argument in script:
        if isinstance(argument, frozenset):
            before, room = roster, frozenset(session for session in roster if names[session] in argument)
            roster, to = offer(selection, roster, room)
            sent.append(Send(room, to))
            assert sorted(roster) == sorted(before)  # nobody is lost, nobody is invented
        elif what == "join" and argument not in [names[session] for session in roster]:
            session = len(NAMES) + len(names)
            names[session] = argument
            roster = (*roster, session)
        elif what == "leave":
            roster = tuple(session for session in roster if names[session] != argument)
    return sent


def unfair(sent: list[Send]) -> tuple[int, int, int, int] | None:
    """The first break of S6: between two sends to one that stayed eligible, each other that stayed eligible gets exactly one."""
    for first, send in enumerate(sent):
        if send.to is None:
            continue
        again = next((n for n in range(first + 1, len(sent)) if sent[n].to == send.to), None)
        if again is None:
            continue
        throughout = frozenset.intersection(*(s.eligible for s in sent[first : again + 1]))
        if send.to not in throughout:
            continue
        for other in throughout - {send.to}:
            got = sum(s.to == other for s in sent[first + 1 : again])
            if got != 1:
                return first, again, other, got
    return None


@given(steps)
def test_round_robin_is_fair_whoever_comes_goes_or_is_full(script: Script) -> None:
    sent = play(RoundRobin(), script)
    assert unfair(sent) is None
    assert all((send.to is None) == (not send.eligible) for send in sent)


@given(steps)
def test_nobody_eligible_waits_longer_than_one_round(script: Script) -> None:
    waited: Counter[int] = Counter()
    for send in play(RoundRobin(), script):
        waited = Counter({session: waited[session] + 1 for session in send.eligible if session != send.to})
        assert all(count < len(NAMES) for count in waited.values())


class Unmoved(RoundRobin):
    @staticmethod
    def served(roster: Roster, session: int) -> Roster:
        return roster


class Ring(RoundRobin):
    """A turning ring, as Danube's: whoever was skipped is passed over for a whole round."""

    @staticmethod
    def served(roster: Roster, session: int) -> Roster:
        at = roster.index(session) + 1
        return roster[at:] + roster[:at]


class Shift(RoundRobin):
    """Puts the first to the end, whoever was served."""

    @staticmethod
    def served(roster: Roster, session: int) -> Roster:
        return roster[1:] + roster[:1]


ALL = frozenset(NAMES)
SCRIPTS: dict[type[RoundRobin], list[frozenset[int]]] = {
    Unmoved: [ALL] * 3,
    Shift: [ALL - {0}, ALL, ALL - {0}, ALL],
}


@pytest.mark.parametrize("wrong", SCRIPTS)
def test_the_judge_of_fairness_can_condemn(wrong: type[RoundRobin]) -> None:
    script: Script = [("send", room) for room in SCRIPTS[wrong]]
    assert unfair(play(wrong(), script)) is not None
    assert unfair(play(RoundRobin(), script)) is None


def test_who_was_skipped_is_next_once_there_is_room() -> None:
    script: Script = [("send", ALL - {0}), ("send", ALL), ("send", ALL), ("send", ALL)]
    assert [send.to for send in play(RoundRobin(), script)] == [1, 0, 2, 1]
    assert [send.to for send in play(Ring(), script)] == [1, 2, 0, 1]


@given(st.permutations(NAMES), st.sampled_from(NAMES))
def test_a_leaver_costs_nobody_a_turn(order: list[int], leaver: int) -> None:
    roster = tuple(order)
    script: Script = [("send", ALL)] * len(order)
    served = [send.to for send in play(RoundRobin(), script, roster)]
    assert served == order
    assert [send.to for send in play(RoundRobin(), [("leave", leaver), *script[1:]], roster)] == [name for name in order if name != leaver]


@given(st.permutations(NAMES), st.sampled_from(NAMES))
def test_served_moves_one_and_keeps_the_order_of_the_others(order: list[int], session: int) -> None:
    after = RoundRobin().served(tuple(order), session)
    assert after == (*(name for name in order if name != session), session)


@given(steps)
def test_single_active_serves_the_first_to_have_come_and_nobody_else(script: Script) -> None:
    names = [0, 1, 2]  # in order of arrival
    first = [0, 1, 2]  # their sessions
    expected: list[int | None] = []
    joined = 3
    for what, argument in script:
        if isinstance(argument, frozenset):
            # a full box is no reason to go elsewhere
            expected.append(first[0] if names and names[0] in argument else None)
        elif what == "join" and argument not in names:
            names.append(argument)
            first.append(len(NAMES) + joined)
            joined += 1
        elif what == "leave" and argument in names:
            at = names.index(argument)
            del names[at], first[at]
    assert [send.to for send in play(SingleActive(), script)] == expected


@pytest.mark.parametrize("selection", [SingleActive(), RoundRobin()], ids=lambda selection: selection.name)
def test_nobody_is_tried_when_nobody_is_there(selection: Selection) -> None:
    assert selection.tries(()) == 0


def test_only_a_single_active_consumer_is_announced() -> None:
    assert (SingleActive.name, SingleActive.announces) == ("exclusive", True)
    assert (RoundRobin.name, RoundRobin.announces) == ("shared", False)
