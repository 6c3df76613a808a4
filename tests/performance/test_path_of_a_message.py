"""What a message costs does not grow unnoticed: not in time, which every machine measures otherwise, but in calls and instructions, which are exact.

Ask of each function on the path of a message why it is there. record.json names them all, with how often a message calls each.
"""

from __future__ import annotations

import sys
from types import FunctionType

import pytest

from danube_dispatcher import Delivery, delivery
from performance.paths import PATHS
from performance.record import COMMAND, VERSION, Cost, recorded

pytestmark = pytest.mark.real_time  # each walk brings a loop of its own


def test_each_path_is_recorded() -> None:
    assert list(recorded()) == list(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_a_message_costs_what_is_recorded(path: str) -> None:
    cost = Cost.measured(path)
    grown = list(cost.grown(recorded()[path]))
    if grown:
        pytest.fail("\n".join([f"the path of a message, {path}, is another than recorded:", *grown, "all of it:", *cost.lines(), f"If it is meant: {COMMAND}"]))


def test_a_count_is_the_same_each_time() -> None:
    assert Cost.measured("reliable shared by 4, memory:") == Cost.measured("reliable shared by 4, memory:")


def test_one_more_call_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "reliable exclusive, memory:"
    before = Cost.measured(path)

    def ack(self: Delivery) -> object:
        len(self.id)
        return self._answers.ack_message(self.id)

    # a function of the package, as the count sees it
    planted = FunctionType(ack.__code__.replace(co_qualname=Delivery.ack.__qualname__), vars(delivery))
    monkeypatch.setattr(Delivery, "ack", planted)
    after = Cost.measured(path)
    assert after.calls == before.calls + 1
    told = [line.partition(":")[0] for line in after.grown(before.entry)]
    assert told == ["len", "all calls", *(["instructions"] if sys.version_info[:2] == VERSION else [])]
