"""A store read again and again, and what the owner of the picked subscription tells.

Whatever goes wrong with it is shown in words, and tried again. Nothing is written but the questions to the owner.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from ..asking import ask
from ..clock import LEASE
from ..errors import DanubeError, NotSupported, StoreUnavailable
from ..overview import Overview, overview, renewed_at, told
from ..recent import KEPT, Glance, Transition
from ..status import SubscriptionInfo
from ..storage.protocols import Store
from ..storage.sqlite.errors import MOVED
from ..storage.sqlite.schema import identity
from .lines import Line, Rates, Sample, Which


class Sight(NamedTuple):
    """What a reading has found; with trouble, what the last one did that had none."""

    at: float
    """Unix seconds."""
    lines: tuple[Line, ...]
    trouble: str = ""


class Picked:
    """A subscription that is looked at closely, and what its owner has told of it."""

    def __init__(self, key: Which) -> None:
        self.key = key
        self.owner = ""
        self.glance: Glance | None = None
        """The last that its owner has told; None while it is not heard of."""
        self.trouble = ""
        self.story: deque[Transition | int] = deque(maxlen=KEPT + 1)
        """The last transitions, oldest first; a number says how many there were that nobody has kept."""
        self.fresh: list[Transition] = []
        """Those of the last answer."""

    @property
    def seen(self) -> int:
        return 0 if self.glance is None else self.glance.taken

    def heard(self, owner: str, glance: Glance) -> None:
        before, same = self.glance, owner == self.owner
        if before is not None and same and (missed := glance.taken - before.taken - len(glance.transitions)) > 0:
            self.story.append(missed)
        self.owner, self.glance, self.trouble, self.fresh = owner, glance, "", glance.transitions
        self.story.extend(glance.transitions)

    def unheard(self, trouble: str) -> None:
        self.glance, self.trouble, self.fresh = None, trouble, []


class Feed:
    """`opening` opens the store; of one topic, or of all of them."""

    def __init__(self, opening: Callable[[], Awaitable[Store]], topic: str | None = None) -> None:
        self._opening = opening
        self._topic = topic
        self._store: Store | None = None
        self._found: list[Overview] = []
        self._found_at = 0.0
        self._url = ""
        self._file: tuple[int, int] | None = None
        """That was opened last."""
        self.sight = Sight(0.0, ())
        self._rates = Rates()
        self.picked: Picked | None = None
        """Whose owner is asked."""

    async def close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            with suppress(DanubeError):
                await store.close()

    async def read(self) -> None:
        """Raises InvalidArgument, or a StoreError."""
        store = await self._opened()
        found = await overview(store, self._topic)
        if found != self._found:
            self._found, self._found_at = found, asyncio.get_running_loop().time()
        self._see(store.now())

    async def look(self) -> None:
        """The same, but for what goes wrong."""
        try:
            await self.read()
        except (DanubeError, OSError) as error:
            await self.close()
            self.sight = self.sight._replace(trouble=str(error))

    def _see(self, now: float) -> None:
        self.sight = Sight(now, tuple(self._line(topic, info, now) for topic, _, infos in self._found for info in infos))
        self._rates.keep({line.key for line in self.sight.lines})

    async def _opened(self) -> Store:
        """The store. One in which nothing changes, not even a lease, may have been written over: it is opened anew, which finds that out.

        When its file is gone, or another one is there, that is raised; then the other one is opened, and none is waited for.
        """
        now = asyncio.get_running_loop().time()
        there = _file(self._url)
        if there != self._file and (self._store is not None or there is None):
            raise StoreUnavailable(self._url, f"it {MOVED}")
        if self._store is not None and now - self._found_at >= LEASE:
            await self.close()
        if self._store is None:
            self._store, self._found_at = await self._opening(), now
            self._url = self._store.url
            self._file = _file(self._url)
        return self._store

    def _line(self, topic: str, info: SubscriptionInfo, now: float) -> Line:
        at = renewed_at(info)
        key = (topic, info.name)
        picked = self.picked
        if picked is not None and picked.key == key and picked.glance is not None and picked.owner == info.owner and picked.glance.at >= at:
            info, at = replace(info, status=picked.glance.report), picked.glance.at
        each = told(info, now, at)
        return Line(topic, each, self._rates.of(key, _sample(info.owner, at, each["status"])))

    async def ask(self) -> None:
        """Ask the owner of the picked subscription, and note what it tells, or why it does not."""
        picked, store = self.picked, self._store
        if picked is None or store is None:
            return
        line = next((line for line in self.sight.lines if line.key == picked.key), None)
        if line is None:
            picked.unheard("the subscription is not there any more")
        elif not line.owner:
            picked.unheard("no process has it open, so nobody can tell its transitions")
        else:
            try:
                answer = await ask(store, *line.key, line.owner, f"watch:{picked.seen}", NotSupported)
                picked.heard(line.owner, Glance.decode(answer))
                self._see(store.now())
            except (DanubeError, OSError) as error:
                picked.unheard(f"its transitions are not told: {error}")


def _file(url: str) -> tuple[int, int] | None:
    """Which file a store is in now; None: it is not there, or the store is in none."""
    scheme, _, path = url.partition(":")
    try:
        return identity(path) if scheme == "sqlite" else None
    except OSError:
        return None


def _sample(owner: str, at: float, status: dict[str, Any]) -> Sample | None:
    delivered, settled = status.get("delivered"), status.get("settled")
    return Sample(owner, at, delivered, settled) if isinstance(delivered, int) and isinstance(settled, int) else None
