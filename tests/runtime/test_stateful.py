"""Topics, subscriptions and consumers through whatever may happen to them, in any order: nothing is lost, and every answer counts as it should.

A `Ledger` stands at the machine's port as an observer. It knows what the test did, and from that alone what may follow: who may be sent what (S1, S5,
S6, S7), which answers count (S3), who is to blame (S13), when a message may be settled (S2, S8), and how fast they go (S10). A trace beside it is held
to the declared table. Storage calls fail, lag, or fail although they were carried out; processes die, and some of them wake up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from danube_dispatcher import Consumer, ConsumerRefused, ConsumerReplaced, FailurePolicy, Subscription, SubscriptionEngine
from danube_dispatcher.clock import NEVER, Alarmed, Watchdog
from danube_dispatcher.session import Session
from danube_statemachines import VARIANTS, EngineCore, Reliable, RoundRobin
from danube_statemachines.coverage import unfired
from deliveries import CALM, Deliveries
from delivering import forge, join
from faults import TROUBLE
from ledger import TIMEOUT
from processes import DEAD
from rewriting import rewrite
from stateful import FIRED, Call, play

# beside what chance brings, and to begin with: a way to each row


def trouble(call: str, how: str, times: int = 1) -> Call:
    return ("storage_trouble", {"call": call, "how": how, "times": times})


def answer(kind: str) -> Call:
    return ("work", {"kind": kind, "delay": None})


def again(kind: str) -> Call:
    return ("answer_again", {"back": 0, "kind": kind})


def join_as(name: str) -> Call:
    return ("attach", {"name": name})


def wait(seconds: int) -> Call:
    return ("pass_time", {"seconds": seconds})


def release(action: str) -> Call:
    return ("release", {"action": action})


def serve(count: int) -> Call:
    return ("serve", {"count": count})


TAKE: Call = ("take", {})
MORE: Call = ("publish", {"count": 3, "died": False})
ACK, NACK = answer("ack"), answer("nack")
LEAVE: Call = ("detach", {"pick": 0, "blame": True})
NOBODY: Call = ("disconnect_all", {})
REOPEN: Call = ("close_and_reopen", {"restart": True})
CRASH: Call = ("crash", {"wakes": True})
WALKS: dict[str, list[Call]] = {
    "answers, right and late": [answer("extend"), ACK, again("ack"), again("nack"), again("extend"), NACK, wait(3), ACK],
    "silence": [wait(13), TAKE, wait(13), wait(3), ACK],
    "consumers go with what they hold, and without": [*(LEAVE, join_as("a"), TAKE, LEAVE, join_as("b"), join_as("b"), TAKE, join_as("b"), ACK), NOBODY],
    "others come and go meanwhile": [join_as("b"), join_as("b"), join_as("c"), NOBODY],
    "the last consumer leaves while a message is read": [*(NOBODY, REOPEN, trouble("read", "lags"), join_as("a"), LEAVE, wait(1), join_as("a"), ACK)],
    "poison": [NACK, wait(3), NACK, wait(5)],
    "poison that is let go": [*(NACK, release("retry"), NACK, release("drop"), NACK, release("dead_letter"), wait(1))],
    "poison, and a crash": [NACK, CRASH, wait(1), release("drop"), wait(1)],
    "poison, nobody there, and a new owner": [NACK, NOBODY, REOPEN, MORE, ("pause", {"paused": False}), wait(1)],
    "a dead letter cannot be written at first": [trouble("append", "fails", 2), NACK, wait(3)],
    "a dead letter is written while it closes": [trouble("append", "lags"), NACK, REOPEN, wait(1)],
    "a dead letter fails while it closes": [trouble("append", "fails late"), NACK, REOPEN, wait(1)],
    "a message has died too often": [*(serve(3), ("publish", {"count": 1, "died": True}), NACK, release("dead_letter"), release("drop"))],
    "they take turns": [join_as("b"), join_as("c"), serve(1), join_as("a"), serve(3), MORE, serve(3)],
    "a crash with much that is not durable": [
        *(MORE,) * 3,
        trouble("store", "lags"),
        serve(6),
        serve(6),
        CRASH,
    ],
    "a crash, and more messages": [CRASH, join_as("a"), serve(2), CRASH, join_as("b"), ACK],
    "a slow disk": [trouble("store", "lags", 3), serve(3), MORE, CRASH],
    "a lease that runs out": [trouble("renew", "fails", 40), wait(11), ACK, wait(12), serve(3)],
    "a pause": [("pause", {"paused": True}), serve(3), wait(1), ("pause", {"paused": False}), ACK],
    "nothing to read": [serve(3), MORE, ACK, NOBODY, REOPEN],
}


class Anything(Deliveries):
    # the beginning

    @initialize(
        kind=st.sampled_from(["exclusive", "failover", "shared"]),
        poison=st.sampled_from(["block", "drop", "dead_letter"]),
        limit=st.integers(0, 3),
        flush=st.sampled_from([0, 5]),
        rate=st.sampled_from([(None, None), (None, None), (0.5, None), (2.0, 3)]),
        hold=st.sampled_from([None, 25.13]),
        first=st.sampled_from(["", *WALKS]),
    )
    def open_all(
        self, kind: str, poison: Any, limit: int, flush: float, rate: tuple[float | None, int | None], hold: float | None = None, first: str = ""
    ) -> None:
        """`first`: a walk to begin with."""
        policy = FailurePolicy(ack_timeout=TIMEOUT, redelivery_delay=2.5, max_redeliveries=limit, poison_policy=poison, dead_letter_topic=DEAD, max_hold=hold)
        self.run(self.opening(kind, policy, flush, rate))
        self.attach("a")
        self.publish(3, False)
        self.walk(*WALKS.get(first, []))

    # consumers and publishers

    @rule(count=st.integers(1, 3), died=st.sampled_from([False, False, True]))
    def publish(self, count: int, died: bool) -> None:
        """`died`: too often to be dead-lettered once more."""
        self.run(self.publishing(count, died=died))

    @rule(name=st.sampled_from("abc"))
    def attach(self, name: str) -> None:
        """Join, or take over."""

        async def joining(subscription: Subscription) -> None:
            old = self.consumers.get(name)
            self.sessions += 1
            if old is None:
                self.ledger.turns.come(self.sessions)
            else:
                self.ledger.lose(old.session, blame=True, new=self.sessions)
            new = await join(subscription, name)
            assert new.session == self.sessions
            if old is not None:
                await self.end(name, ConsumerReplaced)
            self.consumers[name] = new

        if self.kind == "exclusive" and self.consumers and name not in self.consumers:
            with pytest.raises(ConsumerRefused):
                self.runner.run(join(self.subscription, name))
        else:
            self.run(joining(self.subscription))

    @precondition(lambda self: self.consumers)
    @rule(pick=st.integers(0, 2), blame=st.booleans())
    def detach(self, pick: int, blame: bool) -> None:
        name = self.pick(pick)

        async def leaving() -> None:
            self.ledger.lose(self.consumers[name].session, blame=blame)
            self.subscription.dispatcher.remove_consumer(name, blame=blame)
            await self.end(name)

        self.run(leaving())

    @precondition(lambda self: self.consumers)
    @rule()
    def disconnect_all(self) -> None:
        self.run(self.disconnecting())

    @precondition(lambda self: self.holder is not None)
    @rule()
    def take(self) -> None:
        self.run(self.taking())

    @precondition(lambda self: len(self.consumers) > len(self.waits))
    @rule(pick=st.integers(0, 2))
    def wait(self, pick: int) -> None:
        """A worker that is ready for whatever comes."""
        names = sorted(set(self.consumers) - set(self.waits))
        name = names[pick % len(names)]

        async def waiting() -> None:
            self.waits[name] = asyncio.ensure_future(anext(self.consumers[name], None))

        self.run(waiting())

    @precondition(lambda self: self.waits)
    @rule(arrives=st.booleans())
    def stop_waiting(self, arrives: bool) -> None:
        """Cancelling loses nothing, also when a message arrives at that moment."""
        name = min(self.waits)

        async def stopping() -> None:
            wait = self.waits.pop(name)

            def cancel(_: object) -> None:
                wait.cancel()

            if arrives:
                end = self.topic.hub.log.watch(cancel)
                await self.publishing(1)
                end()
            wait.cancel()
            with suppress(asyncio.CancelledError):
                delivery = await wait
                assert delivery is not None
                self.took(delivery)

        self.run(stopping())

    # answers

    @precondition(lambda self: self.holder is not None or (self.ledger.open is not None and self.ledger.open.taken))
    @rule(kind=st.sampled_from(["ack", "ack", "nack", "extend"]), delay=st.sampled_from([None, 0, 7]))
    def work(self, kind: str, delay: float | None) -> None:
        """Answer the open delivery."""

        async def working() -> None:
            if self.holder is not None:
                await self.taking()
            await self.answering(self.seen[-1], kind, delay)

        self.run(working())

    @precondition(lambda self: self.holder is not None)
    @rule(count=st.integers(1, 6))
    def serve(self, count: int) -> None:
        """A worker that does what it should."""

        async def serving() -> None:
            for _ in range(count):
                if self.holder is not None:
                    await self.taking()
                    await self.answering(self.seen[-1], "ack", None)

        self.run(serving())

    @precondition(lambda self: self.seen)
    @rule(back=st.integers(0, 4), kind=st.sampled_from(["ack", "nack", "extend"]))
    def answer_again(self, back: int, kind: str) -> None:
        """Late, twice, as a former holder, or to a former run; or right, after all."""
        delivery = self.seen[-1 - back % len(self.seen)]
        self.run(self.answering(delivery, kind, None, here=delivery.id[0] not in self.closed))

    @precondition(lambda self: self.seen)
    @rule(part=st.sampled_from(["epoch", "session", "offset", "attempt"]), by=st.sampled_from([-1, 1]), kind=st.sampled_from(["ack", "nack", "extend"]))
    def forge(self, part: str, by: int, kind: str) -> None:
        genuine = self.seen[-1]
        forged = forge(genuine, **{part: by})
        if self.ledger.open is None or forged.id != self.ledger.open.id:  # or it would be genuine again
            self.run(self.answering(forged, kind, None, here=genuine.id[0] not in self.closed))

    # operation

    @rule(seconds=st.integers(1, 40))
    def pass_time(self, seconds: int) -> None:
        self.run(self.passing(seconds))

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        async def pausing() -> None:
            self.ledger.paused = paused
            await (self.subscription.pause() if paused else self.subscription.resume())

        self.run(pausing())

    @precondition(lambda self: self.subscription.status().state == "Blocked")
    @rule(action=st.sampled_from(["retry", "drop", "dead_letter"]))
    def release(self, action: str) -> None:
        self.run(self.releasing(action))

    # trouble

    @precondition(lambda self: not self.faults.armed)
    @rule(
        call=st.sampled_from(["store", "append", "read", "renew", "refresh"]),
        how=st.sampled_from(["fails", "fails late", "undecided", "lags"]),
        times=st.integers(1, 3),
    )
    def storage_trouble(self, call: str, how: str, times: int) -> None:
        """The next calls fail, or fail although they are carried out, or take their time."""
        if how == "lags":
            self.faults.lag(call, before=0.37, times=times)
        else:
            self.faults.fail(call, TROUBLE, times=times, before=0.37 if how == "fails late" else 0.0, done=how == "undecided")

    @rule(calls=st.sampled_from([("store", "append"), ("read",), ("renew",)]), seconds=st.integers(1, 16))
    def outage(self, calls: tuple[str, ...], seconds: int) -> None:
        """Nothing can be written, or read, or renewed for a while: it is retried, and nothing is lost."""

        async def trouble() -> None:
            for call in calls:
                self.faults.fail(call, TROUBLE)
            await self.passing(seconds)
            self.faults.heal()
            await self.passing(6)  # the longest that a retry waits

        self.run(trouble())

    @rule(restart=st.booleans())
    def close_and_reopen(self, restart: bool) -> None:
        async def reopening() -> None:
            self.faults.heal()
            self.closed |= {delivery.id[0] for delivery in self.seen}
            if restart:
                await self.topic.close()
                await self.dead.close()
            else:
                await self.subscription.close()
            for name in list(self.consumers):
                await self.end(name)
            self.ledger.reopened()
            await (self.open_topics() if restart else self.subscribe())
            assert self.subscription.status().cursor == self.ledger.next - 1  # a close writes all that was settled

        self.run(reopening())

    @rule(wakes=st.booleans())
    def crash(self, wakes: bool) -> None:
        """The process is gone, or so it seems: another takes over what was durable. What the first one then writes is refused."""
        self.run(self.crashing(wakes))

    # at all times

    @invariant()
    def what_it_says_is_so(self) -> None:
        if not hasattr(self, "subscription"):
            return
        ledger, status = self.ledger, self.subscription.status()
        counts = status.counts
        assert status.in_flight == (None if ledger.open is None else ledger.open.id[2])
        assert status.cursor == ledger.next - 1
        assert status.durable_cursor is not None
        assert self.durable <= status.durable_cursor <= ledger.next - 1
        self.durable = status.durable_cursor
        assert {"ack": counts.stale_acks, "nack": counts.stale_nacks, "extend": counts.stale_extends} == self.stale
        assert ledger.charges == ledger.charged
        assert counts.failures == ledger.charged - self.charged_before
        if status.failures is not None:
            assert status.failures == ledger.failures
        assert sum(consumer.waiting() for consumer in self.consumers.values()) <= 1
        assert {consumer.name for consumer in status.consumers} == set(self.consumers)
        assert sum(consumer.active for consumer in self.consumers.values()) == (len(self.consumers) if self.kind == "shared" else min(1, len(self.consumers)))
        assert not any(consumer.active for consumer in self.gone)
        assert ledger.active == ledger.turns.announced

    @invariant()
    def nothing_waits_for_nothing(self) -> None:
        """While storage works, a message that can go has gone, and poison has met its verdict."""
        if not hasattr(self, "subscription"):
            return
        moment = self.runner.get_loop().time()
        assert self.ledger.open is None or moment < self.ledger.open.deadline
        if moment > self.faults.suffered_at + CALM:
            self.runner.run(self.all_has_gone())


class InMemory(Anything):
    scheme = "memory:"


class OnAFile(Anything):
    scheme = "sqlite:"


UNFIRED = {
    "tick in any state": "early: the adapter ticks a machine when its time has come, and not before",
    **{f"{trigger} in Closed": "a closed engine answers no poll" for trigger in ("polled", "resumed", "poll_empty")},
    "dead_letter_refused in Closed": "it comes one turn of the loop after the verdict, and a close would have to fall into it",
    **{f"{trigger} in Closed": "a closed dispatcher takes no call" for trigger in ("consumer_added", "consumer_lost", "consumer_replaced")},
}
"""Rows that nothing fires at run time, with the reason."""


def follow(rules: type[Anything], walk: list[Call], **opening: Any) -> None:
    subject = rules()
    try:
        subject.walk(("open_all", {"limit": 0, "flush": 5, "rate": (None, None), **opening}), *walk)
        subject.finish()
    finally:
        subject.clean_up()


def test_in_memory() -> None:
    play(InMemory, examples=150, steps=40)


def test_on_a_file() -> None:
    play(OnAFile, examples=25, steps=30)


def test_walks_on_a_file() -> None:
    for walk in WALKS.values():
        follow(OnAFile, walk, kind="shared", poison="dead_letter")


@pytest.mark.parametrize(("kind", "variant"), [("failover", "reliable_exclusive"), ("shared", "reliable_shared")])
def test_walks_fire_every_row(kind: str, variant: str) -> None:
    """Or chance has, in the tests before."""
    for name, walk in WALKS.items():
        for poison in ("block", "drop", "dead_letter"):
            for limit in (0, 1):
                try:
                    follow(InMemory, walk, kind=kind, poison=poison, limit=limit)
                except BaseException as error:
                    error.add_note(f"{name}, {poison}, {limit} redeliveries")
                    raise
    declared = VARIANTS[variant]
    left = [declared.table[row] for row in unfired(declared, FIRED["runtime"])]
    assert {f"{spec['trigger']} in {spec['source'][0] if len(spec['source']) == 1 else 'any state'}" for spec in left} == {*UNFIRED}


# what the walks find


def nobody_else(roster: Any, session: int) -> Any:
    return roster


async def at_once(*_: object, **__: object) -> bool:
    return True


def left_armed(self: Watchdog, target: Alarmed, when: float) -> None:
    if when != NEVER:
        arm(self, target, when)


async def left_running(self: Session) -> None:
    await close_session(self)
    LEFT.append(asyncio.ensure_future(asyncio.sleep(1e6)))


LEFT: list[asyncio.Task[None]] = []
arm, close_session, refusal = Watchdog.arm, Session.close, EngineCore.refusal


def without(reason: str) -> Callable[..., Any]:
    return lambda self, now: None if (why := refusal(self, now)) == reason else why


PLANTS: dict[str, tuple[object, str, object, str, dict[str, Any]]] = {
    "whoever was served is next again": (RoundRobin, "served", staticmethod(nobody_else), "they take turns", {}),
    "no limit of the rate": (EngineCore, "refusal", without("throttled"), "they take turns", {"rate": (0.5, None)}),
    "taken in while paused": (EngineCore, "refusal", without("paused"), "a pause", {}),
    "taken in without a lease": (EngineCore, "refusal", without("lease"), "a lease that runs out", {}),
    "more may be lost than is promised": (EngineCore, "_behind", False, "a crash with much that is not durable", {"flush": 30}),
    "an ack that does not wait": (SubscriptionEngine, "durable", at_once, "a slow disk", {"flush": 0}),
    "no care after a crash": (EngineCore, "strict", False, "a crash, and more messages", {}),
    "a timeout that withdraws nothing": (Consumer, "clear", lambda self: None, "silence", {}),
    "a successor who waits for its turn": (Reliable, "succeed", Reliable.replace, "they take turns", {}),
    "a delay that is not kept": (Reliable, "back_off_as_asked", Reliable.disarm, "poison", {"limit": 1}),
    "a timer that is left": (Watchdog, "arm", left_armed, "nothing to read", {}),
    "a task that is left": (Session, "close", left_running, "nothing to read", {}),
}
"""What is planted where, and on which walk it is found."""


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_found(plant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, what, walk, opening = PLANTS[plant]
    follow(InMemory, WALKS[walk], **{"kind": "shared", "poison": "block", **opening})
    rewrite(monkeypatch)
    monkeypatch.setattr(where, name, what)
    with pytest.raises(AssertionError):
        follow(InMemory, WALKS[walk], **{"kind": "shared", "poison": "block", **opening})
