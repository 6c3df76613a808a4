"""A small slice of the power cuts, and that they see a loss: with a weaker store, and with a sync left out."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from crash import shim
from crash.power import Recording, Totals, campaign, record, replay
from crash.power_disk import HOW, Change, Disk, carried_out, sectors
from crash.shim import CREATED, Call, Kind
from delivering import store_loop

needs_shim = pytest.mark.skipif(bool(shim.MISSING), reason=shim.MISSING or "-")


def replayed(recording: Recording, points: range, *ways: str) -> Totals:
    totals = Totals()
    with TemporaryDirectory(dir=shim.scratch()) as place, asyncio.Runner(loop_factory=store_loop) as runner:
        runner.run(replay(Path(place), recording, points, ways, Random(1), totals, math.inf))
    return totals


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    place = tmp_path_factory.mktemp("recording").resolve()
    return record(place, shim.build(place), 1, Random(1), messages=10, durability="full", lives=1)


def call_after(recording: Recording, fits: Callable[[Call], bool]) -> int:
    """The point after the first such call."""
    return next(point for point, call in enumerate(recording.calls, 1) if fits(call))


def opened(call: Call) -> bool:
    return call.first.startswith(b'{"what": "opened"')


ENDS_AT_WORK = """
import os, sys, threading, time

file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)

def work():
    for number in range(1_000_000):
        os.pwrite(file, bytes([number % 251]) * 50_000, 0)

threading.Thread(target=work, daemon=True).start()
time.sleep(float(sys.argv[2]))
os._exit(0)
"""


@needs_shim
def test_a_process_that_ends_at_work_is_recorded_to_its_end(tmp_path: Path) -> None:
    place, log = tmp_path.resolve(), tmp_path.resolve() / "log"
    directory = place / "recorded"
    directory.mkdir()
    file, library = directory / "file", shim.build(place)
    for nth in range(6):
        command = [sys.executable, "-c", ENDS_AT_WORK, str(file), f"{0.01 + nth / 5_000}"]
        subprocess.run(command, env=shim.environment(library, directory, log), check=True)
    disk = Disk(str(directory))
    for call in shim.recorded(log):
        assert len(call.first) in (len(bytes(file)), 50_000, 0)
        disk.carry_out(call)
    assert disk.after_cut("everything", Random(1))["file"] == file.read_bytes()


@needs_shim
def test_a_power_cut_loses_nothing_that_was_acknowledged() -> None:
    totals = campaign(8, durability="full", minutes=math.inf, recordings=1, each=200)
    assert totals.told == []
    assert totals.cuts == 200
    assert totals.messages > 1000
    assert totals.positions > 100


@needs_shim
def test_with_less_durability_it_does() -> None:
    totals = campaign(8, durability="normal", minutes=math.inf, recordings=1, each=60)
    assert totals.losses > 10


@needs_shim
def test_a_store_is_made_whole_or_not_at_all(recording: Recording) -> None:
    points = range(call_after(recording, opened) + 1)
    totals = replayed(recording, points, "everything", "nothing", "any", "torn any")
    assert totals.told == []
    assert totals.cuts == len(points) * 4
    assert 0 < totals.without_store < totals.cuts


@needs_shim
def test_a_directory_that_was_not_synced_is_found_out(recording: Recording) -> None:
    """The name of a new store must last like its file."""
    linked = call_after(recording, lambda call: call.kind == Kind.LINK)
    sync = next(at for at, call in enumerate(recording.calls) if at > linked and call.kind == Kind.SYNC)
    forgetful = Recording(recording.seed, recording.directory, [call for at, call in enumerate(recording.calls) if at != sync])
    point = call_after(forgetful, opened)
    totals = replayed(forgetful, range(point, point + 1), "nothing", "everything")
    assert totals.losses == 1
    assert "the store is gone" in totals.told[0]


# ---- the disk ----

PLACE = "/d"


def call(kind: Kind, descriptor: int = 3, offset: int = 0, first: bytes = b"", second: bytes = b"") -> Call:
    return Call(kind, 1, descriptor, offset, first, second)


def disk_after(*calls: Call) -> Disk:
    disk = Disk(PLACE)
    for each in calls:
        disk.carry_out(each)
    return disk


def left(disk: Disk, how: str) -> list[dict[str, bytes]]:
    """All that a cut may leave, as many seeds tell."""
    found: list[dict[str, bytes]] = []
    for seed in range(200):
        files = disk.after_cut(how, Random(seed))
        if files not in found:
            found.append(files)
    return found


NEW = (call(Kind.OPEN, 3, CREATED, b"/d/a"), call(Kind.OPEN, 4, 0, b"/d"))
DURABLE = (*NEW, call(Kind.WRITE, 3, 0, b"old!"), call(Kind.SYNC, 3), call(Kind.SYNC, 4))


def test_what_was_synced_is_there_whatever_happens() -> None:
    for how in HOW:
        assert left(disk_after(*DURABLE), how) == [{"a": b"old!"}]


def test_a_name_lasts_only_once_its_directory_was_synced() -> None:
    unnamed = disk_after(*NEW, call(Kind.WRITE, 3, 0, b"x"), call(Kind.SYNC, 3))
    assert left(unnamed, "nothing") == [{}]
    assert left(unnamed, "everything") == [{"a": b"x"}]
    gone = disk_after(*DURABLE, call(Kind.UNLINK, -1, 0, b"/d/a"))
    assert sorted(left(gone, "any"), key=len) == [{}, {"a": b"old!"}]
    moved = disk_after(*DURABLE, call(Kind.RENAME, -1, 0, b"/d/a", b"/d/b"))
    assert sorted(left(moved, "any"), key=str) == [{"a": b"old!"}, {"b": b"old!"}]
    linked = disk_after(*DURABLE, call(Kind.LINK, -1, 0, b"/d/a", b"/d/b"), call(Kind.UNLINK, -1, 0, b"/d/a"))
    assert len(left(linked, "any")) == 4


def test_what_was_not_synced_may_be_there_in_any_order() -> None:
    disk = disk_after(*DURABLE, call(Kind.WRITE, 3, 0, b"N"), call(Kind.WRITE, 3, 2, b"W"))
    contents = {how: {files["a"] for files in left(disk, how)} for how in HOW}
    assert contents["everything"] == {b"NlW!"}
    assert contents["nothing"] == {b"old!"}
    assert contents["first"] == {b"old!", b"Nld!", b"NlW!"}
    assert contents["last"] == {b"old!", b"olW!", b"NlW!"}
    assert contents["any"] == {b"old!", b"Nld!", b"olW!", b"NlW!"}


def test_a_sector_tears_and_its_neighbours_do_not_follow() -> None:
    disk = disk_after(*DURABLE, call(Kind.WRITE, 3, 510, b"abcd"))
    assert sectors(Change(510, b"abcd")) == [Change(510, b"ab"), Change(512, b"cd")]
    assert any(files["a"].endswith(b"\0\0cd") for files in left(disk, "any"))
    torn = disk_after(*DURABLE, call(Kind.WRITE, 3, 0, b"NEW"))
    assert {files["a"] for files in left(torn, "torn")} == {b"old!", b"Nld!", b"NEd!", b"NEW!", b"olW!", b"oEW!"}


def test_a_file_grows_without_its_data_and_shrinks_or_not() -> None:
    grown = disk_after(*DURABLE, call(Kind.WRITE, 3, 4, b"more"))
    contents = {files["a"] for files in left(grown, "first")}
    assert {b"old!", b"old!more", b"old!\0\0\0\0"} < contents, "and garbage"
    assert {files["a"] for files in left(disk_after(*DURABLE, call(Kind.TRUNCATE, 3, 1)), "any")} == {b"old!", b"o"}
    assert carried_out(b"ab", [Change(4, None)]) == b"ab\0\0"
