"""Both back ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from delivering import Place


@pytest.fixture(params=["memory:", "sqlite:{}"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    place = await Place.open(request.param.format(tmp_path / "s.db"))
    yield place
    await place.close()
