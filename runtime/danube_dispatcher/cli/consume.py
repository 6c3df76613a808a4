"""`danube-dispatcher consume`."""

from __future__ import annotations

import argparse
import asyncio
from datetime import datetime
from typing import Any

from danube_statemachines import FailurePolicy
from danube_statemachines.policy import POISON_POLICIES

from ..consumer import Consumer
from ..delivery import Delivery
from ..errors import SubscriptionOwned
from ..subscription import Subscription
from ..topic import Topic
from ..validation import TYPES, check_wait
from .arguments import add_store, add_topic, positive
from .handlers import Handler, Printer, Runner, command_line
from .running import FAILED, execute
from .terminal import say

LOOK = 0.1
"""Seconds between two looks whether everything is settled."""

DESCRIPTION = """\
Print the messages of a subscription, each followed by a line feed, and acknowledge each once it is written; or run a
command for each. A new subscription begins with the messages published from then on (--start). One process at a time
has a reliable subscription: another one waits for its turn. Ctrl-C ends; what was not acknowledged is delivered again.
"""
EPILOG = """\
--exec runs the command once per message, one after the other, without a shell: its words are split as a shell would
(for a line of shell: --exec "sh -c '...'"). It gets the payload on standard input, and in its environment DANUBE_TOPIC,
DANUBE_OFFSET, DANUBE_KEY (when there is one), DANUBE_ATTEMPT, DANUBE_PUBLISHED_AT (Unix seconds), and each attribute as
DANUBE_ATTR_NAME, in capitals, with _ for what is no letter, digit or _. Exit code 0 acknowledges, anything else is a
failure. While it runs, its ack deadline is moved on. When consume ends or loses the message, the command and what it
has started are sent SIGTERM, and five seconds later SIGKILL.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    parser.set_defaults(usage_error=parser.error)
    add_store(parser)
    add_topic(parser)
    parser.add_argument("subscription", metavar="SUBSCRIPTION", help="its name; made if it is missing")

    group = parser.add_argument_group("what to do with a message")
    group.add_argument("--exec", metavar="CMD", type=command_line, help="run a command with the payload on its standard input")
    group.add_argument(
        "--json", action="store_true", help="print objects, one a line: topic, offset, key, attributes, attempt, published_at, and payload or payload_base64"
    )

    group = parser.add_argument_group("the subscription")
    group.add_argument("--type", choices=TYPES, default="exclusive", help="(%(default)s)")
    group.add_argument(
        "--reliable", action=argparse.BooleanOptionalAction, default=True, help="at least once, the default; or at most once, live messages only"
    )
    group.add_argument("--start", type=_start, default="latest", help="where a new one begins: latest (the default), earliest, or an offset")
    group.add_argument("--name", default="cli", help="the consumer's name (%(default)s)")
    group.add_argument("--wait", metavar="SECONDS", type=_wait, help="how long to wait while another process has it; forever, the default")
    group.add_argument("--rate-limit", metavar="N", type=float, help="first deliveries a second")
    group.add_argument("--flush-interval", metavar="SECONDS", type=float, help="until a new position is durable (5); 0: with each acknowledgement")

    group = parser.add_argument_group("failures (reliable)")
    group.add_argument("--ack-timeout", metavar="SECONDS", type=float, help="until a silent consumer has failed (30)")
    group.add_argument("--max-hold", metavar="SECONDS", type=float, help="a command that takes longer has failed; no limit by default")
    group.add_argument("--max-redeliveries", metavar="N", type=int, help="failures beyond so many exhaust a message (5)")
    group.add_argument("--redelivery-delay", metavar="SECONDS", type=float, help="after the first failure; doubles (1)")
    group.add_argument("--poison-policy", choices=POISON_POLICIES, help="what becomes of an exhausted message (block)")
    group.add_argument("--dead-letter-topic", metavar="TOPIC", help="where to, with dead_letter")

    group = parser.add_argument_group("when to end")
    group.add_argument("--count", metavar="N", type=positive, help="after so many deliveries")
    group.add_argument("--until-empty", action="store_true", help="when everything published is settled; blocked or paused, it ends with 1")


def _start(text: str) -> str | int:
    return int(text) if text.isascii() and text.isdigit() else text


def _wait(text: str) -> float | None:
    return None if text == "forever" else float(text)


def run(arguments: argparse.Namespace) -> int:
    if arguments.until_empty and not arguments.reliable:
        arguments.usage_error("--until-empty needs a reliable subscription: the others read no log that could be empty")
    return execute(_consume(arguments))


async def _consume(arguments: argparse.Namespace) -> int:
    check_wait(arguments.wait)  # it is not asked for before another process turns out to have the subscription
    async with await Topic.open(arguments.store, arguments.topic, create=False) as topic, await _subscribe(topic, arguments) as subscription:
        ack_timeout = subscription.opening.policy.ack_timeout if arguments.reliable else None
        if arguments.exec is not None:
            return await _work(subscription, Runner(arguments.exec, ack_timeout), arguments)
        printer = Printer(ack_timeout, as_json=arguments.json)
        printer.output.watch()
        try:
            return await _work(subscription, printer, arguments)
        except asyncio.CancelledError:
            if printer.output.closed:
                raise BrokenPipeError from None
            raise


async def _subscribe(topic: Topic, arguments: argparse.Namespace) -> Subscription:
    policy = {name: getattr(arguments, name) for name in FailurePolicy.__dataclass_fields__ if getattr(arguments, name, None) is not None}
    options: dict[str, Any] = {
        "type": arguments.type,
        "reliable": arguments.reliable,
        "start": arguments.start,
        "policy": FailurePolicy(**policy) if policy else None,
        "rate_limit": arguments.rate_limit,
        "flush_interval": arguments.flush_interval,
    }
    try:
        return await topic.subscribe(arguments.subscription, **options)
    except SubscriptionOwned as error:
        if arguments.wait == 0:
            raise
        until = datetime.fromtimestamp(error.until).astimezone().strftime("%H:%M:%S")
        say(f"waiting for subscription {error.subscription} of {error.topic}: {error.owner} has it, until {until} at least")
        return await topic.subscribe(arguments.subscription, **options, wait=arguments.wait)


async def _work(subscription: Subscription, handler: Handler, arguments: argparse.Namespace) -> int:
    handled = 0
    async with subscription.consumer(arguments.name) as consumer:
        try:
            if not arguments.until_empty:  # which ends then, and says why
                _say_if_blocked(subscription)
            while handled != arguments.count:
                delivery = await _next(subscription, consumer, until_empty=arguments.until_empty)
                if delivery is None:
                    return _verdict(subscription, until_empty=arguments.until_empty)
                failure = await handler.handle(delivery)
                await _settle(subscription, delivery, failure)
                handled += 1
                if failure is not None and not arguments.until_empty:
                    _say_if_blocked(subscription)
            return 0
        finally:
            await subscription.close()  # before the consumer leaves: what it holds has not failed


async def _next(subscription: Subscription, consumer: Consumer, *, until_empty: bool) -> Delivery | None:
    """The next message; None at the end."""
    while until_empty and not consumer.waiting():
        if subscription.explain().code in ("end", "blocked", "paused"):
            return None
        try:
            async with asyncio.timeout(LOOK):
                return await anext(consumer, None)
        except TimeoutError:
            continue
    return await anext(consumer, None)


def _verdict(subscription: Subscription, *, until_empty: bool) -> int:
    why = subscription.explain()
    if not until_empty or why.code == "end":
        return 0
    say(f"not empty: {why}")
    return FAILED


async def _settle(subscription: Subscription, delivery: Delivery, failure: str | None) -> None:
    what = f"message {delivery.message.offset} (attempt {delivery.attempt})"
    settled = await delivery.ack() if failure is None else await delivery.nack(reason=failure)
    if subscription.dispatcher.reliable and not settled:
        say(f"{what} was no longer ours ({failure or 'done too late'}): its deadline passed, or another process has it")
    elif failure is not None:
        say(f"{what}: {failure}")


def _say_if_blocked(subscription: Subscription) -> None:
    why = subscription.explain()
    if why.code == "blocked":
        say(str(why))
