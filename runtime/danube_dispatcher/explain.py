"""Why a dispatcher is not progressing: read off the machine's state and guards, and off the engine's own reasons."""

from __future__ import annotations

from danube_statemachines import AWAITING_ACK, BLOCKED, CLOSED, DEAD_LETTERING, DISPATCHING, FAILOVER, REDELIVERING, NonReliable, Refusal

from .adapter import ReliableAdapter
from .dead_letters import DeadLetters
from .status import Explanation

NO_CONSUMER = Explanation("no_consumer", "no consumer is attached", "a consumer that joins")
BUSY = Explanation("busy", "a call to the store is under way", "its answer")
CLOSED_HERE = Explanation("closed", "it is closed", "subscribing again")
REFUSALS: dict[Refusal, Explanation] = {
    "closed": CLOSED_HERE,
    "lost": Explanation("lost", "another process owns it now", "subscribing again"),
    "lease": Explanation("lease", "its lease has run out and was not renewed yet", "the next renewal that succeeds"),
    "paused": Explanation("paused", "it is paused", "resume()"),
    "throttled": Explanation("throttled", "its rate limit is used up", "the next token of its rate limit"),
    "end": Explanation("end", "everything published is settled", "the next publish"),
}


def explain_non_reliable(machine: NonReliable) -> Explanation:
    if machine.state == CLOSED:
        return CLOSED_HERE
    return Explanation("ready", "it is ready for the next message", "the next publish") if machine.anyone(None) else NO_CONSUMER


def explain_reliable(adapter: ReliableAdapter, dead_letters: DeadLetters | None, now: float) -> Explanation:
    machine, core, engine = adapter.machine, adapter.core, adapter.engine
    until = "" if machine.due_at is None else f"in {max(0.0, machine.due_at - now):.1f} s"
    history = f"message {machine.offset} (attempt {machine.attempt}, {machine.failures} failure{'' if machine.failures == 1 else 's'})"
    store = BUSY if engine.last_error is None else Explanation("store", f"the store does not answer well: {engine.last_error}", "the next call that succeeds")
    if core.ended is not None:
        return REFUSALS[core.ended]
    if machine.state == AWAITING_ACK and machine.delivery is not None:
        holder = adapter.boxes[machine.delivery[1]].name
        return Explanation("awaiting_ack", f"{history} is with consumer {holder}", f"ack(), nack(), or its deadline {until}")
    if machine.state == REDELIVERING:
        return Explanation("redelivering", f"{history} waits out its delay after: {machine.reason}", f"the end of the delay {until}")
    if machine.state == BLOCKED:
        return Explanation("blocked", f"{history} is exhausted after: {machine.reason}", 'release("retry"), release("drop") or release("dead_letter")')
    if machine.state == DEAD_LETTERING:
        trouble = f"; {dead_letters.last_error}" if dead_letters is not None and dead_letters.last_error else ""
        return Explanation("dead_lettering", f"{history} is being moved to its dead-letter topic{trouble}", f"a write that succeeds {until}".rstrip())
    if machine.state == DISPATCHING:
        return store
    if machine.state == FAILOVER or not machine.anyone(None):
        return NO_CONSUMER
    engine.see_renewal(now)
    refusal = core.refusal(now)
    if refusal == "store":
        return store
    if refusal is not None:
        return REFUSALS[refusal]
    if not core.buffer and core.next_offset >= engine.hub.log.head:
        return REFUSALS["end"]
    return Explanation("waking", "there is something to read", "the next heartbeat")
