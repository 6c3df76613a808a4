"""Fixtures of the runtime's tests: every rule of delivery holds on both back ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from danube_dispatcher import Topic
from delivering import Place


@pytest.fixture(params=["memory:", "sqlite:"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that does not exist yet."""
    scheme: str = request.param
    return f"{scheme}{tmp_path / 's.db'}" if scheme == "sqlite:" else scheme


@pytest.fixture
async def place(url: str) -> AsyncIterator[Place]:
    """A store, its clock the test's own."""
    opened = await Place.open(url)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def topic(place: Place) -> Topic:
    """An empty topic."""
    return await place.topic()
