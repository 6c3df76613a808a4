"""What stands in a file must be readable by every later version: checksums are part of the format."""

from __future__ import annotations

import pytest

from danube_dispatcher.messages import Message
from danube_dispatcher.storage.sqlite.codec import decode, encode, progress_checksum, topic_seed

MESSAGES = [
    (Message(b"paid"), "050000000000000000002040fc54d9410000000000000000706169641dbbdc5b"),
    (Message(b"paid", ""), "050000000000000000002040fc54d94101000000000000007061696472f779c0"),
    (Message(b"paid", "k\u00e9", {"a": "b"}), "050000000000000000002040fc54d941040000000a0000006bc3a97b2261223a202262227d7061696433b1692e"),
]


def never(offset: int) -> bytes:
    raise AssertionError


@pytest.mark.parametrize(("message", "written"), MESSAGES)
def test_a_message(message: Message, written: str) -> None:
    body = encode(topic_seed(7, 1), 5, 1_700_000_000.5, message)
    assert body.hex() == written
    assert decode(topic_seed(7, 1), "/default/orders", [5], [(body,)], 0, never) == [
        message._replace(topic="/default/orders", offset=5, published_at=1_700_000_000.5)
    ]


def test_a_message_that_differs_anywhere_is_not_what_was_written() -> None:
    seed = topic_seed(7, 1)
    body = encode(seed, 5, 1_700_000_000.5, Message(b"paid", "k", {"a": "b"}))
    for place in range(len(body)):
        for bit in range(8):
            changed = bytearray(body)
            changed[place] ^= 1 << bit
            assert decode(seed, "/default/orders", [5], [(bytes(changed),)], 0, never) == []
    assert decode(seed, "/default/orders", [6], [(body,)], 0, never) == []
    for other in (topic_seed(8, 1), topic_seed(7, 2)):
        assert decode(other, "/default/orders", [5], [(body,)], 0, never) == []


def test_the_checksum_of_a_position() -> None:
    assert progress_checksum(7, "/default/orders", "s", 41, '[42, 1, 0, "", null, false, false]', False, 0) == 2081009970
    assert progress_checksum(7, "/default/orders", "s", 41, "", True, 9_000) == 539476950
