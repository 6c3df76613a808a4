"""What a reliable machine can break by itself, each sentence with a bug that breaks it."""

from __future__ import annotations

from typing import Any

import pytest

from danube_statemachines import RELIABLE_SHARED, Held, Reliable, Replaced, RoundRobin, reliable

from .sentences import FIRST, HOLD, LETTER, SHORT, SLOW, alone, rows

# consumers


@alone("What the old one of a name held goes to the new one.", "Promises", "what the old session held goes to the new one", RELIABLE_SHARED)
def takeover_by_another(p: pytest.MonkeyPatch) -> None:
    send = Reliable.send

    def wrong(it: Reliable, event: object) -> None:
        if isinstance(event, Replaced) and len(it.roster) > 1:
            it.roster = (*it.roster[1:], it.roster[0])
        send(it, event)

    p.setattr(Reliable, "send", wrong)


@alone("A takeover that held nothing keeps the place in the order.", "S11", "attached are", RELIABLE_SHARED)
def takeover_at_the_end(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "replace", lambda it, gone: it._seat((*(each for each in it.roster if each != gone.session), gone.new)))


@alone("The holder's successor goes to the front.", "Promises", "what the old session held goes to the new one", RELIABLE_SHARED)
def successor_in_the_line(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "succeed", Reliable.replace)


@alone("Once it is served it is back in its place.", "S11", "attached are", RELIABLE_SHARED)
def successor_stays_in_front(p: pytest.MonkeyPatch) -> None:
    send = Reliable.send

    def wrong(it: Reliable, event: object) -> None:
        roster = it.roster
        send(it, event)
        it.roster = roster if isinstance(event, Replaced) else it.roster

    p.setattr(Reliable, "send", wrong)


@alone("A consumer sees whether it is active.", "S5", "the active consumer is another one than was said")
def unannounced(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "_seat", lambda it, roster: setattr(it, "roster", roster))


@alone("It hears so before its first message.", "S5", "the active consumer is announced after its first message")
def announced_late(p: pytest.MonkeyPatch) -> None:
    succeed, send = Reliable.succeed, Reliable.send

    def wrong(it: Reliable, event: object) -> None:
        send(it, event)
        if isinstance(event, Replaced):
            it.roster = (event.session, *it.roster[1:])
            succeed(it, event)

    p.setattr(Reliable, "succeed", lambda it, gone: setattr(it, "roster", (gone.new, *it.roster[1:])))
    p.setattr(Reliable, "send", wrong)


@alone("It hears so once.", "S5", "a change of the active consumer is said once, and nothing else is")
def told_again_and_again(p: pytest.MonkeyPatch) -> None:
    def wrong(it: Reliable, roster: Any) -> None:
        it.roster = roster
        it.port.active_changed(it.active)

    p.setattr(Reliable, "_seat", wrong)


@alone("Shared: nobody is the active consumer.", "S5", "nobody is the active consumer", RELIABLE_SHARED)
def active_among_equals(p: pytest.MonkeyPatch) -> None:
    def wrong(it: Reliable, roster: Any) -> None:
        it.roster = roster
        it.port.active_changed(roster[0] if roster else None)

    p.setattr(Reliable, "_seat", wrong)


@alone("An ack timeout never changes the active consumer.", "S5", "the active consumer is pre-empted")
def unhealthy(p: pytest.MonkeyPatch) -> None:
    back_off = Reliable.back_off

    def wrong(it: Reliable, event: object) -> None:
        back_off(it, event)
        it._seat((*it.roster[1:], it.roster[0]))

    p.setattr(Reliable, "back_off", wrong)


@alone("A newcomer pre-empts nobody.", "S5", "the active consumer is pre-empted")
def pushy(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "join", lambda it, session: it._seat((session, *it.roster)))


@alone("Exclusive: the first of the roster is active.", "S5", "a message goes to another than the active consumer")
def to_the_last(p: pytest.MonkeyPatch) -> None:
    send = Reliable.send

    def wrong(it: Reliable, event: object) -> None:
        roster = it.roster
        it.roster = (*roster[-1:], *roster[:-1])
        send(it, event)
        it.roster = roster

    p.setattr(Reliable, "send", wrong)


@alone("Shared: who was served goes to the end.", "S6", "0 is served again, and 1 was not", RELIABLE_SHARED)
def unmoved(p: pytest.MonkeyPatch) -> None:
    p.setattr(RoundRobin, "served", staticmethod(lambda roster, session: roster))


@alone("What a lost consumer held is not settled.", "S2", "a message is forgotten though nobody settled it")
def forgotten_with_its_consumer(p: pytest.MonkeyPatch) -> None:
    leave = Reliable.leave

    def wrong(it: Reliable, lost: Any) -> None:
        leave(it, lost)
        it.offset = it.offset if it.roster else None

    p.setattr(Reliable, "leave", wrong)


@alone("An extension moves the deadline to now and so many seconds.", "Promises", "an extension moves the deadline")
def extended_from_the_deadline(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "prolong", lambda it, extend: setattr(it, "due_at", it.due_at + extend.seconds))


@alone("The longest hold bounds all extensions.", "Promises", "an extension moves the deadline", policy=HOLD)
def extended_for_ever(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "prolong", lambda it, extend: setattr(it, "due_at", it.now + extend.seconds))


# answers


@alone("A stale answer raises nothing, in no state.", "S12", "an event that can come here is not listed")
def stale_raises(p: pytest.MonkeyPatch) -> None:
    states = [state for state in reliable.STATES if state != reliable.REDELIVERING]
    rows(p, "ack", {"stale_ack"}, {"source": states})


@alone("Stale acks, nacks and extensions are counted apart.", "S3", "an answer that names no open delivery is counted as stale")
def counted_together(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "stale_nack", Reliable.stale_ack)


@alone("An ack after the deadline is stale, also while the message waits for its redelivery.", "S3", "acknowledged if and only if")
def late_ack_counts(p: pytest.MonkeyPatch) -> None:
    states = [state for state in reliable.STATES if state != reliable.REDELIVERING]
    late = {"source": [reliable.REDELIVERING], "dest": reliable.DISPATCHING, "before": ["settle_acked", "poll"]}
    rows(p, "ack", {"stale_ack"}, late, {"source": states})


@alone("Epoch, session, offset and attempt together are a delivery's identity.", "S3", "acknowledged if and only if")
def ack_by_offset(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "current", lambda it, delivery: it.delivery is not None and delivery[2] == it.delivery[2])


@alone("An attempt has a number of its own, also for a nack.", "S3", "an answer that names no open delivery changed something")
def nack_of_any_attempt(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "nacks_current", lambda it, nack: it.delivery is not None and nack.delivery[:3] == it.delivery[:3])


@alone("An attempt has a number of its own, also for an extension.", "S3", "an answer that names no open delivery changed something")
def extend_of_any_attempt(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "extends_current", lambda it, extend: it.delivery is not None and extend.delivery[:3] == it.delivery[:3])


# attempts and failures


@alone("Sends are numbered from 1.", "S1", "a delivery is not numbered by its epoch and the next attempt")
def numbered_from_two(p: pytest.MonkeyPatch) -> None:
    def wrong(it: Reliable, offset: int) -> None:
        it.offset, it.attempt = offset, 1

    p.setattr(Reliable, "take", wrong)


@alone("The number of a send always grows.", "S1", "a delivery is not numbered by its epoch and the next attempt")
def numbered_anew(p: pytest.MonkeyPatch) -> None:
    send = Reliable.send

    def wrong(it: Reliable, event: object) -> None:
        it.attempt = 0
        send(it, event)

    p.setattr(Reliable, "send", wrong)


@alone("Failures alone meet the limit, not attempts.", "S13", "the verdict is on a message that is not exhausted")
def attempts_meet_the_limit(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "exhausted", lambda it, _: max(it.attempt, it.failures) > it.policy.max_redeliveries)


@alone("Exhausted is who failed more often than `max_redeliveries`, not as often.", "S13", "the verdict is on a message that is not exhausted")
def one_too_early(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "exhausted", lambda it, _: it.failures >= it.policy.max_redeliveries)


@alone("Exhaustion is decided in the step of the failure.", "S13", "an exhausted message", policy=FIRST)
def pardoned(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "exhausted", lambda it, _: False)


def uncharged(it: Reliable, _: object) -> None:
    it.give_up(None)


@alone("A nack is charged.", "S13", "failures grow by one with each charged failure")
def free_nack(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "charge_nack", uncharged)


@alone("The timeout of a taken message is charged.", "S13", "failures grow by one with each charged failure")
def free_timeout(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "charge_timeout", uncharged)


@alone("The loss of a consumer that had taken it is charged.", "S13", "failures grow by one with each charged failure")
def free_loss(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "charge_loss", uncharged)


@alone("It is charged once.", "S13", "failures grow by one with each charged failure")
def charged_twice(p: pytest.MonkeyPatch) -> None:
    rows(p, "consumer_lost", {"had_taken"}, {"before": ["charge_loss", "save", "charge_loss", "leave"]})


@alone("A message that sat in a box past its deadline is not charged.", "S13", "a failure is made durable iff somebody is to blame")
def blamed_in_the_box(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "taken", lambda it, _: True)


@alone("It is withdrawn and sent again.", "Promises", "a message that nobody took is sent again at once")
def left_in_the_box(p: pytest.MonkeyPatch) -> None:
    rows(p, "tick", {"overdue", "withdraw", "give_up"}, {"before": ["withdraw", "give_up", "back_off"]})


@alone("The loss of a consumer that had not taken it is not charged.", "S13", "a failure is made durable iff somebody is to blame")
def loss_blamed(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "had_taken", lambda it, gone: gone.taken or not isinstance(gone, Replaced))


@alone("A takeover before it was taken is not charged.", "S13", "a failure is made durable iff somebody is to blame")
def takeover_blamed(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "had_taken", lambda it, gone: gone.taken or isinstance(gone, Replaced))


@alone("Nothing else is charged.", "S13", "failures grow by one with each charged failure")
def burnt_by_a_takeover(p: pytest.MonkeyPatch) -> None:
    give_up = Reliable.give_up

    def wrong(it: Reliable, event: object) -> None:
        it.failures += event is not None
        give_up(it, event)

    p.setattr(Reliable, "give_up", wrong)


@alone("A nack waits out the delay that was asked for.", "S13", "what is made durable is not what happened")
def hurried(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "back_off_as_asked", Reliable.back_off)


@alone("An asked delay only lengthens.", "S13", "what is made durable is not what happened", policy=SLOW)
def asked_delay_shortens(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "back_off_as_asked", lambda it, nack: setattr(it, "due_at", it.now + nack.delay))


@alone("No delay is longer than the most.", "S13", "what is made durable is not what happened", policy=SHORT)
def asked_delay_beyond_the_most(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "back_off_as_asked", lambda it, nack: setattr(it, "due_at", it.now + nack.delay))


@alone("A timeout waits out the delay.", "S13", "what is made durable is not what happened")
def timeout_without_delay(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "back_off", lambda it, _: setattr(it, "due_at", it.now))


@alone("A delay is waited out.", "Promises", "after a nack or a timeout the message waits out its delay")
def impatient(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "delayed", lambda it, event: it.due_at is not None and isinstance(event, Held))


@alone("A lost consumer's message goes on at once.", "Promises", "a lost consumer's message goes on at once")
def loss_with_delay(p: pytest.MonkeyPatch) -> None:
    rows(p, "consumer_lost", {"had_taken"}, {"before": ["charge_loss", "save", "back_off", "leave"]})


@alone("The deadline runs from the send.", "Promises", "the deadline runs from the send")
def deadline_from_elsewhere(p: pytest.MonkeyPatch) -> None:
    send = Reliable.send

    def wrong(it: Reliable, event: object) -> None:
        send(it, event)
        it.due_at = it.now + it.attempt * it.policy.ack_timeout

    p.setattr(Reliable, "send", wrong)


@alone("A redelivery's predecessor is withdrawn first.", "Promises", "a redelivery's predecessor is withdrawn first")
def not_withdrawn(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "withdraw", lambda it, _: None)


@alone("A charged failure is made durable with its number, its attempt and its reason.", "S13", "what is made durable is not what happened")
def saved_before_it_is_charged(p: pytest.MonkeyPatch) -> None:
    rows(p, "consumer_lost", {"had_taken"}, {"before": ["save", "charge_loss", "leave"]})


@alone("A failure is saved before anything follows from it.", "S7", "the effects are out of their order")
def saved_after_the_succession(p: pytest.MonkeyPatch) -> None:
    rows(p, "consumer_lost", {"had_taken"}, {"before": ["charge_loss", "leave", "save"]})


@alone("A message waits for a consumer only while nobody is attached.", "L2", "a message waits for a consumer, and there is one")
def waits_for_nobody(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "anyone", lambda it, event: it.roster != () and not isinstance(event, Held))


@alone("An early tick ends no wait.", "Promises", "an early tick changes nothing")
def too_early(p: pytest.MonkeyPatch) -> None:
    overdue = Reliable.overdue
    p.setattr(Reliable, "overdue", lambda it, event: it.state == reliable.REDELIVERING or overdue(it, event))


@alone("After its delay a message is given out.", "Promises", "after its delay a message is given out")
def delayed_for_ever(p: pytest.MonkeyPatch) -> None:
    rows(p, "tick", {reliable.REDELIVERING}, {"before": []})


@alone("What was answered is not withdrawn.", "Promises", "nothing is to be withdrawn")
def withdrawn_when_acknowledged(p: pytest.MonkeyPatch) -> None:
    rows(p, "ack", {"current"}, {"before": ["withdraw", "settle_acked", "poll"]})


@alone("News wakes a machine that has a consumer.", "L2", "news or a newcomer is not heard")
def asleep(p: pytest.MonkeyPatch) -> None:
    rows(p, "wake", {"anyone"})


# verdicts


@alone("After a restart an exhausted message goes to its verdict, not to a consumer.", "S13", "an exhausted message is given to a consumer")
def verdict_forgotten(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "exhausted", lambda it, event: not isinstance(event, Held) and it.policy.exhausted(it.failures))


@alone("A delay that runs goes on after a restart.", "Promises", "a running delay goes on after a restart")
def delay_forgotten(p: pytest.MonkeyPatch) -> None:
    def wrong(it: Reliable, held: Held) -> None:
        it.offset, it.attempt, it.failures, it.reason = held[:4]

    p.setattr(Reliable, "recall", wrong)


@alone("A message of an earlier run is given out at once.", "Promises", "a message of an earlier run is given out at once")
def delayed_by_a_restart(p: pytest.MonkeyPatch) -> None:
    recall = Reliable.recall

    def wrong(it: Reliable, held: Held) -> None:
        recall(it, held)
        it.due_at = it.now + 1.0 if it.due_at is None else it.due_at

    p.setattr(Reliable, "recall", wrong)


@alone("News ends no block.", "Promises", "a blocked message waits for a release, and for nothing else")
def blocked_until_news(p: pytest.MonkeyPatch) -> None:
    states = [state for state in reliable.STATES if state != reliable.BLOCKED]
    ends = {"source": [reliable.BLOCKED], "dest": reliable.DEAD_LETTERING, "before": ["dead_letter"]}
    rows(p, "wake", {reliable.BLOCKED}, ends, {"source": states})


@alone("Blocked waits for a release.", "S8", "whoever holds nothing comes and goes unnoticed")
def a_newcomer_unblocks(p: pytest.MonkeyPatch) -> None:
    busy = [state for state in reliable.BUSY if state != reliable.BLOCKED]
    unblocks = {"source": [reliable.BLOCKED], "dest": reliable.FAILOVER, "before": ["join", "forgive"]}
    rows(p, "consumer_added", {reliable.BLOCKED}, unblocks, {"source": busy})


@alone("A release for another try sets failures to 0, durably.", "S13", "failures grow by one with each charged failure")
def unforgiven(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "forgive", lambda it, _: None)


@alone("The forgiveness is what is made durable.", "S13", "what is made durable is not the forgiveness")
def saved_before_it_is_forgiven(p: pytest.MonkeyPatch) -> None:
    rows(p, "release_retry", {"forgive"}, {"before": ["save", "forgive"]})


@alone("A release gives the message out at once.", "Promises", "a released message is given out at once")
def released_with_delay(p: pytest.MonkeyPatch) -> None:
    rows(p, "release_retry", {"forgive"}, {"before": ["forgive", "save", "back_off"]})


@alone("A release to the dead letters goes there.", "Promises", "a message released to the dead letters goes there")
def released_in_vain(p: pytest.MonkeyPatch) -> None:
    rows(p, "release_dead_letter", {"dead_letter"}, {"before": [], "dest": None})


@alone("Drop and dead letter come by policy or release alone.", "S3", "dropped if and only if the policy or a release says so", policy=LETTER)
def dropped_against_the_policy(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "policy_dead_letters", lambda it, _: False)


@alone("A dead letter settles when it is durable, and not before.", "S3", "dead-lettered if and only if the dead letter is durable", policy=LETTER)
def settled_by_a_dead_letter_under_way(p: pytest.MonkeyPatch) -> None:
    rows(p, "proceed", {"dead_letter"}, {"before": ["dead_letter", "settle_dead_lettered", "poll"], "dest": reliable.DISPATCHING})


@alone("A dead letter keeps the history of its message.", "Promises", "a dead letter tells the history of its message", policy=LETTER)
def letter_without_history(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "dead_letter", lambda it, _: it.port.dead_letter(Held(it.offset, exhausted=True)))


@alone("A failed dead letter is tried again after a wait.", "Promises", "a dead letter that failed is tried again after its time", policy=LETTER)
def letter_tried_at_once(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "try_later", lambda it, seconds: setattr(it, "due_at", it.now))


@alone("It is tried again as often as it takes.", "L1", "from here", policy=LETTER)
def letter_tried_once(p: pytest.MonkeyPatch) -> None:
    rows(p, "tick", {reliable.DEAD_LETTERING})


@alone("A dead letter that went round too often is blocked.", "Promises", "a refused dead letter is blocked", policy=LETTER)
def letter_refused_in_vain(p: pytest.MonkeyPatch) -> None:
    rows(p, "dead_letter_refused", {"disarm"}, {"dest": None, "before": ["dead_letter"]})


@alone("A close says nothing.", "Promises", "a close settles nothing, says nothing")
def talks_at_the_end(p: pytest.MonkeyPatch) -> None:
    def wrong(it: Reliable, _: object) -> None:
        it._clear()
        it.port.active_changed(None)

    p.setattr(Reliable, "let_go", wrong)


@alone("A close settles nothing.", "S3", "dropped if and only if the policy or a release says so")
def dropped_by_a_close(p: pytest.MonkeyPatch) -> None:
    p.setattr(Reliable, "let_go", lambda it, _: it._clear() if it.offset is None else it.settle_dropped(None))
