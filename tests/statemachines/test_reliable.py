"""The rules of the reliable machine, one story each. Times are in seconds and stand where the story puts them."""

from __future__ import annotations

import pytest

from danube_statemachines import Extend, FailurePolicy, Held, Lost, Nack, Recorder, Replaced
from modelling import EPOCH, RELIABLE, Story, make, sends

both = pytest.mark.parametrize("name", RELIABLE)


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
