"""Small checks of numbers and choices. Each returns the value it was given, or raises InvalidArgument."""

from __future__ import annotations

import math
from collections.abc import Collection

from .errors import InvalidArgument

LARGEST = 2**63 - 1
"""No number of ours is larger: it is what a file can hold."""
SHOWN = 80
"""Characters that an error shows of a value."""


def number(name: str, value: object, *, zero: bool = False, unit: str = "seconds") -> float:
    """A finite number above zero (or from zero on, where `zero` has a meaning)."""
    least = "zero or more" if zero else "more than zero"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgument(name, f"needs a number of {unit}, {least}, not {shown(value)}")
    if not 0 <= value <= LARGEST or math.isnan(value) or (value == 0 and not zero):
        raise InvalidArgument(name, f"needs a finite number of {unit}, {least}, not {shown(value)}")
    return float(value)


def count(name: str, value: object, *, least: int = 1, most: int = LARGEST) -> int:
    """A whole number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(name, f"needs a whole number, {least} or more, not {shown(value)}")
    if not least <= value <= most:
        raise InvalidArgument(name, f"needs a whole number from {least} to {most}, not {shown(value)}")
    return value


def choice(name: str, value: object, choices: Collection[str]) -> str:
    """One of the listed strings."""
    if not isinstance(value, str) or value not in choices:
        raise InvalidArgument(name, f"needs one of {', '.join(map(repr, choices))}, not {shown(value)}")
    return value


def shown(value: object) -> str:
    """What an error shows of a value: enough to recognise it."""
    try:
        text = repr(value)
    except Exception:  # of an object of the user's, or an int with more digits than Python cares to print
        text = f"<{type(value).__name__}>"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
