"""Machines whose methods a test patches: plain guards and actions stand inside the events, so those must be written out anew."""

from __future__ import annotations

import pytest

from danube_statemachines import VARIANTS


def rewrite(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machines are made anew when they are next asked for, of their methods as they are then; until the patches are undone."""
    for declaration in VARIANTS.values():
        made = vars(declaration)
        for name in ("lean", "observed"):
            monkeypatch.setitem(made, name, None)  # so that what was made before comes back, or nothing
            del made[name]
