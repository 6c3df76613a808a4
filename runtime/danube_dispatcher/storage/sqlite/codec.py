"""Messages and progress as rows, each with a checksum over all it says, where it stands, and the store it is in."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from struct import Struct
from types import MappingProxyType
from typing import cast

from danube_statemachines import Held, Progress

from ...messages import NO_ATTRIBUTES, Message

_HEAD = Struct("<qdII")
"""Of a message's body: its offset, when it was published, the bytes of its key and one more (0: it has none), the bytes of its attributes."""
_CHECKSUM = Struct("<I")
_END = -_CHECKSUM.size
_SOUND = 0x2144DF1C
"""What CRC-32 makes of anything that is followed by its own CRC-32, whatever it started from."""
new = cast("Callable[[type[Message], tuple[object, ...]], Message]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]  # half the time of Message()
_parse = json.JSONDecoder().raw_decode  # half the time of json.loads, which first looks for what is never there


def topic_seed(seed: int, topic: int) -> int:
    """What the checksums of a topic's messages start from."""
    return zlib.crc32(b"%d" % topic, seed)


def encode(seed: int, offset: int, published_at: float, message: Message) -> bytes:
    """The body of a message's row. It is one value: each column more would cost a reader a tenth of what it may take for a message."""
    payload, key, attributes = message[0], message[1], message[2]
    if key is None and not attributes:
        body = _HEAD.pack(offset, published_at, 0, 0) + payload
    else:
        name = b"" if key is None else key.encode()
        text = encode_attributes(attributes).encode()
        body = b"%b%b%b%b" % (_HEAD.pack(offset, published_at, 0 if key is None else len(name) + 1, len(text)), name, text, payload)
    return body + _CHECKSUM.pack(zlib.crc32(body, seed))


def decode(seed: int, topic: str, offsets: Iterable[int], bodies: Iterable[tuple[bytes | None]], size: int, fetch: Callable[[int], bytes]) -> list[Message]:
    """The messages whose bodies stand at these offsets, up to `size` bytes of payload, but always one, and only as far as they are what was written
    there. A body that was left out for its length is fetched when its turn has come."""
    found: list[Message] = []
    add, make, head, crc32, start = found.append, new, _HEAD.unpack_from, zlib.crc32, _HEAD.size
    for expected, (body,) in zip(offsets, bodies, strict=True):
        if body is None:
            body = fetch(expected)
        if crc32(body, seed) != _SOUND:
            break
        offset, published_at, key, text = head(body)
        if offset != expected:
            break
        name, attributes, first = None, NO_ATTRIBUTES, start
        if key:
            first += key - 1
            name = body[start:first].decode()
        if text:
            first += text
            attributes = MappingProxyType(_parse(body[first - text : first].decode())[0])
        payload = body[first:_END]
        size -= len(payload)
        if size < 0 and found:
            break
        add(make(Message, (payload, name, attributes, topic, offset, published_at)))
    return found


def encode_attributes(attributes: Mapping[str, str]) -> str:
    return json.dumps(dict(attributes)) if attributes else ""


def insert(connection: sqlite3.Connection, values: Sequence[object]) -> None:
    """Insert ids and bodies, one after the other: those of one commit in one statement, of which SQLite takes 32,766 values."""
    connection.execute(f"INSERT INTO messages (id, body) VALUES {', '.join(['(?, ?)'] * (len(values) // 2))}", values)


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
