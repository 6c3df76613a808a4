"""The rules of the reliable machine, one story each. Times are in seconds and stand where the story puts them."""

from __future__ import annotations

import pytest

from danube_statemachines import Extend, FailurePolicy, Held, Lost, Nack, Recorder, Replaced
from modelling import EPOCH, RELIABLE, Effects, Story, make

both = pytest.mark.parametrize("name", RELIABLE)
POISON = Held(0, attempt=3, failures=6, reason="earlier")


def sends(effects: Effects) -> list[tuple[int, int, int]]:
    """(session, offset, attempt) of each message given out."""
    return [effect[1][1:] for effect in effects if effect[0] == "send" and isinstance(effect[1], tuple)]


# selection


def test_exclusive_the_first_is_active_and_nobody_preempts_it() -> None:
    story = Story()
    assert story("consumer_added", 1) == [("active_changed", 1), ("poll",)]
    assert story("consumer_added", 2) == []
    for offset in range(3):
        assert sends(story("polled", offset)) == [(1, offset, 1)]
        assert story("consumer_added", 10 + offset) == []
        story("ack", story.open)
    assert story.machine.active == 1


def test_exclusive_the_next_to_have_come_is_promoted_in_the_same_step_and_announced_before_its_message() -> None:
    story = Story().given(0, 1, 2, 3)
    assert story("consumer_lost", Lost(1)) == [("active_changed", 2), ("send", (EPOCH, 2, 0, 2))]
    assert story("consumer_lost", Lost(3)) == []
    assert story("consumer_lost", Lost(2)) == [("active_changed", None)]
    assert story("consumer_added", 4) == [("active_changed", 4), ("send", (EPOCH, 4, 0, 3))]


def test_exclusive_an_ack_timeout_changes_no_active_consumer() -> None:
    story = Story().given(0, 1, 2).at(30)
    assert ("active_changed", 2) not in story("tick", True)
    assert sends(story.at(31)("tick", False)) == [(1, 0, 2)]


def test_shared_goes_round() -> None:
    story = Story("reliable_shared").join(1, 2, 3)
    served: list[int] = []
    for offset in range(7):
        ((session, _, _),) = sends(story("polled", offset))
        served.append(session)
        story("ack", story.open)
    assert served == [1, 2, 3, 1, 2, 3, 1]


def test_shared_nobody_loses_a_turn_when_another_leaves_or_joins() -> None:
    story = Story("reliable_shared").join(1, 2, 3)
    story("polled", 0)
    story("consumer_lost", Lost(2))
    story("consumer_added", 4)
    served: list[int] = []
    for offset in range(1, 5):
        story("ack", story.open)
        served.append(sends(story("polled", offset))[0][0])
    assert served == [3, 1, 4, 3]


def test_shared_announces_nobody() -> None:
    story = Story("reliable_shared")
    assert story("consumer_added", 1) == [("poll",)]
    assert story.machine.active is None


# gating


@both
def test_one_message_in_flight_and_the_next_when_it_is_settled(name: str) -> None:
    story = Story(name).join(1, 2)
    assert story("polled", 0) == [("send", (EPOCH, 1, 0, 1))]
    assert story("wake") == story("recover") == []
    assert story("ack", story.open) == [("settle", 0, "acked"), ("poll",)]
    assert story("poll_empty") == []
    assert story.state == "Idle"
    assert story("wake") == [("poll",)]


@both
@pytest.mark.parametrize("part", range(4), ids=["epoch", "session", "offset", "attempt"])
@pytest.mark.parametrize("kind", ["ack", "nack", "extend"])
def test_only_the_answer_to_the_open_delivery_counts(name: str, part: int, kind: str) -> None:
    story = Story(name).given(5, 1, 2)
    forged = tuple(number + (nth == part) for nth, number in enumerate(story.open))
    before = story.machine.snapshot()
    assert story(kind, {"ack": forged, "nack": Nack(forged), "extend": Extend(forged, 9.0)}[kind]) == [("stale", kind)]  # type: ignore[arg-type]
    assert story.machine.snapshot() == before


@both
def test_an_ack_twice_settles_once(name: str) -> None:
    story = Story(name).given(0)
    answer = story.open
    story("ack", answer)
    assert story("ack", answer) == [("stale", "ack")]
    story("polled", 1)
    assert story("ack", answer) == [("stale", "ack")]
    assert story.open[2] == 1


@both
def test_an_ack_after_the_deadline_is_stale_also_while_the_message_waits(name: str) -> None:
    story = Story(name).given(0)
    late = story.open
    story.at(30)("tick", True)
    assert story.state == "Redelivering"
    assert story("ack", late) == [("stale", "ack")]
    assert sends(story.at(31)("tick", False)) == [(1, 0, 2)]
    assert story("ack", late) == [("stale", "ack")]


@both
def test_a_message_in_flight_is_redelivered_before_anything_newer(name: str) -> None:
    """However its delivery ends, nothing is asked for before it is settled."""
    story = Story(name).given(0, 1, 2)
    for attempt, failed in enumerate(("nack", "tick", "consumer_lost", "consumer_replaced"), start=1):
        holder = story.open[1]
        story.at(100.0 * attempt)
        argument = {"nack": Nack(story.open), "tick": True, "consumer_lost": Lost(holder, True), "consumer_replaced": Replaced(holder, 10 * attempt, True)}[
            failed
        ]
        effects = story(failed, argument) + story("consumer_added", 100 + attempt) + story("wake")
        if story.state == "Redelivering":
            effects += story.at(100.0 * attempt + 70)("tick", False)
        assert [sent[1:] for sent in sends(effects)] == [(0, attempt + 1)]
        assert ("poll",) not in effects


# what happens to a delivery that fails


@both
def test_a_nack_waits_out_the_delay_of_the_policy(name: str) -> None:
    story = Story(name).given(0).at(5)
    assert story("nack", Nack(story.open, reason="no disk")) == [("save_failure", Held(0, 1, 1, "no disk", due_at=6.0))]
    assert story.at(5.999)("tick", False) == []
    assert sends(story.at(6)("tick", False)) == [(1, 0, 2)]


@both
def test_the_delay_doubles_with_every_charged_failure(name: str) -> None:
    story = Story(name, max_redeliveries=9).given(0)
    waits = []
    for _ in range(8):
        story("nack", Nack(story.open))
        waits.append(story.machine.due_at - story.machine.now)
        story.at(story.machine.due_at)("tick", False)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


@both
@pytest.mark.parametrize(("asked", "waits"), [(0.0, 1.0), (0.5, 1.0), (7.0, 7.0), (1e9, 60.0)])
def test_a_nack_may_ask_for_a_longer_delay_up_to_the_maximum(name: str, asked: float, waits: float) -> None:
    story = Story(name).given(0)
    story("nack", Nack(story.open, asked))
    assert story.machine.due_at == waits


@both
def test_a_nack_without_a_reason_has_one_all_the_same(name: str) -> None:
    story = Story(name).given(0)
    story("nack", Nack(story.open))
    assert story.machine.held.reason == "nack"


@both
def test_a_silent_consumer_is_charged_and_its_delivery_withdrawn_first(name: str) -> None:
    story = Story(name).given(0)
    open_one = story.open
    assert story.at(29.999)("tick", True) == []
    assert story.at(30)("tick", True) == [("withdraw", open_one), ("save_failure", Held(0, 1, 1, "ack timeout", due_at=31.0))]


@both
def test_a_message_that_nobody_took_is_innocent_when_its_deadline_passes(name: str) -> None:
    story = Story(name).given(0)
    open_one = story.open
    assert story.at(30)("tick", False) == [("withdraw", open_one), ("send", (EPOCH, 1, 0, 2))]
    assert story.machine.failures == 0


@both
def test_the_deadline_runs_from_the_send(name: str) -> None:
    story = Story(name, ack_timeout=10).join(1).at(100)
    story("polled", 0)
    assert story.machine.due_at == 110
    story.at(107)("consumer_lost", Lost(1))
    story.at(109)("consumer_added", 2)
    assert story.machine.due_at == 119


@both
@pytest.mark.parametrize("taken", [True, False])
def test_losing_a_consumer_charges_what_it_had_taken_and_nothing_else(name: str, taken: bool) -> None:
    story = Story(name).given(0, 1, 2)
    effects = [effect for effect in story("consumer_lost", Lost(1, taken)) if effect[0] != "active_changed"]
    saved = [("save_failure", Held(0, 1, 1, "consumer lost"))] if taken else []
    assert effects == [*saved, ("send", (EPOCH, 2, 0, 2))], "it goes on at once"


@both
def test_losing_a_consumer_settles_nothing(name: str) -> None:
    story = Story(name).given(0, 1)
    assert not [effect for effect in story("consumer_lost", Lost(1, True)) if effect[0] == "settle"]
    assert (story.state, story.machine.offset) == ("Failover", 0)
    assert sends(story("consumer_added", 2)) == [(2, 0, 2)]


@both
def test_a_bystander_comes_and_goes_without_anybody_noticing(name: str) -> None:
    story = Story(name).given(0, 1, 2)
    delivery, due_at = story.open, story.machine.due_at
    for effects in (story("consumer_added", 3), story("consumer_lost", Lost(2, True)), story("consumer_replaced", Replaced(3, 4, True))):
        assert effects == []
    assert (story.open, story.machine.due_at, story.machine.failures) == (delivery, due_at, 0)


@both
def test_the_last_consumer_may_leave_while_a_poll_is_out(name: str) -> None:
    story = Story(name).join(1)
    story("consumer_lost", Lost(1))
    assert story("polled", 0) == []
    assert (story.state, story.machine.held) == ("Failover", Held(0))
    assert sends(story("consumer_added", 2)) == [(2, 0, 1)]


# taking over


@both
@pytest.mark.parametrize("taken", [True, False])
def test_what_the_old_session_held_goes_to_the_new_one(name: str, taken: bool) -> None:
    story = Story(name).given(0, 1, 2, 3)
    effects = story("consumer_replaced", Replaced(1, 9, taken))
    assert sends(effects) == [(9, 0, 2)]
    assert story.machine.failures == int(taken)
    assert (("active_changed", 9) in effects) == (name == "reliable_exclusive")


def test_exclusive_the_new_session_has_the_place_of_the_old_one() -> None:
    story = Story().given(0, 1, 2, 3)
    story("consumer_replaced", Replaced(2, 9))
    assert story.machine.roster == (1, 9, 3)
    story("consumer_replaced", Replaced(1, 8))
    assert story.machine.roster == (8, 9, 3)


def test_shared_the_holders_successor_is_served_out_of_turn_and_then_back_in_its_place() -> None:
    story = Story("reliable_shared").given(0, 1, 2, 3)
    assert story.machine.roster == (2, 3, 1)
    story("consumer_replaced", Replaced(1, 9, taken=True))
    assert story.machine.roster == (2, 3, 9)
    story("consumer_replaced", Replaced(3, 8))
    assert story.machine.roster == (2, 8, 9)


# extending


@both
def test_an_extension_counts_from_now(name: str) -> None:
    story = Story(name).given(0).at(20)
    assert story("extend", Extend(story.open, 25)) == []
    assert story.machine.due_at == 45
    assert story.at(44)("tick", True) == []
    assert story.at(45)("tick", True) != []


@both
def test_an_extension_may_shorten(name: str) -> None:
    story = Story(name).given(0)
    story("extend", Extend(story.open, 2))
    assert story.machine.due_at == 2


@both
def test_max_hold_bounds_all_extensions_together_from_the_send_on(name: str) -> None:
    story = Story(name, max_hold=50.0).join(1).at(100)
    story("polled", 0)
    for now in (110, 125, 140):
        story.at(now)("extend", Extend(story.open, 20))
        assert story.machine.due_at == min(now + 20, 150)
    story.at(150)("tick", True)
    story.at(151)("tick", False)
    story("extend", Extend(story.open, 100))
    assert story.machine.due_at == 201, "each delivery has its own bound"


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


# closing


@both
def test_closing_settles_nothing_and_says_nothing(name: str) -> None:
    story = Story(name).given(0)
    late = story.open
    assert story("close") == []
    assert story.machine.snapshot()[2:] == (None, 0, 0, "", None, None, None)
    assert story("ack", late) == [("stale", "ack")]
    assert story("nack", Nack(late)) == [("stale", "nack")]
    assert story("extend", Extend(late, 1.0)) == [("stale", "extend")]


@both
def test_the_deliveries_of_another_ownership_mean_nothing(name: str) -> None:
    story = Story(name).given(0)
    successor = make(story.variant, port := Recorder(), FailurePolicy())
    successor.epoch = EPOCH + 1
    for trigger, argument in (("consumer_added", 1), ("polled", 0), ("ack", story.open)):
        getattr(successor, trigger)(argument)
    assert port.take()[-1] == ("stale", "ack")
    assert successor.delivery == (EPOCH + 1, 1, 0, 1)


# everything as one value


@both
def test_a_machine_is_its_snapshot(name: str) -> None:
    """Restored at any moment of a long story into a fresh machine, nothing tells the two apart."""
    story = Story(name, max_redeliveries=1)
    steps: list[tuple[str, object]] = [("consumer_added", 1), ("consumer_added", 2), ("polled", 3), ("nack", "open"), ("tick", False)]
    steps += [
        ("extend", "open"),
        ("tick", True),
        ("release_retry", None),
        ("consumer_lost", Lost(1, True)),
        ("consumer_lost", Lost(2)),
        ("consumer_added", 3),
        ("ack", "open"),
    ]
    for nth, (trigger, value) in enumerate(steps):
        other = make(story.variant, port := Recorder(), story.machine.policy)
        other.restore(story.machine.snapshot())
        story.at(100.0 * nth)
        other.now = story.machine.now
        argument: object = value
        if value == "open":
            argument = {"nack": Nack(story.open), "extend": Extend(story.open, 9.0), "ack": story.open}[trigger]
        getattr(other, trigger)(argument)
        assert port.take() == story(trigger, argument)
        assert other.snapshot() == story.machine.snapshot()
        assert hash(other.snapshot()) == hash(story.machine.snapshot())
    assert story.state == "Dispatching"
