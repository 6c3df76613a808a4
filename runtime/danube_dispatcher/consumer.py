"""A consumer: a bounded box of deliveries, and the iterator that takes them out."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from .clock import NEVER
from .errors import UsageError
from .validation import check_capacity, check_consumer_name

if TYPE_CHECKING:
    from .delivery import Delivery

TURN = 128
"""Deliveries taken in a row at most before the event loop gets a turn. More than a publisher puts in a row, so that a box does not overflow by that alone."""
FIRST_TURN = 16
"""Deliveries before the first turn: then it is known how long they take."""
SLICE = 0.005
"""Seconds after which the event loop should get a turn, if the deliveries in between take any time at all."""


class Host(Protocol):
    """What a consumer is attached to."""

    def add_consumer(self, consumer: Consumer) -> None: ...
    def remove_consumer(self, name: str, *, blame: bool = True) -> None: ...


class Consumer:
    """Takes deliveries, one after the other: `async for delivery in consumer`.

    Iteration raises when the consumer was replaced, the ownership lost or the store failed; it ends when the consumer left or the subscription
    closed; it waits while the subscription is blocked, paused or throttled. A delivery leaves the box only when the iterator returns it.

    `capacity` is the number of deliveries not yet taken that the box holds; a non-reliable dispatcher drops what finds it full. Get one from
    `Subscription.consumer`, or give it to `Dispatcher.add_consumer`. Raises InvalidArgument.
    """

    __slots__ = ("_box", "_end", "_ended", "_host", "_since", "_taken", "_turn", "_waiter", "active", "capacity", "name", "session")

    def __init__(self, name: str, *, capacity: int = 1000, host: Host | None = None) -> None:
        self.name = check_consumer_name(name)
        """Under which it is attached."""
        self.capacity = check_capacity(capacity)
        """Deliveries that its box holds."""
        self.active = False
        """Whether it is its turn: exclusive and failover, the active one; shared, anyone attached."""
        self.session = 0
        """The dispatcher's number for this attachment; 0 before."""
        self._host = host
        self._box: deque[Delivery] = deque()
        self._taken = 0  # since the loop's last turn,
        self._since = NEVER  # which was then;
        self._turn = FIRST_TURN  # the next one comes after so many
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._end: Exception | None = None

    def __repr__(self) -> str:
        return f"Consumer({self.name!r}, session={self.session}, waiting={len(self._box)})"

    async def __aenter__(self) -> Self:
        if self._host is None:
            raise UsageError(f"consumer {self.name} belongs to no subscription; get it from subscription.consumer({self.name!r}), or add it to a dispatcher")
        self._host.add_consumer(self)
        try:
            await asyncio.sleep(0)  # so that workers started together share from the first message on
        except BaseException:
            self._leave(blame=False)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # who cancels a consumer, or presses Ctrl-C, ends it for reasons of his own: a deploy must not poison a long job
        self._leave(blame=kind is None or issubclass(kind, Exception))

    def _leave(self, *, blame: bool) -> None:
        if not self._ended and self._host is not None:
            self._host.remove_consumer(self.name, blame=blame)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        self._taken += 1
        if self._taken >= self._turn:
            await self._give_turn()
        box = self._box
        while not box:
            if self._ended:
                raise self._end.with_traceback(None) if self._end is not None else StopAsyncIteration
            await self._wait()
        return box.popleft()

    async def _give_turn(self) -> None:
        """The slower the work, the sooner the next turn."""
        clock = asyncio.get_running_loop().time
        took = clock() - self._since
        self._turn = min(TURN, 2 * self._turn) if took <= SLICE else max(1, int(self._turn * SLICE / took))
        await asyncio.sleep(0)
        self._taken = 0
        self._since = clock()

    async def _wait(self) -> None:
        if not self.session:
            raise UsageError(f"consumer {self.name} is not attached; use `async with`, or add it to a dispatcher")
        if self._waiter is not None:
            raise UsageError(f"consumer {self.name} is being iterated by another task; give each task a consumer of its own")
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        try:
            await waiter
        finally:
            if self._waiter is waiter:
                self._waiter = None
            self._taken = 0
            self._since = loop.time()

    # the dispatcher's side

    def put(self, delivery: Delivery) -> None:
        self._box.append(delivery)
        if self._waiter is not None:
            self._wake()

    def offer(self, delivery: Delivery) -> bool:
        """Put it in, if there is room."""
        if len(self._box) >= self.capacity:
            return False
        self.put(delivery)
        return True

    def waiting(self) -> int:
        """Deliveries not yet taken."""
        return len(self._box)

    def clear(self) -> None:
        """Take back what was not taken."""
        self._box.clear()

    def end(self, error: Exception | None = None) -> None:
        """End the iteration, with an error or without."""
        self._box.clear()
        self._ended = True
        self._end = error
        self.active = False
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():  # who waited may have been cancelled
            waiter.set_result(None)
