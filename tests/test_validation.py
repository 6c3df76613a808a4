"""Bad input is caught at the public face, by name, before anything changes; good input comes back clean."""

from __future__ import annotations

import enum
import math
from collections import UserDict
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest

from danube_dispatcher import validation as v
from danube_dispatcher.errors import InvalidArgument
from danube_dispatcher.messages import NO_ATTRIBUTES, Message
from danube_statemachines import DanubeError, FailurePolicy
from delivering import placeless

TOPIC = "/default/orders"
AnyMessage: Any = Message  # made wrongly


def refused(name: str, check: Callable[[], object], says: str = "needs") -> InvalidArgument:
    with pytest.raises(InvalidArgument, match=says) as caught:
        check()
    error = caught.value
    assert error.name == name
    assert str(error).startswith(f"{name}: ")
    assert len(str(error)) < 400
    assert isinstance(error, ValueError)
    assert isinstance(error, DanubeError)
    return error


NOT_NAMES = ["", ".", "..", "a b", "a/b", "a\n", "\n", "a\0", "ä", "а", "１", "٣", "a\u200b", "\ud800", "a" * 256, "x" * 10_000_000, None, b"a", 1, True, ["a"]]
# "а" is Cyrillic, "１" a full-width and "٣" an Arabic digit: \w and \d would let them in


@pytest.mark.parametrize("value", NOT_NAMES, ids=lambda value: repr(value)[:20])
def test_names_that_are_refused(value: object) -> None:
    refused("subscription", lambda: v.check_subscription_name(value))
    refused("consumer", lambda: v.check_consumer_name(value))
    part = value if isinstance(value, str) else "ok"
    if isinstance(value, str):
        refused("topic", lambda: v.check_topic_name(f"/default/{part}"))
        refused("topic", lambda: v.check_topic_name(f"/{part}/orders"))
    else:
        refused("topic", lambda: v.check_topic_name(value))


@pytest.mark.parametrize("value", ["a", "A-z_0.9", "...", ".a", "-", "a" * 255])
def test_names_that_are_taken(value: str) -> None:
    assert v.check_subscription_name(value) == value
    assert v.check_consumer_name(value) == value


@pytest.mark.parametrize(
    "value", ["", "/", "//", "///", "orders", "/orders", "default/orders", "/default/orders/", "/default//orders", "/a/b/c", " /a/b", "/a/b\n"]
)
def test_topics_that_are_refused(value: str) -> None:
    refused("topic", lambda: v.check_topic_name(value), "/namespace/name")


def test_a_topic_is_measured_with_its_slashes() -> None:
    longest = "/default/" + "x" * (255 - 9)
    assert v.check_topic_name(longest) == longest
    refused("topic", lambda: v.check_topic_name(longest + "x"), "at most 255 characters, not 256")


class Colour(enum.StrEnum):
    RED = "red"


class Payload(bytes):
    pass


def test_subclasses_come_back_as_what_a_store_would_return() -> None:
    assert type(v.check_consumer_name(Colour.RED)) is str
    message = v.check_message(Payload(b"x"), Colour.RED, {Colour.RED: Colour.RED})
    assert message._asdict() == {"payload": b"x", "key": "red", "attributes": {"red": "red"}, "topic": "", "offset": -1, "published_at": 0.0}
    assert type(message.payload) is bytes
    assert type(message.key) is str
    assert all(type(text) is str for pair in message.attributes.items() for text in pair)


@pytest.mark.parametrize("payload", ["text", bytearray(b"x"), memoryview(b"x"), None, 1, [b"x"]], ids=placeless)
def test_a_payload_is_bytes(payload: object) -> None:
    refused("payload", lambda: v.check_message(payload), f"needs bytes, not {type(payload).__name__}")


def test_a_payload_has_a_limit() -> None:
    assert v.check_message(b"").payload == b""
    assert len(v.check_message(bytes(8 * 2**20)).payload) == 8 * 2**20
    refused("payload", lambda: v.check_message(bytes(8 * 2**20 + 1)), "at most 8388608 bytes, not 8388609")
    assert v.check_message(b"1234", max_payload=4).payload == b"1234"
    refused("payload", lambda: v.check_message(b"12345", max_payload=4), "larger max_payload")


def test_what_a_payload_holds_is_never_said() -> None:
    secret = b"secret" * 100
    for check in (lambda: v.check_message(secret, max_payload=4), lambda: v.check_message(bytearray(secret)), lambda: v.check_message(secret.decode())):
        assert "secret" not in str(refused("payload", check))


@pytest.mark.parametrize("key", [b"k", 1, True, "\ud83d", "a\udc80", "k" * 1025, "ä" * 513], ids=lambda value: ascii(value)[:12])
def test_keys_that_are_refused(key: object) -> None:
    refused("key", lambda: v.check_message(b"", key))


@pytest.mark.parametrize("key", [None, "", "k", "a\0b", "😀", "e\u0301", "k" * 1024, "ä" * 512], ids=lambda value: ascii(value)[:12])
def test_keys_that_are_taken_unchanged(key: str | None) -> None:
    assert v.check_message(b"", key).key == key


@pytest.mark.parametrize(
    "attributes",
    [{"a": 1}, {"a": None}, {1: "a"}, {"": "a"}, {b"a": "a"}, {"a": b"a"}, [("a", "b")], "ab", 1, 0, False, (), {"a": "\ud800"}, {"\udfff": "a"}],
    ids=ascii,
)
def test_attributes_that_are_refused(attributes: object) -> None:
    error = refused(
        "attributes" if not isinstance(attributes, dict) or "a" not in attributes else "attributes['a']", lambda: v.check_message(b"", None, attributes)
    )
    error.problem.encode()  # the message can be printed


def test_attributes_have_limits() -> None:
    assert len(v.check_message(b"", None, {str(n): "x" for n in range(128)}).attributes) == 128
    refused("attributes", lambda: v.check_message(b"", None, {str(n): "x" for n in range(129)}), "at most 128, not 129")
    assert v.check_message(b"", None, {"k": "x" * (65536 - 1)}).attributes["k"]
    refused("attributes", lambda: v.check_message(b"", None, {"k": "x" * 65536}), "at most 65536 bytes in UTF-8, not 65537")
    refused("attributes", lambda: v.check_message(b"", None, {"k": "ä" * 32768}), "not 65537")


def test_attributes_are_a_copy_that_nobody_changes() -> None:
    given = {"a": "b"}
    taken = v.check_message(b"", None, given).attributes
    given["a"] = "changed"
    assert taken == {"a": "b"}
    assert isinstance(taken, MappingProxyType)
    assert v.check_message(b"", None, UserDict(a="b")).attributes == {"a": "b"}


@pytest.mark.parametrize("nothing", [None, {}, UserDict()], ids=placeless)
def test_no_attributes_are_a_mapping_all_the_same(nothing: object) -> None:
    assert v.check_message(b"", None, nothing).attributes is NO_ATTRIBUTES


@pytest.mark.parametrize("items", [b"abc", "abc", bytearray(b"a"), memoryview(b"a"), {}, Message(b"x"), None, 1], ids=placeless)
def test_items_are_several(items: object) -> None:
    refused("items", lambda: v.check_messages(items), "iterable of bytes or Messages")


def test_items_are_payloads_or_messages_of_which_three_parts_count() -> None:
    old = Message(b"y", "k", {"a": "b"}, "/other/topic", 7, 1.5)
    assert v.check_messages(iter([b"x", old])) == [Message(b"x"), Message(b"y", "k", {"a": "b"})]
    assert v.check_messages([]) == []


@pytest.mark.parametrize(
    ("item", "name"),
    [
        ("text", "payload"),
        (AnyMessage("text"), "payload"),
        (AnyMessage(b"", 1), "key"),
        (AnyMessage(b"", None, {"a": 1}), "attributes['a']"),
        (Message(b"12345"), "payload"),
        ((b"", "k"), "payload"),
    ],
    ids=placeless,
)
def test_a_bad_item_is_named_by_its_place(item: object, name: str) -> None:
    refused(f"items[2].{name}", lambda: v.check_messages([b"a", b"b", item, b"c"], max_payload=4))


NOT_NUMBERS: list[Any] = [True, False, "1", b"1", [], math.nan, math.inf, -math.inf, -1, -0.001, -(2**63)]
NUMBERS: dict[str, Callable[[Any], object]] = {
    "rate_limit": v.check_rate_limit,
    "flush_interval": v.check_flush_interval,
    "wait": v.check_wait,
    "delay": v.check_delay,
    "timeout": v.check_timeout,
    "seconds": lambda value: v.check_seconds("seconds", value),
    "capacity": v.check_capacity,
    "max_payload": v.check_max_payload,
    "rate_burst": lambda value: v.check_burst(value, 10.0),
    "start": v.check_start,
}


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=placeless)
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_are_refused(name: str, value: object) -> None:
    refused(name, lambda: NUMBERS[name](value))


@pytest.mark.parametrize("name", ["rate_limit", "seconds", "capacity", "max_payload", "rate_burst"])
def test_zero_is_refused_where_nothing_could_happen(name: str) -> None:
    refused(name, lambda: NUMBERS[name](0))


@pytest.mark.parametrize("name", ["flush_interval", "wait", "delay", "timeout", "start"])
def test_zero_has_its_meaning_elsewhere(name: str) -> None:
    assert NUMBERS[name](0) == 0


@pytest.mark.parametrize("name", ["capacity", "max_payload", "rate_burst", "start"])
@pytest.mark.parametrize("value", [1.0, 2**63, "x"], ids=placeless)
def test_counts_are_whole_and_fit_a_store(name: str, value: object) -> None:
    refused(name, lambda: NUMBERS[name](value))


@pytest.mark.parametrize("name", ["seconds", "capacity", "max_payload", "start"])
def test_none_is_refused_where_it_means_nothing(name: str) -> None:
    refused(name, lambda: NUMBERS[name](None))


def test_none_has_its_meaning_elsewhere() -> None:
    assert v.check_rate_limit(None) is None
    assert v.check_timeout(None) is None
    assert v.check_burst(None, None) is None
    assert v.check_burst(None, 3.0) is None
    assert v.check_wait(None) is None
    assert v.check_delay(None) == 0
    assert v.check_flush_interval(None) == 5.0
    assert v.check_reason(None) == ""


def test_a_burst_needs_a_rate() -> None:
    assert v.check_burst(3, 0.5) == 3
    refused("rate_burst", lambda: v.check_burst(3, None), "needs a rate_limit")


@pytest.mark.parametrize(
    "value", ["", "Latest", "earliest ", "0", None, b"latest", 1.0, 10**5000], ids=lambda value: ascii(value)[:12] if not isinstance(value, int) else "huge"
)
def test_starts_that_are_refused(value: object) -> None:
    refused("start", lambda: v.check_start(value))


@pytest.mark.parametrize("value", ["earliest", "latest", 0, 1, 2**63 - 1])
def test_starts_that_are_taken(value: str | int) -> None:
    assert v.check_start(value) == value


def test_a_reason_is_cut_and_can_be_stored() -> None:
    assert v.check_reason("no") == "no"
    assert v.check_reason("x" * 2000) == "x" * 1000
    assert v.check_reason("cannot open caf\udce9") == "cannot open caf\\udce9"
    assert len(v.check_reason("\ud800" * 2000)) == 1000
    for value in (b"no", 1, ValueError("no")):
        refused("reason", lambda value=value: v.check_reason(value), "string")  # type: ignore[misc]


@pytest.mark.parametrize("value", ["", "Retry", "dead-letter", None, 1])
def test_releases_that_are_refused(value: object) -> None:
    refused("action", lambda: v.check_release(value), "'retry', 'drop', 'dead_letter'")


def test_releases_that_are_taken() -> None:
    assert [v.check_release(action) for action in ("retry", "drop", "dead_letter")] == ["retry", "drop", "dead_letter"]


@pytest.mark.parametrize("value", [0, 1, None, "yes"])
def test_a_flag_is_a_bool(value: object) -> None:
    refused("create", lambda: v.check_flag("create", value), "True or False")
    assert v.check_flag("create", True) is True


def test_an_opening_fills_in_the_defaults() -> None:
    assert v.check_opening(TOPIC, "s") == ("s", "exclusive", True, "latest", FailurePolicy(), None, None, 5.0)
    policy = FailurePolicy(poison_policy="dead_letter", dead_letter_topic="/default/dead")
    given = v.check_opening(TOPIC, "s", type="shared", start=7, policy=policy, rate_limit=10, rate_burst=20, flush_interval=0)
    assert given == ("s", "shared", True, 7, policy, 10.0, 20.0, 0.0)
    assert v.check_opening(TOPIC, "s", type="failover", reliable=False).reliable is False


def test_equal_arguments_are_equal_openings() -> None:
    assert v.check_opening(TOPIC, "s", policy=FailurePolicy(seed=1)) == v.check_opening(TOPIC, "s", policy=FailurePolicy(seed=1))
    assert v.check_opening(TOPIC, "s", policy=FailurePolicy(seed=1)) != v.check_opening(TOPIC, "s", policy=FailurePolicy(seed=2))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("type", {"type": "key_shared"}),
        ("type", {"type": None}),
        ("reliable", {"reliable": 1}),
        ("start", {"start": -1}),
        ("policy", {"policy": {}}),
        ("policy", {"policy": "block"}),
        ("rate_limit", {"rate_limit": 0}),
        ("rate_burst", {"rate_burst": 5}),
        ("flush_interval", {"flush_interval": -1}),
        ("dead_letter_topic", {"policy": FailurePolicy(dead_letter_topic=TOPIC)}),
        ("dead_letter_topic", {"policy": FailurePolicy(dead_letter_topic="dead")}),
        ("start", {"reliable": False, "start": "earliest"}),
        ("start", {"reliable": False, "start": 0}),
        ("policy", {"reliable": False, "policy": FailurePolicy()}),
        ("rate_limit", {"reliable": False, "rate_limit": 5}),
        ("rate_burst", {"reliable": False, "rate_burst": 5}),
        ("flush_interval", {"reliable": False, "flush_interval": 0}),
    ],
    ids=placeless,
)
def test_openings_that_are_refused(name: str, arguments: dict[str, Any]) -> None:
    refused(name, lambda: v.check_opening(TOPIC, "s", **arguments))


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_a_value_that_cannot_be_printed_is_still_refused_clearly() -> None:
    refused("subscription", lambda: v.check_subscription_name(Unprintable()), "<Unprintable>")
    refused("consumer", lambda: v.check_consumer_name(10**5000), "<int>")
