"""A topic: a log of messages, and the subscriptions to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Self

from danube_statemachines import FailurePolicy

from .cancellation import to_the_end
from .clock import LEASE
from .context import Closable
from .dispatcher import Dispatcher
from .engine import SubscriptionEngine
from .errors import Closed, InvalidArgument, NotSupported, PublishFailed, StoreError, SubscriptionMismatch, SubscriptionNotFound, SubscriptionOwned
from .hub import Hub
from .messages import Message
from .observer import Observer
from .overview import info
from .release import release_from_outside
from .session import Session
from .status import SubscriptionInfo
from .storage.protocols import APPEND_BYTES, READ_MESSAGES, Lease, Row, Store
from .subscription import Subscription
from .validation import (
    MAX_PAYLOAD,
    Opening,
    check_item,
    check_max_payload,
    check_message,
    check_messages,
    check_opening,
    check_release,
    check_subscription_name,
    check_topic_name,
    check_wait,
)

TURN = 64
"""Messages published in a row before the event loop gets a turn; fewer than a consumer takes in a row, so that its box does not overflow by that alone."""


class Topic(Closable):
    """A log of messages in a store, and the subscriptions to it.

    Open one with `async with await Topic.open("sqlite:orders.db", "/default/orders") as topic:`. It belongs to the loop, thread and process that opened
    it: elsewhere its methods raise WrongContext, and after `close` all but `close` raise Closed.
    """

    def __init__(self, session: Session, hub: Hub, max_payload: int) -> None:
        """Use `Topic.open`."""
        super().__init__(f"topic {hub.name}")
        self.name = hub.name
        self._session = session
        self._hub = hub
        self._max_payload = max_payload
        self._mine: list[Subscription] = []
        self._opening: set[Dispatcher] = set()
        self._published = 0

    @classmethod
    async def open(cls, store: str | Store, name: str, *, create: bool = True, max_payload: int = MAX_PAYLOAD) -> Self:
        """Open the topic `/namespace/name` of a store, given by URL (`memory:`, `sqlite:PATH`) or as another topic's `store`.

        `memory:` is one store per event loop, which lives while a topic on it is open. `create` makes a missing store and topic; without it, missing is
        StoreNotFound. `max_payload` bounds the bytes of one message (8 MiB). Raises InvalidArgument or a StoreError.
        """
        name, max_payload = check_topic_name(name), check_max_payload(max_payload)
        session = await Session.open(store, create=create)
        try:
            return cls(session, await session.hub(name, create=create), max_payload)
        except BaseException:
            await session.close()
            raise

    def __repr__(self) -> str:
        return f"<topic {self.name} in {self._session.store.url}>"

    async def close(self) -> None:
        """Close the subscriptions opened here: consumers end, positions are durable and leases let go on return. Again is harmless."""
        await super().close()

    async def _close(self) -> None:
        try:
            closing = [*(subscription.close() for subscription in self._mine), *(dispatcher.close() for dispatcher in self._opening)]
            results = await asyncio.gather(*closing, return_exceptions=True)
        finally:
            await self._session.close()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _check(self) -> None:
        self._context.check()
        if self._closing is not None:
            raise Closed(f"topic {self.name} is closed; open it again")

    @property
    def store(self) -> Store:
        """The store it lies in."""
        return self._session.store

    @property
    def hub(self) -> Hub:
        self._check()
        return self._hub

    @property
    def head(self) -> int:
        """The offset that the next message will get, as far as this process knows."""
        return self._hub.log.head

    # publishing

    async def publish(self, payload: bytes, *, key: str | None = None, attributes: Mapping[str, str] | None = None) -> int:
        """Publish one message; return its offset once it is durable. A cancelled call is undecided.

        Raises InvalidArgument before anything changes, or a StoreError: then the message is not in, and trying again is safe. Only when the text says
        that the disk did not confirm a write, it may be in after all.
        """
        self._check()
        message = check_message(payload, key, attributes, max_payload=self._max_payload)
        offsets = await self._hub.log.append((message,))
        self._published += 1
        if self._published >= TURN:
            await self._give_turn()
        return offsets[0]

    async def publish_many(self, items: Iterable[bytes | Message]) -> int:
        """Publish any number of payloads or messages, in order and in chunks; return their number once all are durable.

        A list is checked before anything changes (InvalidArgument). After that a failure is PublishFailed, whose `published` says how many of the
        first ones are in.
        """
        self._check()
        published, chunk, size = 0, list[Message](), 0
        try:
            for message in self._checked(items):
                if chunk and (len(chunk) == READ_MESSAGES or size + len(message.payload) > APPEND_BYTES):
                    published += await self._append(chunk)
                    chunk, size = [], 0
                chunk.append(message)
                size += len(message.payload)
            if chunk:
                published += await self._append(chunk)
        except (InvalidArgument, StoreError) as error:
            if not published and isinstance(error, InvalidArgument):
                raise
            raise PublishFailed(self.store.url, published, error) from error
        return published

    def _checked(self, items: Iterable[bytes | Message]) -> Iterator[Message]:
        """A list is looked at as a whole, a stream item by item: it need not fit into memory."""
        if isinstance(items, Iterator):
            for number, item in enumerate(items):
                yield check_item(number, item, max_payload=self._max_payload)
        else:
            yield from check_messages(items, max_payload=self._max_payload)

    async def _append(self, chunk: Sequence[Message]) -> int:
        await self._hub.log.append(chunk)
        self._published += len(chunk)
        if self._published >= TURN:
            await self._give_turn()
        return len(chunk)

    async def _give_turn(self) -> None:
        self._published = 0
        await asyncio.sleep(0)

    # subscriptions

    async def subscribe(
        self,
        name: str,
        *,
        type: str = "exclusive",
        reliable: bool = True,
        start: str | int = "latest",
        policy: FailurePolicy | None = None,
        rate_limit: float | None = None,
        rate_burst: float | None = None,
        flush_interval: float | None = None,
        wait: float | None = 0.0,
        observer: Observer | None = None,
    ) -> Subscription:
        """Open a subscription, making it if it is new. When this returns, we own it, and its first position is durable.

        type            "exclusive" (one consumer), "failover" (one active consumer, others wait for their turn) or "shared" (round robin)
        reliable        at least once, one message in flight until it is acknowledged; False: at most once, live messages only, nothing is stored
        start           where a new subscription begins: "latest", "earliest", or an offset up to the head
        policy          what happens to a message that is not processed; FailurePolicy() by default
        rate_limit      first deliveries a second; None: no limit
        rate_burst      how many of them may go at once; one second's worth by default
        flush_interval  seconds until a new position is durable (5); 0: each ack is, before it returns
        wait            seconds to wait for another process's lease; None: for ever
        observer        sees each transition and effect; more of them: `Dispatcher.add_observer`

        Asking again for the same gives the same object, and an observer of that call watches, too. Raises InvalidArgument, SubscriptionMismatch (it
        exists otherwise), SubscriptionOwned (another process has it and `wait` is over), CursorUnreadable, or a StoreError. Cancelled, it leaves nothing
        behind.
        """
        self._check()
        opening = check_opening(
            *(self.name, name),
            type=type,
            reliable=reliable,
            start=start,
            policy=policy,
            rate_limit=rate_limit,
            rate_burst=rate_burst,
            flush_interval=flush_interval,
        )
        wait = check_wait(wait)
        async with self._session.lock(self.name, name):
            self._check()  # anew: it may have waited
            known = self._session.subscriptions.get((self.name, name))
            if known is not None and known.dispatcher.ended:
                await known.close()
                known = None
            if known is not None:
                if known.opening == opening:
                    if observer is not None:
                        known.dispatcher.add_observer(observer)
                    return known
                raise SubscriptionMismatch(self.name, name, f"it is open here with other arguments: {known.opening}")
            dispatcher = await self._dispatcher(opening, wait, observer)
            subscription = Subscription(self.name, opening, dispatcher, lambda: self._forget(subscription))
            self._session.subscriptions[self.name, name] = subscription
            self._mine.append(subscription)
            if not reliable:
                self._hub.add_live(dispatcher.live)
            return subscription

    async def _dispatcher(self, opening: Opening, wait: float | None, observer: Observer | None) -> Dispatcher:
        """An open one."""
        shared, standbys = opening.type == "shared", opening.type == "failover"
        if not opening.reliable:
            if await self._row(opening.name) is not None:
                raise SubscriptionMismatch(self.name, opening.name, "it is stored as reliable; open it as that, or unsubscribe first")
            make = Dispatcher.non_reliable_shared if shared else partial(Dispatcher.non_reliable_exclusive, standbys=standbys)
            dispatcher = make(observer=observer)
        else:
            _, _, _, start, policy, rate_limit, rate_burst, flush_interval = opening
            engine = SubscriptionEngine(
                *(self, opening.name), start=start, rate_limit=rate_limit, rate_burst=rate_burst, flush_interval=flush_interval, wait=wait
            )
            serve = Dispatcher.reliable_shared if shared else partial(Dispatcher.reliable_exclusive, standbys=standbys)
            dispatcher = serve(engine, policy=policy, observer=observer)
        self._opening.add(dispatcher)
        try:
            await dispatcher.ready()
        finally:
            self._opening.discard(dispatcher)
        self._check()
        return dispatcher

    def _forget(self, subscription: Subscription) -> None:
        key = (self.name, subscription.name)
        if self._session.subscriptions.get(key) is subscription:
            del self._session.subscriptions[key]
            self._mine.remove(subscription)
            if not subscription.dispatcher.reliable:
                self._hub.remove_live(subscription.dispatcher.live)

    async def unsubscribe(self, name: str) -> None:
        """Forget a subscription with its position and all that it held. The same name later is a new subscription.

        Raises SubscriptionInUse while consumers are attached here, SubscriptionOwned while another process has it, SubscriptionNotFound, or a StoreError.
        """
        self._check()
        name = check_subscription_name(name)
        async with self._session.lock(self.name, name):
            known = self._session.subscriptions.get((self.name, name))
            if known is not None:
                known.dispatcher.check_idle(self.name, name)
                await known.close()
                if not known.dispatcher.reliable:
                    return
            removal = asyncio.ensure_future(self._remove(name))
            try:
                await asyncio.shield(removal)
            except asyncio.CancelledError:
                await to_the_end(removal)  # undecided, but not half done
                raise

    async def _remove(self, name: str) -> None:
        lease = await self.store.acquire(self.name, name, owner=self._hub.owner, seconds=LEASE, new=None)
        if not isinstance(lease, Lease):
            raise SubscriptionOwned(self.name, name, lease.owner, lease.until)
        try:
            await self.store.remove(lease)
        except StoreError:
            await self._hub.give_up(lease)
            raise

    async def subscriptions(self) -> list[SubscriptionInfo]:
        """All subscriptions of the topic: the stored ones, whoever owns them, and the non-reliable ones of this process. Raises a StoreError."""
        self._check()
        self._hub.look()
        stored = [info(row, self._hub.log.head) for row in await self.store.rows(self.name)]
        live = [
            SubscriptionInfo(each.name, each.dispatcher.type, False, self._hub.owner, 0.0, None, 0, False, False, {})
            for each in self._session.subscriptions.values()
            if each.topic == self.name and not each.dispatcher.reliable
        ]
        return stored + live

    async def _row(self, name: str) -> Row | None:
        return next((row for row in await self.store.rows(self.name) if row.subscription == name), None)

    async def release(self, name: str, action: str, *, dead_letter_topic: str | None = None) -> int:
        """Let the blocked message of a subscription go, whoever owns it: "retry", "drop" or "dead_letter". Returns its offset.

        Another process that owns it does so at its next heartbeat. Without an owner, this process does it, and needs `dead_letter_topic` to dead-letter.
        Raises NotBlocked, SubscriptionNotFound, and what the owner answered.
        """
        self._check()
        name, action = check_subscription_name(name), check_release(action)
        async with self._session.lock(self.name, name):
            known = self._session.subscriptions.get((self.name, name))
            if known is not None:
                if not known.dispatcher.reliable:
                    raise NotSupported(f"subscription {name} is non-reliable: it never blocks")
                return await known.release(action)
            row = await self._row(name)
            if row is None:
                raise SubscriptionNotFound(self.name, name, "there is none of that name")
            return await release_from_outside(self, row, action, dead_letter_topic)
