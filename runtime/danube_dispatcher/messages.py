"""What a topic keeps."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})


class Message(NamedTuple):
    """One message. To publish one, give the first three; the topic fills in the others.

    `offset` is its place in the topic, `published_at` when it was committed (Unix seconds).
    """

    payload: bytes
    key: str | None = None
    attributes: Mapping[str, str] = NO_ATTRIBUTES
    topic: str = ""
    offset: int = -1
    published_at: float = 0.0

    def __repr__(self) -> str:  # payloads and attributes are the user's: they stay out of logs and tracebacks
        return f"Message({self.topic or 'unpublished'}@{self.offset}, {len(self.payload)} bytes)"
