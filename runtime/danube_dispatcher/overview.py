"""What anybody may read of the subscriptions of a store, without disturbing those who have them open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

from .status import Lag, SubscriptionInfo
from .storage.protocols import Row, Store
from .validation import check_topic_name


class Overview(NamedTuple):
    """One topic."""

    topic: str
    head: int
    subscriptions: list[SubscriptionInfo]


async def overview(store: Store, topic: str | None = None) -> list[Overview]:
    """The stored subscriptions of a topic, or of all of them. Raises InvalidArgument, StoreNotFound for a topic that is not there, or a StoreError."""
    names = await store.topics() if topic is None else [check_topic_name(topic)]
    logs = [await store.topic(name, create=False) for name in names]
    rows = await store.rows(topic)
    store.refresh()  # after the rows: no cursor lies beyond its head
    return [Overview(log.topic, log.head, list(_infos(rows, log.topic, log.head))) for log in logs]


def _infos(rows: list[Row], topic: str, head: int) -> Iterator[SubscriptionInfo]:
    return (info(row, head) for row in rows if row.topic == topic)


def info(row: Row, head: int) -> SubscriptionInfo:
    """A stored subscription of a topic with such a head."""
    progress = row.progress
    held = progress.held
    return SubscriptionInfo(
        row.subscription,
        row.type,
        True,
        row.owner,
        row.until,
        Lag.between(progress.cursor, head),
        held.failures if held else 0,
        held.exhausted if held else False,
        progress.paused,
        _said(row.status),
    )


def _said(status: str) -> dict[str, object]:
    """No checksum protects a status, and what cannot be read of it is as if nothing had been said."""
    import json

    try:
        said: object = json.loads(status or "{}")
    except ValueError:
        return {}
    return dict[str, object](said) if isinstance(said, dict) else {}  # pyright: ignore[reportUnknownArgumentType]  (keys of JSON are strings)


def told(info: SubscriptionInfo, now: float) -> dict[str, Any]:
    """One subscription, in words of JSON. What its last owner said of itself counts only while it is its owner."""
    owned = bool(info.owner) and info.until > now
    told: dict[str, Any] = {**asdict(info), "owned": owned, "status": info.status if owned else {}}
    if info.lag is not None:  # an owner is further on than what it has made durable
        said = told["status"].get("cursor")
        cursor = max(info.lag.cursor, said if isinstance(said, int) else -1)
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
