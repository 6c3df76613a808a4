"""`danube-dispatcher publish`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import aclosing

from ..errors import InvalidArgument, PublishFailed, StoreError
from ..topic import Topic
from ..validation import MAX_PAYLOAD, check_max_payload, check_message
from .arguments import add_json, add_store, add_topic, positive
from .running import execute
from .sources import STANDARD_INPUT, Source
from .terminal import Progress, say

DESCRIPTION = """\
Publish each line of files or of standard input as a message, without its line feed; or with --whole-file each file.
The store and the topic are made if they are missing. When this ends, all messages are durable; when it fails half-way,
it says how many are: they are the first ones.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    add_store(parser)
    add_topic(parser)
    parser.add_argument("files", metavar="FILE", nargs="*", default=[STANDARD_INPUT], help="what to publish; standard input by default, and for -")
    parser.add_argument("--whole-file", action="store_true", help="publish each file as one message, with the attributes path and size")
    parser.add_argument("--key", help="the key of each message")
    parser.add_argument("--attribute", metavar="NAME=VALUE", type=_attribute, action="append", default=[], help="an attribute of each message; repeatable")
    parser.add_argument("--max-payload", metavar="BYTES", type=positive, default=MAX_PAYLOAD, help="the longest payload (%(default)s)")
    add_json(parser, "print the count as JSON")


def _attribute(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"needs NAME=VALUE, not {text!r}")
    return name, value


def run(arguments: argparse.Namespace) -> int:
    return execute(_publish(arguments))


async def _publish(arguments: argparse.Namespace) -> int:
    attributes = dict(arguments.attribute)
    limit = check_max_payload(arguments.max_payload)
    check_message(b"", arguments.key, attributes)  # here, so that nothing is made before
    source = Source(arguments.files, whole=arguments.whole_file, key=arguments.key, attributes=attributes, limit=limit)
    async with await Topic.open(arguments.store, arguments.topic, max_payload=limit) as topic:
        if STANDARD_INPUT in arguments.files and sys.stdin.isatty():
            say("publishes what you type, line by line; Ctrl-D ends")
        published = await _publish_all(topic, source)
    if arguments.json:
        print(json.dumps({"store": arguments.store, "topic": arguments.topic, "published": published}))
    else:
        print(f"{published} message{'' if published == 1 else 's'} published to {arguments.topic}")
    return 0


async def _publish_all(topic: Topic, source: Source) -> int:
    published = 0
    try:
        with Progress() as progress:
            async with aclosing(source.batches()) as batches:
                async for batch in batches:
                    published += await topic.publish_many(batch)
                    progress.show(f"{published} messages" + (f", {100 * source.read // source.total} %" if source.total else ""))
    except PublishFailed as error:
        cause = error.__cause__
        raise PublishFailed(topic.store.url, published + error.published, cause if isinstance(cause, Exception) else error) from error
    except (InvalidArgument, StoreError, OSError) as error:
        raise PublishFailed(topic.store.url, published, error) from error
    except asyncio.CancelledError:
        say(f"interrupted; the first {published} messages are published, and perhaps some more")
        raise
    return published
