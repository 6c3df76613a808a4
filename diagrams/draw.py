"""Write the diagrams of the four machines from their declarations (make diagrams)."""

from __future__ import annotations

import sys
from pathlib import Path

from danube_dispatcher import diagrams
from danube_dispatcher.errors import UsageError
from danube_statemachines import VARIANTS

SUFFIXES = {"dot": "dot", "mermaid": "mmd", "svg": "svg"}
"""Pictures last: without a renderer the text is there all the same."""


def main(folder: Path = Path(__file__).parent) -> int:
    for kind, suffix in SUFFIXES.items():
        for name, declaration in VARIANTS.items():
            try:
                drawn = diagrams.render(declaration, kind)
            except UsageError as error:
                print(f"the pictures are left as they are: {error}", file=sys.stderr)
                return 1
            (folder / f"{name}.{suffix}").write_bytes(drawn)
    print(f"wrote {', '.join(VARIANTS)} as {', '.join(SUFFIXES)} to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
