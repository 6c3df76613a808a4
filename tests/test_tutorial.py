"""What a page tells its reader to save and to type is saved and typed here, in the same order, and each terminal shows what the page shows."""

from __future__ import annotations

import ast
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r'^```(python|console) title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```((?:python|console).*)$", re.MULTILINE)
PATIENCE = 20.0
"""Seconds after which a line is not waited for any more."""
ENDS = {"^C": (signal.SIGINT, 0), "^\\Quit": (signal.SIGQUIT, -signal.SIGQUIT), "Killed": (None, -signal.SIGKILL)}
"""Lines of the page, each with the signal that makes a program show it, and the exit code that follows."""
# Python runs this in each process before the program: a dead worker's lease is over soon, and its status is never old
HURRY = """
import sys
import danube_dispatcher

for name, module in list(sys.modules.items()):
    if name.startswith("danube_dispatcher"):
        for constant, seconds in (("LEASE", 1.0), ("RENEWAL", 0.3)):
            if hasattr(module, constant):
                setattr(module, constant, seconds)
"""


@pytest.mark.parametrize("page", [path for path in PAGES if BLOCK.search(path.read_text(encoding="utf-8"))], ids=lambda page: page.name)
def test_its_reader_gets_through(page: Path, tmp_path: Path) -> None:
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    hurry = tmp_path / "hurry"
    hurry.mkdir()
    (hurry / "sitecustomize.py").write_text(HURRY)
    desk = Desk(tmp_path, os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(hurry), "PYTHONUNBUFFERED": "1"})
    try:
        for kind, title, text in blocks:
            if kind == "python":
                save(tmp_path / title, text)
            else:
                desk.terminals.setdefault(title, Terminal(desk)).go_through(text.splitlines())
        for terminal in desk.terminals.values():
            terminal.finish()
    finally:
        for terminal in desk.terminals.values():
            terminal.kill()


def test_nothing_is_shown_that_nobody_types() -> None:
    shown = [(page.name, fence) for page in PAGES for fence in FENCE.findall(page.read_text(encoding="utf-8"))]
    assert {fence for _, fence in shown} >= {"python", 'console title="shell"'}
    # a program without a title is run by test_readme
    assert not [each for each in shown if each[1] != "python" and " title=" not in each[1]]


def test_a_part_replaces_what_it_defines(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    save(path, "import sys\n\nA = 1\n\ndef f():\n    return 1\n\nprint(f())\n")
    save(path, "def f():\n    return A\n")
    save(path, "A = 2\n")
    assert path.read_text() == "import sys\n\nA = 2\n\ndef f():\n    return A\n\nprint(f())\n"


@pytest.mark.parametrize("shown", ["one\n…\nthree", "one\ntwo … x\nthree", "…\nthree", "one\ntwo  17…\nthree"])
def test_what_is_shown_fits(shown: str) -> None:
    screen = Screen("show", "one\ntwo 17 x\nthree")
    screen.expect_all(shown.splitlines())
    screen.finish()


@pytest.mark.parametrize("shown", ["one\nthree", "one\ntwo\nthree", "…\nfour", "one\n…\nthree\nfour", "one\n…\nx", "one"])
def test_another_output_is_noticed(shown: str) -> None:
    screen = Screen("show", "one\ntwo 17 x\nthree")
    with pytest.raises(AssertionError, match=r"expected|more than the page shows"):
        screen.expect_all(shown.splitlines())
        screen.finish()


def save(path: Path, text: str) -> None:
    """A program is saved as it is; a part of one, which imports nothing, in place of what it defines."""
    new = ast.parse(text).body
    if any(isinstance(statement, ast.Import) for statement in new):
        path.write_text(text, encoding="utf-8")
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    (name,) = [name for name in map(defined, new) if name]
    (old,) = [statement for statement in ast.parse("\n".join(lines)).body if defined(statement) == name]
    lines[old.lineno - 1 : old.end_lineno] = text.splitlines()
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def defined(statement: ast.stmt) -> str | None:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]):
            return name
        case _:
            return None


class Desk:
    """Where the reader sits."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.terminals: dict[str, Terminal] = {}
        self.owner: int | None = None
        """The process that the last status has named."""

    def kill_owner(self) -> None:
        """The number in the page is not the reader's."""
        (process,) = [each.process for each in self.terminals.values() if each.process is not None and each.process.pid == self.owner]
        process.kill()


class Screen:
    """What a program says, line by line as it comes."""

    def __init__(self, command: str, said: str | None = None) -> None:
        """`said`: all of it, when it is known."""
        self._command = command
        self._lines: queue.Queue[str | None] = queue.Queue()  # None: the end
        for line in () if said is None else (*said.splitlines(), None):
            self._lines.put(line)

    def read(self, source: IO[str]) -> None:
        with source:
            for line in source:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def expect(self, line: str, rest: Iterator[str]) -> None:
        """The next line is this one. `…` alone stands for as many as there are before the next that is shown."""
        skip = line == "…"
        if skip:
            line = next(rest)
        seen = self._next()
        while skip and seen is not None and not fits(line, seen):
            seen = self._next()
        assert seen is not None, f"$ {self._command}: expected {line!r} before its end"
        assert fits(line, seen), f"$ {self._command}: expected {line!r}, not {seen!r}"

    def expect_all(self, lines: Sequence[str]) -> None:
        rest = iter(lines)
        for line in rest:
            self.expect(line, rest)

    def finish(self) -> None:
        line = self._next()
        assert line is None, f"$ {self._command}: more than the page shows: {line!r}"

    def _next(self) -> str | None:
        """None at the end, which may be asked for again."""
        try:
            line = self._lines.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"$ {self._command}: nothing comes any more") from None
        if line is None:
            self._lines.put(None)
        return line


class Terminal:
    """One program at a time runs in it. `^C` and `^\\` are keys, and `Killed` is what the shell says of a program that was."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._screen = Screen("", "")
        self.process: subprocess.Popen[str] | None = None

    def go_through(self, shown: Sequence[str]) -> None:
        """What is typed, and what is to be seen."""
        rest = iter(shown)
        for line in rest:
            if line.startswith("$ kill -9 "):
                self._desk.kill_owner()
            elif line.startswith("$ danube-dispatcher status "):
                self._look_until(line[2:], list(rest))
            elif line.startswith("$ "):
                self.finish()
                self._start(line[2:])
            elif line in ENDS:
                self._end(*ENDS[line])
            else:
                self._screen.expect(line, rest)

    def _start(self, command: str) -> None:
        # a group of its own: a key that is pressed here is meant for nobody else
        self.process = subprocess.Popen(
            ["sh", "-c", f"exec {command}"],
            cwd=self._desk.folder,
            env=self._desk.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self._screen = Screen(command)
        threading.Thread(target=self._screen.read, args=(self.process.stdout,)).start()

    def _look_until(self, command: str, shown: Sequence[str]) -> None:
        """A status tells what was so a moment ago: look until it is what the page shows."""
        deadline = time.monotonic() + PATIENCE
        while True:
            looked = subprocess.run(["sh", "-c", command], cwd=self._desk.folder, env=self._desk.environment, capture_output=True, text=True, check=True)
            screen = Screen(command, looked.stdout)
            try:
                screen.expect_all(shown)
                screen.finish()
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                self._desk.owner = next(map(int, re.findall(r":(\d+) until ", looked.stdout)), None)
                return

    def _end(self, number: signal.Signals | None, code: int) -> None:
        assert self.process is not None
        if number is not None:
            self.process.send_signal(number)
        assert self.process.wait(PATIENCE) == code

    def finish(self) -> None:
        """The program has ended, and has said nothing that the page does not show."""
        self._screen.finish()
        if self.process is not None:
            self.process.wait(PATIENCE)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def fits(pattern: str, line: str) -> bool:
    """`…` stands for anything, and blanks for as many as there are."""
    return re.fullmatch(" ".join(re.escape(part).replace("…", ".*") for part in pattern.split()), " ".join(line.split())) is not None
