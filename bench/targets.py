"""What is wanted, in one place."""

from __future__ import annotations

STUDIES: tuple[str, ...] = ()
"""Modules of this package that measure something of their own: those that have a `measure`."""
