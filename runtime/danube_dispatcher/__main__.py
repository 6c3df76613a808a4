"""The command `danube-dispatcher`, also `python -m danube_dispatcher`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; return its exit code."""
    from .cli.running import main

    return main(arguments)


if __name__ == "__main__":
    sys.exit(main())
