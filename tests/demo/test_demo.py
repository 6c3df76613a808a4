"""The demo as a user runs it: real processes, a real kill, and real time."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from danube_dispatcher import DanubeError, SubscriptionInfo, Topic
from danube_dispatcher.demo import add_arguments, run
from danube_dispatcher.demo.corpus import ROLES, Corpus
from danube_dispatcher.demo.parent import DemoFailed
from danube_dispatcher.demo.records import Records
from danube_dispatcher.demo.workload import TOPIC

FILES = 200
COLUMNS = ("published", "delivered", "redelivered", "duplicates", "dropped", "lost", "rate")
LATEST = 120.0
"""Seconds after which a run is stuck."""

pytestmark = [pytest.mark.real_time, pytest.mark.skipif(os.name != "posix", reason="signals")]


def start(*options: str, temporary: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "danube_dispatcher", "demo", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(temporary)})


def rows(output: str) -> dict[str, dict[str, int]]:
    """The table at the end."""
    found = {line.split()[0]: line.split()[1:] for line in output.splitlines() if re.fullmatch(r"[a-z-]+( +-?\d+){7}", line)}
    return {role: dict(zip(COLUMNS, map(int, cells), strict=True)) for role, cells in found.items()}


def in_store(path: Path) -> tuple[list[str], list[SubscriptionInfo]]:
    """The paths of all messages, and the subscriptions."""

    async def look() -> tuple[list[str], list[SubscriptionInfo]]:
        async with await Topic.open(f"sqlite:{path}", TOPIC, create=False) as topic:
            subscription = await topic.subscribe("afterwards", start="earliest")
            paths = list[str]()
            async with subscription.consumer("reader") as consumer:
                while len(paths) < topic.head:
                    delivery = await anext(consumer)
                    paths.append(delivery.message.attributes["path"])
                    await delivery.ack()
            return paths, [info for info in await topic.subscriptions() if info.name in ROLES]

    return asyncio.run(look())


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def test_it_survives_everything_and_the_numbers_say_so(tmp_path: Path, temporary: Path) -> None:
    store = tmp_path / "demo.db"
    with start("--files", str(FILES), "--store", str(store), temporary=temporary) as demo:
        output, errors = demo.communicate(timeout=LATEST)
    assert (demo.returncode, errors) == (0, "")
    for happened in (
        "dies, holding message",
        "says no to message",
        "stalls on message",
        "too late, ack() says False",
        "kill -9",
        "waiting for the dead owner's lease",
    ):
        assert happened in output, output
    assert "\x1b" not in output, "it is no terminal"

    resumed = re.search(r"going on with message (\d+)", output)
    assert resumed is not None, output
    assert 0 < int(resumed[1]) < FILES, "the kill came in the middle of publishing"

    table = rows(output)
    assert set(table) == set(ROLES)
    for role, kind in ROLES.items():
        row = table[role]
        assert row["published"] == FILES
        assert row["delivered"] > 0
        if kind.reliable:
            assert row["dropped"] == row["lost"] == 0
            assert row["redelivered"] > 0
            assert row["delivered"] >= FILES + row["duplicates"]
        else:
            assert row["duplicates"] == row["redelivered"] == 0
            assert row["delivered"] + row["dropped"] + row["lost"] == FILES
    assert "Everything matches" in output

    paths, subscriptions = in_store(store)
    assert paths == list(Corpus.find(FILES).paths), "each file once, in order, though its publisher was killed"
    for info in subscriptions:
        assert info.lag is not None
        assert (info.lag.messages, info.owner) == (0, "")
    assert len(subscriptions) == sum(kind.reliable for kind in ROLES.values())
    assert not list(temporary.iterdir())


def test_ctrl_c_ends_the_worker_cleanly(tmp_path: Path, temporary: Path) -> None:
    store = tmp_path / "demo.db"
    with start("--store", str(store), temporary=temporary) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if re.search(r"compile [1-9]", line):
                break
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=LATEST)
    assert (demo.returncode, errors) == (130, "")
    _, subscriptions = in_store(store)
    assert subscriptions
    assert all(info.owner == "" for info in subscriptions), "the worker has let go of what it had"
    assert not list(temporary.iterdir())


def test_a_store_that_cannot_be_made_is_one_line(tmp_path: Path, temporary: Path) -> None:
    with start("--files", "5", "--store", str(tmp_path / "missing" / "demo.db"), temporary=temporary) as demo:
        _, errors = demo.communicate(timeout=LATEST)
    assert demo.returncode == 1
    assert len(errors.splitlines()) == 1
    assert "its directory does not exist" in errors


# in this process, where a hand can be put in


def arguments(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(options)


def test_a_result_that_is_missing_fails_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    read = Records.read

    def without_one(folder: Path, role: str, number: int) -> Records:
        records = read(folder, role, number)
        if role == "lines":
            offset, _ = records.results[-1]
            records.results = [result for result in records.results if result[0] != offset]
        return records

    monkeypatch.setattr(Records, "read", without_one)
    assert run(arguments("--files", "12", "--no-kill")) == 1
    output = capsys.readouterr().out
    assert "lines: 1 of 12 messages were never processed" in output
    assert "Everything matches" not in output
    assert rows(output)["lines"]["lost"] == 1


def test_errors_of_the_worker_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def save_nothing(self: Corpus, path: Path) -> None:
        path.write_text("no list of files")

    monkeypatch.setattr(Corpus, "save", save_nothing)
    with pytest.raises(DemoFailed, match=r"(?s)exit code 1\n.*JSONDecodeError") as failed:
        run(arguments("--files", "3"))
    assert isinstance(failed.value, DanubeError), "the command line makes it exit code 1"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--files", "0"], "1 or more"),
        (["--store", "memory:"], "needs a file"),
        (["--store", "EXISTING"], "exists, and the demo needs a new file"),
        (["--seed", "x"], "invalid int"),
        (["--browser", "-1"], "up to 65535"),
        (["--browser", "65536"], "up to 65535, or 0 for a free one"),
    ],
)
def test_bad_options(options: Sequence[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    existing = tmp_path / "existing.db"
    existing.touch()
    with pytest.raises(SystemExit) as ended:
        arguments(*(option.replace("EXISTING", str(existing)) for option in options))
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err
