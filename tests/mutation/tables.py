"""Every small mutant of a declared table, and whether exploration notices it.

A row is broken as a whole, and a row of several sources also in each of them apart. Rows of a group change places, and so does the completion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, cast

from danube_statemachines import Declaration, DefinitionError, FailurePolicy, RowSpec
from danube_statemachines.exploration import Exploration, InvariantBroken, explore
from modelling import Variant

POLICIES = (
    FailurePolicy(max_redeliveries=1, poison_policy="dead_letter", dead_letter_topic="/test/dead", max_hold=45.0),
    FailurePolicy(max_redeliveries=1),
    FailurePolicy(max_redeliveries=1, poison_policy="drop"),
)
"""One for each path of poison; the first kills most."""
LIMIT = 2_000
"""Worlds that a mutant may open up: more than any of the four machines has here."""


class Mutant(NamedTuple):
    name: str
    table: list[RowSpec]
    completion: Mapping[str, str]


def shown(row: RowSpec, states: Sequence[str]) -> str:
    """A row in one line, by which people find it."""
    sources = row["source"]
    others = [state for state in states if state not in sources]
    where = f"anywhere{' but ' if others else ''}{'|'.join(others)}" if len(sources) > len(others) else "|".join(sources)
    guards = f" [{', '.join(row['conditions'])}]" if row["conditions"] else ""
    return f"{row['trigger']} in {where}{guards}"


def broken(row: RowSpec, states: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """(how, the row), None for a row that is gone."""
    yield "drop it", None
    for part in ("conditions", "before"):
        names: list[str] = row[part]
        for name in names:
            yield f"without {name}", {**row, part: [each for each in names if each != name]}
    for guard in row["conditions"]:
        yield f"unless {guard}", {**row, "conditions": [each for each in row["conditions"] if each != guard], "unless": [guard]}
    actions = row["before"]
    for nth, (first, second) in enumerate(pairwise(actions)):
        yield f"{second} before {first}", {**row, "before": [*actions[:nth], second, first, *actions[nth + 2 :]]}
    for dest in (None, *states):
        if dest != row["dest"] and not (row["dest"] is None and [dest] == row["source"]):
            yield f"go to {dest}" if dest else "stay", {**row, "dest": dest}


def mutants(variant: Variant) -> Iterator[Mutant]:
    table, states, completion = list(variant.table), tuple(variant.states), variant.completion
    for nth, row in enumerate(table):
        name, above, below = shown(row, states), table[:nth], table[nth + 1 :]
        for how, changed in broken(row, states):
            yield Mutant(f"{name}: {how}", [*above, *([changed] if changed else []), *below], completion)
        for source in row["source"] if len(row["source"]) > 1 else ():
            others = RowSpec(**{**row, "source": [state for state in row["source"] if state != source]})
            for how, changed in broken(RowSpec(**{**row, "source": [source]}), states):
                yield Mutant(f"{name}, from {source}: {how}", [*above, *([changed] if changed else []), others, *below], completion)
        rivals = [at for at, other in enumerate(above) if other["trigger"] == row["trigger"] and set(other["source"]) & set(row["source"])]
        if rivals:
            other = table[rivals[-1]]
            yield Mutant(f"{name}: before {shown(other, states)}", [*table[: rivals[-1]], row, *table[rivals[-1] : nth], *below], completion)
    for rest, trigger in completion.items():
        yield Mutant(f"the completion of {rest}: drop it", table, {})
        for state in states:
            if state != rest:
                yield Mutant(f"the completion of {rest}: of {state} instead", table, {state: trigger})
        for name in variant.events:
            if name != trigger:
                yield Mutant(f"the completion of {rest}: {name} instead", table, {rest: name})


def declare(variant: Variant, mutant: Mutant) -> Variant:
    """Raises DefinitionError."""
    lean = cast("type[Any]", variant.lean)
    return Declaration(
        variant.title,
        lean.__mro__[1],
        mutant.table,
        states=list(variant.states),
        initial=str(variant.initial),
        final=variant.final,
        completion=mutant.completion,
        attributes={"selection": lean.selection},
    )


def exploring(variant: Variant) -> Iterator[Exploration]:
    """What explorations see; first the one that is quick and kills most. Raises InvariantBroken."""
    yield explore(variant, policy=POLICIES[0], sessions=1, limit=LIMIT)
    for policy in POLICIES if variant.title.startswith("reliable") else POLICIES[:1]:
        yield explore(variant, policy=policy, limit=LIMIT)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the definition check and exploration say of a mutant."""

    refused: bool = False
    invariant: str | None = None
    """The first that it breaks."""
    fingerprints: tuple[int, ...] = ()

    @property
    def killed(self) -> bool:
        return self.invariant is not None


def judge(variant: Variant, mutant: Mutant) -> Verdict:
    try:
        found = list(exploring(declare(variant, mutant)))
    except DefinitionError:
        return Verdict(refused=True)
    except InvariantBroken as broken_one:
        return Verdict(invariant=broken_one.invariant)
    assert all(each.finished for each in found), f"{mutant.name}: explore more than {LIMIT} worlds"
    return Verdict(fingerprints=tuple(each.fingerprint for each in found))
