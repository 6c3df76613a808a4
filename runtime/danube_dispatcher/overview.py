"""What anybody may read of the subscriptions of a store, without disturbing those who have them open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

from .clock import LEASE
from .status import Lag, SubscriptionInfo
from .storage.protocols import Row, Store
from .validation import check_topic_name

STALE = 1.5
"""Seconds from which on it is said how old what an owner told is."""


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
    except (ValueError, RecursionError):
        return {}
    return dict[str, object](said) if isinstance(said, dict) else {}  # pyright: ignore[reportUnknownArgumentType]  (keys of JSON are strings)


def renewed_at(info: SubscriptionInfo) -> float:
    """When its owner renewed its lease, and told."""
    return info.until - LEASE


def told(info: SubscriptionInfo, now: float, at: float | None = None) -> dict[str, Any]:
    """One subscription, in words of JSON. What its last owner said of itself counts only while it is its owner; `at`: when it did, if not with its renewal.

    `age` is how many seconds ago that was, or None where nothing of it is shown.
    """
    owned = bool(info.owner) and info.until > now
    status = dict(info.status) if owned else {}
    age = max(0.0, now - (renewed_at(info) if at is None else at)) if status else None
    told: dict[str, Any] = {**asdict(info), "owned": owned, "status": status, "age": age}
    if info.lag is not None:  # an owner is further on than what it has made durable, or has become so since it told
        said, in_flight = status.get("cursor"), status.get("in_flight")
        cursor = max(info.lag.cursor, said if isinstance(said, int) else -1)
        told["lag"] |= {"cursor": cursor, "durable_cursor": info.lag.cursor, "messages": info.lag.messages - (cursor - info.lag.cursor)}
        if isinstance(in_flight, int) and in_flight <= cursor:
            status["in_flight"] = None
    if not status:
        state, code, why = _without_owner(info, owned)
        told["status"] = {"state": state, "code": code, "explanation": why}
    return told


def ago(told: dict[str, Any]) -> str:
    """How old the owner's sentence is, where it may say something else by now."""
    age = told["age"]
    return f"(told {age:.0f} s ago)" if age is not None and age >= STALE else ""


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
