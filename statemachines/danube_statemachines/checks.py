"""Small checks of numbers and choices. Each returns the value it was given, or raises InvalidArgument."""

from __future__ import annotations

import math
from collections.abc import Collection

from .errors import InvalidArgument


def number(name: str, value: object, *, zero: bool = False, unit: str = "seconds") -> float:
    """A finite number above zero (or from zero on, where `zero` has a meaning)."""
    least = "zero or more" if zero else "more than zero"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgument(name, f"needs a number of {unit}, {least}, not {value!r}")
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise InvalidArgument(name, f"needs a finite number of {unit}, {least}, not {value!r}")
    return float(value)


def count(name: str, value: object, *, least: int = 1, most: int = 2**63 - 1) -> int:
    """A whole number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(name, f"needs a whole number, {least} or more, not {value!r}")
    if not least <= value <= most:
        raise InvalidArgument(name, f"needs a whole number from {least} to {most}, not {value!r}")
    return value


def choice(name: str, value: object, choices: Collection[str]) -> str:
    """One of the listed strings."""
    if not isinstance(value, str) or value not in choices:
        raise InvalidArgument(name, f"needs one of {', '.join(map(repr, choices))}, not {value!r}")
    return value
