"""`danube-dispatcher watch` as its users have it: on a terminal, and where there is none."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from danube_dispatcher import Topic
from danube_dispatcher.cli.running import main

pytestmark = pytest.mark.real_time

PATIENCE = 30.0
PROGRAM = "import sys; from danube_dispatcher.__main__ import main; sys.exit(main())"


@pytest.fixture
def store(tmp_path: Path) -> str:
    path = str(tmp_path / "queue.db")

    async def make() -> None:
        async with await Topic.open(f"sqlite:{path}", "/test/orders") as topic:
            await topic.publish(b"x")
            await topic.subscribe("billing", start="earliest")

    asyncio.run(make())
    return path


@pytest.mark.parametrize(("end", "code", "colours"), [("\x03", 130, {31}), (signal.SIGTERM, 143, set())], ids=["Ctrl-C", "SIGTERM and NO_COLOR"])
def test_on_a_terminal(store: str, end: str | signal.Signals, code: int, colours: set[int]) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "LINES": "24", "COLUMNS": "80", "NO_COLOR": "1"}
    if colours:
        del environment["NO_COLOR"]
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, "watch", store], stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + PATIENCE

    def read() -> bool:
        nonlocal shown
        assert time.monotonic() < deadline, shown
        if not select.select([ours], [], [], 0.1)[0]:
            return True
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end is closed
            return False
        return True

    try:
        while b"no process has it open" not in shown:
            assert read(), shown
        if isinstance(end, str):
            os.write(ours, end.encode())
        else:
            process.send_signal(end)
        while read():
            pass
        assert process.wait(PATIENCE) == code
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"1 stuck" in shown
    assert b"Traceback" not in shown
    codes = {int(each) for codes in re.findall(rb"\x1b\[([0-9;]+)m", shown) for each in codes.split(b";")}
    assert codes - {0, 1, 2, 7, 39, 49} == colours, "the terminal's own ground, and its colours or none"
    assert shown.index(b"\x1b[?1049h") < shown.index(b"\x1b[?1049l"), "the terminal is as it was before"


def test_where_there_is_no_terminal(store: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert main(["watch", store]) == 1
    assert capfd.readouterr().err == "danube-dispatcher: watch needs a terminal; elsewhere, danube-dispatcher status says the same once\n"


class Terminal:
    """Standard input or output, as far as it is asked."""

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        pass

    def fileno(self) -> int:
        return 1


def watch(*arguments: str) -> int:
    """The command in this process, as if standard input and output were a terminal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.setattr(sys, "stdin", Terminal())
        patch.setattr(sys, "stdout", Terminal())
        return main(["watch", *arguments])


def test_without_the_extra_it_says_what_to_install(store: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("textual", "danube_dispatcher.watch."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "textual", None)
    assert watch(store) == 1
    assert "pip install 'danube-dispatcher[tui]'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["missing.db"], "there is none at"),
        ([".", "/test/orders"], "is a directory"),
        (["STORE", "orders"], "topic: needs '/namespace/name'"),
        (["STORE", "/test/none"], "there is no topic /test/none"),
    ],
)
def test_a_mistake_ends_it_before_it_begins(store: str, capfd: pytest.CaptureFixture[str], arguments: list[str], problem: str) -> None:
    assert watch(*(store if each == "STORE" else each for each in arguments)) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("danube-dispatcher: ")
    assert problem in err
    assert err.count("\n") == 1
