"""The site shows every page and all that the pages link to. (That MkDocs itself is strict, `make docs` sees.)"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import site

NAVIGATION = re.compile(r"^ +- (?:[^:\n]+: )?(\S+\.md)$", re.MULTILINE)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a page, a read-me, a picture and a program."""
    root = tmp_path / "project"
    for name, text in {
        "docs/guides/first.md": (
            "# First\n\n[up](../../README.md#use) [`run`](../../code/run.py) ![it](../../pictures/it.svg) [there](#first) [out](https://example.org)\n\n"
            '<img src="../../pictures/it.svg">\n\n`[not](a/link.md)`\n\n```python\nhandlers[name](event)  # [nor](this.md)\n```\n'
        ),
        "docs/own.svg": "<svg/>",
        "README.md": "# Read me\n\n## Use\n\n[first](docs/guides/first.md) ![own](docs/own.svg) [all](code)\n",
        "code/run.py": 'print("```")\n',
        "code/parts/part.py": "",
        "pictures/it.svg": "<svg/>",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def staged(root: Path) -> dict[str, str]:
    into = root / "build"
    for page in site.pages(root):
        site.stage(page, root, into)
    return {path.relative_to(into).as_posix(): path.read_text(encoding="utf-8") for path in into.rglob("*") if path.is_file()}


def test_what_a_page_links_to_has_a_place_beside_it(project: Path) -> None:
    found = staged(project)
    assert set(found) == {"guides/first.md", "project/README.md", "own.svg", "pictures/it.svg", "source/code.md", "source/code/run.py.md"}
    page = found["guides/first.md"]
    assert "[up](../project/README.md#use) [`run`](../source/code/run.py.md) ![it](../pictures/it.svg) [there](#first) [out](https://example.org)" in page
    assert '<img src="../pictures/it.svg">' in page
    assert "[first](../guides/first.md) ![own](../own.svg) [all](../source/code.md)" in found["project/README.md"]


def test_code_has_no_links(project: Path) -> None:
    page = staged(project)["guides/first.md"]
    assert "`[not](a/link.md)`" in page
    assert "handlers[name](event)  # [nor](this.md)" in page


def test_a_bar_in_the_code_of_a_table_needs_no_mark_on_the_site(project: Path) -> None:
    (project / "docs/bar.md").write_text("# Bar\n\n`a\\|b`\n\n| a |\n|---|\n| `a \\| b` |\n", encoding="utf-8")
    assert "`a\\|b`" in staged(project)["bar.md"]
    assert "| `a | b` |" in staged(project)["bar.md"]


def test_a_source_stands_on_a_page_as_it_is_and_a_folder_lists_its_files(project: Path) -> None:
    found = staged(project)
    assert '# code/run.py\n\n``````python\nprint("```")\n\n``````\n' in found["source/code/run.py.md"]
    assert "# code\n\n- [run.py](code/run.py.md)\n" in found["source/code.md"]


@pytest.mark.parametrize("wrong", ["[a](nowhere.md)", "[a](first.md#nowhere)", "![a](nowhere.svg)", '<img src="nowhere.svg">', "[a][nowhere]"])
def test_what_leads_nowhere_is_found(project: Path, wrong: str) -> None:
    page = project / "docs/guides/first.md"
    assert all(link.leads_somewhere for link in site.links(page))
    page.write_text(f"# First\n\n{wrong}\n", encoding="utf-8")
    assert [link.leads_somewhere for link in site.links(page)] == [False]


def test_every_page_is_in_the_navigation_and_every_entry_has_its_page() -> None:
    listed = NAVIGATION.findall((site.ROOT / "docs/mkdocs.yml").read_text(encoding="utf-8"))
    assert len(listed) == len(set(listed))
    wanted = [*site.pages(), site.ROOT / "LICENSE"]
    assert sorted(listed) == sorted(site.place(path, site.ROOT).as_posix() for path in wanted)


def test_what_comes_from_another_host_is_found(tmp_path: Path) -> None:
    (tmp_path / "fine.html").write_text('<link rel="stylesheet" href="site.css"><a href="https://example.org">there</a><img src="a.svg">', encoding="utf-8")
    (tmp_path / "fine.css").write_text("b { background: url(data:image/png;base64,) }", encoding="utf-8")
    assert not list(site.foreign(tmp_path))
    (tmp_path / "font.html").write_text('<link rel="stylesheet" href="https://fonts.example/f.css"><script src=//cdn.example/a.js></script>', encoding="utf-8")
    (tmp_path / "font.css").write_text("@import url('https://fonts.example/f.css')", encoding="utf-8")
    assert list(site.foreign(tmp_path)) == [
        "font.css: https://fonts.example/f.css",
        "font.html: https://fonts.example/f.css",
        "font.html: //cdn.example/a.js",
    ]
