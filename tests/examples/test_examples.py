"""The programs of examples/, as a user runs them: real processes, real files, and real time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from docs import site
from test_readme import PROMISE

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = sorted(path.name for path in EXAMPLES.glob("*.py"))
ON_A_FILE = ["dead_letters.py", "order_processing.py", "worker_pool.py"]
LATEST = 60.0
"""Seconds after which a program is stuck."""

pytestmark = pytest.mark.real_time


def command(program: str, *options: str) -> list[str]:
    return [sys.executable, "-u", "-W", "error", str(EXAMPLES / program), *options]


def run(program: str, folder: Path, *options: str) -> str:
    """What it prints; it says nothing else, and ends well."""
    ended = subprocess.run(command(program, *options), cwd=folder, capture_output=True, text=True, timeout=LATEST, check=False)
    complaints = [line for line in ended.stderr.splitlines() if not line.startswith("Fontconfig")]  # the system's, not ours
    assert (ended.returncode, complaints) == (0, [])
    return ended.stdout


def promise(program: str) -> str:
    found = PROMISE.search((EXAMPLES / program).read_text(encoding="utf-8"))
    assert found, "it ends without `# prints:`"
    return "".join(line.removeprefix("# ") for line in found[1].splitlines(keepends=True))


def test_all_are_told_of() -> None:
    page = EXAMPLES / "README.md"
    assert len(PROGRAMS) == 5
    assert [program for program in PROGRAMS if f"({program})" not in page.read_text(encoding="utf-8")] == []
    assert [link.to for link in site.links(page) if not link.leads_somewhere] == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_prints_what_it_promises(program: str, tmp_path: Path) -> None:
    assert run(program, tmp_path) == promise(program)


@pytest.mark.parametrize("program", ON_A_FILE)
def test_it_goes_on_where_it_was(program: str, tmp_path: Path) -> None:
    """On a file of another name, which is all that is made, with what lies beside it."""
    first, second = (run(program, tmp_path, "mine.db").splitlines() for _ in range(2))
    assert len(first) == len(second)
    assert first[0] == second[0].replace("order 6", "order 1")
    assert {path.name for path in tmp_path.iterdir()} <= {"mine.db", "mine.db-wal", "mine.db-shm", "mine.db.books"}


@pytest.mark.parametrize("program", ON_A_FILE)
def test_a_file_that_cannot_be_is_said_to_be_so(program: str, tmp_path: Path) -> None:
    ended = subprocess.run(command(program, "nowhere/mine.db"), cwd=tmp_path, capture_output=True, text=True, timeout=LATEST, check=False)
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (1, "", 1)
    assert not list(tmp_path.iterdir())


def test_no_order_is_booked_twice_nor_left_out(tmp_path: Path) -> None:
    said = "".join(run("order_processing.py", tmp_path) for _ in range(3))
    assert [said.count(f"order {number} is booked") for number in range(1, 16)] == [1] * 15
    assert said.splitlines()[-1] == "15 orders, 29925 cents"


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("program", "first", "last", "code"),
    [
        ("dead_letters.py", "repair:", "stopped; run it again to go on", 130),
        ("order_processing.py", "standby: order 5", "stopped; run it again to go on", 130),
        ("telemetry.py", "without c:", "stopped", 130),
        ("worker_pool.py", "cleo:", "drained", 0),
    ],
)
def test_ctrl_c_ends_it(program: str, first: str, last: str, code: int, tmp_path: Path) -> None:
    """In the middle, without a traceback; and what it left can be gone on with."""
    with subprocess.Popen(command(program, "--forever"), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            while not process.stdout.readline().startswith(first):
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            said, complaints = process.communicate(timeout=LATEST)
        finally:
            process.kill()
    assert (process.returncode, said.splitlines()[-1], complaints) == (code, last, "")
    run(program, tmp_path)


def test_a_queue_that_another_has_is_said_to_be_so(tmp_path: Path) -> None:
    with subprocess.Popen(command("worker_pool.py", "--forever"), cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            second = subprocess.run(command("worker_pool.py"), cwd=tmp_path, capture_output=True, text=True, timeout=LATEST, check=False)
        finally:
            process.kill()
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr.startswith("subscription pool of /default/tasks: owned by ")


def test_the_picture_is_one(tmp_path: Path) -> None:
    run("explore_your_own.py", tmp_path, "mine.svg")
    assert b"</svg>" in (tmp_path / "mine.svg").read_bytes()
    assert (tmp_path / "mine.mmd").read_text(encoding="utf-8").startswith("sequenceDiagram\n")


def test_a_picture_needs_the_extra(tmp_path: Path) -> None:
    """The rest is done, and the sentence says what to install."""
    (tmp_path / "graphviz.py").write_text("raise ImportError('none here')")
    (tmp_path / "pygraphviz.py").write_text("raise ImportError('none here')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(command("explore_your_own.py"), cwd=tmp_path, capture_output=True, text=True, timeout=LATEST, check=False, env=environment)
    assert (ended.returncode, ended.stdout) == (1, promise("explore_your_own.py").rpartition("drawn:")[0])
    assert "pip install 'danube-dispatcher[diagrams]'" in ended.stderr
