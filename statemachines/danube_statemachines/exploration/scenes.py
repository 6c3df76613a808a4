"""What can be explored: a machine alone, for any number of messages, or a subscription with all that it stands on."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import fields
from functools import partial
from typing import Any, TypeVar, cast

from ..checks import count, number, shown
from ..declaration import Declaration
from ..engine import FLUSH_INTERVAL
from ..errors import InvalidArgument
from ..non_reliable import NonReliable
from ..policy import FailurePolicy
from ..reliable import Reliable
from ..variants import VARIANTS
from . import non_reliable_invariants, reliable_invariants, subscription_invariants
from .non_reliable import NonReliableEnvironment
from .ordering import watched
from .reliable import ReliableEnvironment
from .search import title
from .stories import Judge, Scene
from .subscription import SubscriptionEnvironment, SubscriptionWorld
from .worlds import Step

W = TypeVar("W")
Machine = Declaration[Reliable] | Declaration[NonReliable]
USUAL = FailurePolicy(max_redeliveries=1)


def subscribed(
    machine: Declaration[Reliable],
    *,
    messages: int = 2,
    consumers: int = 1,
    owners: int = 1,
    faults: int | None = None,
    policy: FailurePolicy | None = None,
    flush_interval: float = FLUSH_INTERVAL,
    pauses: bool = False,
    throttled: bool = False,
) -> Scene[SubscriptionWorld]:
    """A reliable machine with its engine, a log, a disk, and processes that follow and outlive one another, to `explore`.

    messages        in the log at the end, at most
    consumers       attached to a process at once, at most
    owners          processes at work at once, at most: one owns the subscription, others may have lost it without knowing
    faults          crashes, leases that run out and storage calls that fail, in one story, at most; None: any number
    policy          by default the usual one with a single redelivery
    flush_interval  0: every settlement is durable before the next message; any other number stands for all others
    pauses          whether it may be paused and resumed at any time
    throttled       whether it has a rate limit; one stands for all others

    The states grow fast with all of these. Raises InvalidArgument for numbers that make no sense.
    """
    for name, value in (("messages", messages), ("consumers", consumers), ("owners", owners)):
        count(name, value)
    if faults is not None:
        count("faults", faults, least=0)
    number("flush_interval", flush_interval, zero=True)
    used = USUAL if policy is None else policy
    environment = SubscriptionEnvironment(
        watched(machine),
        used,
        messages=messages,
        consumers=consumers,
        processes=owners,
        flush_interval=flush_interval,
        faults=faults,
        pauses=pauses,
        throttled=throttled,
    )
    sizes = {"messages": messages, "consumers": consumers, "owners": owners, "faults": faults}
    arguments = [_name(machine), *(f"{name}={value}" for name, value in sizes.items()), *_policy(policy), f"flush_interval={flush_interval}"]
    arguments += [f"{name}=True" for name, value in (("pauses", pauses), ("throttled", throttled)) if value]
    return Scene(
        machine.title,
        consumers,
        environment,
        partial(subscription_invariants.judge, policy=used, flush_interval=flush_interval, throttled=throttled),
        tuple(title(check) for check in subscription_invariants.INVARIANTS),
        f"replay(subscribed({', '.join(arguments)}), STORY)",
    )


def alone(machine: Machine, sessions: int, policy: FailurePolicy | None, without: Collection[str]) -> Scene[Any]:
    """A machine among consumers, an engine, a network and a clock that do what they like."""
    lean: type[Reliable] | type[NonReliable] = machine.lean
    environment: ReliableEnvironment | NonReliableEnvironment
    judge: Judge[Any]
    if issubclass(lean, Reliable):
        used = USUAL if policy is None else policy
        environment = ReliableEnvironment(watched(cast("Declaration[Reliable]", machine)), used, sessions)
        judge = partial(reliable_invariants.judge, policy=used, selection=environment.selection)
        checks = [title(check) for check in reliable_invariants.INVARIANTS]
    else:
        environment = NonReliableEnvironment(watched(cast("Declaration[NonReliable]", machine)), sessions)
        judge = partial(non_reliable_invariants.judge, selection=environment.selection)
        checks = [title(check) for check in non_reliable_invariants.INVARIANTS]
    numbers = {check.split()[0] for check in checks}
    for each in without:
        if each not in numbers:
            raise InvalidArgument("without", f"needs numbers of invariants ({', '.join(sorted(numbers))}), not {shown(each)}")
    if without:
        judge = partial(_waived, judge=judge, without=without)
    kept = tuple(check for check in checks if check.split()[0] not in without)
    arguments = [_name(machine), "STORY", *_policy(policy), *([f"without={sorted(without)!r}"] if without else [])]
    return Scene(machine.title, sessions, environment, judge, kept, f"replay({', '.join(arguments)})")


def _waived(step: Step[W], judge: Judge[W], without: Collection[str]) -> Iterator[tuple[str, str]]:
    return (found for found in judge(step) if found[0].split()[0] not in without)


# arguments, as they are written in Python


def _name(machine: Machine) -> str:
    return machine.title.upper() if machine.title in VARIANTS else "machine"


def _policy(policy: FailurePolicy | None) -> list[str]:
    if policy is None:
        return []
    changed = [f"{field.name}={value!r}" for field in fields(policy) if (value := getattr(policy, field.name)) != field.default]
    return [f"policy={type(policy).__name__}({', '.join(changed)})"]
