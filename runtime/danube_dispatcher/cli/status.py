"""`danube-dispatcher status`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from ..status import SubscriptionInfo
from ..storage import open_store
from ..storage.protocols import Store
from ..topic import Topic
from .arguments import add_json, add_store, add_topic
from .running import execute

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
        names = await store.topics() if arguments.topic is None else [arguments.topic]
        topics = [await _topic(store, name) for name in names]
    finally:
        await store.close()
    if arguments.json:
        print(json.dumps({"store": arguments.store, "topics": topics}))
    else:
        print("\n\n".join(map(_shown, topics)) or "no topics")
    return 0


async def _topic(store: Store, name: str) -> dict[str, Any]:
    async with await Topic.open(store, name, create=False) as topic:
        infos = await topic.subscriptions()
        return {"topic": topic.name, "head": topic.head, "subscriptions": [_told(info, store.now()) for info in infos]}


def _told(info: SubscriptionInfo, now: float) -> dict[str, Any]:
    """One subscription. What its last owner said of itself counts only while it is its owner."""
    owned = bool(info.owner) and info.until > now
    told: dict[str, Any] = {**asdict(info), "owned": owned, "status": info.status if owned else {}}
    if info.lag is not None:  # an owner is further on than what it has made durable
        cursor = max(info.lag.cursor, told["status"].get("cursor", -1))
        told["lag"] |= {"cursor": cursor, "durable_cursor": info.lag.cursor, "messages": info.lag.messages - (cursor - info.lag.cursor)}
    if not told["status"]:
        state, code, why = _without_owner(info, owned)
        told["status"] = {"state": state, "code": code, "explanation": why}
    return told


def _without_owner(info: SubscriptionInfo, owned: bool) -> tuple[str, str, str]:
    """State, code and explanation of a subscription whose owner has said nothing."""
    if info.blocked:
        return "Blocked", "blocked", f"its next message is exhausted (failures: {info.failures}); ends with release"
    if owned:
        return "opening", "opening", "its owner has not told yet; ends with its next renewal"
    if info.paused:
        return "paused", "paused", "it is paused, and no process has it open; ends with subscribing and resume()"
    if info.owner:
        return "unowned", "unowned", f"{info.owner} has not renewed its lease; ends with subscribing (consume)"
    return "unowned", "unowned", "no process has it open; ends with subscribing (consume)"


def _shown(topic: dict[str, Any]) -> str:
    heading = f"{topic['topic']}  head {topic['head']}"
    rows = [HEADINGS, *(_row(told) for told in topic["subscriptions"])]
    if len(rows) == 1:
        return f"{heading}\n  no subscriptions"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [heading, _line(rows[0], widths)]
    for row, told in zip(rows[1:], topic["subscriptions"], strict=True):
        lines += [_line(row, widths), f"    {told['status']['explanation']}"]
    return "\n".join(lines)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _row(told: dict[str, Any]) -> tuple[str, ...]:
    status, lag = told["status"], told["lag"]
    in_flight = NONE if status.get("in_flight") is None else f"{status['in_flight']} (attempt {status['attempt']})"
    behind = f"{lag['messages']}" if lag["exact"] else f"≤{lag['messages']}"
    owner = f"{told['owner']} until {datetime.fromtimestamp(told['until']).astimezone():%H:%M:%S}" if told["owned"] else NONE
    return (
        *(told["name"], told["type"], status["state"], status.get("active") or NONE, " ".join(status.get("consumers", ())) or NONE),
        *(in_flight, str(lag["cursor"]), behind),
        *(str(status.get(name, NONE)) for name in COUNTS),
        owner,
    )
