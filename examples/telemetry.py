"""Readings of sensors go to whoever has room, and what nobody has room for is dropped and counted: a non-reliable, shared dispatcher.

    python telemetry.py [--forever]

Nothing is stored, and nobody waits: a reading is sent, dropped, or finds no consumer, and `dispatch_message` says which at once. One of the three
workers hangs for a while, on its database: its box fills up, the others go on, and a burst that is too big for them loses its tail.
With --forever, readings keep coming until Ctrl-C.
"""

import argparse
import asyncio
import random
import sys
from collections import Counter

from danube_dispatcher import Consumer, Dispatcher, Message

ROOM = 4
"""Readings that a worker's box holds. Small, since an old reading is worth nothing."""


class Worker:
    def __init__(self, name: str) -> None:
        self.consumer = Consumer(name, capacity=ROOM)
        self.database = asyncio.Event()
        self.database.set()
        self.stored = 0

    async def work(self) -> None:
        async for _reading in self.consumer:
            await self.database.wait()
            self.stored += 1


def burst(dispatcher: Dispatcher, readings: int) -> str:
    """A gateway hands over so many at once."""
    outcomes = Counter(dispatcher.dispatch_message(Message(b"%.1f" % random.gauss(20, 2), key=f"sensor {nth}")) for nth in range(readings))
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))


async def main(forever: bool) -> None:
    async with Dispatcher.non_reliable_shared() as dispatcher, asyncio.TaskGroup() as tasks:
        print("nobody there:", burst(dispatcher, 3))
        workers = [Worker(name) for name in ("a", "b", "c")]
        for worker in workers:
            dispatcher.add_consumer(worker.consumer)
            tasks.create_task(worker.work())
        print("three workers:", burst(dispatcher, 12))
        await asyncio.sleep(0.1)

        workers[2].database.clear()
        print("c hangs:", burst(dispatcher, 6))
        await asyncio.sleep(0.1)
        print("it still does:", burst(dispatcher, 20))
        print("waiting:", {consumer.name: consumer.waiting for consumer in dispatcher.status().consumers})
        await asyncio.sleep(0.1)

        dispatcher.remove_consumer("c")  # what it had not taken is dropped, too
        workers[2].database.set()
        print("without c:", burst(dispatcher, 8))
        while forever:
            await asyncio.sleep(0.5)
            print("more:", burst(dispatcher, random.randrange(16)))
        await asyncio.sleep(0.1)
        counts = dispatcher.status().counts
        print(f"delivered {counts.delivered}, dropped {counts.dropped}, nobody there {counts.no_consumer}, stored {sum(each.stored for each in workers)}")
        await dispatcher.close()  # the workers' loops end


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--forever", action="store_true", help="go on until Ctrl-C")
    try:
        asyncio.run(main(arguments.parse_args().forever))
    except KeyboardInterrupt:
        print("stopped")
        sys.exit(130)

# prints:
# nobody there: 3 no_consumer
# three workers: 12 sent
# c hangs: 6 sent
# it still does: 9 dropped, 11 sent
# waiting: {'a': 4, 'b': 4, 'c': 4}
# without c: 8 sent
# delivered 37, dropped 13, nobody there 3, stored 33
