"""A pool of three workers takes tasks from one queue, in turn: a shared subscription.

    python worker_pool.py [STORE] [--forever]

One task is in flight at a time: the pool spreads work and survives its workers, it does not do tasks side by side. The work blocks, so it goes to a
thread; on the event loop it would hold up the lease, and after 7 seconds another process could take the queue.

STORE is a file, tasks.db by default. Run it again, and it goes on where it was. With --forever, tasks keep coming. Ctrl-C and SIGTERM end it with
grace: the task in hand is finished and no new one begun; after 10 seconds the task is given up, and comes again next time.
"""

import argparse
import asyncio
import random
import signal
import sys
from functools import partial
from math import isqrt

from danube_dispatcher import DanubeError, Delivery, FailurePolicy, Topic


def primes(below: int) -> int:
    """Stands for any work that keeps a processor or a connection busy."""
    return sum(all(number % divisor for divisor in range(2, isqrt(number) + 1)) for number in range(2, below))


async def handle(name: str, delivery: Delivery) -> None:
    """What returns is acknowledged; what raises is delivered again, after a delay."""
    below = int(delivery.message.payload)
    print(f"{name}: {await asyncio.to_thread(primes, below)} primes below {below}")


async def main(store: str, forever: bool) -> None:
    asked = asyncio.Event()
    for ending in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(ending, asked.set)  # not on Windows: use signal.signal and call_soon_threadsafe there
    async with await Topic.open(f"sqlite:{store}", "/default/tasks") as topic:
        policy = FailurePolicy(ack_timeout=300, max_redeliveries=3)  # no task takes longer
        tasks = await topic.subscribe("pool", type="shared", start="earliest", policy=policy)
        await tasks.resume()  # the drain at the end of the last run paused it
        async with asyncio.TaskGroup() as workers:
            for name in ("anna", "bert", "cleo"):
                workers.create_task(tasks.run(partial(handle, name), name=name))
            await asyncio.sleep(0)  # they join, and share from the first task on
            await topic.publish_many(str(below).encode() for below in (10, 100, 1000, 10_000, 20_000, 30_000))
            while not asked.is_set() and (forever or tasks.explain().code != "end"):
                if forever:
                    await topic.publish(str(random.randrange(30_000)).encode())
                await asyncio.sleep(0.1)
            left = await tasks.drain(timeout=10)
            print(f"given up: {left[0].why}" if left else "drained")
            await tasks.close()  # the workers' runs end


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("store", nargs="?", default="tasks.db", help="a file (%(default)s)")
    arguments.add_argument("--forever", action="store_true", help="go on until Ctrl-C")
    given = arguments.parse_args()
    try:
        asyncio.run(main(given.store, given.forever))
    except DanubeError as error:
        sys.exit(str(error))

# prints:
# anna: 4 primes below 10
# bert: 25 primes below 100
# cleo: 168 primes below 1000
# anna: 1229 primes below 10000
# bert: 2262 primes below 20000
# cleo: 3245 primes below 30000
# drained
