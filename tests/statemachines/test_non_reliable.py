"""The rules of the non-reliable machine, one story each."""

from __future__ import annotations

import pytest

from danube_statemachines import IllegalEvent, Lost, Replaced
from modelling import NON_RELIABLE, Effects, Story

EXCLUSIVE, SHARED = NON_RELIABLE
both = pytest.mark.parametrize("name", NON_RELIABLE)


def dispatch(story: Story, *full: int) -> Effects:
    """One message, while the boxes of `full` have no room."""
    effects = story("message")
    while effects[-1][0] == "offer":
        session = effects[-1][1]
        effects += story("refused" if session in full else "accepted", session)
    return effects


def sent(story: Story, *full: int) -> object:
    """Who got the message, or what became of it."""
    outcome = dispatch(story, *full)[-1]
    return outcome[1] if outcome[0] == "sent" else outcome[0]


@both
def test_a_message_is_handed_over_once_and_forgotten(name: str) -> None:
    story = Story(name).join(1)
    assert dispatch(story) == [("offer", 1), ("sent", 1)]
    assert story.machine.snapshot() == ("Idle", (1,), ())


@both
def test_nobody_there_is_an_outcome(name: str) -> None:
    story = Story(name)
    assert dispatch(story) == [("no_consumer",)]
    story.join(1)("consumer_lost", Lost(1))
    assert dispatch(story) == [("no_consumer",)]


def test_exclusive_goes_to_the_active_one_alone() -> None:
    story = Story(EXCLUSIVE)
    assert story("consumer_added", 1) == [("active_changed", 1)]
    assert story("consumer_added", 2) == []
    assert [sent(story) for _ in range(3)] == [1, 1, 1]


def test_exclusive_a_full_box_drops_the_message_and_no_standby_gets_it() -> None:
    story = Story(EXCLUSIVE).join(1, 2)
    assert dispatch(story, 1) == [("offer", 1), ("dropped",)]
    assert sent(story) == 1


def test_exclusive_the_next_is_promoted_and_announced_before_its_message() -> None:
    story = Story(EXCLUSIVE).join(1, 2, 3)
    assert story("consumer_lost", Lost(1)) == [("active_changed", 2)]
    assert story("consumer_lost", Lost(3)) == []
    assert sent(story) == 2


def test_exclusive_a_new_session_has_the_place_of_the_old_one() -> None:
    story = Story(EXCLUSIVE).join(1, 2)
    assert story("consumer_replaced", Replaced(2, 8)) == []
    assert story("consumer_replaced", Replaced(1, 9)) == [("active_changed", 9)]
    assert story.machine.roster == (9, 8)


def test_shared_goes_round() -> None:
    story = Story(SHARED).join(1, 2, 3)
    assert [sent(story) for _ in range(7)] == [1, 2, 3, 1, 2, 3, 1]


def test_shared_goes_to_the_next_in_rotation_with_room() -> None:
    story = Story(SHARED).join(1, 2, 3)
    assert dispatch(story, 1, 2) == [("offer", 1), ("offer", 2), ("offer", 3), ("sent", 3)]


def test_shared_each_is_tried_once_before_a_message_is_dropped() -> None:
    story = Story(SHARED).join(1, 2, 3)
    assert dispatch(story, 1, 2, 3) == [("offer", 1), ("offer", 2), ("offer", 3), ("dropped",)]
    assert [sent(story) for _ in range(3)] == [1, 2, 3], "a drop costs nobody a turn"


def test_shared_who_was_skipped_is_next_once_it_has_room() -> None:
    story = Story(SHARED).join(1, 2, 3)
    assert [sent(story, 1), sent(story), sent(story), sent(story)] == [2, 1, 3, 2]


def test_shared_nobody_loses_a_turn_when_another_leaves() -> None:
    story = Story(SHARED).join(1, 2, 3, 4)
    assert sent(story) == 1
    story("consumer_lost", Lost(2))
    assert [sent(story) for _ in range(3)] == [3, 4, 1]


@both
def test_one_message_at_a_time(name: str) -> None:
    story = Story(name).join(1)
    story("message")
    with pytest.raises(IllegalEvent):
        story("message")
    assert story("accepted", 1) == [("sent", 1)]


@both
@pytest.mark.parametrize("answer", ["accepted", "refused"])
def test_only_the_box_with_the_offer_answers(name: str, answer: str) -> None:
    story = Story(name).join(1, 2)
    story("message")
    before = story.machine.snapshot()
    assert story(answer, 2) == []
    assert story.machine.snapshot() == before
    story("accepted", 1)
    before = story.machine.snapshot()
    assert story(answer, 1) == []
    assert story.machine.snapshot() == before


def test_a_leaver_with_the_offer_is_waited_for_so_that_nothing_is_handed_over_twice() -> None:
    story = Story(SHARED).join(1, 2)
    story("message")
    assert story("consumer_lost", Lost(1)) == []
    assert story("accepted", 1) == [("sent", 1)]
    assert story.machine.roster == (2,)


@pytest.mark.parametrize("gone", ["consumer_lost", "consumer_replaced"])
def test_who_goes_meanwhile_is_not_tried(gone: str) -> None:
    story = Story(SHARED).join(1, 2, 3)
    story("message")
    story(gone, Lost(2) if gone == "consumer_lost" else Replaced(2, 9))
    assert story("refused", 1) == [("offer", 3)]
    assert story("refused", 3) == [("dropped",)]


def test_exclusive_a_leaver_takes_its_offer_with_it() -> None:
    story = Story(EXCLUSIVE).join(1, 2)
    story("message")
    assert story("consumer_lost", Lost(1)) == [("active_changed", 2)]
    assert story("refused", 1) == [("dropped",)]


@both
def test_who_joins_meanwhile_waits_for_the_next_message(name: str) -> None:
    story = Story(name).join(1)
    story("message")
    story.join(2)
    assert story("refused", 1) == [("dropped",)]


@both
def test_closed_takes_late_answers_and_does_nothing(name: str) -> None:
    story = Story(name).join(1)
    story("message")
    assert story("close") == []
    assert story.machine.candidates == ()
    for trigger, value in (("accepted", 1), ("message", None), ("consumer_added", 2), ("consumer_lost", Lost(1)), ("close", None)):
        assert story(trigger, value) == []
    assert story.state == "Closed"
