"""Invoices that cannot be booked are moved to a topic of dead letters; what can be repaired there is published again, the rest waits for a person.

    python dead_letters.py [STORE] [--forever]

Two subscriptions: "booking" moves what has failed twice to the dead letters; "repair" reads those, and holds still at one that it cannot repair.
Here the program itself lets it go. With --forever it waits for you to do so, from another terminal:

    danube-dispatcher status STORE
    danube-dispatcher release STORE /default/dead-invoices repair drop

STORE is a file, invoices.db by default. Run it again, and it goes on where it was.
"""

import argparse
import asyncio
import json
import re
import sys

from danube_dispatcher import DanubeError, Delivery, FailurePolicy, Subscription, Topic

INVOICES, DEAD = "/default/invoices", "/default/dead-invoices"
BOOKING = FailurePolicy(max_redeliveries=1, redelivery_delay=0.2, poison_policy="dead_letter", dead_letter_topic=DEAD)
REPAIR = FailurePolicy(max_redeliveries=0, poison_policy="block")


async def book(delivery: Delivery) -> None:
    message = delivery.message
    try:
        euros = float(json.loads(message.payload)["euros"])
    except (ValueError, KeyError, TypeError) as error:
        print(f"{message.key} cannot be booked, attempt {delivery.attempt}")
        await delivery.nack(reason=f"{type(error).__name__}: {error}")
    else:
        print(f"{message.key} booked: {euros:.2f} euros")  # acknowledged when this returns


async def repair(invoices: Topic, delivery: Delivery) -> None:
    message = delivery.message
    about = message.attributes
    print(f"dead letter: {message.key} of {about['x-original-topic']}, after {about['x-delivery-attempt']} attempts: {about['x-failure-reason']}")
    mended = re.sub(rb'(\d),(\d\d")', rb"\1.\2", message.payload)  # a decimal comma
    if mended == message.payload:
        await delivery.nack(reason="nothing to repair is known")
    else:
        # with its attributes: x-death-count ends what would go round for ever; twice after a crash, as everything that is at least once
        await invoices.publish(mended, key=message.key, attributes=about)


async def all_settled_or_blocked(*subscriptions: Subscription) -> None:
    while any(each.explain().code not in ("end", "blocked") for each in subscriptions):
        await asyncio.sleep(0.05)


async def main(store: str, forever: bool) -> None:
    async with await Topic.open(f"sqlite:{store}", INVOICES) as invoices, await Topic.open(f"sqlite:{store}", DEAD) as dead:
        booking = await invoices.subscribe("booking", start="earliest", policy=BOOKING)
        repairing = await dead.subscribe("repair", start="earliest", policy=REPAIR)
        async with asyncio.TaskGroup() as group:
            group.create_task(booking.run(book))
            group.create_task(repairing.run(lambda delivery: repair(invoices, delivery)))
            for key, payload in (("lamp", b'{"euros": 20}'), ("chair", b'{"euros": "49,90"}'), ("desk", b"see attachment")):
                await invoices.publish(payload, key=key)
            await all_settled_or_blocked(booking, repairing)
            while forever:
                print(f"repair: {repairing.explain()}")
                await asyncio.sleep(5)
            while repairing.explain().code == "blocked":
                print(f"repair: {repairing.explain().sentence}")
                print(f"dropped: dead letter {await repairing.release('drop')}")
                await all_settled_or_blocked(booking, repairing)
            await booking.close()
            await repairing.close()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("store", nargs="?", default="invoices.db", help="a file (%(default)s)")
    arguments.add_argument("--forever", action="store_true", help="leave the blocked one to you, and go on until Ctrl-C")
    given = arguments.parse_args()
    try:
        asyncio.run(main(given.store, given.forever))
    except DanubeError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("stopped; run it again to go on")
        sys.exit(130)

# prints:
# lamp booked: 20.00 euros
# chair cannot be booked, attempt 1
# chair cannot be booked, attempt 2
# dead letter: chair of /default/invoices, after 2 attempts: ValueError: could not convert string to float: '49,90'
# desk cannot be booked, attempt 1
# desk cannot be booked, attempt 2
# dead letter: desk of /default/invoices, after 2 attempts: JSONDecodeError: Expecting value: line 1 column 1 (char 0)
# chair booked: 49.90 euros
# repair: message 1 (attempt 1, 1 failure) is exhausted after: nothing to repair is known
# dropped: dead letter 1
