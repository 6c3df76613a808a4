"""A subscription: the thin owner of one dispatcher."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from .consumer import Consumer
from .delivery import Delivery
from .dispatcher import Dispatcher
from .status import Explanation, Leftover, Status
from .validation import Opening, check_handler

log = logging.getLogger(__package__)

Handler = Callable[[Delivery], Awaitable[object] | object]


class Subscription:
    """Made by `Topic.subscribe`: the owner of one dispatcher, without a logic of its own.

    Its methods raise Closed after `close`, and WrongContext outside of the loop, thread and process that opened it; `status` and `explain` always
    answer.
    """

    def __init__(self, topic: str, opening: Opening, dispatcher: Dispatcher, forget: Callable[[], None]) -> None:
        self.topic = topic
        """The topic's name."""
        self.name = opening.name
        """Its own."""
        self.opening = opening
        """The arguments it was opened with, defaults filled in."""
        self.dispatcher = dispatcher
        """Hands its messages over: a `Dispatcher`."""
        self._forget = forget

    def __repr__(self) -> str:
        return f"<subscription {self.name} of {self.topic}: {self.dispatcher!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def consumer(self, name: str, *, capacity: int = 1000) -> Consumer:
        """A new consumer: `async with subscription.consumer("worker-1") as consumer: async for delivery in consumer: …`

        It joins on entry, where ConsumerRefused may be raised; under an attached name it takes over. `capacity` bounds the deliveries not yet taken.
        Raises InvalidArgument.
        """
        return Consumer(name, capacity=capacity, host=self.dispatcher)

    async def run(self, handler: Handler, *, name: str = "run", capacity: int = 1000) -> None:
        """Call `handler(delivery)`, plain or async, for each delivery: ack on return, nack on an exception, which is logged and ends nothing.

        Settles only what the handler has not. Returns when the subscription closes; cancellation passes through and settles nothing. A handler that
        blocks the event loop for 7 s or more can lose the subscription, whose lease is over 7 to 10 s later: give such work to a thread. Raises
        InvalidArgument.
        """
        check_handler(handler)
        async with self.consumer(name, capacity=capacity) as consumer:
            async for delivery in consumer:
                try:
                    answer = handler(delivery)
                    if inspect.isawaitable(answer):
                        await answer
                except Exception as error:
                    log.warning("the handler of %s failed on %r", self.name, delivery, exc_info=True)
                    if delivery.open:
                        await delivery.nack(reason=f"{type(error).__name__}: {error}")
                else:
                    if delivery.open:
                        await delivery.ack()

    async def pause(self) -> None:
        """Stop the intake, also over a restart; what is in hand is still redelivered. Durable on return. Raises NotSupported on a non-reliable one."""
        await self.dispatcher.pause()

    async def resume(self) -> None:
        """Take in again. Durable on return. Raises NotSupported on a non-reliable one."""
        await self.dispatcher.resume()

    async def caught_up(self, timeout: float | None = None) -> bool:
        """Wait until everything published is settled, as far as this process knows of it: True. False: it took longer than `timeout` seconds, or it ended.

        It waits, too, while the subscription is paused, blocked or without consumers: `explain()` says so. Raises InvalidArgument, and NotSupported on a
        non-reliable one.
        """
        return await self.dispatcher.caught_up(timeout)

    async def drain(self, timeout: float | None = None) -> tuple[Leftover, ...]:
        """Pause, wait until nothing is unsettled, flush. Empty means drained; after `timeout` seconds (None: no limit), what is left and why.

        It stays paused. Raises InvalidArgument, and NotSupported on a non-reliable one.
        """
        return await self.dispatcher.drain(timeout)

    async def release(self, action: str) -> int:
        """Let a blocked message go: "retry" (its failures are forgiven), "drop" or "dead_letter". Returns its offset, once that is durable.

        Raises NotBlocked, NotSupported on a non-reliable one, and InvalidArgument when there is no dead-letter topic.
        """
        return await self.dispatcher.release(action)

    def status(self) -> Status:
        """What it is doing now, as a typed snapshot. Also after it was closed."""
        return self.dispatcher.status()

    def explain(self) -> Explanation:
        """Why it is not progressing, and what ends the wait. `str()` of it is the sentence."""
        return self.dispatcher.explain()

    async def close(self) -> None:
        """End at once: acknowledge nothing, end the consumers, make the position durable, let go of the lease. Again is harmless."""
        try:
            await self.dispatcher.close()
        finally:
            if self.dispatcher.closed:  # else it was refused, or this call was cancelled: who subscribes again, or closes the topic, must find it
                self._forget()
