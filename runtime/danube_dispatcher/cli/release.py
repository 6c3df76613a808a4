"""`danube-dispatcher release`."""

from __future__ import annotations

import argparse

from ..topic import Topic
from ..validation import RELEASES
from .arguments import add_store, add_topic
from .running import execute

DESCRIPTION = """\
Let the blocked message of a subscription go, and print its offset: retry it with its failures forgiven, drop it, or
move it to a dead-letter topic. The process that has the subscription does so at its next heartbeat; without one it
is done here.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    add_store(parser)
    add_topic(parser)
    parser.add_argument("subscription", metavar="SUBSCRIPTION", help="its name")
    parser.add_argument("action", choices=RELEASES, help="what becomes of the message")
    parser.add_argument("--dead-letter-topic", metavar="TOPIC", help="where to, when no process has the subscription; one that has it knows its own")


def run(arguments: argparse.Namespace) -> int:
    return execute(_release(arguments))


async def _release(arguments: argparse.Namespace) -> int:
    async with await Topic.open(arguments.store, arguments.topic, create=False) as topic:
        print(await topic.release(arguments.subscription, arguments.action, dead_letter_topic=arguments.dead_letter_topic))
    return 0
