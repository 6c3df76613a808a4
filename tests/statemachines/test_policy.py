"""The arithmetic of FailurePolicy: when a message is exhausted, how long it waits, and what contradicts itself."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danube_statemachines import FailurePolicy, InvalidArgument

delays = st.floats(min_value=1e-6, max_value=1e6)
failures = st.integers(min_value=1, max_value=10**6)
offsets = st.integers(min_value=0, max_value=2**63 - 1)


def test_the_defaults_are_the_brokers() -> None:
    assert dataclasses.asdict(FailurePolicy()) == {
        "ack_timeout": 30.0,
        "max_redeliveries": 5,
        "redelivery_delay": 1.0,
        "max_redelivery_delay": 60.0,
        "backoff": "exponential",
        "jitter": 0.0,
        "seed": 0,
        "poison_policy": "block",
        "dead_letter_topic": None,
        "max_hold": None,
    }


def test_the_delay_doubles_up_to_the_maximum() -> None:
    assert [FailurePolicy().delay(0, n) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [FailurePolicy(backoff="fixed", redelivery_delay=3).delay(0, n) for n in (1, 2, 50)] == [3, 3, 3]


@pytest.mark.parametrize("count", [1000, 1001, 1024, 1025, 10**6, 10**18])
def test_no_number_of_failures_overflows(count: int) -> None:
    assert FailurePolicy().delay(0, count) == 60
    assert FailurePolicy(redelivery_delay=1e17, max_redelivery_delay=9e18, jitter=1).delay(0, count) == 9e18
    assert FailurePolicy(redelivery_delay=1e-300, max_redelivery_delay=9e18, jitter=1).delay(0, count) <= 9e18
    assert FailurePolicy(max_redeliveries=10**6).exhausted(count) is (count > 10**6)


@given(
    first=delays,
    longest=delays,
    jitter=st.floats(min_value=0, max_value=1),
    seed=st.integers(-(2**63), 2**63 - 1),
    offset=offsets,
    count=failures,
    asked=st.floats(0, 1e9),
)
def test_a_delay_keeps_its_bounds(first: float, longest: float, jitter: float, seed: int, offset: int, count: int, asked: float) -> None:
    longest = max(first, longest)
    plain = FailurePolicy(redelivery_delay=first, max_redelivery_delay=longest)
    policy = dataclasses.replace(plain, jitter=jitter, seed=seed)
    delay = policy.delay(offset, count)
    assert plain.delay(offset, count) <= delay <= min(plain.delay(offset, count) * (1 + jitter), longest)
    assert policy.delay(offset, count) == delay
    assert policy.delay(offset, count, asked) == min(max(delay, asked), longest)
    assert policy.delay(offset, count, 0.0) == delay


@given(count=failures, asked=st.floats(0, 1e9))
def test_an_asked_delay_only_lengthens_and_is_capped(count: int, asked: float) -> None:
    policy = FailurePolicy()
    assert policy.delay(7, count) <= policy.delay(7, count, asked) <= 60
    assert policy.delay(7, count, asked) >= min(asked, 60)


def test_jitter_is_the_same_for_the_same_seed_and_another_for_others() -> None:
    policy = FailurePolicy(jitter=0.5, redelivery_delay=10, backoff="fixed", seed=1)
    assert policy.delay(3, 2) == 11.724005240848761  # pinned: the same in every process, on every platform and Python
    around = {policy.delay(3, 2), policy.delay(4, 2), policy.delay(3, 3), dataclasses.replace(policy, seed=2).delay(3, 2)}
    assert len(around) == 4
    drawn = [policy.delay(offset, 1) for offset in range(1000)]
    assert all(10 <= delay < 15 for delay in drawn)
    assert min(drawn) < 10.1
    assert max(drawn) > 14.9


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_exhausted_beyond_the_limit_and_not_before(limit: int) -> None:
    policy = FailurePolicy(max_redeliveries=limit)
    assert [policy.exhausted(count) for count in range(limit + 3)] == [False] * (limit + 1) + [True, True]


NOT_TIMES: list[Any] = [0, 0.0, -1, -1e-9, math.nan, math.inf, -math.inf, True, False, None, "1", b"1", [1]]
BAD: list[tuple[str, dict[str, Any]]] = [
    *((name, {name: value}) for name in ("ack_timeout", "redelivery_delay", "max_redelivery_delay") for value in NOT_TIMES),
    *(("max_hold", {"max_hold": value}) for value in NOT_TIMES if value is not None),
    *(("max_redeliveries", {"max_redeliveries": value}) for value in (-1, 1.0, True, None, "5", math.inf, 2**63)),
    *(("jitter", {"jitter": value}) for value in (-0.1, 1.0001, math.nan, math.inf, True, None, "0.5")),
    *(("seed", {"seed": value}) for value in (0.5, True, None, "1", 2**63, -(2**63) - 1)),
    *(("backoff", {"backoff": value}) for value in ("linear", "", None, 1, "Fixed", ["fixed"])),
    *(("poison_policy", {"poison_policy": value}) for value in ("dead-letter", "", None, True, "Block")),
    # each of these is fine alone
    ("redelivery_delay", {"redelivery_delay": 61}),
    ("redelivery_delay", {"redelivery_delay": 5, "max_redelivery_delay": 4.999}),
    ("redelivery_delay", {"max_redelivery_delay": 0.5}),
    ("dead_letter_topic", {"poison_policy": "dead_letter"}),
    ("max_hold", {"max_hold": 29.9}),
    ("max_hold", {"ack_timeout": 100, "max_hold": 99}),
]


@pytest.mark.parametrize(("name", "arguments"), BAD, ids=lambda value: repr(value)[:60])
def test_policies_that_are_refused_by_name(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        FailurePolicy(**arguments)
    assert caught.value.name == name
    assert str(caught.value).startswith(f"{name}: ")


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_redeliveries": 0},
        {"jitter": 0},
        {"jitter": 1},
        {"redelivery_delay": 60},
        {"redelivery_delay": 1, "max_redelivery_delay": 1},
        {"ack_timeout": 10, "max_hold": 10},
        {"poison_policy": "dead_letter", "dead_letter_topic": "/default/dead"},
        {"poison_policy": "block", "dead_letter_topic": "/default/dead"},
        {"poison_policy": "drop"},
        {"seed": -(2**63)},
    ],
    ids=repr,
)
def test_policies_at_the_edge_are_taken(arguments: dict[str, Any]) -> None:
    policy = FailurePolicy(**arguments)
    assert {name: getattr(policy, name) for name in arguments} == arguments
    assert policy == FailurePolicy(**arguments)
    assert hash(policy) == hash(FailurePolicy(**arguments))


def test_a_policy_is_immutable_and_takes_names_only() -> None:
    policy: Any = FailurePolicy()
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.max_redeliveries = 1
    positional: Any = FailurePolicy
    with pytest.raises(TypeError):
        positional(30)
    with pytest.raises(InvalidArgument):
        dataclasses.replace(policy, ack_timeout=-1)
