"""Starting stays cheap: what is imported, beyond what `import asyncio` imports, is known. What is used now and then is imported when it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real_time

PROGRAM = """
import asyncio, contextlib, sys
before = set(sys.modules)
import danube_dispatcher
if sys.argv[1:]:
    from danube_dispatcher.__main__ import main
    with contextlib.suppress(SystemExit):
        main()
print(*sorted(set(sys.modules) - before), file=sys.stderr)
"""
NEEDED = {"__future__", "copy", "dataclasses", "importlib", "six", "transitions"}
"""Of others, with what they need themselves: transitions needs six, dataclasses copy."""
NEEDED_FOR_HELP = NEEDED | {"argparse", "bz2", "fnmatch", "gettext", "lzma", "shutil", "zlib"}
"""argparse asks shutil how wide the terminal is, and that can unpack archives."""
PARTS = {"storage.protocols"}
"""Of our own, beside what lies directly in the two packages."""
PARTS_FOR_HELP = PARTS | {"cli.parser", "cli.running", "cli.terminal"}


def imported(*arguments: str) -> set[str]:
    """Public modules beyond those of asyncio; of others, the packages."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True, timeout=60)
    names = {name if name.startswith("danube_") else name.partition(".")[0] for name in done.stderr.splitlines()[-1].split()}
    return {name for name in names if name == "__future__" or not name.startswith("_")}


@pytest.mark.parametrize(
    ("arguments", "needed", "parts"),
    [((), NEEDED, PARTS), (("--help",), NEEDED_FOR_HELP, PARTS_FOR_HELP)],
    ids=["import danube_dispatcher", "danube-dispatcher --help"],
)
def test_nothing_is_imported_that_is_not_needed_yet(arguments: tuple[str, ...], needed: set[str], parts: set[str]) -> None:
    found = imported(*arguments)
    ours = {name for name in found if name.startswith("danube_")}
    assert "danube_dispatcher" in ours
    assert found - ours <= needed
    assert {part for name in ours if "." in (part := name.partition(".")[2])} <= parts


def test_what_a_command_imports_is_seen(tmp_path: Path) -> None:
    found = imported("status", str(tmp_path / "missing.db"))
    assert {"sqlite3", "danube_dispatcher.cli.status", "danube_dispatcher.storage.sqlite.store"} <= found
