"""Play the stories that people ask about on the real runtime, and write down and draw what is seen of them (make diagrams)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import NamedTuple

from danube_dispatcher import FailurePolicy, OwnershipLost
from danube_dispatcher.sequence import sequence, svg

from .stage import DEAD, Script, Stage, play

FOLDER = Path(__file__).parent / "stories"


async def ack_cycle(stage: Stage) -> None:
    process = await stage.process(engine="engine")
    await process.subscribe(opening=False)
    anna = await process.join("anna")
    await process.publish("order 1")
    first = await anna.take()
    await process.publish("order 2")
    await asyncio.sleep(2.0)
    await anna.ack(first)
    second = await anna.take()
    await asyncio.sleep(1.0)
    await anna.ack(second)
    await process.written()


async def failover(stage: Stage) -> None:
    process = await stage.process("dispatcher")
    await process.publish("order 1")
    await process.subscribe(opening=False, type="failover")
    anna = await process.join("anna")
    bert = await process.join("bert")
    await anna.take()
    await asyncio.sleep(2.0)
    await anna.leave(RuntimeError())
    await bert.ack(await bert.take())


async def late_ack(stage: Stage) -> None:
    process = await stage.process("dispatcher")
    await process.publish("order 1")
    await process.subscribe(opening=False)
    anna = await process.join("anna")
    first = await anna.take()
    await asyncio.sleep(40.0)
    await anna.ack(first)
    await anna.ack(await anna.take())


async def backoff(stage: Stage) -> None:
    process = await stage.process("dispatcher")
    await process.publish("order 1")
    await process.subscribe(opening=False)
    anna = await process.join("anna")
    await anna.nack(await anna.take(), "no stock")
    await anna.nack(await anna.take(), "no stock")
    await anna.nack(await anna.take(), "closed", delay=30.0)
    await anna.ack(await anna.take())


async def dead_letter(stage: Stage) -> None:
    process = await stage.process("dispatcher")
    await process.publish("order 1", "order 2")
    await process.subscribe(opening=False, policy=FailurePolicy(max_redeliveries=1, poison_policy="dead_letter", dead_letter_topic=DEAD))
    anna = await process.join("anna")
    await anna.nack(await anna.take(), "illegible")
    await anna.nack(await anna.take(), "illegible")
    await anna.take()
    await process.written()


async def crash(stage: Stage) -> None:
    process = await stage.process("dispatcher")
    await process.publish("order 1", "order 2")
    await process.subscribe()
    anna = await process.join("anna")
    await anna.ack(await anna.take())
    await anna.take()
    await asyncio.sleep(2.0)
    process.crash()
    await asyncio.sleep(1.0)
    process = await stage.process("dispatcher")
    await process.subscribe(wait=None)
    anna = await process.join("anna")
    await anna.ack(await anna.take())
    await anna.ack(await anna.take())


async def takeover(stage: Stage) -> None:
    one = await stage.process("process 1", renewals=True)
    await one.publish("order 1")
    await one.subscribe()
    anna = await one.join("anna")
    delivery = await anna.take()
    two = await stage.process("process 2", renewals=True)
    await asyncio.sleep(1.0)
    waiting = asyncio.ensure_future(two.subscribe(wait=None))
    await asyncio.sleep(3.0)
    one.stall()
    await waiting
    bert = await two.join("bert")
    again = await bert.take()
    await asyncio.sleep(1.0)
    one.resume()
    await anna.ack(delivery)
    try:
        await anna.take()
    except OwnershipLost:
        await bert.ack(again)


class Story(NamedTuple):
    title: str
    script: Script
    order: tuple[str, ...]


STORIES = {
    "ack-cycle": Story("The normal ack cycle", ack_cycle, ("anna", "machine", "engine", "store")),
    "failover": Story("Failover with a message in flight", failover, ("anna", "bert", "dispatcher")),
    "late-ack": Story("An ack timeout, and an ack that comes too late", late_ack, ("anna", "dispatcher")),
    "backoff": Story("A nack, and the delay that follows", backoff, ("anna", "dispatcher")),
    "dead-letter": Story("A poison message becomes a dead letter", dead_letter, ("anna", "dispatcher")),
    "crash": Story("A crash, and what comes again after it", crash, ("anna", "dispatcher")),
    "takeover": Story("A second process takes over", takeover, ("anna", "process 1", "store", "process 2", "bert")),
}


def drawn(name: str) -> dict[str, str]:
    """The files of a story, by their suffix: it is played for them."""
    title, script, order = STORIES[name]
    elements = play(script)
    return {"mmd": sequence(title, elements, order=order), "svg": svg(title, elements, order=order)}


def main(folder: Path = FOLDER) -> int:
    folder.mkdir(exist_ok=True)
    for name in STORIES:
        for suffix, text in drawn(name).items():
            (folder / f"{name}.{suffix}").write_text(text, encoding="utf-8")
    print(f"wrote {', '.join(STORIES)} to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
