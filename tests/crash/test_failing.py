"""A slice of the failing calls; what they have found; and that they find it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import processes
from crash import shim
from crash.failing import Totals, campaign, carried_out
from crash.failing_case import Case, Result
from danube_dispatcher import StoreUnavailable, SubscriptionNotFound
from danube_dispatcher.storage.sqlite.errors import translate
from delivering import publish
from faults import TROUBLE
from processes import Machine, faults_of

machine = processes.machine
needs_shim = pytest.mark.skipif(bool(shim.MISSING), reason=shim.MISSING or "-")


def results(tmp_path: Path, *cases: Case) -> list[Result]:
    place = tmp_path.resolve()
    return [result for _, result in carried_out(cases, place, shim.build(place))]


@needs_shim
def test_a_call_that_fails_is_an_error_of_ours_and_loses_nothing() -> None:
    totals = campaign(8, every=50, times=(1,))
    assert totals.wrong == []
    assert totals.met > 25


@needs_shim
def test_a_store_whose_making_met_with_trouble_can_be_made_again(tmp_path: Path) -> None:
    """The last calls are those of closing the new file, which keeps quiet about them."""
    cases = [Case("read", "EIO", number, die=True) for number in range(6, 18)]
    found = results(tmp_path, *cases)
    assert {result.step for result in found} == {"open a new store"}
    assert [result.wrong for result in found] == [[]] * len(cases)
    assert any(result.heard for result in found)


@needs_shim
def test_a_store_that_is_linked_before_it_is_whole_is_found_out(tmp_path: Path) -> None:
    cases = [Case("read", "EIO", number, die=True, without="PRAGMA wal_checkpoint") for number in range(12, 18)]
    assert any("StoreDamaged" in wrong for result in results(tmp_path, *cases) for wrong in result.wrong)


def test_nothing_went_wrong_says_so() -> None:
    totals = Totals()
    totals.add(Case("write", "EIO", 1), Result("publish", ["StoreUnavailable"]))
    totals.add(Case("write", "EIO", 2), Result("publish", ["StoreUnavailable"], ["lost"]))
    totals.add(Case("write", "EIO", 3), Result())
    assert (totals.cases, totals.met, len(totals.wrong)) == (3, 2, 1)
    assert totals.table == {"publish × write EIO": {"StoreUnavailable": 2}}


def test_a_failed_read_is_no_reason_to_restore_an_old_copy() -> None:
    """SQLite calls the file malformed when the system answers EIO; opened again, it is sound."""
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorname = "SQLITE_CORRUPT"
    assert "open it again before you restore" in str(translate("sqlite:x", error))


async def test_who_could_not_unsubscribe_need_not_wait_for_his_own_lease(machine: Machine) -> None:
    topic = await machine.topic()
    await publish(topic, "a")
    await (await topic.subscribe("s")).close()
    faults_of(topic).fail("remove", TROUBLE, times=1)
    with pytest.raises(StoreUnavailable):
        await topic.unsubscribe("s")
    await topic.unsubscribe("s")
    with pytest.raises(SubscriptionNotFound):
        await topic.unsubscribe("s")


async def test_who_could_not_close_need_not_wait_for_his_own_lease(machine: Machine) -> None:
    topic = await machine.topic()
    subscription = await topic.subscribe("s")
    faults_of(topic).fail("store", TROUBLE, times=1)
    with pytest.raises(StoreUnavailable):
        await subscription.close()
    await topic.subscribe("s")
