"""What other processes publish, and a non-reliable subscription that is opened while this process has still to catch up."""

from __future__ import annotations

import pytest

import processes
from danube_dispatcher.clock import HEARTBEAT
from danube_dispatcher.virtual_time import advance
from delivering import join, publish, take, text, waiting
from faults import TROUBLE
from processes import Machine, faults_of

machine = processes.machine


@pytest.mark.parametrize("trouble", ["fails", "lags"])
async def test_what_others_published_before_it_was_opened_is_not_for_it(machine: Machine, trouble: str) -> None:
    here, elsewhere = await machine.topic(), await machine.topic()
    first = await join(await here.subscribe("first", reliable=False), "a")
    if trouble == "fails":
        faults_of(here).fail("read", TROUBLE, times=1)
    else:
        faults_of(here).lag("read", before=0.1, times=1)
    await publish(elsewhere, "before")
    second = await join(await here.subscribe("second", reliable=False), "b")
    await advance(3 * HEARTBEAT)
    await publish(elsewhere, "after")
    await advance(2 * HEARTBEAT)
    assert waiting(first, second) == [2, 1]
    assert [text(await take(first)), text(await take(first)), text(await take(second))] == ["before", "after", "after"]
