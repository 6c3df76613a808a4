"""Mutants that are no other program, and why. `…` in a name stands for anything; each must be a survivor, and each survivor must be here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def matches(pattern: str, name: str) -> bool:
    start, anything, end = pattern.partition("…")
    return name.startswith(start) and name.endswith(end) and len(name) >= len(start + end) if anything else name == pattern


def reason(name: str, reasons: Mapping[str, str]) -> str | None:
    return next((why for pattern, why in reasons.items() if matches(pattern, name)), None)


def each(patterns: Iterable[str], why: str) -> dict[str, str]:
    return dict.fromkeys(patterns, why)


SWAPPED = "the roster and what is in hand know nothing of each other, and only one of the two says anything"
SILENT = "a shared roster says nothing when it changes"
ALONE = "there is never a second candidate to strike"
NEVER_THERE = "no event finds it in Failover: proceed goes on in the same step"

NON_RELIABLE = {
    **each((f"{event} in anywhere but Closed, from Failover: …" for event in ("accepted", "refused", "consumer_added", "close")), NEVER_THERE),
    **each((f"{event} in anywhere but Closed, from Failover: …" for event in ("consumer_lost", "consumer_replaced")), NEVER_THERE),
    **each(("consumer_lost in …: strike before leave", "consumer_replaced in …: strike before replace"), SWAPPED),
    **each((f"{event} in anywhere but Closed, from Idle: without strike" for event in ("consumer_lost", "consumer_replaced")), "in Idle nobody is lined up"),
    "close in anywhere but Closed, from Idle: without let_go": "in Idle nobody is lined up",
}
RELIABLE = {
    "polled in Dispatching [anyone]: drop it": "proceed would send it just so; the row saves the path of every message one trigger",
    **each(
        (f"{event} in AwaitingAck [holder, had_taken]: without holder" for event in ("consumer_lost", "consumer_replaced")),
        "nobody but the holder can have taken the open delivery",
    ),
    **each(("consumer_lost in AwaitingAck [holder]: leave before give_up", "consumer_replaced in AwaitingAck [holder]: succeed before give_up"), SWAPPED),
    "dead_letter_refused in DeadLettering: without disarm": "no time is set while a dead letter is being written",
    "proceed in Failover [exhausted, policy_dead_letters]: before proceed in Failover [exhausted, policy_blocks]": "a policy is one or the other",
    **each(
        (
            *(f"{event} in anywhere, from Redelivering: go to Failover" for event in ("wake", "ack", "nack", "extend", "tick")),
            *(f"{event} in anywhere but Closed, from Redelivering: go to Failover" for event in ("consumer_lost", "consumer_replaced")),
            *(f"{event} in anywhere but Idle…, from Redelivering: go to Failover" for event in ("recover", "consumer_added")),
        ),
        "Failover sends a message that is still in its delay back in the same step",
    ),
    **each(
        (f"{event} in anywhere but Closed, from Failover: …" for event in ("consumer_lost", "consumer_replaced")),
        "it rests in Failover only while nobody is attached",
    ),
    **each((f"close in anywhere but Closed, from {state}: without let_go" for state in ("Idle", "Dispatching")), "nothing is in hand"),
}
TABLES = {
    "reliable_exclusive": RELIABLE,
    "reliable_shared": {
        **RELIABLE,
        **each(
            (
                "consumer_added in Idle: poll before join",
                "consumer_lost in AwaitingAck [holder, had_taken]: leave before save",
                "consumer_replaced in AwaitingAck [holder, had_taken]: succeed before save",
            ),
            SILENT,
        ),
    },
    "non_reliable_exclusive": {
        **NON_RELIABLE,
        "refused in Dispatching [offered]: without pass_over": "the only candidate goes with the message",
        **each((f"{event} in anywhere but Closed…: without strike" for event in ("consumer_lost", "consumer_replaced")), ALONE),
    },
    "non_reliable_shared": NON_RELIABLE,
}
"""By machine."""

CODE: dict[str, dict[str, str]] = {
    "danube_statemachines.policy": {
        "FailurePolicy.delay: 1000 → …": "the longest wait is met long before",
    },
    "danube_statemachines.checks": {
        "number: zero → not zero": "only the words of the error",
        "number: not 0 <= value <= LARGEST or math.isnan…→ not 0 <= value <= LARGEST or (value == 0 and (not zero))": "no number compares with it",
    },
    "danube_statemachines.progress": {
        "advanced: new.cursor >= saved.cursor → new.cursor > saved.cursor": "what is held lies above the cursor that it comes with",
    },
    "danube_dispatcher.adapter": {
        "ReliableAdapter._take_leave: delivery is not None and delivery[1] == consumer.session…→ delivery is not None and (not consumer.waiting())": (
            "who does not hold the delivery has not taken it, whatever is said: the machine asks for both"
        ),
        "ReliableAdapter.ack_message: self.core.plain or not…→ not self.core.doubtful(self.machine.now) or await self.engine.durable()": "only the pace",
    },
    "danube_dispatcher.consumer": {
        "Consumer.__aenter__: False → True": "it has taken nothing yet for which it could be blamed",
        "Consumer._leave: not self._ended and self._host is not None → not self._ended": "who was attached has a host",
        "Consumer.__anext__: self._taken >= self._turn → self._taken > self._turn": "only the pace: a turn of one more",
        "Consumer._wait: 0 → …": "only the pace: a turn of one more or less",
    },
    "danube_dispatcher.storage.memory": {
        "MemoryStore._acquire: 0 → …": "a placeholder, or a number that only must not repeat",
    },
    "danube_dispatcher.dead_letters": {
        "deaths: 10 → …": "any bound on the digits of a foreign attribute does",
        "deaths: len(value) < 10 → …": "any bound on the digits of a foreign attribute does",
        "DeadLetters._written: not isinstance(error, StoreError) → isinstance(error, StoreError)": "only the words of the log",
        "DeadLetters._written: not self._failures → self._failures": "only the words of the log",
    },
    "danube_statemachines.engine": {
        "backoff: 60 → …": "the longest wait is met long before",
        "EngineCore.__init__: 0.0 → …": "without a rate limit nobody asks for the burst",
        "EngineCore.__init__: without self.attention = True": "_judge says so at the end",
        "EngineCore.__init__: True → False": "_judge says so at the end",
        "EngineCore.__init__: 1 → 0 (3)": "the first settlement looks closer either way",
        "EngineCore.returning: self._sends() > 0 or self.held.failures > 0 → self._sends() > 0": "what was charged was sent",
        "EngineCore.returning: 0 → 1 (2)": "what was charged was sent",
        "EngineCore.refusal: self._tokens(now) < 1 - 1e-09 → …": "the tolerance is for rounding",
        "EngineCore.alarm: self.refused == 'throttled' and self.rate_limit is not None → self.refused == 'throttled'": "nothing else throttles",
        "EngineCore.head_moved: without self.at_end = True": "only the pace: the end is looked at once more",
        "EngineCore.poll: without self.owed = False": "whoever is told to repeat a poll owes none by then",
        "EngineCore.poll: without self._judge(now)": "only the pace: the long way gives the same answers",
        "EngineCore.poll: self.held is not None and self.returning → self.returning": "what returns is held",
        "EngineCore.begin_write: 1 → 0": "the next settlement looks closer either way",
        "EngineCore.end: held.attempt or held.failures → held.attempt": "what was charged was sent",
        "EngineCore._write_soon: self.write_due is None or not self.write_failures or self.write_due < now → …": "what was due is due",
        "EngineCore._judge: self.held is None and…→ self.held is None and self.rate_limit is None and (not self.strict) and (self.refusal(now) is None)": (
            "the bound is counted anyhow"
        ),
        "EngineCore._judge: not self.write_failures → self.write_failures": "the bound is counted anyhow",
        "EngineCore.save_failure: without self._judge(now)": "nothing is polled before the next settlement, which judges",
        "EngineCore._sends: 0 → …": "asked only while something is held",
        "EngineCore._unmark: self.held is not None and self.held.sent → self.held is not None": "a history without a mark is written already",
        "EngineCore._unmark: sends or self.held.failures → sends": "what was charged was sent",
        "EngineCore._write_soon: 1 → 0": "the next settlement looks closer either way",
        "EngineCore._write_soon: self.write_due < now → self.write_due <= now": "what was due is due",
    },
}
"""By module. Numbers after a name count the same change in the same function."""
