"""What the stateful tests of both kinds of machine share: a machine, an observed twin, and a look at the rows that they have fired."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any, cast

from hypothesis.stateful import invariant, rule

from danube_statemachines import VARIANTS, FailurePolicy, Recorder, Reliable
from danube_statemachines.errors import StoryLine
from modelling import EPOCH, Effects, argument, listed, make
from stateful import Call, Rules, missed, watch
from turns import Turns


class MachineRules(Rules):
    """What both kinds have: consumers that come, go and take over, under numbers that are never used again.

    An observed twin goes every step beside the machine. Its trace is held to the table.
    """

    name = ""
    policy = FailurePolicy()

    def __init__(self) -> None:
        super().__init__(self.name)
        self.variant = VARIANTS[self.name]
        self.exclusive = self.name.endswith("exclusive")
        self.sessions = count(1)
        self.port, self.told = Recorder(), Recorder()
        self.begin()

    def begin(self, *, now: float = 0.0, epoch: int = EPOCH) -> None:
        """A new run."""
        self.machine: Any = make(self.variant, self.port, self.policy, epoch=epoch)
        self.twin: Any = make(self.variant, self.told, self.policy, self.variant.observed, epoch)
        self.machine.now = now
        self.trace = watch(self.variant, "model", self.policy)
        self.turns = Turns(self.exclusive)

    def expect(self, effects: Effects, trigger: str, event: object = None) -> None:
        assert getattr(self.machine, trigger)(event) is True
        seen = self.port.take()
        self.story.add(StoryLine(trigger, self.machine.state, tuple(seen), trigger, event, self.machine.now))
        assert seen == effects
        self.twin.now = self.machine.now
        getattr(self.twin, trigger)(event)
        for name, *told in self.told.take():
            if name == "transition":
                by, source, dest, row = cast("tuple[str, str, str, int]", told)
                self.trace.transition(self.name, source, by, dest, row)
            else:
                self.trace.effect(self.name, str(name), tuple(told))
        self.trace.rest()
        assert not self.trace.wrong
        assert self.twin.snapshot() == self.machine.snapshot()

    def close(self) -> None:
        """A closed machine takes everything and does nothing."""
        self.expect([], "close")
        before = self.machine.snapshot()
        for trigger in listed(self.variant, "Closed"):
            answer = trigger in ("ack", "nack", "extend")
            self.expect([("stale", trigger)] if answer else [], trigger, argument(self.machine, trigger, 0))
        assert self.machine.snapshot() == before

    @rule()
    def restore(self) -> None:
        """Nothing tells a machine from another one with its snapshot."""
        fresh = make(self.variant, self.port, self.policy)
        fresh.restore(self.machine.snapshot())
        fresh.now = self.machine.now
        if isinstance(fresh, Reliable):
            fresh.epoch = self.machine.epoch
        self.machine = fresh

    @invariant()
    def s5_its_order_is_the_order_of_turns(self) -> None:
        assert list(self.machine.roster) == self.turns.order
        assert self.machine.active == self.turns.announced


ALWAYS: list[Call] = [
    *(("join", {}), ("restore", {}), ("end", {"crash": False})),
    *(("leave", {"pick": pick, "replaced": replaced}) for pick in (0, 1) for replaced in (False, True)),
]
"""What can happen in any state."""


def tour(rules: type[MachineRules], ways: Sequence[Sequence[Call]], steps: Iterable[Call]) -> None:
    """Beside what chance brings: from each state (`ways` lead there), each thing that can happen there."""
    for step in (*steps, *ALWAYS):
        for way in ways:
            rules().walk(*way, step)


def check_rows(variant: str, never: Iterable[str]) -> None:
    """Every row was fired in every state that it is for, but for `never`: each "trigger in State"."""
    table = VARIANTS[variant].table
    assert {f"{table[row]['trigger']} in {source}" for row, source in missed("model", variant)} == {*never}
