"""One subscription in one process, from an opening to its end and on to the next; and whoever operates it."""

from __future__ import annotations

import asyncio
from typing import Any

from danube_statemachines import FailurePolicy

from ..errors import Closed, InvalidArgument, NotBlocked, StoreError, SubscriptionError, SubscriptionOwned
from ..subscription import Subscription
from .process import Process
from .scenario import CARE, DEAD, NAP, WATCH, Kind, opening
from .worker import Worker

WAIT = 25.0
"""Seconds at most that it waits for another process's lease: longer than a takeover takes."""
LIFE = 600.0
"""Seconds that an opening lasts, in the mean, before it is closed."""
FORGOTTEN = 0.3
"""Chance that a fleeting subscription is unsubscribed after it was closed."""
RARELY = 40.0
"""Seconds between two looks of an operator, in the mean, while not all is well."""


async def serve(process: Process, kind: Kind) -> None:
    """Open the subscription again and again, as long as the process lives."""
    world, random = process.world, process.world.random
    await asyncio.sleep(random.random())
    while True:
        subscription = await _open(process, kind)
        if subscription is not None:
            await _hold(process, kind, subscription)
        await asyncio.sleep(random.random() * (1.0 if world.faults.calm else NAP))


async def _open(process: Process, kind: Kind) -> Subscription | None:
    world, random = process.world, process.world.random
    arguments = opening(kind, random, process.topics[kind.topic].head)
    wait = random.uniform(0.0, WAIT) if kind.reliable and random.random() < 0.3 else 0.0
    observer = world.observer if random.random() < 0.5 else None
    process.write("opening", kind.key, kind.type, int(wait * 1000), *_told(arguments))
    try:
        subscription = await process.topics[kind.topic].subscribe(kind.name, wait=wait, observer=observer, **arguments)
    except (SubscriptionError, StoreError) as error:
        process.write("unopened", kind.key, "owned" if isinstance(error, SubscriptionOwned) else type(error).__name__)
        return None
    process.write("opened", kind.key)
    return subscription


def _told(arguments: dict[str, Any]) -> tuple[str | int, ...]:
    """ack timeout, max_redeliveries, poison policy, max_hold, flush interval, rate, burst: milliseconds, messages in 1000 s, -1 for none."""
    policy: FailurePolicy | None = arguments.get("policy")
    if policy is None:
        return ()
    times = (policy.max_hold, arguments["flush_interval"], arguments.get("rate_limit"), arguments.get("rate_burst"))
    return (round(policy.ack_timeout * 1000), policy.max_redeliveries, policy.poison_policy, *(-1 if each is None else round(each * 1000) for each in times))


async def _hold(process: Process, kind: Kind, subscription: Subscription) -> None:
    """Consume and operate until it ends, by itself or because its time has come."""
    world, random = process.world, process.world.random
    names = ["c1"] if kind.type == "exclusive" else [f"c{number}" for number in range(1, random.randrange(2, 5))]
    cancels = [process.spawn(Worker(process, kind, subscription, name).run()) for name in names]
    if kind.type == "exclusive" and random.random() < 0.1:
        cancels.append(process.spawn(Worker(process, kind, subscription, "c2").run()))
    if kind.reliable:
        cancels.append(process.spawn(_operate(process, kind, subscription)))
    ends = asyncio.get_running_loop().time() + random.expovariate(1 / LIFE)
    rival_at = asyncio.get_running_loop().time() + world.faults.pause("rival")
    while not subscription.dispatcher.ended and (world.faults.calm or asyncio.get_running_loop().time() < ends):
        await asyncio.sleep(CARE if world.faults.calm else WATCH)
        if asyncio.get_running_loop().time() > rival_at:
            rival_at += world.faults.pause("rival")
            world.faults.counts["rival"] += 1
            cancels.append(process.spawn(Worker(process, kind, subscription, random.choice(names)).run()))
    await _close(process, kind, subscription)
    for cancel in cancels:
        cancel()


async def _close(process: Process, kind: Kind, subscription: Subscription) -> None:
    random = process.world.random
    try:
        if kind.reliable and not subscription.dispatcher.ended and random.random() < 0.3:
            await _pause(process, kind, subscription, drain=True)
            if random.random() < 0.8:
                await _resume(process, kind, subscription)
        process.write("closing", kind.key)
        await subscription.close()
        process.write("closed", kind.key)
        if kind.fleeting and random.random() < FORGOTTEN and not process.world.faults.calm:
            process.write("unsubscribing", kind.key)
            await process.topics[kind.topic].unsubscribe(kind.name)
    except (Closed, StoreError, SubscriptionError) as error:
        process.write("unclosed", kind.key, type(error).__name__)


async def _operate(process: Process, kind: Kind, subscription: Subscription) -> None:
    world, random = process.world, process.world.random
    while not subscription.dispatcher.ended:
        await asyncio.sleep(CARE if world.faults.calm else min(random.expovariate(1 / RARELY), 2 * RARELY))
        try:
            why = subscription.explain().code
            if subscription.status().state == "Blocked":
                await release(process, kind, subscription)
            elif world.faults.calm:
                if why == "paused":
                    await _resume(process, kind, subscription)
            elif random.random() < 0.2:
                await _pause(process, kind, subscription, drain=random.random() < 0.5)
                await asyncio.sleep(random.random() * 10.0)
                await _resume(process, kind, subscription)
            elif random.random() < 0.03:
                process.write("disconnecting", kind.key)
                await subscription.dispatcher.disconnect_all_consumers()
        except (Closed, NotBlocked, StoreError, InvalidArgument) as error:
            process.write("unoperated", kind.key, type(error).__name__)


async def _pause(process: Process, kind: Kind, subscription: Subscription, *, drain: bool) -> None:
    process.write("pausing", kind.key)
    if drain:
        await subscription.drain(process.world.random.random() * 10.0)
    else:
        await subscription.pause()
    process.write("paused", kind.key)


async def _resume(process: Process, kind: Kind, subscription: Subscription) -> None:
    process.write("resuming", kind.key)
    await subscription.resume()


async def release(process: Process, kind: Kind, subscription: Subscription | None) -> None:
    """Let its blocked message go, as its owner or from another process. Raises what releasing raises."""
    random = process.world.random
    action = random.choice(["retry", "drop"] if kind.dead_letters is None else ["retry", "drop", "dead_letter"])
    process.write("releasing", kind.key, action)
    if subscription is not None:
        offset = await subscription.release(action)
    else:
        offset = await process.topics[kind.topic].release(kind.name, action, dead_letter_topic=kind.dead_letters or DEAD if action == "dead_letter" else None)
    process.write("released", kind.key, action, offset)
