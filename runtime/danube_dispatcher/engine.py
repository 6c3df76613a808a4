"""What a reliable dispatcher reads from and writes to: the stream of a topic and the durable progress of one subscription.

The rules are `danube_statemachines.EngineCore`'s; this carries them out on a store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from danube_statemachines import FLUSH_INTERVAL, EngineCore, FailurePolicy, Held, Progress
from danube_statemachines.checks import shown

from .cancellation import to_the_end
from .clock import HEARTBEAT, LEASE, NEVER
from .dead_letters import DeadLetters
from .errors import Closed, CursorUnreadable, Fenced, InvalidArgument, OwnershipLost, StoreError, SubscriptionOwned, UsageError
from .hub import Host, Hub
from .messages import Message
from .storage.protocols import Batch, Lease, Occupied, Spec
from .validation import check_burst, check_flush_interval, check_rate_limit, check_start, check_subscription_name, check_wait

log = logging.getLogger(__package__)


class Topic(Protocol):
    @property
    def hub(self) -> Hub: ...


class Driver(Protocol):
    """The adapter, as its engine sees it."""

    def follow(self) -> None: ...


class SubscriptionEngine:
    """The progress of the subscription `name` on `topic`.

    start           where a new subscription begins: "latest", "earliest", or an offset
    rate_limit      messages a second that are sent for the first time; None: no limit
    rate_burst      how many of them may go at once; one second's worth by default
    flush_interval  seconds until a new cursor is durable; 0: each ack is, before it returns
    wait            seconds to wait for a lease that another process holds; None: for ever
    """

    def __init__(
        self,
        topic: Topic,
        name: str,
        *,
        start: str | int = "latest",
        rate_limit: float | None = None,
        rate_burst: float | None = None,
        flush_interval: float = FLUSH_INTERVAL,
        wait: float | None = 0.0,
    ) -> None:
        hub: object = getattr(topic, "hub", None)
        if not isinstance(hub, Hub):
            raise InvalidArgument("topic", f"needs an open Topic, not {shown(topic)}")
        self.hub = hub
        self.name = check_subscription_name(name)
        self.start = check_start(start)
        self.rate_limit = check_rate_limit(rate_limit)
        self.rate_burst = check_burst(rate_burst, rate_limit)
        self.flush_interval = check_flush_interval(flush_interval)
        self.wait = check_wait(wait)
        self.lease: Lease
        self.core: EngineCore[Message]
        self.told: object = None
        self._attached_at = NEVER
        self._troubles: dict[str, str] = {}
        self._opened = False
        self._adapter: Driver
        self.host: Host
        self._dead_letters: DeadLetters | None = None
        self._write: asyncio.Future[None] | None = None
        self._waiters: list[tuple[int, asyncio.Future[bool]]] = []

    def __repr__(self) -> str:
        return f"SubscriptionEngine({self.hub.name!r}, {self.name!r})"

    # opening and closing

    async def open(self, type: str, policy: FailurePolicy) -> None:
        """Take the lease, fence, and make the first position of a new subscription durable."""
        if self._opened:
            raise UsageError(f"{self!r} was given to a dispatcher before; make a new one")
        self._opened = True
        self.hub.look()
        head = self.hub.log.head
        first = {"latest": head, "earliest": 0}.get(self.start, self.start) if isinstance(self.start, str) else self.start
        if not isinstance(first, int) or first > head:
            raise InvalidArgument("start", f"{first} is beyond the head {head} of {self.hub.name}")
        store = self.hub.store
        self.lease, began = await self._acquire(Spec(type, first - 1))
        try:
            progress = await store.load(self.lease)
            self.hub.look()
            if progress.cursor >= self.hub.log.head:
                problem = f"the saved cursor {progress.cursor} lies beyond the log, which ends before {self.hub.log.head}"
                raise CursorUnreadable(self.hub.name, self.name, problem)
        except BaseException:
            await to_the_end(self._undo(self.lease))
            raise
        now = asyncio.get_running_loop().time()
        self.core = EngineCore(
            self._moved(progress, now - store.now()),
            now=now,
            lease_until=began + LEASE,
            unclean=self.lease.unclean,
            flush_interval=self.flush_interval,
            rate_limit=self.rate_limit,
            rate_burst=self.rate_burst,
            exhausted=policy.exhausted,
        )

    def attach(self, adapter: Driver, host: Host, dead_letters: DeadLetters | None) -> None:
        """From now on the engine serves this adapter."""
        self._adapter = adapter
        self.host = host
        self._dead_letters = dead_letters
        self._attached_at = asyncio.get_running_loop().time()
        self.hub.holdings.add(self.lease, self)

    async def _acquire(self, new: Spec) -> tuple[Lease, float]:
        """The lease, and when the call that took it began: it counts from then."""
        loop = asyncio.get_running_loop()
        deadline = None if self.wait is None else loop.time() + self.wait
        seen: Occupied | None = None
        since = 0.0
        while True:
            now = loop.time()
            # who has not renewed for a whole lease on our own clock is gone, whatever the wall clocks say
            stamp = seen.stamp if seen is not None and now - since >= LEASE else None
            call = asyncio.ensure_future(self.hub.store.acquire(self.hub.name, self.name, owner=self.hub.owner, seconds=LEASE, new=new, stamp=stamp))
            try:
                answer = await asyncio.shield(call)
            except asyncio.CancelledError:
                await to_the_end(self._undo_call(call))
                raise
            if isinstance(answer, Lease):
                return answer, now
            if seen is None or seen.stamp != answer.stamp:
                seen, since = answer, loop.time()  # when the answer came: the call may have taken longer than a lease
            if deadline is not None and now >= deadline:
                raise SubscriptionOwned(self.hub.name, self.name, answer.owner, answer.until)
            await asyncio.sleep(HEARTBEAT if deadline is None else min(HEARTBEAT, deadline - now))

    async def _undo_call(self, call: asyncio.Future[Lease | Occupied]) -> None:
        answer = await call
        if isinstance(answer, Lease):
            await self._undo(answer)

    async def _undo(self, lease: Lease) -> None:
        """Leave everything as it was before the lease was taken."""
        store = self.hub.store
        if lease.created:
            await store.remove(lease)
        elif lease.unclean:
            await self.hub.run_out(lease)
        else:
            try:
                progress = await store.load(lease)
            except CursorUnreadable:
                await self.hub.run_out(lease)
            else:
                await store.store(lease, progress, let_go=True)

    async def close(self, held: Held | None, *, withdrawn: bool = False) -> None:
        """Make the position, and the history of the message in hand, durable, and let go of the lease. Nothing of it after the ownership was lost.

        `withdrawn`: nobody wants it any more who could know that it was opened, so leave everything as it was.
        """
        now = asyncio.get_running_loop().time()
        lost = self.core.ended == "lost"
        progress = self.core.end("lost" if lost else "closed", now, held)
        self.hub.forget(self.lease)
        durable = False
        try:
            if self._write is not None:
                await asyncio.wait([self._write])
            if withdrawn:
                await self._undo(self.lease)
            elif not lost:
                await self.hub.store.store(self.lease, self._moved(progress, self.hub.store.now() - now), let_go=True)
                durable = True
        except Fenced:
            log.warning("subscription %s of %s was taken over by another process before it was closed here", self.name, self.hub.name)
        except StoreError:
            await self.hub.give_up(self.lease)
            raise
        finally:
            self._answer_waiters(durable)

    def lose(self) -> None:
        """Another process owns the subscription."""
        if self.core.ended is None:
            self.core.end("lost", asyncio.get_running_loop().time())
            self.hub.forget(self.lease)
            self._answer_waiters(False)
            self.host.fail(OwnershipLost(self.hub.name, self.name, "another process has taken it over; subscribe again to compete for it"))

    # what the core asks for

    def read(self, now: float) -> None:
        core, log_ = self.core, self.hub.log
        core.read_begun()
        if core.next_offset >= log_.head:
            self.hub.waiting[self.lease] = self
            core.read_done((), core.next_offset, now)
            return
        try:
            answer = log_.read(core.next_offset)
        except StoreError as error:
            self._read_failed(error)
            return
        if isinstance(answer, Batch):
            self._troubles.pop("read", None)
            self._read_answered(answer, now)
        else:
            self.hub.waiting[self.lease] = self  # to hear of what is published meanwhile
            asyncio.ensure_future(answer).add_done_callback(self._read_done)

    def _read_answered(self, batch: Batch, now: float) -> None:
        self.core.read_done(*batch, now)
        if self.core.at_end:
            self.hub.waiting[self.lease] = self

    def _read_done(self, answer: asyncio.Future[Batch]) -> None:
        error = None if answer.cancelled() else answer.exception()  # asked for even if it is too late: asyncio complains of errors that nobody saw
        if self.core.ended or answer.cancelled():
            return
        if error is None:
            self._troubles.pop("read", None)
            self._read_answered(answer.result(), asyncio.get_running_loop().time())
        elif isinstance(error, StoreError):
            self._read_failed(error)
        else:
            self.host.fail(StoreError(self.hub.store.url, f"reading failed: {error!r}"))
        self._adapter.follow()

    def _read_failed(self, error: StoreError) -> None:
        self._note(error, "read")
        if error.permanent:
            asyncio.get_running_loop().call_soon(self.host.fail, error)  # the step that asked ends first
        self.core.read_failed(asyncio.get_running_loop().time())

    def write(self, now: float) -> None:
        progress = self.core.begin_write(now)
        if progress is not None:
            self._write = asyncio.ensure_future(self.hub.store.store(self.lease, self._moved(progress, self.hub.store.now() - now)))
            self._write.add_done_callback(self._written)

    def _written(self, write: asyncio.Future[None]) -> None:
        self._write = None
        error = None if write.cancelled() else write.exception()
        if self.core.ended or write.cancelled():
            return
        now = asyncio.get_running_loop().time()
        if error is None:
            self.core.write_done(now)
            self._troubles.pop("write of the cursor", None)
            self._answer_waiters(True, self.core.writes_done)
        elif isinstance(error, Fenced):
            self.lose()
            return
        else:
            self._note(error, "write of the cursor")
            self.core.write_failed(now)
        self._adapter.follow()

    def _note(self, error: BaseException, what: str) -> None:
        if what not in self._troubles:
            log.warning("subscription %s of %s: %s failed, trying again: %s", self.name, self.hub.name, what, error)
        self._troubles[what] = f"{what} failed: {error}"

    @property
    def last_error(self) -> str | None:
        """What goes wrong with the store now, until the same succeeds."""
        return next(reversed(self._troubles.values()), None)

    @staticmethod
    def _moved(progress: Progress, seconds: float) -> Progress:
        """With its times on another clock that is so many seconds ahead."""
        held = progress.held
        return progress if held is None or held.due_at is None else progress._replace(held=held._replace(due_at=held.due_at + seconds))

    # waiting until something is durable

    async def durable(self, timeout: float | None = None) -> bool:
        """Wait until everything up to now is durable. False: it was closed or lost before, or it took longer than `timeout` seconds."""
        ticket = self.core.ticket(asyncio.get_running_loop().time())
        if ticket <= self.core.writes_done:
            return True
        if self.core.ended:
            return False
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append((ticket, waiter))
        self._adapter.follow()
        if timeout is not None:
            await asyncio.wait([waiter], timeout=timeout)
            return waiter.done() and waiter.result()
        return await waiter

    def _answer_waiters(self, answer: bool, upto: int | None = None) -> None:
        waiters, self._waiters = self._waiters, []
        for ticket, waiter in waiters:
            if upto is not None and ticket > upto:
                self._waiters.append((ticket, waiter))
            elif not waiter.done():
                waiter.set_result(answer)

    # news from outside

    def head_moved(self, messages: Sequence[Message] = ()) -> None:
        core = self.core
        core.head_moved(messages)
        if core.at_end:
            self.hub.waiting[self.lease] = self
        self._adapter.follow()

    def renewed(self) -> None:
        """A renewal has succeeded."""
        self.see_renewal(asyncio.get_running_loop().time())
        if self.core.attention or self.core.news:
            self._adapter.follow()

    def see_renewal(self, now: float) -> None:
        """Learn until when the lease holds."""
        began = self.hub.holdings.renewed_at
        if began >= self._attached_at and began + LEASE > self.core.lease_until:
            self.core.renewed(began + LEASE, now)

    def stirred(self, now: float) -> None:
        """Something happens with the subscription, after a while."""
        if self.core.ended is None:
            self.hub.holdings.stirred[self.lease] = self
            self.see_renewal(now)

    def dead_letter(self, message: Message, held: Held) -> None:
        """Write a dead letter; the adapter hears what became of it."""
        assert self._dead_letters is not None
        self._dead_letters.write(message, held)

    def check_open(self) -> None:
        if not self._opened:
            raise UsageError(f"{self!r} is not open yet; await dispatcher.ready() first")
        if self.core.ended is not None:
            raise Closed(f"{self!r} is closed")
