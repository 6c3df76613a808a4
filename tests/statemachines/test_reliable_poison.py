"""Attempts, failures and poison: the reliable machines, one story for each rule."""

from __future__ import annotations

import pytest

from danube_statemachines import Held, Lost, Nack, Replaced
from modelling import EPOCH, RELIABLE, Story, sends

both = pytest.mark.parametrize("name", RELIABLE)
POISON = Held(0, attempt=3, failures=6, reason="earlier")


# attempts and failures


@both
def test_attempts_number_the_sends_and_failures_what_was_charged(name: str) -> None:
    story = Story(name).given(0, 1)
    seen = [(story.open[3], story.machine.failures)]
    story("consumer_lost", Lost(1))
    story("consumer_added", 2)
    seen.append((story.open[3], story.machine.failures))
    story("consumer_lost", Lost(2, True))
    story("consumer_added", 3)
    seen.append((story.open[3], story.machine.failures))
    story.at(1000)("tick", False)
    seen.append((story.open[3], story.machine.failures))
    assert seen == [(1, 0), (2, 0), (3, 1), (4, 1)]


@both
def test_a_settled_message_leaves_nothing_to_the_next(name: str) -> None:
    story = Story(name).given(0, 1)
    story("consumer_lost", Lost(1, True))
    story("consumer_added", 2)
    story("ack", story.open)
    story("polled", 1)
    assert story.machine.held == Held(1, attempt=1)


@both
def test_a_message_with_a_history_goes_on_where_it_was(name: str) -> None:
    story = Story(name).join(1)
    assert story("resumed", Held(4, attempt=3, failures=2, reason="before")) == [("send", (EPOCH, 1, 4, 4))]
    story("nack", Nack(story.open, reason="again"))
    assert story.machine.held == Held(4, 4, 3, "again", due_at=4.0)


@both
def test_a_delay_goes_on_after_a_restart(name: str) -> None:
    story = Story(name).join(1).at(10)
    assert story("resumed", Held(4, attempt=1, failures=1, due_at=13.0)) == []
    assert story.state == "Redelivering"
    assert story.at(12.9)("tick", False) == []
    assert sends(story.at(13)("tick", False)) == [(1, 4, 2)]


@both
def test_what_the_next_owner_must_know(name: str) -> None:
    """A deadline dies with its delivery, a delay does not."""
    story = Story(name, max_redeliveries=0)
    assert story.machine.held is None
    story.given(0)
    assert story.machine.held == Held(0, attempt=1)
    story("nack", Nack(story.open, reason="no"))
    assert story.machine.held == Held(0, 1, 1, "no", exhausted=True)
    waiting = Story(name).given(0)
    waiting("nack", Nack(waiting.open))
    assert waiting.machine.held == Held(0, 1, 1, "nack", due_at=1.0)


# poison


@both
@pytest.mark.parametrize("limit", [0, 1, 3])
def test_the_verdict_comes_in_the_step_of_the_failure_beyond_the_limit(name: str, limit: int) -> None:
    story = Story(name, max_redeliveries=limit).given(0)
    for _ in range(limit):
        story("nack", Nack(story.open))
        assert story.state == "Redelivering"
        story.at(story.machine.due_at)("tick", False)
    story("nack", Nack(story.open))
    assert (story.state, story.machine.due_at, story.machine.failures) == ("Blocked", None, limit + 1)


@both
def test_each_kind_of_failure_can_be_the_last(name: str) -> None:
    for trigger, argument in (("tick", True), ("consumer_lost", Lost(1, True)), ("consumer_replaced", Replaced(1, 3, True))):
        story = Story(name, max_redeliveries=0).given(0, 1, 2).at(30)
        assert sends(story(trigger, argument)) == []
        assert story.state == "Blocked"


@both
def test_blocked_waits_for_a_release_and_nothing_else(name: str) -> None:
    story = Story(name, max_redeliveries=0).given(0)
    late = story.open
    story("nack", Nack(late))
    for trigger, argument in (("wake", None), ("recover", None), ("consumer_added", 2), ("ack", late), ("consumer_lost", Lost(1)), ("tick", True)):
        assert not sends(story.at(1e6)(trigger, argument))
        assert (story.state, story.machine.offset) == ("Blocked", 0)


@both
def test_release_retry_forgives(name: str) -> None:
    story = Story(name, max_redeliveries=0).given(0)
    story("nack", Nack(story.open, reason="no"))
    assert story("release_retry") == [("save_failure", Held(0, 1, 0, "no")), ("send", (EPOCH, 1, 0, 2))]


@both
def test_release_retry_with_nobody_there_waits_for_a_consumer(name: str) -> None:
    story = Story(name, max_redeliveries=0).given(0)
    story("consumer_lost", Lost(1, True))
    assert story("release_retry") == [("save_failure", Held(0, 1, 0, "consumer lost"))]
    assert story.state == "Failover"


@both
def test_release_drop_settles_and_goes_on(name: str) -> None:
    story = Story(name, max_redeliveries=0).given(0)
    story("nack", Nack(story.open))
    assert story("release_drop") == [("settle", 0, "dropped"), ("poll",)]


@both
def test_release_dead_letter_moves_it(name: str) -> None:
    story = Story(name, max_redeliveries=0).given(0)
    story("nack", Nack(story.open, reason="no"))
    assert story("release_dead_letter") == [("dead_letter", Held(0, 1, 1, "no", exhausted=True))]
    assert story("dead_lettered") == [("settle", 0, "dead_lettered"), ("poll",)]


@both
def test_the_policy_drops(name: str) -> None:
    story = Story(name, max_redeliveries=0, poison_policy="drop").given(0)
    assert story("nack", Nack(story.open)) == [("save_failure", Held(0, 1, 1, "nack", 1.0, exhausted=True)), ("settle", 0, "dropped"), ("poll",)]


@both
def test_a_dead_letter_is_durable_before_the_cursor_moves(name: str) -> None:
    story = Story(name, max_redeliveries=0, poison_policy="dead_letter", dead_letter_topic="/test/dead").given(0)
    assert story("nack", Nack(story.open, reason="no"))[1:] == [("dead_letter", Held(0, 1, 1, "no", exhausted=True))]
    assert story.at(1e6)("tick", True) == story("wake") == []
    assert story("dead_lettered") == [("settle", 0, "dead_lettered"), ("poll",)]


@both
def test_a_failed_dead_letter_write_is_tried_again_later(name: str) -> None:
    story = Story(name, max_redeliveries=0, poison_policy="dead_letter", dead_letter_topic="/test/dead").join(1)
    ((_, letter),) = story("resumed", POISON)
    for now, wait in ((0.0, 0.1), (5.0, 0.2)):
        assert story.at(now)("dead_letter_failed", wait) == []
        assert story.at(now + wait / 2)("tick", False) == []
        assert story.at(now + wait)("tick", False) == [("dead_letter", letter)]
    assert story("dead_lettered") == [("settle", 0, "dead_lettered"), ("poll",)]


@both
def test_a_refused_dead_letter_is_blocked(name: str) -> None:
    story = Story(name, max_redeliveries=0, poison_policy="dead_letter", dead_letter_topic="/test/dead").join(1)
    story("resumed", POISON)
    story("dead_letter_failed", 0.1)
    assert story.at(1)("tick", False) != []
    assert story("dead_letter_refused") == []
    assert (story.state, story.machine.due_at) == ("Blocked", None)
    assert story("release_drop") == [("settle", 0, "dropped"), ("poll",)]


@both
@pytest.mark.parametrize(("policy", "state"), [("block", "Blocked"), ("dead_letter", "DeadLettering"), ("drop", "Dispatching")])
def test_after_a_restart_an_exhausted_message_meets_its_verdict_with_nobody_attached(name: str, policy: str, state: str) -> None:
    story = Story(name, poison_policy=policy, dead_letter_topic="/test/dead")
    assert story("wake") == [], "an ordinary wake polls for somebody"
    assert story("recover") == [("poll",)]
    effects = story("resumed", POISON)
    assert story.state == state
    assert not sends(effects)


@both
def test_a_message_found_exhausted_is_judged_by_the_policy_of_this_opening(name: str) -> None:
    story = Story(name, max_redeliveries=9).join(1)
    assert sends(story("resumed", POISON._replace(exhausted=True))) == [(1, 0, 4)]


@both
def test_the_effects_of_one_step_come_in_their_order(name: str) -> None:
    """All that can meet in one step."""
    order = ["withdraw", "save_failure", "active_changed", "settle", "send", "poll", "dead_letter"]
    story = Story(name, max_redeliveries=0, poison_policy="drop").given(0, 1, 2)
    steps = [story("consumer_lost", Lost(1, True))]
    story("polled", 1)
    steps += [story.at(30)("tick", True), story("polled", 2), story("ack", story.open)]
    for effects in steps:
        ranks = [order.index(str(effect[0])) for effect in effects]
        assert len(ranks) > 1 or effects[0][0] == "send"
        assert ranks == sorted(ranks)
