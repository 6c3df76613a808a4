"""What stands in a file must be readable by every later version: checksums are part of the format."""

from __future__ import annotations

from danube_dispatcher.storage.sqlite.codec import checksum, progress_checksum


def test_the_checksum_of_a_message() -> None:
    assert checksum(7, 1 << 40, 1_700_000_000.5, None, "", b"paid") == 2429058618
    assert checksum(7, 1 << 40, 1_700_000_000.5, "", "", b"paid") == 169172652
    assert checksum(7, 1 << 40, 1_700_000_000.5, "k", '{"a": "b"}', b"paid") == 1761237164


def test_the_checksum_of_a_position() -> None:
    assert progress_checksum(7, "/default/orders", "s", 41, '[42, 1, 0, "", null, false, false]', False, 0) == 2081009970
    assert progress_checksum(7, "/default/orders", "s", 41, "", True, 9_000) == 539476950
