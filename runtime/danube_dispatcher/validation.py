"""What the public face accepts, and how much of it.

Each check returns the clean value, or raises InvalidArgument, which names the argument and says what to give. They run before
anything has changed, so nothing behind them checks again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeVar, cast

from danube_statemachines import FLUSH_INTERVAL, FailurePolicy
from danube_statemachines.checks import choice, count, number, shown

from .errors import InvalidArgument
from .messages import NO_ATTRIBUTES, Message

T = TypeVar("T")
V = TypeVar("V")
SubscriptionType = Literal["exclusive", "failover", "shared"]
Release = Literal["retry", "drop", "dead_letter"]

TYPES = ("exclusive", "failover", "shared")
RELEASES = ("retry", "drop", "dead_letter")

MAX_NAME = 255
"""Characters of a name; of a topic with its slashes. What file systems and brokers take in one piece."""
MAX_PAYLOAD = 8 << 20
"""Bytes of a payload unless the topic was opened with another limit: one commit takes as much (storage.protocols.APPEND_BYTES)."""
MAX_KEY = 1024
"""Bytes of a key in UTF-8."""
MAX_ATTRIBUTES = 128
MAX_ATTRIBUTE_BYTES = 64 << 10
"""Of all attributes of a message together, names and values in UTF-8. What a dead letter adds comes on top."""
MAX_REASON = 1000
"""Characters of a nack's reason; a longer one is cut, since it is often the text of an error."""

_NAME = re.compile(r"[A-Za-z0-9_.-]+")  # neither \w nor $: they let in letters of every script, and a line feed at the end
_SINGLE: tuple[type, ...] = (Message, bytes, bytearray, memoryview, str, Mapping)
"""Iterables that nobody means as several messages."""


# names


def check_topic_name(value: object, name: str = "topic") -> str:
    """`/namespace/name`."""
    if not isinstance(value, str):
        raise InvalidArgument(name, f"needs a string such as '/default/orders', not {shown(value)}")
    parts = value.split("/")
    if len(parts) != 3 or parts[0] or not all(map(_is_name, parts[1:])):
        raise InvalidArgument(name, f"needs '/namespace/name', both of A-Z a-z 0-9 _ . - and neither '.' nor '..', not {shown(value)}")
    if len(value) > MAX_NAME:
        raise InvalidArgument(name, f"needs at most {MAX_NAME} characters, not {len(value)}")
    return str.__str__(value)


def check_subscription_name(value: object) -> str:
    return _check_name("subscription", value)


def check_consumer_name(value: object) -> str:
    return _check_name("consumer", value)


def _check_name(name: str, value: object) -> str:
    if not isinstance(value, str) or not _is_name(value):
        raise InvalidArgument(name, f"needs a name of A-Z a-z 0-9 _ . - that is neither '.' nor '..', not {shown(value)}")
    if len(value) > MAX_NAME:
        raise InvalidArgument(name, f"needs at most {MAX_NAME} characters, not {len(value)}")
    return str.__str__(value)


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and text not in (".", "..")


# messages


def check_max_payload(value: object) -> int:
    return count("max_payload", value)


def check_message(payload: object, key: object = None, attributes: object = None, *, max_payload: int = MAX_PAYLOAD) -> Message:
    """A message to publish, which shares nothing with the caller that could change."""
    if not isinstance(payload, bytes):
        raise InvalidArgument("payload", f"needs bytes, not {_kind(payload)}; encode text with .encode(), copy a buffer with bytes(...)")
    if len(payload) > max_payload:
        raise InvalidArgument(
            "payload", f"needs at most {max_payload} bytes, not {len(payload)}; open the topic with a larger max_payload, or keep the content elsewhere"
        )
    if type(payload) is not bytes:
        payload = bytes(payload)
    return Message(payload, None if key is None else _check_key(key), NO_ATTRIBUTES if attributes is None else _check_attributes(attributes))


def check_messages(items: object, *, max_payload: int = MAX_PAYLOAD) -> list[Message]:
    """The items of `publish_many`: payloads, or messages of which payload, key and attributes count. All are looked at before the first is published."""
    if isinstance(items, _SINGLE) or not isinstance(items, Iterable):
        raise InvalidArgument("items", f"needs an iterable of bytes or Messages, not {_kind(items)}; publish() takes a single message")
    return [check_item(number, item, max_payload=max_payload) for number, item in enumerate(cast("Iterable[object]", items))]


def check_item(number: int, item: object, *, max_payload: int = MAX_PAYLOAD) -> Message:
    """The item of that number."""
    try:
        return check_message(*item[:3] if isinstance(item, Message) else (item,), max_payload=max_payload)
    except InvalidArgument as error:
        raise InvalidArgument(f"items[{number}].{error.name}", error.problem) from None


def _check_key(value: object) -> str:
    key, size = _text("key", value)
    if size > MAX_KEY:
        raise InvalidArgument("key", f"needs at most {MAX_KEY} bytes in UTF-8, not {size}")
    return key


def _check_attributes(value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise InvalidArgument("attributes", f"needs a mapping of strings to strings, or None, not {shown(value)}")
    attributes = cast("Mapping[object, object]", value)
    if len(attributes) > MAX_ATTRIBUTES:
        raise InvalidArgument("attributes", f"needs at most {MAX_ATTRIBUTES}, not {len(attributes)}")
    if not attributes:
        return NO_ATTRIBUTES
    clean: dict[str, str] = {}
    total = 0
    for name, content in attributes.items():
        name, size = _text("attributes", name)
        if not name:
            raise InvalidArgument("attributes", "needs names that are not empty")
        content, more = _text(f"attributes[{shown(name)}]", content)
        clean[name] = content
        total += size + more
    if total > MAX_ATTRIBUTE_BYTES:
        raise InvalidArgument("attributes", f"needs at most {MAX_ATTRIBUTE_BYTES} bytes in UTF-8, not {total}; put larger content into the payload")
    return MappingProxyType(clean)


def _text(name: str, value: object) -> tuple[str, int]:
    """A string that can be stored, and its size in UTF-8."""
    if not isinstance(value, str):
        raise InvalidArgument(name, f"needs a string, not {shown(value)}")
    try:
        return str.__str__(value), len(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(name, f"needs text that UTF-8 can encode; character {error.start} of {shown(value)} is half of a surrogate pair") from None


# subscribing


class Opening(NamedTuple):
    """The arguments of `subscribe`. Equal ones ask for the same subscription."""

    name: str
    type: SubscriptionType
    reliable: bool
    start: str | int
    policy: FailurePolicy
    rate_limit: float | None
    rate_burst: float | None
    flush_interval: float


def check_opening(
    topic: str,
    name: object,
    *,
    type: object = "exclusive",
    reliable: object = True,
    start: object = "latest",
    policy: object = None,
    rate_limit: object = None,
    rate_burst: object = None,
    flush_interval: object = None,
) -> Opening:
    """The arguments of `subscribe` on `topic`, with its defaults filled in: those of FailurePolicy, and 5 s between flushes."""
    durable = check_flag("reliable", reliable)
    if not durable:
        for argument, value in (("policy", policy), ("rate_limit", rate_limit), ("rate_burst", rate_burst), ("flush_interval", flush_interval)):
            if value is not None:
                raise InvalidArgument(argument, "needs reliable=True: a non-reliable subscription hands over once, at once, and keeps nothing")
        if start != "latest":
            raise InvalidArgument("start", f"needs 'latest' with reliable=False, not {shown(start)}: a non-reliable subscription reads no log")
    return Opening(
        check_subscription_name(name),
        cast("SubscriptionType", choice("type", type, TYPES)),
        durable,
        check_start(start),
        check_policy(policy, topic),
        check_rate_limit(rate_limit),
        check_burst(rate_burst, rate_limit),
        check_flush_interval(flush_interval),
    )


def check_start(value: object) -> str | int:
    """ "earliest", "latest", or the offset of the first message to deliver. Whether the log reaches so far is for the engine to see."""
    if isinstance(value, str) and value in ("earliest", "latest"):
        return str.__str__(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise InvalidArgument("start", f"needs 'earliest', 'latest' or an offset, 0 or more, not {shown(value)}")
    return value


def check_policy(value: object, topic: str) -> FailurePolicy:
    """A policy that dead-letters to another topic than the subscription's own."""
    if value is None:
        return FailurePolicy()
    if not isinstance(value, FailurePolicy):
        raise InvalidArgument("policy", f"needs a FailurePolicy, not {shown(value)}")
    if value.dead_letter_topic is not None and check_topic_name(value.dead_letter_topic, "dead_letter_topic") == topic:
        raise InvalidArgument("dead_letter_topic", f"needs another topic than {topic} itself, or a poisoned message comes back for ever")
    return value


def check_rate_limit(value: object) -> float | None:
    return None if value is None else number("rate_limit", value, unit="messages a second")


def check_burst(value: object, rate_limit: object) -> float | None:
    """How many messages may go at once. None: the engine chooses."""
    if value is None:
        return None
    if rate_limit is None:
        raise InvalidArgument("rate_burst", "needs a rate_limit beside it")
    return count("rate_burst", value)


def check_flush_interval(value: object) -> float:
    return FLUSH_INTERVAL if value is None else number("flush_interval", value, zero=True)


def check_wait(value: object) -> float | None:
    """Seconds to wait for another process's lease; None: for ever."""
    return None if value is None else number("wait", value, zero=True)


# consuming


def check_capacity(value: object) -> int:
    return count("capacity", value)


def check_delay(value: object) -> float:
    """The delay that a nack asks for. None asks for none."""
    return 0.0 if value is None else number("delay", value, zero=True)


def check_reason(value: object) -> str:
    """A nack's reason, fit to be stored: an error's text may hold a file name that UTF-8 cannot encode."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidArgument("reason", f"needs a string or None, not {shown(value)}; of an error give str(error)")
    return value[:MAX_REASON].encode(errors="backslashreplace").decode()[:MAX_REASON]


def check_timeout(value: object) -> float | None:
    """How many seconds a call waits at most; None: no limit."""
    return None if value is None else number("timeout", value, zero=True)


def check_release(value: object) -> Release:
    return cast("Release", choice("action", value, RELEASES))


# any


def check_seconds(name: str, value: object) -> float:
    return number(name, value)


def check_kind(name: str, value: object, kind: type[T]) -> T:
    """One of our own objects."""
    if not isinstance(value, kind):
        raise InvalidArgument(name, f"needs a {kind.__name__}, not {_kind(value)}")
    return value


def check_handler(value: object) -> None:
    if not callable(value):
        raise InvalidArgument("handler", f"needs a function that takes a Delivery, not {shown(value)}")


def check_observer(value: V, *, needed: bool = False) -> V:
    """What can be told of transitions and effects; None, unless it is needed."""
    if (needed or value is not None) and not (callable(getattr(value, "transition", None)) and callable(getattr(value, "effect", None))):
        raise InvalidArgument("observer", f"needs the methods transition and effect of danube_dispatcher.Observer, not {shown(value)}")
    return value


def check_flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgument(name, f"needs True or False, not {shown(value)}")
    return value


def _kind(value: object) -> str:
    return type(value).__name__
