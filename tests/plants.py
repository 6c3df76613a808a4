"""Bugs to plant in the library, and the rules by which a simulation may notice each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from danube_dispatcher import engine, hub
from danube_dispatcher.adapter import ReliableAdapter
from danube_dispatcher.consumer import Consumer
from danube_dispatcher.dead_letters import DeadLetters
from danube_dispatcher.storage.memory import MemoryStore
from danube_statemachines import EngineCore, FailurePolicy, Progress, Reliable, RoundRobin, SingleActive

Plant = Callable[[pytest.MonkeyPatch], None]
PLANTS: dict[str, tuple[Plant, str, float, dict[str, float]]] = {}
"""By what is wrong: how it is planted, the rules of which one must be broken, hours until then at most, and rates that bring it to light soon."""


def plant(rule: str, *, hours: float = 1.0, **factors: float) -> Callable[[Plant], Plant]:
    def keep(function: Plant) -> Plant:
        PLANTS[function.__name__] = function, rule, hours, factors
        return function

    return keep


@plant("at least once")
def the_cursor_is_written_ahead_of_the_ack(monkeypatch: pytest.MonkeyPatch) -> None:
    want: Any = vars(EngineCore)["want"].fget

    def ahead(self: EngineCore[Any]) -> Progress:
        progress: Progress = want(self)
        return progress._replace(cursor=progress.cursor + (progress.cursor >= 20), held=None)

    monkeypatch.setattr(EngineCore, "want", property(ahead))


@plant("attempts grow | settled once | single in flight | verdict", dozing=20)
def what_was_withdrawn_stays_in_the_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReliableAdapter, "withdraw", lambda self, delivery: None)


@plant("at least once | stale answer")
def an_ack_is_matched_by_its_offset_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reliable, "current", lambda self, delivery: self.delivery is not None and delivery[2] == self.delivery[2])


@plant("at least once")
def a_lost_consumer_acknowledges_what_it_held(monkeypatch: pytest.MonkeyPatch) -> None:
    detach = ReliableAdapter.detach

    def acknowledge(self: ReliableAdapter, consumer: Consumer, *, blame: bool = True) -> None:
        delivery = self.machine.delivery
        if delivery is not None and delivery[1] == consumer.session:
            self.step(self.machine.ack, delivery)
        detach(self, consumer, blame=blame)

    monkeypatch.setattr(ReliableAdapter, "detach", acknowledge)


@plant("lapsed lease", stall=10)
def a_lease_that_has_run_out_is_still_served(monkeypatch: pytest.MonkeyPatch) -> None:
    init = EngineCore.__init__
    monkeypatch.setattr(EngineCore, "__init__", lambda self, progress, **more: init(self, progress, **{**more, "lease_until": 1e9}))
    monkeypatch.setattr(EngineCore, "renewed", lambda self, until, now: None)


@plant("clean close | cursor grows", all=0.1)
def a_close_does_not_write_the_position(monkeypatch: pytest.MonkeyPatch) -> None:
    end = EngineCore.end

    def forgetful(self: EngineCore[Any], how: Any, now: float, held: Any = None) -> Progress:
        end(self, how, now, held)
        return self.durable

    monkeypatch.setattr(EngineCore, "end", forgetful)


@plant("at least once", nack=5)
def a_dead_letter_is_never_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(self: Any, message: object, held: object) -> None:
        asyncio.get_running_loop().call_soon(self._driver.step, self._driver.machine.dead_lettered, None)

    monkeypatch.setattr(DeadLetters, "write", write)


@plant("fair rotation")
def the_same_one_is_served_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RoundRobin, "served", staticmethod(lambda roster, session: roster))


@plant("active consumer")
def an_exclusive_subscription_goes_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SingleActive, "served", staticmethod(RoundRobin.served))


@plant("rate limit", nack=0, silent=0, late=0, poison=0)
def the_rate_limit_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EngineCore, "_tokens", lambda self, now: 1000.0)


@plant("pause")
def a_pause_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = EngineCore.refusal
    monkeypatch.setattr(EngineCore, "refusal", lambda self, now: None if (why := refusal(self, now)) == "paused" else why)


@plant("fencing", stall=10)
def a_write_is_not_fenced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryStore, "_owned", lambda self, lease: self._subscriptions[lease.topic, lease.subscription])


@plant("at most once")
def live_messages_are_handed_over_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    hand_over = hub.Hub._hand_over

    def twice(self: hub.Hub, messages: Any, tail: int) -> None:
        hand_over(self, messages, tail)
        hand_over(self, messages, tail)

    monkeypatch.setattr(hub.Hub, "_hand_over", twice)


@plant("crash loop", killer=100)
def nobody_is_careful_after_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    init = EngineCore.__init__
    monkeypatch.setattr(EngineCore, "__init__", lambda self, progress, **more: init(self, progress, **{**more, "unclean": False}))


@plant("liveness", hours=0.05, failed=10)
def a_read_that_failed_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EngineCore, "read_failed", lambda self, now: None)


@plant("blame | at least once | dead letter")
def a_failure_is_charged_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    charge = Reliable._charge

    def twice(self: Reliable, reason: str) -> None:
        charge(self, reason)
        self.failures += 1

    monkeypatch.setattr(Reliable, "_charge", twice)


@plant("verdict", nack=5)
def one_failure_too_many_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FailurePolicy, "exhausted", lambda self, failures: failures > self.max_redeliveries + 1)


@plant("takeover", crash=5)
def a_waiter_looks_too_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "HEARTBEAT", 3.0)


@plant("stolen lease", slow=3, stall=10)
def a_lease_seen_long_ago_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LEASE", 1.0)
