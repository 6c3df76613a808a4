"""What README.md and docs/ say is so: their programs run and print what they promise, and their links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from danube_dispatcher.cli import parser
from docs import site

ROOT = site.ROOT
PAGES = site.pages()
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```(sh|console)\b.*\n((?:.*\n)*?)^```$", re.MULTILINE)
PROMISE = re.compile(r"^# prints:\n((?:^# .*\n)+)\Z", re.MULTILINE)


class Program(NamedTuple):
    page: Path
    line: int
    code: str

    @property
    def promise(self) -> str:
        found = PROMISE.search(self.code)
        assert found, "it ends without `# prints:`, so that nobody could tell whether it works"
        return re.sub("^# ", "", found[1], flags=re.MULTILINE)


def _programs() -> Iterator[Program]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            yield Program(page, text.count("\n", 0, block.start(1)), block[1])


PROGRAMS = list(_programs())


def named(value: object) -> str:
    if isinstance(value, Program):
        return f"{value.page.name}:{value.line + 1}"
    return value.name if isinstance(value, Path) else str(value)


def run(program: Program) -> None:
    # the lines before it stay empty, so that a traceback names the line of the page
    exec(compile("\n" * program.line + program.code, program.page, "exec"), {"__name__": "__main__"})


@pytest.mark.real_time
@pytest.mark.parametrize("program", PROGRAMS, ids=named)
def test_a_program_prints_what_it_promises(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    run(program)
    assert capsys.readouterr().out == program.promise


@pytest.mark.real_time
def test_the_first_program_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    first = PROGRAMS[0]
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        run(first)
        assert (tmp_path / "orders.db").is_file()
        assert capsys.readouterr().out == first.promise


def test_the_first_program_is_one_to_paste() -> None:
    first = PROGRAMS[0]
    assert first.page.name == "README.md"
    assert sum(1 for line in first.code.splitlines() if line.strip() and not line.startswith("#")) <= 20


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    links = list(site.links(page))
    assert links or page.parent == ROOT, "a page without a way out"
    assert not [link.to for link in links if not link.leads_somewhere]


def test_a_dead_link_is_found() -> None:
    page = ROOT / "README.md"
    assert site.Link(page, "docs/model/machines.md#how-to-read-the-pictures").leads_somewhere
    assert not site.Link(page, "docs/model/machines.md#how-to-lie").leads_somewhere
    assert not site.Link(page, "docs/nowhere.md").leads_somewhere


class Command(NamedTuple):
    page: Path
    arguments: tuple[str, ...]


def _commands() -> Iterator[Command]:
    """Those of ours that the pages show for a shell."""
    for page in PAGES:
        for kind, text in SHELL.findall(page.read_text(encoding="utf-8")):
            lines = text.replace("\\\n", " ").splitlines()
            for line in lines if kind == "sh" else [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]:
                yield from (Command(page, arguments) for arguments in ours(line))


def ours(line: str) -> list[tuple[str, ...]]:
    """What a line of shell gives to our command, each time it calls it."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True  # a colon is part of a word
    calls: list[list[str]] = [[]]
    for word in words:
        if set(word) <= set("();|&"):
            calls.append([])
        else:
            calls[-1].append(word)
    found: list[tuple[str, ...]] = []
    for call in calls:
        if parser.PROGRAM in call:
            given = call[call.index(parser.PROGRAM) + 1 :]
            redirected = next((place for place, word in enumerate(given) if set(word) <= set("<>")), len(given))
            found.append(tuple(given[:redirected]))
    return found


@pytest.mark.parametrize("command", dict.fromkeys(_commands()), ids=lambda command: f"{command.page.name}: {' '.join(command.arguments)}")
def test_a_command_parses(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parser.build().parse_args(command.arguments).run


def test_commands_are_found_in_a_line() -> None:
    assert ours("seq 3 | danube-dispatcher publish a.db /b/c && danube-dispatcher status 'a b.db' > out.txt  # said") == [
        ("publish", "a.db", "/b/c"),
        ("status", "a b.db"),
    ]
    assert ours("danube-dispatcher consume a.db /b/c d --exec 'sh -c \"wc -c | cat\"'") == [("consume", "a.db", "/b/c", "d", "--exec", 'sh -c "wc -c | cat"')]
    assert ours("make test") == []
