"""The mutator of sources: what it changes, what it leaves alone, and that a mutant does something else."""

from __future__ import annotations

import ast
from types import FunctionType
from typing import Any

import pytest

from mutation.forks import Died, OutOfTime, forked
from mutation.sources import Mutant, compiled, mutants

SOURCE = '''
"""Module."""
LIMIT = 5

class Box:
    """Class."""
    size: int = 3

    def put(self, count: int, more: bool = False) -> int:
        """Function."""
        assert count != 7
        if count < 0:
            raise ValueError(f"{count - 1} is less than {0}")
        if more and not self.full:
            self.count = min(count, LIMIT)
            logger.debug("put", count + 1)
        while more:
            count += 1
            more = False
        return count

    @property
    def full(self) -> bool:
        return True
'''
TREE = ast.parse(SOURCE)


def named(name: str) -> Mutant:
    return next(mutant for mutant in mutants(TREE) if mutant.name == name)


def test_what_is_changed() -> None:
    assert [mutant.name for mutant in mutants(TREE)] == [
        "Box.put: count < 0 → count <= 0",
        "Box.put: count < 0 → count >= 0",
        "Box.put: 0 → 1",
        "Box.put: 0 → -1",
        "Box.put: without raise ValueError(f'{count - 1} is less than {0}')",
        "Box.put: more and (not self.full) → more or not self.full",
        "Box.put: more and (not self.full) → not self.full",
        "Box.put: more and (not self.full) → more",
        "Box.put: not self.full → self.full",
        "Box.put: without self.count = min(count, LIMIT)",
        "Box.put: min(count, LIMIT) → max(count, LIMIT)",
        "Box.put: without while more: count += 1 more = False",
        "Box.put: more → not more",
        "Box.put: without count += 1",
        "Box.put: 1 → 2",
        "Box.put: 1 → 0",
        "Box.put: False → True",
        "Box.put: return count → return None",
        "Box.full: True → False",
    ]


def run(mutant: Mutant | None, count: int) -> Any:
    (code,) = (code for (name, _), code in compiled(TREE, "box.py", mutant).items() if name == "Box.put")
    return FunctionType(code, {"LIMIT": 5})(None, count, False)


@pytest.mark.parametrize(
    ("name", "count", "result"),
    [("Box.put: return count → return None", 1, None), ("Box.put: without raise ValueError(f'{count - 1} is less than {0}')", -1, -1)],
)
def test_a_mutant_does_something_else_and_leaves_the_source_as_it_was(name: str, count: int, result: int | None) -> None:
    before = ast.dump(TREE)
    assert run(named(name), count) == result
    assert ast.dump(TREE) == before
    assert run(None, 2) == 2


def test_the_same_change_twice_is_two_mutants() -> None:
    names = [mutant.name for mutant in mutants(ast.parse("def f(x):\n    x(1)\n    x(1)\n"))]
    assert len(names) == len(set(names)) == 6


def test_lines_are_those_of_the_statement_alone() -> None:
    assert [*named("Box.put: count < 0 → count <= 0").lines] == [12]
    assert [*named("Box.put: without while more: count += 1 more = False").lines] == [17]


def test_a_fork_answers_or_is_ended() -> None:
    assert forked(lambda: {"a": [1]}, 60) == {"a": [1]}
    with pytest.raises(Died):
        forked(lambda: 1 / 0, 60)
    with pytest.raises(OutOfTime):
        forked(lambda: [None for _ in iter(int, 1)], 0.05)
    with pytest.raises(OutOfTime):
        forked(lambda: [None for _ in iter(int, 1)], 60, computing=1)
