"""Orders are booked one after the other by one worker, while another stands by: a failover subscription.

    python order_processing.py [STORE] [--forever]

The active worker is lost when it has booked its third order and not said so yet. The standby is given that order once more, finds it booked, and goes
on. STORE is a file, orders.db by default. Run it again, and it goes on where it was. With --forever it takes an order a second and ends with Ctrl-C;
a second process on the same file waits then, and takes over.
"""

import argparse
import asyncio
import sqlite3
import sys
from contextlib import closing

from danube_dispatcher import DanubeError, Subscription, Topic


class Books:
    """What was sold: one row for each order, however often it is delivered."""

    def __init__(self, path: str) -> None:
        self._path = path
        with closing(sqlite3.connect(path)) as books, books:
            books.execute("CREATE TABLE IF NOT EXISTS booked (number TEXT PRIMARY KEY, cents INTEGER NOT NULL)")

    def book(self, number: str, cents: int) -> bool:
        """Whether it was not booked before."""
        with closing(sqlite3.connect(self._path)) as books, books:
            return books.execute("INSERT INTO booked VALUES (?, ?) ON CONFLICT DO NOTHING", (number, cents)).rowcount == 1

    def total(self) -> tuple[int, int]:
        with closing(sqlite3.connect(self._path)) as books:
            orders, cents = books.execute("SELECT count(*), sum(cents) FROM booked").fetchone()
        return orders, cents


async def work(name: str, orders: Subscription, books: Books, lost_with: str | None = None) -> None:
    try:
        async with orders.consumer(name) as consumer:
            async for delivery in consumer:
                number = delivery.message.key or f"offset {delivery.message.offset}"
                new = await asyncio.to_thread(books.book, number, int(delivery.message.payload))  # a disk blocks: not on the event loop
                print(f"{name}: {number} {'is booked' if new else 'was booked before'}, attempt {delivery.attempt}")
                if number == lost_with:
                    raise ConnectionError("the connection to the till broke")
                await delivery.ack()
    except ConnectionError as error:
        print(f"{name} is lost: {error}")


async def main(store: str, forever: bool) -> None:
    async with await Topic.open(f"sqlite:{store}", "/default/orders") as topic:
        books = Books(f"{store}.books")
        orders = await topic.subscribe("booking", type="failover", start="earliest", wait=None)  # as long as another process has it
        first = topic.head + 1
        for number in range(first, first + 5):
            await topic.publish(b"1995", key=f"order {number}")  # on disk when this returns
        async with asyncio.TaskGroup() as workers:
            workers.create_task(work("active", orders, books, lost_with=f"order {first + 2}"))
            workers.create_task(work("standby", orders, books))
            while forever:
                await asyncio.sleep(1)
                await topic.publish(b"1995", key=f"order {topic.head + 1}")
            await orders.caught_up()
            await orders.close()  # the workers' loops end
        print("{} orders, {} cents".format(*books.total()))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("store", nargs="?", default="orders.db", help="a file (%(default)s)")
    arguments.add_argument("--forever", action="store_true", help="go on until Ctrl-C")
    given = arguments.parse_args()
    try:
        asyncio.run(main(given.store, given.forever))
    except DanubeError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("stopped; run it again to go on")
        sys.exit(130)

# prints:
# active: order 1 is booked, attempt 1
# active: order 2 is booked, attempt 1
# active: order 3 is booked, attempt 1
# active is lost: the connection to the till broke
# standby: order 3 was booked before, attempt 2
# standby: order 4 is booked, attempt 1
# standby: order 5 is booked, attempt 1
# 5 orders, 9975 cents
