"""One topic of one store, as the subscriptions of this process share it: who is told when its head moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from .clock import NEVER
from .errors import StoreError
from .messages import Message
from .storage.protocols import READ_BYTES, Batch, Lease, Store, TopicLog

CATCH_UP = 4096
"""Messages of other processes that are handed to non-reliable subscriptions in a row before the event loop gets a turn."""


class Live(Protocol):
    """A non-reliable dispatcher: it is handed messages as they come."""

    def dispatch(self, message: Message) -> object: ...


class Host(Protocol):
    """A reliable dispatcher, as its engine and its store see it."""

    def fail(self, error: Exception) -> None:
        """Close, and let the consumers know why."""
        ...

    def mark(self) -> object:
        """Another value whenever `report` would say something else, but for the time that has passed."""
        ...

    def watch(self) -> None:
        """Say so to the engine when anything happens next."""
        ...

    def report(self) -> str:
        """What other processes may read of this dispatcher, as JSON."""
        ...

    async def request(self, action: str) -> str:
        """Do what another process asks for; return the answer."""
        ...


class Engine(Protocol):
    """A reliable dispatcher's engine, as its topic and its store see it."""

    told: object
    """The mark of what other processes were told of its host last."""

    @property
    def host(self) -> Host: ...

    def head_moved(self, messages: Sequence[Message]) -> None:
        """There is more to read; these, if they are at hand."""
        ...

    def renewed(self) -> None:
        """A renewal has succeeded, and it may have waited for that."""
        ...

    def lose(self) -> None:
        """Its lease is another process's."""
        ...


class Holdings:
    """The leases of a store that this process holds. They are renewed together; whoever is idle is not asked and hears of it when it matters."""

    def __init__(self) -> None:
        self.engines: dict[Lease, Engine] = {}
        self.stirred: dict[Lease, Engine] = {}
        """Those with which something may have happened since other processes were told of them."""
        self.renewed_at = -NEVER
        """When the last renewal that succeeded was begun."""

    def add(self, lease: Lease, engine: Engine) -> None:
        self.engines[lease] = self.stirred[lease] = engine

    def remove(self, lease: Lease) -> None:
        self.engines.pop(lease, None)
        self.stirred.pop(lease, None)


class Hub:
    def __init__(
        self,
        log: TopicLog,
        store: Store,
        owner: str,
        holdings: Holdings,
        sibling: Callable[[str], Awaitable[Hub]],
        look: Callable[[], None],
    ) -> None:
        self.log = log
        self.name = log.topic
        self.store = store
        self.owner = owner
        """This process, as a lease names it."""
        self.holdings = holdings
        """All of the store's."""
        self.sibling = sibling
        """The hub of another topic of the store, made if it is missing."""
        self.look = look
        """See now what other processes have written, and not at the next heartbeat."""
        self.waiting: dict[Lease, Engine] = {}
        """Those that have read to the end."""
        self._live: dict[Live, int] = {}
        """Each with the first offset that is for it."""
        self._tail = 0
        """The next offset that the live ones have not been handed."""
        self._seen = log.head
        self._reading = False
        self.unwatch = log.watch(self._moved)

    def add_live(self, live: Live) -> None:
        """Hand over what is published from now on."""
        self.look()  # what others published before is not for it
        if not self._live:
            self._tail = self.log.head
        self._live[live] = self.log.head

    def remove_live(self, live: Live) -> None:
        del self._live[live]

    def forget(self, lease: Lease) -> None:
        """Its engine has ended."""
        self.holdings.remove(lease)
        self.waiting.pop(lease, None)

    async def run_out(self, lease: Lease) -> None:
        """End the lease, but do not let go: the next owner is careful."""
        await self.store.renew({lease: None}, seconds=0.0)

    async def give_up(self, lease: Lease) -> None:
        """A write that was to end the lease has failed: whoever tries again need not wait for it. Raises nothing."""
        with suppress(StoreError):
            await self.run_out(lease)

    def beat(self) -> None:
        """A notification may have been lost: look."""
        if self._seen != self.log.head or (self._live and self._tail < self.log.head and not self._reading):
            self._moved(())

    def _moved(self, messages: Sequence[Message]) -> None:
        self._seen = self.log.head
        if self._live:
            if messages and messages[0].offset == self._tail:
                self._hand_over(messages, messages[-1].offset + 1)
            else:
                self._catch_up()
        if self.waiting:
            waiting, self.waiting = self.waiting, {}
            if len(messages) > 1 and sum([len(message[0]) for message in messages]) > READ_BYTES:
                messages = ()  # a commit takes more than may be read ahead
            for engine in waiting.values():
                engine.head_moved(messages)

    def _hand_over(self, messages: Sequence[Message], tail: int) -> None:
        self._tail = tail
        for live, first in tuple(self._live.items()):
            for message in messages:
                if message.offset >= first:  # one that was opened while others had still to catch up
                    live.dispatch(message)

    def _catch_up(self) -> None:
        """Other processes published, too: what is new stands in the log."""
        last = self._tail + CATCH_UP
        while self._live and self._tail < self.log.head and not self._reading:
            if self._tail >= last:
                asyncio.get_running_loop().call_soon(self._catch_up)
                return
            try:
                answer = self.log.read(self._tail)
            except StoreError:
                return  # the next heartbeat tries again
            if not isinstance(answer, Batch):
                self._reading = True
                asyncio.ensure_future(answer).add_done_callback(self._read)
                return
            if answer.next_offset <= self._tail:
                return
            self._hand_over(answer.messages, answer.next_offset)

    def _read(self, answer: asyncio.Future[Batch]) -> None:
        self._reading = False
        if not answer.cancelled() and answer.exception() is None and answer.result().next_offset > self._tail:
            self._hand_over(answer.result().messages, answer.result().next_offset)
            self._catch_up()
