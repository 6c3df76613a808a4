"""docs/mutation.md: written by the commands that found what it says, each its own part."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "mutation.md"
HEAD = """# Does the suite notice?

A test that cannot fail proves nothing. So the code is broken on purpose, in every small way, and something must notice. This page is written by
the commands that it names; every figure is of the run that the same line describes. [Assurance](assurance.md) has the other means.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---", *(["---:"] * (len(head) - 1))], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def write(part: str, text: str) -> None:
    """Put the text in the place of what the part held, or at the end."""
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else HEAD
    begin, end = f"<!-- begin: {part} -->", f"<!-- end: {part} -->"
    whole = f"{begin}\n\n{text.strip()}\n\n{end}\n"
    found = re.search(f"{re.escape(begin)}.*{re.escape(end)}\n", page, re.DOTALL)
    page = page[: found.start()] + whole + page[found.end() :] if found else f"{page}\n{whole}"
    PAGE.write_text(page, encoding="utf-8")
