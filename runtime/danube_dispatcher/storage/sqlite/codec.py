"""Messages and progress as rows, each with a checksum over all it says, where it stands, and the store it is in."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from struct import Struct
from types import MappingProxyType

from danube_statemachines import Held, Progress

from ...messages import NO_ATTRIBUTES, Message
from ..protocols import READ_MESSAGES

_PLACE = Struct("<qdi").pack
_parse = json.JSONDecoder().raw_decode  # half the time of json.loads, which first looks for what is never there

COLUMNS = "id, published_at, key, attributes, payload, checksum"
_WIDTH = len(COLUMNS.split(","))
_ROW = f"({', '.join('?' * _WIDTH)})"


def checksum(seed: int, row: int, published_at: float, key: str | None, attributes: str, payload: bytes) -> int:
    """Of a message's row. The length of the key keeps it apart from what follows."""
    if key is None:
        total, text = zlib.crc32(_PLACE(row, published_at, -1), seed), attributes
    else:
        total, text = zlib.crc32(_PLACE(row, published_at, len(key)), seed), key + attributes
    if text:
        total = zlib.crc32(text.encode(), total)
    return zlib.crc32(payload, total)


def encode(seed: int, first: int, published_at: float, messages: Sequence[Message]) -> list[object]:
    """The values of consecutive rows from id `first` on, one after the other."""
    values: list[object] = []
    for row, (payload, key, attributes, *_) in enumerate(messages, first):
        text = encode_attributes(attributes)
        values += (row, published_at, key, text, payload, checksum(seed, row, published_at, key, text, payload))
    return values


def encode_attributes(attributes: Mapping[str, str]) -> str:
    return json.dumps(dict(attributes)) if attributes else ""


def decode_attributes(text: str) -> Mapping[str, str]:
    return MappingProxyType(_parse(text)[0]) if text else NO_ATTRIBUTES


def insert(connection: sqlite3.Connection, values: Sequence[object]) -> None:
    """Insert encoded rows, those of one commit in one statement: 256 rows have 1,536 values, and SQLite takes 32,766."""
    most = READ_MESSAGES * _WIDTH
    for start in range(0, len(values), most):
        part = values[start : start + most]
        connection.execute(f"INSERT INTO messages ({COLUMNS}) VALUES {', '.join([_ROW] * (len(part) // _WIDTH))}", part)


def encode_held(held: Held | None) -> str:
    return json.dumps(held) if held is not None else ""


def decode_held(text: str) -> Held | None:
    return Held(*json.loads(text)) if text else None


def progress_checksum(seed: int, topic: str, subscription: str, cursor: int, held: str, paused: bool, careful: int) -> int:
    return zlib.crc32(f"{topic}\0{subscription}\0{cursor}\0{paused:d}\0{careful}\0{held}".encode(), seed)


def decode_progress(seed: int, topic: str, subscription: str, cursor: int, held: str, paused: int, careful: int, total: int) -> Progress | None:
    """None when it is not what was written."""
    if total != progress_checksum(seed, topic, subscription, cursor, held, bool(paused), careful):
        return None
    return Progress(cursor, decode_held(held), bool(paused), careful)
