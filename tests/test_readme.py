"""What README.md and docs/ say is so: their programs run and print what they promise, and their links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from docs import site

ROOT = site.ROOT
PAGES = site.pages()
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
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
