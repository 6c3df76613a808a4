"""Compares the model in Reliable.tla with the machine that ships: `python compare.py`.

One process that never ends, two messages, every poison policy. TLC writes down every state and step of the model, this program those of the machine
under the same environment. Both are seen through the same window: what the state is, how far the cursor is, who is attached, and the attempt, failures
and delivery of the message in hand. With one consumer each must be able to do exactly what the other can; with two the model chooses any consumer, so
the machine must do nothing that the model cannot. A model with a deliberate mistake must differ. Exit code 1: not so.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cross_check import POLICIES, Run, policy, tlc

from danube_statemachines import VARIANTS, FailurePolicy, Lost, Nack, Recorder, Reliable, Replaced

MESSAGES, REDELIVERIES, ATTEMPTS = 2, 1, 4
RESTS = {
    "Idle": "idle",
    "Dispatching": "idle",
    "Failover": "ready",
    "AwaitingAck": "open",
    "Redelivering": "delay",
    "DeadLettering": "dead",
    "Blocked": "blocked",
}
MISTAKES = ("charge_the_innocent", "leaving_is_ack", "ack_by_offset", "one_try_too_many", "join_wakes_nobody")
SEEN_AS = {"polling": "idle", "dead_written": "dead"}


class View(NamedTuple):
    state: str
    cursor: int
    attempt: int
    failures: int
    team: frozenset[str]
    holder: str
    stage: str


Graph = dict[View, set[View]]


# the model


def first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""


def view_of(label: str) -> View:
    own = first(r"own = (.*?)(?:\\n/|$)", label)
    delivery = first(r"open \|-> \{(.*?)\}", own)
    own = own.replace(delivery, "") if delivery else own
    state = first(r"st \|-> \W*(\w+)", own)
    cursor, attempt, failures = (int(first(rf"\b{name} \|-> (-?\d+)", own)) for name in ("cur", "att", "fail"))
    team = frozenset(re.findall(r"\w+", first(r"team \|-> \{(.*?)\}", own)))
    return View(SEEN_AS.get(state, state), cursor, attempt, failures, team, first(r"name \|-> (\w+)", delivery), first(r"stage \|-> \W*(\w+)", delivery))


def of_the_model(poison: str, names: str, bug: str = "none") -> Graph:
    constants = {"Owners": "{o1}", "Names": names, "N": str(MESSAGES), "MaxRedeliveries": str(REDELIVERIES), "MaxUnsaved": "99", "MaxEpoch": "1"}
    constants |= {"MaxAttempt": str(ATTEMPTS), "Bug": f'"{bug}"'} | policy(poison)
    with tempfile.TemporaryDirectory() as folder:
        list(tlc(Run("compare", constants, "", "", alike=False), folder, "-dump", "dot", "graph"))
        text = Path(folder, "graph.dot").read_text(encoding="utf-8")
    views = {name: view_of(label) for name, label in re.findall(r'^(-?\d+) \[label="(.*?)"[,\]](?=[^"]*$|style)', text, re.MULTILINE)}
    graph: Graph = defaultdict(set)
    for source, dest in re.findall(r"^(-?\d+) -> (-?\d+)", text, re.MULTILINE):
        graph[views[source]].add(views[dest])
    return {view: found - {view} for view, found in graph.items() if view.state not in ("down", "leased", "fenced")}


# the machine


class World:
    """The machine with what its environment knows: the cursor, the name of each session, and what the holder has done with the delivery."""

    def __init__(self, variant: str, poison: str) -> None:
        dead = "/test/dead" if poison == "dead_letter" else None
        rules = FailurePolicy(max_redeliveries=REDELIVERIES, poison_policy=poison, dead_letter_topic=dead)  # type: ignore[arg-type]
        self.port = Recorder()
        self.machine: Reliable = VARIANTS[variant].lean(self.port, rules, epoch=1)  # type: ignore[assignment,call-arg]
        self.cursor, self.stage = -1, ""

    def save(self) -> tuple[object, ...]:
        return self.machine.snapshot(), self.cursor, self.stage

    def load(self, saved: tuple[object, ...]) -> None:
        snapshot, self.cursor, self.stage = saved  # type: ignore[assignment]
        self.machine.restore(snapshot)  # type: ignore[arg-type]

    def view(self) -> View:
        machine = self.machine
        holder = name_of(machine.delivery[1]) if machine.delivery else ""
        team = frozenset(name_of(session) for session in machine.roster)
        return View(RESTS[machine.state], self.cursor, machine.attempt, machine.failures, team, holder, self.stage)

    def step(self, event: str, argument: object) -> None:
        """One event; afterwards times are as good as new, since only their order counts."""
        machine = self.machine
        if event == "stage":
            self.stage = str(argument)
            return
        machine.now = machine.due_at if event == "tick" and machine.due_at is not None else 0.0
        getattr(machine, event)(argument)
        for name, *values in self.port.take():
            if name == "settle":
                assert values[0] == self.cursor + 1
                self.cursor += 1
            if name in ("settle", "save_failure", "withdraw"):
                self.stage = ""
            if name == "send":
                self.stage = "boxed"
        if machine.delivery is None:
            self.stage = ""
        machine.now = 0.0
        machine.due_at = None if machine.due_at is None else 1.0
        machine.sent_at = None if machine.sent_at is None else 0.0


def name_of(session: int) -> str:
    return "ab"[session // 2]


def events(world: World, names: str) -> Iterator[tuple[str, object]]:
    machine, more = world.machine, world.machine.attempt < ATTEMPTS
    taken = world.stage not in ("", "boxed")
    attached = {name_of(session): session for session in machine.roster}
    yield from (("consumer_added", 2 * "ab".index(name)) for name in names if name not in attached)
    for session in attached.values():
        holds = machine.delivery is not None and machine.delivery[1] == session
        if more or not holds:
            yield "consumer_lost", Lost(session, taken and holds)
            yield "consumer_replaced", Replaced(session, session ^ 1, taken and holds)  # its next session, told from the last by one bit
    match machine.state:
        case "Idle" if world.cursor + 1 < MESSAGES:
            yield "wake", None
        case "Dispatching":
            yield "poll_empty", None
            if world.cursor + 1 < MESSAGES:
                yield "polled", world.cursor + 1
        case "AwaitingAck":
            assert machine.delivery is not None
            epoch, session, offset, attempt = machine.delivery
            for wrong in ((epoch - 1, session, offset, attempt), (epoch, session ^ 2, offset, attempt), (epoch, session, offset, attempt - 1)):
                yield from (("ack", wrong), ("nack", Nack(wrong)))
            match world.stage:
                case "boxed":
                    yield "stage", "taken"
                case "taken":
                    yield "stage", "acked"
                    if more:
                        yield "stage", "nacked"
                case "acked":
                    yield "ack", machine.delivery
                case _:
                    yield "nack", Nack(machine.delivery)
            if more:
                yield "tick", taken
        case "Redelivering":
            yield "tick", False
        case "DeadLettering":
            yield from (("dead_letter_failed", 1.0), ("dead_lettered", None))
        case "Blocked":
            yield from (("release_drop", None), ("release_dead_letter", None))
            if more:
                yield "release_retry", None


def of_the_machine(variant: str, poison: str, names: str) -> Graph:
    world = World(variant, poison)
    graph: Graph = defaultdict(set)
    todo, seen = [world.save()], {world.save()}
    while todo:
        here = todo.pop()
        world.load(here)
        view = world.view()
        for event, argument in list(events(world, names)):
            world.load(here)
            world.step(event, argument)
            graph[view].add(world.view())
            if (there := world.save()) not in seen:
                seen.add(there)
                todo.append(there)
    return {view: found - {view} for view, found in graph.items()}


def differences(model: Graph, machine: Graph, exactly: bool) -> list[str]:
    said = [f"only the machine: {view} -> {dest}" for view in machine for dest in machine[view] - model.get(view, set())]
    if exactly:
        said += [f"only the model: {view} -> {dest}" for view in model for dest in model[view] - machine.get(view, set())]
    return said


def main() -> int:
    differ = False
    for poison in POLICIES:
        for names in ("a", "ab"):
            print(f"--- {poison}, {len(names)} consumers", flush=True)
            model = of_the_model(poison, "{" + ", ".join(names) + "}")
            for variant in ("reliable_exclusive", "reliable_shared"):
                machine = of_the_machine(variant, poison, names)
                found = differences(model, machine, exactly=names == "a")
                steps = sum(map(len, machine.values()))
                print(f"{variant}: {len(machine)} views, {steps} steps; the model: {len(model)}, {sum(map(len, model.values()))}; {len(found)} differences")
                print(*found[:20], sep="\n", end="\n" if found else "")
                differ = differ or bool(found)
    for bug in MISTAKES:
        print(f"--- {bug} (must differ)", flush=True)
        found = differences(of_the_model("block", "{a}", bug), of_the_machine("reliable_exclusive", "block", "a"), exactly=True)
        print(*found[:2], sep="\n")
        print(f"{len(found)} differences")
        differ = differ or not found
    print("not as expected" if differ else "all as expected")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
