"""What a machine and its core can break together, each sentence with a bug that breaks it."""

from __future__ import annotations

from typing import Any

import pytest

from danube_statemachines import LATER, Coupling, EngineCore, Held, Progress, Refusal, Resumed, reliable

from .sentences import BLOCK, FIRST, LETTER, on_a_disk, rows

Core = EngineCore[Any]
EVERY: dict[str, Any] = {"messages": 2, "faults": 1, "flush_interval": 0.0}
"""Every ack is to be durable."""


@on_a_disk(
    "A process whose lease has run out takes nothing in hand until it is renewed.", "S16", "a message is taken in hand by a process whose lease has run out"
)
def without_a_lease(p: pytest.MonkeyPatch) -> None:
    refusal = EngineCore.refusal

    def wrong(core: Core, now: float) -> Refusal | None:
        return None if (found := refusal(core, now)) == "lease" else found

    p.setattr(EngineCore, "refusal", wrong)


@on_a_disk("The cursor passes what is settled, and nothing else.", "S2", "the cursor of a process has passed what nobody has settled")
def settled_unsettled(p: pytest.MonkeyPatch) -> None:
    poll = EngineCore.poll

    def wrong(core: Core, now: float) -> Any:
        answer = poll(core, now)
        core.cursor = core.cursor if answer is None or answer is LATER else core.cursor + 1
        return answer

    p.setattr(EngineCore, "poll", wrong)


@on_a_disk("After an unclean end the new owner is careful.", "S15", "a message is given out again that was in hand at")
def careless(p: pytest.MonkeyPatch) -> None:
    init = EngineCore.__init__

    def wrong(core: Core, *arguments: Any, **named: Any) -> None:
        init(core, *arguments, **named)
        core.careful = 0

    p.setattr(EngineCore, "__init__", wrong)


@on_a_disk("A careful owner marks a message, durably, before it is given out.", "S15", "a careful engine gives a message out that is not durably marked")
def unmarked(p: pytest.MonkeyPatch) -> None:
    p.setattr(EngineCore, "strict", property(lambda core: False))


@on_a_disk("A marked message that is found after an unclean end is charged.", "S13", "a process begins with other failures")
def forgiving(p: pytest.MonkeyPatch) -> None:
    init = EngineCore.__init__

    def wrong(core: Core, progress: Progress, **named: Any) -> None:
        held = progress.held
        init(core, progress if held is None else progress._replace(held=held._replace(sent=False)), **named)

    p.setattr(EngineCore, "__init__", wrong)


@on_a_disk("No more is given out than a crash may repeat.", "S14", "a crash would have", messages=3, faults=1)
def unbounded(p: pytest.MonkeyPatch) -> None:
    p.setattr(EngineCore, "_behind", property(lambda core: False))


@on_a_disk("A close writes the history of what is in hand.", "Promises", "a close keeps the history of the message in hand")
def forgetful(p: pytest.MonkeyPatch) -> None:
    end = EngineCore.end
    p.setattr(EngineCore, "end", lambda core, how, now, held=None: end(core, how, now)._replace(held=None))


@on_a_disk("A charged failure is made durable, whether anything else is or not.", "Promises", "a charged failure is made durable at once", policy=FIRST)
def slack(p: pytest.MonkeyPatch) -> None:
    def wrong(core: Core, held: Held, now: float) -> None:
        core.held = held
        core._judge(now)

    p.setattr(EngineCore, "save_failure", wrong)


@on_a_disk("Attempts are counted on after a restart.", "S13", "the attempts of a message do not go on")
def without_history(p: pytest.MonkeyPatch) -> None:
    poll = EngineCore.poll

    def wrong(core: Core, now: float) -> Any:
        answer = poll(core, now)
        return answer.message if isinstance(answer, Resumed) else answer

    p.setattr(EngineCore, "poll", wrong)


@on_a_disk("Failures survive a restart.", "S13", "a message is taken in hand with other failures", policy=BLOCK, faults=0)
def failures_forgotten(p: pytest.MonkeyPatch) -> None:
    poll = EngineCore.poll

    def wrong(core: Core, now: float) -> Any:
        answer = poll(core, now)
        return answer._replace(held=answer.held._replace(failures=0)) if isinstance(answer, Resumed) else answer

    p.setattr(EngineCore, "poll", wrong)


@on_a_disk("What could not be read is read again.", "L1", "from here", faults=1)
def discouraged(p: pytest.MonkeyPatch) -> None:
    def wrong(core: Core, now: float) -> None:
        core.reading = False
        core.read_retry_at = float("inf")

    p.setattr(EngineCore, "read_failed", wrong)


@on_a_disk("The machine hears that a write is done.", "L1", "from here", faults=1)
def silent(p: pytest.MonkeyPatch) -> None:
    done = EngineCore.write_done

    def wrong(core: Core, now: float) -> None:
        done(core, now)
        core.news = False

    p.setattr(EngineCore, "write_done", wrong)


@on_a_disk("The position survives a close.", "Promises", "a close keeps the position", messages=2, faults=0)
def position_forgotten(p: pytest.MonkeyPatch) -> None:
    end = EngineCore.end
    p.setattr(EngineCore, "end", lambda core, how, now, held=None: end(core, how, now, held)._replace(cursor=core.durable.cursor))


@on_a_disk("A close by the owner is charged to nobody.", "Promises", "a close keeps the history of the message in hand")
def close_charged(p: pytest.MonkeyPatch) -> None:
    end = EngineCore.end

    def wrong(core: Core, how: Any, now: float, held: Held | None = None) -> Progress:
        return end(core, how, now, held if held is None else held._replace(failures=held.failures + 1))

    p.setattr(EngineCore, "end", wrong)


@on_a_disk("A close keeps what is left of a delay.", "Promises", "a close keeps the history of the message in hand", policy=BLOCK, faults=0)
def delay_closed_away(p: pytest.MonkeyPatch) -> None:
    end = EngineCore.end

    def wrong(core: Core, how: Any, now: float, held: Held | None = None) -> Progress:
        return end(core, how, now, held if held is None else held._replace(due_at=None))

    p.setattr(EngineCore, "end", wrong)


@on_a_disk("A delay that runs goes on in the next process.", "Promises", "a running delay goes on after a restart", policy=BLOCK, faults=0)
def delay_not_told(p: pytest.MonkeyPatch) -> None:
    poll = EngineCore.poll

    def wrong(core: Core, now: float) -> Any:
        answer = poll(core, now)
        return answer._replace(held=answer.held._replace(due_at=None)) if isinstance(answer, Resumed) else answer

    p.setattr(EngineCore, "poll", wrong)


@on_a_disk("A delay is no longer after a restart.", "Promises", "a process begins with another delay", policy=BLOCK, faults=0)
def delay_begun_anew(p: pytest.MonkeyPatch) -> None:
    init = EngineCore.__init__

    def wrong(core: Core, progress: Progress, **named: Any) -> None:
        held = progress.held
        again = held is None or held.due_at is None
        init(core, progress if again else progress._replace(held=held and held._replace(due_at=named["now"] + 60.0)), **named)

    p.setattr(EngineCore, "__init__", wrong)


@on_a_disk("A verdict survives a restart.", "S13", "a process begins with other failures", policy=FIRST)
def verdict_lost(p: pytest.MonkeyPatch) -> None:
    init = EngineCore.__init__

    def wrong(core: Core, progress: Progress, **named: Any) -> None:
        held = progress.held
        init(core, progress if held is None or not held.exhausted else progress._replace(held=None), **named)

    p.setattr(EngineCore, "__init__", wrong)


@on_a_disk("An exhausted message meets its verdict with nobody attached, too.", "Promises", "an exhausted message of an earlier run", policy=FIRST)
def verdict_waits_for_a_consumer(p: pytest.MonkeyPatch) -> None:
    p.setattr(Coupling, "exhausted", False)


@on_a_disk("An exhausted message was in nobody's hands: a crash is not charged to it.", "S13", "a process begins with other failures", policy=FIRST, faults=2)
def verdict_charged(p: pytest.MonkeyPatch) -> None:
    init = EngineCore.__init__

    def wrong(core: Core, progress: Progress, **named: Any) -> None:
        held = progress.held
        init(core, progress if held is None else progress._replace(held=held._replace(exhausted=False)), **named)

    p.setattr(EngineCore, "__init__", wrong)


@on_a_disk("A marked message whose owner has let go is charged to nobody.", "S13", "a process begins with other failures")
def clean_end_charged(p: pytest.MonkeyPatch) -> None:
    init = EngineCore.__init__
    end = EngineCore.end

    def wrong(core: Core, progress: Progress, **named: Any) -> None:
        init(core, progress, **{**named, "unclean": True})

    p.setattr(EngineCore, "__init__", wrong)
    p.setattr(EngineCore, "end", lambda core, how, now, held=None: end(core, how, now, held)._replace(held=held and held._replace(sent=True)))


@on_a_disk("A renewed lease wakes the machine.", "L1", "from here", faults=1)
def renewed_in_silence(p: pytest.MonkeyPatch) -> None:
    p.setattr(EngineCore, "renewed", lambda core, until, now: setattr(core, "lease_until", until))


@on_a_disk("With `flush_interval=0` the next message leaves when the cursor is durable.", "S14", "a message is taken in hand while", **EVERY)
def never_strict(p: pytest.MonkeyPatch) -> None:
    p.setattr(EngineCore, "strict", property(lambda core: core.careful > 0))


@on_a_disk("A charged failure does not wait for the next flush.", "Promises", "a charged failure is made durable at once", policy=FIRST)
def failure_with_the_next_flush(p: pytest.MonkeyPatch) -> None:
    def wrong(core: Core, held: Held, now: float) -> None:
        core.held = held
        core.write_due = now + core.flush_interval
        core._judge(now)

    p.setattr(EngineCore, "save_failure", wrong)


@on_a_disk("A failure is written with its reason and its delay.", "Promises", "a charged failure is made durable at once", policy=BLOCK)
def failure_without_reason(p: pytest.MonkeyPatch) -> None:
    save = EngineCore.save_failure
    p.setattr(EngineCore, "save_failure", lambda core, held, now: save(core, held._replace(reason="", due_at=None), now))


@on_a_disk("A mark stays until its message is settled.", "S15", "a careful engine gives a message out that is not durably marked", policy=BLOCK)
def mark_lost_with_a_failure(p: pytest.MonkeyPatch) -> None:
    def wrong(core: Core, held: Held, now: float) -> None:
        core.held = held
        core._write_soon(now)
        core._judge(now)

    p.setattr(EngineCore, "save_failure", wrong)


@on_a_disk("A mark has the number of the attempt.", "S15", "a careful engine gives a message out that is not durably marked")
def mark_of_another_attempt(p: pytest.MonkeyPatch) -> None:
    want: Any = vars(EngineCore)["want"].fget

    def wrong(core: Core) -> Progress:
        progress: Progress = want(core)
        held = progress.held
        return progress._replace(held=held._replace(attempt=held.attempt + 1)) if held is not None and held.sent else progress

    p.setattr(EngineCore, "want", property(wrong))


@on_a_disk("It is careful for as many messages as a crash may repeat.", "S15", "a message is given out again that was in hand at", messages=2, faults=2)
def careful_for_one(p: pytest.MonkeyPatch) -> None:
    init = EngineCore.__init__

    def wrong(core: Core, *arguments: Any, **named: Any) -> None:
        init(core, *arguments, **named)
        core.careful = min(core.careful, 1)

    p.setattr(EngineCore, "__init__", wrong)


@on_a_disk("A careful owner that closes leaves the rest of its care to the next.", "S15", "a message is given out again that was in hand at", faults=2)
def care_not_passed_on(p: pytest.MonkeyPatch) -> None:
    end = EngineCore.end
    p.setattr(EngineCore, "end", lambda core, how, now, held=None: end(core, how, now, held)._replace(careful=0))


@on_a_disk("A position never goes back.", "S4", "the cursor of a process goes back", messages=2, faults=1)
def back_to_what_is_durable(p: pytest.MonkeyPatch) -> None:
    failed = EngineCore.read_failed

    def wrong(core: Core, now: float) -> None:
        failed(core, now)
        core.cursor = core.durable.cursor

    p.setattr(EngineCore, "read_failed", wrong)


@on_a_disk("A new position is written when its time has come.", "L1", "from here", faults=0)
def never_flushed(p: pytest.MonkeyPatch) -> None:
    settled = EngineCore._settled

    def wrong(core: Core, now: float) -> None:
        settled(core, now)
        core.write_due = None if core.write_due is not None and core.write_due > now else core.write_due

    p.setattr(EngineCore, "_settled", wrong)


@on_a_disk("A write that failed is made good.", "L1", "from here", faults=1)
def failed_write_forgotten(p: pytest.MonkeyPatch) -> None:
    failed = EngineCore.write_failed

    def wrong(core: Core, now: float) -> None:
        failed(core, now)
        core.write_due = None

    p.setattr(EngineCore, "write_failed", wrong)


@on_a_disk("News of the head wakes the machine.", "L1", "from here", faults=0)
def head_moves_in_silence(p: pytest.MonkeyPatch) -> None:
    def wrong(core: Core, messages: Any = ()) -> None:
        core._moved = True
        core.at_end = False

    p.setattr(EngineCore, "head_moved", wrong)


@on_a_disk("Messages come in the order of their offsets.", "S7", "another message is taken in hand than the first", messages=2, faults=0)
def newest_first(p: pytest.MonkeyPatch) -> None:
    done = EngineCore.read_done

    def wrong(core: Core, messages: Any, next_offset: int, now: float) -> None:
        done(core, messages[::-1], next_offset, now)

    p.setattr(EngineCore, "read_done", wrong)


@on_a_disk("A dead letter settles when it is durable, and not before.", "S3", "dead-lettered, and no dead letter is durable", policy=LETTER)
def settled_by_a_dead_letter_under_way(p: pytest.MonkeyPatch) -> None:
    rows(p, "proceed", {"dead_letter"}, {"before": ["disarm", "dead_letter", "settle_dead_lettered", "poll"], "dest": reliable.DISPATCHING})


# pause and rate limit


@on_a_disk("A pause stops the intake.", "Promises", "a message is taken in while it is paused", pauses=True, faults=0)
def not_paused(p: pytest.MonkeyPatch) -> None:
    refusal = EngineCore.refusal
    p.setattr(EngineCore, "refusal", lambda core, now: None if (found := refusal(core, now)) == "paused" else found)


@on_a_disk("What is in hand is still redelivered.", "Promises", "what was in hand before is given out", pauses=True, faults=0)
def paused_altogether(p: pytest.MonkeyPatch) -> None:
    refusal = EngineCore.refusal
    p.setattr(EngineCore, "refusal", lambda core, now: refusal(core, now) or ("paused" if core.paused else None))


@on_a_disk("A pause is made durable at once.", "Promises", "a pause is made durable at once", pauses=True, faults=0)
def pause_in_memory(p: pytest.MonkeyPatch) -> None:
    def wrong(core: Core, paused: bool, now: float) -> None:
        core.paused = paused
        core._news(now)

    p.setattr(EngineCore, "pause", wrong)


@on_a_disk("A pause survives a close.", "Promises", "a close keeps a pause", pauses=True, faults=0)
def pause_closed_away(p: pytest.MonkeyPatch) -> None:
    end = EngineCore.end
    p.setattr(EngineCore, "end", lambda core, how, now, held=None: end(core, how, now, held)._replace(paused=False))


@on_a_disk("A pause survives a restart.", "Promises", "a pause outlives its process", pauses=True, faults=0)
def pause_forgotten(p: pytest.MonkeyPatch) -> None:
    init = EngineCore.__init__
    p.setattr(EngineCore, "__init__", lambda core, progress, **named: init(core, progress._replace(paused=False), **named))


@on_a_disk("The end of a pause wakes the machine.", "L1", "from here", pauses=True, faults=0)
def resumed_in_silence(p: pytest.MonkeyPatch) -> None:
    done = EngineCore.write_done

    def pause(core: Core, paused: bool, now: float) -> None:
        core.paused = paused
        core._write_soon(now)

    def write_done(core: Core, now: float) -> None:
        done(core, now)
        core.news = core.owed

    p.setattr(EngineCore, "pause", pause)
    p.setattr(EngineCore, "write_done", write_done)


@on_a_disk("Without a token no message is taken in.", "Promises", "a message that is taken in costs one token", messages=2, throttled=True, faults=0)
def free_of_charge(p: pytest.MonkeyPatch) -> None:
    p.setattr(EngineCore, "_tokens", lambda core, now: 1.0)


@on_a_disk("Only a first send takes a token.", "Promises", "a message that is taken in costs one token", throttled=True)
def returning_costs(p: pytest.MonkeyPatch) -> None:
    poll = EngineCore.poll

    def wrong(core: Core, now: float) -> Any:
        answer = poll(core, now)
        core.tokens -= isinstance(answer, Resumed)
        return answer

    p.setattr(EngineCore, "poll", wrong)


@on_a_disk("A token that is there wakes the machine.", "L1", "from here", messages=2, throttled=True, faults=0)
def refilled_in_silence(p: pytest.MonkeyPatch) -> None:
    p.setattr(EngineCore, "tick", lambda core, now: core._judge(now))
