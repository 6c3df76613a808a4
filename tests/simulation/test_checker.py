"""The checker on short histories, for the rules that the planted bugs do not break, and for most of the others."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from danube_dispatcher import Dispatcher
from danube_dispatcher.simulation import checker as module
from danube_dispatcher.simulation.checker import Checker
from danube_dispatcher.simulation.rules import RULES
from danube_dispatcher.simulation.run import simulate
from plants import PLANTS

S = "/t:s"
OPENED = f"""
    p appended /t 0 10
    p appended /t 1 11
    p opening {S} exclusive 0 5000 2 drop -1 1000 -1 -1
    p owns {S} 1 0 1 -1
    p joining {S} 7 c
    p waits {S} 7
"""
"""Two messages, and a consumer that waits: 5 s to acknowledge, two redeliveries, 1 s until an ack is durable."""
ACKED = f"""
    p delivered {S} 7 1 0 1 10
    p acking {S} 7 1 0 1
    p acked {S} 7 1 0 1 1
"""

STORIES = {
    "published is durable": "p published /t 10 1",
    "contents": OPENED + f"p delivered {S} 7 1 0 1 11",
    "cursor grows": OPENED + ACKED + f"p durable {S} 1 0 0 -1 0 0 0\n p durable {S} 1 -1 0 -1 0 0 0",
    "durable ack": OPENED.replace(" 1000 -1 -1", " 0 -1 -1") + ACKED,
    "debounce": OPENED + ACKED + "wait 2000\n p crash fate",
    "debounce ": OPENED + ACKED + f"wait 11000\n q owns {S} 2 1 0 -1",
    "dead letter": OPENED + f"p delivered {S} 7 1 0 1 10\n p buried /dead 0 10 {S} 0",
    "single in flight": OPENED + f"p delivered {S} 7 1 0 1 10\n p waits {S} 7\n wait 100\n p delivered {S} 7 1 0 2 10",
    "attempts grow": OPENED + f"p delivered {S} 7 1 0 2 10\n p nacking {S} 7 1 0 2\n p nacked {S} 7 1 0 2 1\n p delivered {S} 7 1 0 2 10",
    "settled once": OPENED + ACKED + f"p delivered {S} 7 1 0 2 10",
    "at least once": OPENED + f"p delivered {S} 7 1 1 1 11",
    "verdict": OPENED
    + "".join(f"p delivered {S} 7 1 0 {n} 10\n p nacking {S} 7 1 0 {n}\n p nacked {S} 7 1 0 {n} 1\n" for n in (1, 2, 3))
    + f"p delivered {S} 7 1 0 4 10",
    "blame": OPENED + f"p delivered {S} 7 1 0 1 10\n p durable {S} 1 -1 0 0 1 2 0",
    "stale answer": OPENED + f"p delivered {S} 7 1 0 1 10\n wait 6000\n p acking {S} 7 1 0 1\n p acked {S} 7 1 0 1 1",
    "fencing": OPENED + f"wait 11000\n q owns {S} 2 1 0 -1\n p durable {S} 1 -1 0 -1 0 0 0",
    "stolen lease": OPENED + f"wait 9000\n q owns {S} 2 1 0 -1",
    "clean close": OPENED + ACKED + f"p let_go {S} 1",
    "liveness": OPENED + "world calm\n wait 600000\n world still",
}
"""By the rule that their last line breaks (with a blank for another one): (process, what, …), or `wait` and milliseconds."""


def read(story: str) -> Checker:
    checker, now = Checker(lambda: None), 1
    lines = [words for line in story.splitlines() if (words := line.split())]
    for nth, (process, what, *details) in enumerate(lines):
        assert checker.problem is None, f"line {nth}: {checker.problem}"
        now += 1000
        if process == "wait":
            now += int(what) * 1_000_000
        else:
            # contents are words, and so are causes and names; all else is a number if it looks like one
            texts = {"appended": {2}, "buried": {2}, "delivered": {5}, "joining": {2}}.get(what, set[int]())
            checker.read(
                (now, process, what, *(text if nth in texts or text.strip("-").isalpha() or "/" in text else int(text) for nth, text in enumerate(details)))
            )
    return checker


@pytest.mark.parametrize("rule", STORIES)
def test_a_story_breaks_its_rule_with_its_last_line(rule: str) -> None:
    problem = read(STORIES[rule]).problem
    assert problem is not None
    assert problem.rule == rule.strip(), problem
    assert RULES[rule.strip()] in str(problem)


def test_a_story_that_is_as_it_should_be() -> None:
    checker = read(
        OPENED
        + ACKED
        + f"""
        p waits {S} 7
        p delivered {S} 7 1 1 1 11
        p nacking {S} 7 1 1 1
        p durable {S} 1 0 0 1 1 1 0
        p nacked {S} 7 1 1 1 1
        wait 1000
        p delivered {S} 7 1 1 2 11
        p acking {S} 7 1 1 2
        p acked {S} 7 1 1 2 1
        p durable {S} 1 1 0 -1 0 0 0
        p let_go {S} 1
        world calm
        world settled
        """
    )
    assert checker.problem is None
    assert checker.deliveries == 3


def test_what_nobody_expects_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def status(self: Dispatcher) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(Dispatcher, "status", status)
    outcome = simulate(1, 0.2)
    assert outcome.violation is not None
    assert outcome.violation.rule == "no surprise"
    assert "KeyError: 'a bug'" in outcome.violation.problem


def test_each_rule_has_been_seen_to_be_broken() -> None:
    planted = {rule for _, rules, _, _ in PLANTS.values() for rule in rules.split(" | ")}
    assert set(RULES) == planted | {rule.strip() for rule in STORIES} | {"no surprise"}


def test_it_knows_nothing_of_the_code() -> None:
    """It may read numbers that users read, too, and nothing that decides anything."""
    folder = Path(module.__file__).parent
    allowed = {"HEARTBEAT", "LEASE", "SECOND", "FLUSH_INTERVAL", "annotations"}
    for name in ("checker", "ledger", "tenure", "seats", "rules"):
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.level == 2 or (node.module or "").startswith("danube")):
                assert {alias.name for alias in node.names} <= allowed, f"{name} imports from {node.module}"
