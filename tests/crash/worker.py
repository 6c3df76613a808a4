"""A process that can be killed: what it does stands on its command line, what it did on its standard output."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time

from danube_dispatcher import FailurePolicy, OwnershipLost, Topic
from danube_dispatcher.storage import open_store

TOPIC = "/test/orders"


def say(*words: object) -> None:
    print(*words, flush=True)


async def heard() -> str:
    return await asyncio.to_thread(sys.stdin.readline)


async def publish(topic: Topic, prefix: str, count: int) -> None:
    """Say each offset once its message is durable."""
    for number in range(count):
        say(await topic.publish(f"{prefix}{number}".encode()))


async def consume(topic: Topic, limit: int) -> None:
    """Acknowledge everything, and say so; a deadly message kills."""
    subscription = await topic.subscribe("s", start="earliest", policy=FailurePolicy(max_redeliveries=limit), flush_interval=0.05)
    async with subscription.consumer("c") as consumer:
        while True:
            try:
                async with asyncio.timeout(0.3):
                    delivery = await anext(consumer)
            except TimeoutError:
                say("idle", subscription.explain().code, subscription.explain().sentence)
                await heard()
                return
            say("took", delivery.message.offset, delivery.attempt)
            if delivery.message.payload == b"deadly":
                os.kill(os.getpid(), signal.SIGKILL)
            assert await delivery.ack()
            say("acked", delivery.message.offset)


async def hold(topic: Topic) -> None:
    """Take a message, and acknowledge it only when told to."""
    subscription = await topic.subscribe("s", start="earliest", flush_interval=0)
    async with subscription.consumer("c") as consumer:
        delivery = await anext(consumer)
        say("took", delivery.message.offset, delivery.attempt)
        await heard()
        say("acked", await delivery.ack())
        try:
            say("took", (await anext(consumer)).message.offset)
        except OwnershipLost as error:
            say("lost", error)


async def block(topic: Topic) -> None:
    """Own a blocked message."""
    subscription = await topic.subscribe("s", start="earliest", policy=FailurePolicy(max_redeliveries=0))
    async with subscription.consumer("c") as consumer:
        await (await anext(consumer)).nack(reason="too hot")
        say("blocked")
        delivery = await anext(consumer)
        say("acked", delivery.message.offset, await delivery.ack())


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("what", choices=["publish", "consume", "hold", "block"])
    parser.add_argument("--prefix", default="")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--limit", type=int, default=5)
    parser.add_argument("--later", type=float, default=0.0, help="seconds that its clock is ahead, so that leases of the dead are over")
    arguments = parser.parse_args()
    store = await open_store(arguments.url, create=True, clock=lambda: time.time() + arguments.later)
    async with await Topic.open(store, TOPIC) as topic:
        if arguments.what == "publish":
            await publish(topic, arguments.prefix, arguments.count)
        elif arguments.what == "consume":
            await consume(topic, arguments.limit)
        elif arguments.what == "hold":
            await hold(topic)
        else:
            await block(topic)
    await store.close()


asyncio.run(main())
