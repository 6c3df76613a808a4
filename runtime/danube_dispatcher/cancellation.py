"""Cleaning up when cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

log = logging.getLogger(__package__)


async def to_the_end(work: Awaitable[None]) -> None:
    """Bring a clean-up to its end although this task is being cancelled, perhaps again. Its errors are logged: the cancellation goes on."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("a clean-up failed: %s", error)
