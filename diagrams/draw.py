"""Write the diagrams of the four machines from their declarations, and how all parts hang together (make diagrams)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from danube_dispatcher import diagrams
from danube_dispatcher.errors import InvalidArgument, UsageError
from danube_statemachines import VARIANTS, Declaration
from diagrams import composition

FOLDER = Path(__file__).parent
ROWS = FOLDER / "rows.json"
"""How often a run of the rule-based tests has fired each row (make heat)."""
GUIDE = FOLDER.parent / "docs" / "guides" / "drawing.md"
SUFFIXES = {"dot": "dot", "mermaid": "mmd", "svg": "svg"}


class Picture(NamedTuple):
    name: str
    kinds: tuple[str, ...]
    draw: Callable[[str], bytes]
    """Given one of the kinds."""


def pictures() -> Iterator[Picture]:
    for machine, declaration in {**VARIANTS, "door": door()}.items():
        for style in diagrams.STYLES:
            name = machine if style == "flow" else f"{machine}.{style}"
            yield Picture(name, ("dot", "mermaid", "svg"), partial(diagrams.render, declaration, style=style))
            if machine in VARIANTS:
                yield Picture(f"{name}.heat", ("dot", "svg"), partial(heat_map, declaration, style))
    for name, drawn in composition.COMPOSITIONS.items():
        yield Picture(name, ("dot", "svg"), partial(composition.render, drawn))


def door() -> Declaration[Any]:
    """The machine of a user's own, as its guide declares it."""
    program = GUIDE.read_text(encoding="utf-8").split("```python\n")[1].split("```\n")[0]
    scope: dict[str, Any] = {}
    with redirect_stdout(StringIO()):
        exec(compile(program, GUIDE, "exec"), scope)
    declared: Declaration[Any] = scope["door"]
    return declared


def heat_map(declaration: Declaration[Any], style: str, kind: str) -> bytes:
    return diagrams.render(declaration, kind, style=style, fired=diagrams.read_fired(declaration, ROWS.read_bytes()))


def main() -> int:
    troubles: set[str] = set()
    written = 0
    for picture in pictures():
        for kind in picture.kinds:
            try:
                drawn = picture.draw(kind)
            except (InvalidArgument, UsageError) as error:  # a report of other tables; no renderer: the text is there all the same
                troubles.add(str(error))
            else:
                (FOLDER / f"{picture.name}.{SUFFIXES[kind]}").write_bytes(drawn)
                written += 1
    print(f"wrote {written} files to {FOLDER}")
    for trouble in sorted(troubles):
        print(f"others are left as they are: {trouble}", file=sys.stderr)
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
