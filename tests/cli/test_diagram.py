"""`diagram`: what it draws and where to, and what it says to what it cannot draw."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from danube_dispatcher import diagrams
from danube_dispatcher.cli.running import main
from danube_statemachines import RELIABLE_EXCLUSIVE, VARIANTS
from danube_statemachines.coverage import Fired, fired_report

from .conftest import Cli

pytestmark = pytest.mark.real_time

Here = Callable[..., tuple[int, bytes, str]]

DOOR = """
from danube_statemachines import Declaration, row

class Door: ...

door = Declaration(
    "door", Door, [row("open", "Shut", "Open"), row("open", "Open", None), row("remove", ["Shut", "Open"], "Gone")],
    states=["Shut", "Open", "Gone"], initial="Shut", final="Gone", completion={},
)
window = "made of glass"
"""
BROKEN = {
    "syntax.py": "door =",
    "missing.py": "import no_such_module",
    "script.py": "import sys; sys.exit(0)",
    "wrong.py": DOOR.replace('row("remove", ["Shut", "Open"], "Gone")', ""),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[Here]:
    """Run `diagram` in this process, in a directory with modules of a user's: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "doors").mkdir()
    for name, text in {"house.py": DOOR, "doors/front.py": DOOR, **BROKEN}.items():
        (tmp_path / name).write_text(text)

    def run(*arguments: str) -> tuple[int, bytes, str]:
        try:
            code = main(["diagram", *arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfdbinary.readouterr()
        return code, out, err.decode()

    yield run
    for name in ("house", "doors", "doors.front", "syntax", "missing", "script", "wrong"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("style", diagrams.STYLES)
@pytest.mark.parametrize("kind", ["dot", "mermaid"])
def test_text_goes_to_standard_output(here: Here, variant: str, style: str, kind: str) -> None:
    drawn = diagrams.render(VARIANTS[variant], kind, style=style)
    assert here(variant, "--format", kind, "--style", style) == (0, drawn, "")


def test_a_picture_is_what_is_made_unless_told_otherwise(here: Here) -> None:
    pytest.importorskip("pygraphviz")
    code, out, _ = here("reliable_exclusive")
    assert code == 0
    assert ElementTree.fromstring(out).get("role") == "img"


@pytest.mark.parametrize(
    ("name", "begin"), [("a.svg", b"<?xml"), ("a.png", b"\x89PNG"), ("a.dot", b"digraph"), ("a.mmd", b"flowchart"), ("a", b"<?xml"), ("A.PNG", b"\x89PNG")]
)
def test_a_file_is_what_its_name_says(here: Here, name: str, begin: bytes) -> None:
    pytest.importorskip("pygraphviz")
    code, out, _ = here("non_reliable_shared", "--output", name)
    assert (code, out) == (0, b"")
    assert Path(name).read_bytes().startswith(begin)


def test_what_is_asked_for_goes_before_the_name_of_the_file(here: Here) -> None:
    assert here("non_reliable_shared", "--format", "dot", "--output", "a.svg")[0] == 0
    assert Path("a.svg").read_bytes().startswith(b"digraph")


@pytest.mark.parametrize("variant", ["house:door", "doors.front:door"])
def test_a_machine_of_a_users_own_is_drawn(here: Here, variant: str) -> None:
    code, out, err = here(variant, "--format", "mermaid")
    assert (code, err) == (0, "")
    assert 'Shut -->|"open"| Open' in out.decode()


def test_a_heat_map_is_made_of_a_report(here: Here) -> None:
    fired = Fired({("reliable_exclusive", 8, "AwaitingAck"): 1234})
    Path("rows.json").write_text(json.dumps({"model": fired_report(VARIANTS.values(), fired)}))
    for style in diagrams.STYLES:
        code, out, err = here("reliable_exclusive", "--rows", "rows.json", "--format", "dot", "--style", style)
        assert (code, err) == (0, "")
        assert out.decode() == diagrams.dot(RELIABLE_EXCLUSIVE, style=style, fired=fired)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "VARIANT"),
        (["nothing"], "needs one of non_reliable_exclusive, non_reliable_shared, reliable_exclusive, reliable_shared, or module:name of a Declaration"),
        (["house:"], "not 'house:'"),
        ([":door"], "not ':door'"),
        (["../house:door"], "not '../house:door'"),
        (["house:door.sub"], "not 'house:door.sub'"),
        (["reliable_exclusive", "--format", "gif"], "invalid choice: 'gif'"),
        (["reliable_exclusive", "--style", "art"], "invalid choice: 'art'"),
        (["reliable_exclusive", "--output", "a.jpg"], "what a.jpg is to be is not told by .jpg: name it .svg .png .dot .mmd, or give --format"),
    ],
    ids=str,
)
def test_wrong_usage(here: Here, arguments: list[str], problem: str) -> None:
    code, out, err = here(*arguments)
    assert (code, out) == (2, b"")
    assert problem in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["no_house:door"], "no_house:door: no_house cannot be imported: ModuleNotFoundError: No module named 'no_house'"),
        (["missing:door"], "missing:door: missing cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        (["syntax:door"], "syntax:door: syntax cannot be imported: SyntaxError"),
        (["script:door"], "script:door: script cannot be imported: SystemExit: 0"),
        (["wrong:door"], "machine door: Shut is a trap"),
        (["house:gate"], "house:gate: house has no gate"),
        (["house:window"], "house:window: it is no Declaration, but 'made of glass'"),
        (["reliable_exclusive", "--rows", "none.json"], "none.json: No such file or directory"),
        (["reliable_exclusive", "--rows", "."], ".: Is a directory"),
        (["reliable_exclusive", "--rows", "/dev/zero"], "rows: /dev/zero has more than 64 MiB: it is no report of rows"),
        (["reliable_exclusive", "--rows", "house.py"], "rows: needs a report of rows as JSON"),
        (["reliable_exclusive", "--format", "dot", "--output", "none/a.dot"], "none/a.dot: No such file or directory"),
        (["reliable_exclusive", "--format", "dot", "--output", "doors"], "doors: Is a directory"),
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_said_in_one_line(here: Here, arguments: list[str], problem: str) -> None:
    before = {*os.listdir()}
    code, out, err = here(*arguments)
    assert (code, out) == (1, b"")
    assert err.startswith("danube-dispatcher: ")
    assert problem in err
    assert err.count("\n") == 1
    assert {*os.listdir()} == before


def test_a_png_is_not_for_a_terminal(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code, out, err = here("reliable_exclusive", "--format", "png")
    assert (code, out) == (2, b"")
    assert "a PNG is not for a terminal: --output FILE, or a pipe, takes it" in err
    assert here("reliable_exclusive", "--format", "dot")[0] == 0
    pytest.importorskip("pygraphviz")
    assert here("reliable_exclusive", "--output", "a.png")[0] == 0


def test_without_the_extra_a_picture_says_what_to_install_and_text_is_drawn(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.svg").write_text("the one before")
    for name in ("graphviz", "pygraphviz"):
        monkeypatch.setitem(sys.modules, name, None)
    code, _, err = here("reliable_exclusive", "--output", "a.svg")
    assert code == 1
    assert "pip install 'danube-dispatcher[diagrams]'" in err
    assert Path("a.svg").read_text() == "the one before"
    assert here("reliable_exclusive", "--format", "mermaid")[0] == 0


# files


def test_a_file_is_replaced_as_a_whole_or_not_at_all(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.dot").write_text("the one before")
    with monkeypatch.context() as patch:

        def full(self: Path, target: Path) -> Path:
            raise OSError(28, "No space left on device", str(self))

        patch.setattr(Path, "replace", full)
        code, _, err = here("reliable_exclusive", "--output", "a.dot")
        assert code == 1
        assert "a.dot: No space left on device" in err
    assert Path("a.dot").read_text() == "the one before"
    assert not [name for name in os.listdir() if name.startswith(".a.dot")]
    assert here("reliable_exclusive", "--output", "a.dot")[0] == 0
    assert Path("a.dot").read_text() == diagrams.dot(RELIABLE_EXCLUSIVE)


def test_who_may_read_it_stays(here: Here) -> None:
    Path("a.dot").touch(mode=0o640)
    assert here("reliable_exclusive", "--output", "a.dot")[0] == 0
    assert Path("a.dot").stat().st_mode & 0o777 == 0o640


def test_a_dash_is_standard_output(here: Here) -> None:
    assert here("reliable_exclusive", "--format", "dot", "--output", "-")[:2] == (0, diagrams.dot(RELIABLE_EXCLUSIVE).encode())
    assert not Path("-").exists()


def test_a_closed_standard_output_is_said(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        assert main(["diagram", "reliable_exclusive", "--format", "dot"]) == 1


def test_what_a_link_leads_to_is_replaced(here: Here) -> None:
    Path("doors/a.dot").write_text("the one before")
    Path("a.dot").symlink_to("doors/a.dot")
    assert here("reliable_exclusive", "--output", "a.dot")[0] == 0
    assert Path("a.dot").is_symlink()
    assert Path("doors/a.dot").read_text() == diagrams.dot(RELIABLE_EXCLUSIVE)


def test_what_is_no_ordinary_file_is_written_to(here: Here) -> None:
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert here("reliable_exclusive", "--format", "dot", "--output", "pipe")[0] == 0
        assert os.read(reader, 8) == b"digraph "
    finally:
        os.close(reader)
    assert Path("pipe").is_fifo()


def test_as_a_command(cli: Cli) -> None:
    (cli.directory / "house.py").write_text(DOOR)
    code, out, err = cli.run("diagram", "house:door", "--format", "dot")
    assert (code, err) == (0, "")
    assert out.startswith('digraph "door" {')
