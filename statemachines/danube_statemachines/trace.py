"""A running machine, held against its table from outside.

A `Trace` is told what an observed machine tells its port, as the runtime's observers are. It knows the declaration and nothing of the machine:

- each step is a row of the table, and begins in the state in which the one before it ended;
- a completion follows in the same step, before anything else;
- the effects of a row are those that its actions stand for, in their order;
- a guard that can be told from the rows and effects so far was true where the row needs it, and no row above it should have been fired instead.
"""

from __future__ import annotations

from typing import Any

from .coverage import Fired, described
from .declaration import Declaration, Row
from .policy import FailurePolicy

EFFECTS = {
    **{action: action for action in ("poll", "send", "withdraw", "dead_letter", "offer", "sent", "no_consumer")},
    **dict.fromkeys(("settle_acked", "settle_dropped", "settle_dead_lettered"), "settle"),
    **dict.fromkeys(("stale_ack", "stale_nack", "stale_extend"), "stale"),
    "save": "save_failure",
    "drop": "dropped",
}
"""What each action asks of the port."""
SEATING = ("join", "leave", "replace", "succeed")
"""Actions after which another consumer may be active."""
CHARGES = ("charge_nack", "charge_timeout", "charge_loss")
DELAYS = ("back_off", "back_off_as_asked", "try_later")


class Trace:
    """What one machine has done since it was made. `wrong` says what it should not have; `fired` counts its rows.

    Observers are called in the machine's stack and what they raise is only logged, so complaints are kept instead. Without a `policy`, the guards
    that rest on one are taken on trust.
    """

    def __init__(self, declaration: Declaration[Any], policy: FailurePolicy | None = None) -> None:
        self.fired: Fired = Fired()
        self.wrong: list[str] = []
        self.state = str(declaration.initial)
        self._declaration = declaration
        self._policy = policy
        self._expected: list[str] = []
        self._completion: str | None = None
        # what can be told of the machine; None: it cannot
        self._attached = 0
        self._failures: int | None = 0
        self._delayed: bool | None = False

    # an observer

    def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
        completion = self._completion
        self._effects_end()
        if trigger != (completion or trigger):
            self.wrong.append(f"{trigger} in {source}, where {completion} must follow in the same step")
        if source != self.state:
            self.wrong.append(f"{trigger} in {source}, but the machine is in {self.state}")
        entry = self._entry(machine, source, trigger, row)
        if entry is None:
            self.wrong.append(f"no row {row} of {machine} is {trigger} in {source}")
        else:
            if dest != (entry.dest or source):
                self.wrong.append(f"it went to {dest}: {described(self._declaration, row)}")
            self._judge(source, trigger, entry)
            self._note(row)
        self.fired[machine, row, source] += 1
        self.state = dest
        onward = self._declaration.completion.get(dest)
        self._completion = onward if onward != trigger else None

    def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
        while self._expected and self._expected[0] == "active_changed" != name:
            self._expected.pop(0)  # nobody else is active
        if self._expected and self._expected[0] == name:
            self._expected.pop(0)
        else:
            self.wrong.append(f"{name} is no effect that can come now in {self.state}; {self._expected or 'nothing'} is")

    def rest(self) -> None:
        """No step is under way: nothing may be left over of the last one."""
        self._effects_end()
        if self._completion is not None:
            self.wrong.append(f"{self._completion} has not followed in {self.state}")
            self._completion = None

    # how

    def _entry(self, machine: str, source: str, trigger: str, row: int) -> Row | None:
        event = self._declaration.events.get(trigger) if machine == self._declaration.title else None
        return next((entry for entry in event.transitions.get(source, ()) if entry.number == row), None) if event else None

    def _effects_end(self) -> None:
        if missing := [name for name in self._expected if name != "active_changed"]:
            self.wrong.append(f"{', '.join(missing)} did not follow before {self.state} was over")
        self._expected = []

    def _judge(self, source: str, trigger: str, taken: Row) -> None:
        for entry in self._declaration.events[trigger].transitions[source]:
            known = {guard.func: self._knows(str(guard.func)) for guard in entry.conditions}
            if entry is taken:
                if false := [guard for guard, holds in known.items() if holds is False]:
                    self.wrong.append(f"{', '.join(map(str, false))} does not hold: {described(self._declaration, taken.number)}")
                return
            if all(known.values()):
                self.wrong.append(f"row {taken.number} was fired, where this one comes first: {described(self._declaration, entry.number)}")

    def _knows(self, guard: str) -> bool | None:
        policy, failures = self._policy, self._failures
        if guard == "anyone":
            return self._attached > 0
        if guard == "delayed":
            return self._delayed
        if policy is None:
            return None
        if guard == "exhausted":
            return None if failures is None else policy.exhausted(failures)
        return {"policy_blocks": policy.poison_policy == "block", "policy_dead_letters": policy.poison_policy == "dead_letter"}.get(guard)

    def _note(self, row: int) -> None:
        actions = self._declaration.table[row]["before"]
        self._expected = [EFFECTS.get(action, "active_changed") for action in actions if action in EFFECTS or action in SEATING]
        for action in actions:
            self._learn(action)

    def _learn(self, action: str) -> None:
        if action == "join":
            self._attached += 1
        elif action == "leave":
            self._attached -= 1
        elif action == "take":
            self._failures, self._delayed = 0, False
        elif action == "recall":
            self._failures = self._delayed = None
        elif action in CHARGES:
            self._failures = None if self._failures is None else self._failures + 1
            self._delayed = False
        elif action == "forgive":
            self._failures = 0
        elif action in DELAYS:
            self._delayed = True
        elif action in ("give_up", "disarm"):
            self._delayed = False
