"""`danube-dispatcher status`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ..overview import ago, overview, told
from ..storage import open_store
from ..storage.protocols import Store
from .arguments import add_json, add_store, add_topic
from .running import execute
from .terminal import plain

DESCRIPTION = """\
Show the stored subscriptions of a topic, or of all topics: what each is doing, or why it is not, and what ends the wait.
What a process does with a subscription it tells every few seconds; so does this work without disturbing it.
Non-reliable subscriptions leave no trace in a store.
"""
COUNTS = ("delivered", "redelivered", "settled", "dropped", "dead_lettered")
HEADINGS = ("SUBSCRIPTION", "TYPE", "STATE", "ACTIVE", "CONSUMERS", "IN FLIGHT", "CURSOR", "LAG", *(name.replace("_", "-").upper() for name in COUNTS), "OWNER")
NONE = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    add_store(parser)
    add_topic(parser, optional=True)
    add_json(parser, "print everything as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    return execute(_status(arguments))


async def _status(arguments: argparse.Namespace) -> int:
    store = await open_store(arguments.store, create=False)
    try:
        topics = await _topics(store, arguments.topic)
    finally:
        await store.close()
    if arguments.json:
        print(json.dumps({"store": arguments.store, "topics": topics}))
    else:
        print("\n\n".join(map(_shown, topics)) or "no topics")
    return 0


async def _topics(store: Store, topic: str | None) -> list[dict[str, Any]]:
    found = await overview(store, topic)
    return [{"topic": name, "head": head, "subscriptions": [told(info, store.now()) for info in infos]} for name, head, infos in found]


def _shown(topic: dict[str, Any]) -> str:
    heading = f"{topic['topic']}  head {topic['head']}"
    rows = [HEADINGS, *map(_row, topic["subscriptions"])]
    if len(rows) == 1:
        return f"{heading}\n  no subscriptions"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [heading, _line(rows[0], widths)]
    for row, each in zip(rows[1:], topic["subscriptions"], strict=True):
        lines += [_line(row, widths), f"    {plain(each['status']['explanation'])} {ago(each)}".rstrip()]
    return "\n".join(lines)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    status, lag = each["status"], each["lag"]
    in_flight = NONE if status.get("in_flight") is None else f"{status['in_flight']} (attempt {status['attempt']})"
    behind = f"{lag['messages']}" if lag["exact"] else f"≤{lag['messages']}"
    owner = f"{each['owner']} until {datetime.fromtimestamp(each['until']).astimezone():%H:%M:%S}" if each["owned"] else NONE
    return (
        *(each["name"], each["type"], status["state"], status.get("active") or NONE, " ".join(status.get("consumers", ())) or NONE),
        *(in_flight, str(lag["cursor"]), behind),
        *(str(status.get(name, NONE)) for name in COUNTS),
        owner,
    )
