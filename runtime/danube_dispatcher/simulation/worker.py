"""A consumer and whoever stands behind it: takes deliveries, and answers each rightly, wrongly, late, twice or not at all."""

from __future__ import annotations

import asyncio
from copy import copy

from ..consumer import Consumer
from ..delivery import Delivery
from ..errors import Closed, ConsumerRefused, ConsumerReplaced, StoreError, SubscriptionError
from ..subscription import Subscription
from .process import Process
from .scenario import ACK_TIMEOUT, AWAY, HOLD, WORK, Kind

FAR = 1000
"""By how much a forged answer may differ."""


class Worker:
    """Attaches under one name, again and again, until the subscription ends here or somebody takes over."""

    def __init__(self, process: Process, kind: Kind, subscription: Subscription, name: str) -> None:
        self._process = process
        self._kind = kind
        self._subscription = subscription
        self._name = name
        self._number = 0
        self._random = process.world.random

    async def run(self, *, after: float = 0.0) -> None:
        """Begin after so many seconds."""
        await asyncio.sleep(after)
        while not self._subscription.dispatcher.ended and await self._attend():  # noqa: ASYNC110 - it stays away for a while
            await asyncio.sleep(self._random.random() * AWAY)

    def write(self, what: str, *details: str | int) -> None:
        self._process.write(what, self._kind.key, self._number, *details)

    async def _attend(self) -> bool:
        """Join, and consume until it leaves (True), or is replaced or at the end."""
        self._number = self._process.world.next_number()
        consumer = self._subscription.consumer(self._name, capacity=self._random.choice((1, 2, 1000)))
        self.write("joining", self._name)
        try:
            async with consumer:
                self.write("joined")
                try:
                    await self._consume(consumer)
                except asyncio.CancelledError:
                    self.write("leaving", 0)
                    raise
                self.write("leaving", 1)
        except ConsumerRefused:
            self.write("refused")
        except ConsumerReplaced:
            self.write("ended", "replaced")
            return False
        except (SubscriptionError, StoreError, Closed) as error:
            self.write("ended", type(error).__name__)
            return False
        return True

    async def _consume(self, consumer: Consumer) -> None:
        """Take and answer until it is to leave, or the subscription is closed."""
        while True:
            self.write("waits")
            try:
                delivery = await anext(consumer)
            except StopAsyncIteration:
                return
            epoch, _, offset, attempt = delivery.id
            self.write("delivered", epoch, offset, attempt, delivery.message.payload.decode())
            if await (self._handle(delivery) if self._kind.reliable else self._watch()):
                return

    async def _watch(self) -> bool:
        """Somebody who does not answer; whether to leave."""
        what = self._process.world.faults.draw(self._process.world.faults.per_delivery)
        if what in ("dozing", "late", "silent"):  # the box fills up meanwhile
            await asyncio.sleep(self._random.random() * HOLD)
        elif what == "takeover":
            self._rival()
        return what in ("leaving", "cancelled")

    def _rival(self) -> None:
        """Another consumer comes under the same name."""
        self._process.spawn(Worker(self._process, self._kind, self._subscription, self._name).run(after=self._random.random() * 2.0))

    async def _handle(self, delivery: Delivery) -> bool:
        """Do something with a delivery; whether to leave."""
        world = self._process.world
        nature = None if world.faults.calm else world.natures.get(int(delivery.message.payload))
        if nature == self._kind.key:
            world.crash(self._process, f"{nature}@{delivery.id[2]}")
            await asyncio.get_running_loop().create_future()  # for ever
        if nature == "poison":
            await self._nack(delivery, 0.0)
            return False
        what = world.faults.draw(world.faults.per_delivery)
        if self._random.random() < 0.2:
            await asyncio.sleep(self._random.random() * WORK)
        match what:
            case "nack":
                await self._nack(delivery, 0.0)
            case "delayed_nack":
                await self._nack(delivery, self._random.uniform(0.1, 10.0))
            case "twice":
                await self._ack(delivery)
                again = self._random.randrange(3)
                await (self._ack(delivery) if again == 0 else self._nack(delivery, 0.0) if again == 1 else self._extend(delivery, 1000))
            case "late":
                await asyncio.sleep(self._random.random() * HOLD)
                await self._ack(delivery)
            case "forged":
                await self._forge(delivery)
                await self._ack(delivery)
            case "silent":
                await asyncio.sleep(self._random.random() * HOLD)
            case "extend":
                seconds = self._random.uniform(0.5, ACK_TIMEOUT[1])
                await self._extend(delivery, int(seconds * 1000))
                await asyncio.sleep(self._random.random() * seconds * 1.1)
                await self._ack(delivery)
            case "dozing":
                await self._ack(delivery)
                await asyncio.sleep(self._random.random() * HOLD)
            case "leaving":
                return True
            case "cancelled":
                self._process.spawn(Worker(self._process, self._kind, self._subscription, self._name).run(after=self._random.random() * AWAY))
                raise asyncio.CancelledError
            case "takeover":
                self._rival()
                await asyncio.sleep(self._random.random() * 2.0)
                await self._ack(delivery)
            case _:
                await self._ack(delivery)
        return False

    async def _ack(self, delivery: Delivery) -> None:
        epoch, _, offset, attempt = delivery.id
        self.write("acking", epoch, offset, attempt)
        self.write("acked", epoch, offset, attempt, int(await delivery.ack()))

    async def _nack(self, delivery: Delivery, delay: float) -> None:
        epoch, _, offset, attempt = delivery.id
        self.write("nacking", epoch, offset, attempt)
        self.write("nacked", epoch, offset, attempt, int(await delivery.nack(delay or None, "refused")))

    async def _extend(self, delivery: Delivery, milliseconds: int) -> None:
        epoch, _, offset, attempt = delivery.id
        self.write("extended", epoch, offset, attempt, milliseconds, int(await delivery.extend(milliseconds / 1000)))

    async def _forge(self, delivery: Delivery) -> None:
        """Answer as somebody would who was given another delivery. One that comes next may be in the box already: then it would be no forgery."""
        forged = copy(delivery)
        part = self._random.randrange(4)
        forged.id = tuple(value + (nth == part) * self._random.choice((-1, FAR)) for nth, value in enumerate(delivery.id))  # type: ignore[assignment]
        epoch, _, offset, attempt = forged.id
        who = 0 if part == 1 else self._number
        self._process.write("acking", self._kind.key, who, epoch, offset, attempt)
        self._process.write("acked", self._kind.key, who, epoch, offset, attempt, int(await self._subscription.dispatcher.ack_message(forged)))
