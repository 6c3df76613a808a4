"""`danube-dispatcher watch`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from functools import partial

from ..errors import UsageError
from ..storage import open_store
from .arguments import add_store, add_topic
from .running import INTERRUPTED, execute

DESCRIPTION = """\
Watch the subscriptions of a topic, or of all topics, on a terminal: what each is doing, how fast, and what is stuck. Enter shows the machine of
the picked one, with its current state lit and its last transitions; ? says which keys there are.
The store is only read. For the picked one its owner is asked once a second, which costs the store three small writes each time; the owner keeps its
last transitions for that, until nobody has asked for 10 s. Non-reliable subscriptions leave no trace in a store.
Needs the extra tui.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    add_store(parser)
    add_topic(parser, optional=True)


def run(arguments: argparse.Namespace) -> int:
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        raise UsageError("watch needs a terminal; elsewhere, danube-dispatcher status says the same once")
    return execute(_watch(arguments))


async def _watch(arguments: argparse.Namespace) -> int:
    try:
        from ..watch.app import Watch
    except ImportError as error:
        raise UsageError(f"watch needs more than this is installed with: pip install 'danube-dispatcher[tui]' ({error})") from error
    from ..watch.feed import Feed

    feed = Feed(partial(open_store, arguments.store, create=False), arguments.topic)
    try:
        await feed.read()  # a mistake in the command line ends it before it begins
        watch = Watch(feed, arguments.store)
        try:
            interrupted = await watch.run_async()
        finally:
            await watch.stop()
    finally:
        await feed.close()
    task = asyncio.current_task()
    if task is not None and task.cancelling():  # Textual takes it for an end like any other
        raise asyncio.CancelledError
    return INTERRUPTED if interrupted else watch.return_code or 0
