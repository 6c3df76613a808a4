"""Asking the owner of a subscription, in whatever process it is, to do something or to tell something: by a request that it finds in the store."""

from __future__ import annotations

import asyncio

from .cancellation import to_the_end
from .clock import HEARTBEAT, LEASE
from .errors import DanubeError, InvalidArgument, StoreUnavailable
from .storage.protocols import Store


async def ask(store: Store, topic: str, subscription: str, owner: str, action: str, refused: type[DanubeError]) -> str:
    """The owner's answer, which comes with its next heartbeat. Cancelled, it takes the request back, unless the owner is about to do it.

    Raises `refused` with what the owner has against it, InvalidArgument when it could never do it, StoreUnavailable when it has not answered within a
    lease, and SubscriptionNotFound.
    """
    asking = asyncio.ensure_future(store.ask(topic, subscription, action))
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LEASE
    try:
        request = await asyncio.shield(asking)
        while loop.time() < deadline:
            await asyncio.sleep(HEARTBEAT / 4)
            answer = await store.answered(request)
            if answer is not None:
                word, _, rest = answer.partition(" ")
                if word == "ok":
                    return rest
                if word == "invalid":
                    raise InvalidArgument("action", f"{owner} answers: {rest}")
                raise refused(f"{owner} answers: {rest}")
    except asyncio.CancelledError:
        await to_the_end(_withdraw(store, asking))
        raise
    await _withdraw(store, asking)
    raise StoreUnavailable(store.url, f"the owner {owner} has not answered within {LEASE:g} s; its lease may have run out, try again")


async def _withdraw(store: Store, asking: asyncio.Future[int]) -> None:
    await store.answered(await asking, withdraw=True)
