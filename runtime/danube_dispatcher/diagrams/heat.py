"""How often a run has fired each row, and where that is read from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from danube_statemachines import Declaration
from danube_statemachines.checks import shown
from danube_statemachines.coverage import Fired, fired_report
from danube_statemachines.errors import InvalidArgument

from .paint import HEAT, LINES, NEVER, SMALL, Paint

COMPARED = ("row", "trigger", "dest", "when", "do", "why")
"""What makes a row of a report one of this table."""


class Heat:
    """A scale of tens: a row fired 10 to 99 times is one step warmer than one fired 1 to 9 times."""

    def __init__(self, declaration: Declaration[Any], fired: Mapping[tuple[str, int, str], int]) -> None:
        self._title = declaration.title
        self._fired = fired
        self._steps = {self._step(times) for (machine, _, _), times in fired.items() if machine == self._title and times}

    def times(self, row: int, source: str) -> int:
        return self._fired.get((self._title, row, source), 0)

    @staticmethod
    def _step(times: int) -> int:
        return min(len(str(times)), len(HEAT)) - 1

    def line(self, times: int) -> tuple[str, float]:
        """Colour and width."""
        return (LINES[self._step(times)][0], 1.2 + 0.6 * self._step(times)) if times else (NEVER.area, 1.3)

    def chip(self, times: int) -> str:
        """A cell of a table of Graphviz's."""
        return _cell(HEAT[self._step(times)], f"{times:,}") if times else _cell(NEVER, "never")

    def legend(self) -> str:
        """The scale, up to the warmest that there is: a table of Graphviz's."""
        steps = range(max(self._steps, default=-1) + 1)
        cells = [_cell(NEVER, "never"), *(_cell(HEAT[step], _called(step)) for step in steps)]
        return f'<table border="0" cellspacing="2" cellpadding="5"><tr><td>fired</td>{"".join(cells)}</tr></table>'


def _called(step: int) -> str:
    least = 10**step
    return f"{least:,} or more" if step == len(HEAT) - 1 else f"{least:,} to {10 * least - 1:,}"


def _cell(paint: Paint, text: str) -> str:
    return f'<td bgcolor="{paint.area}"><font color="{paint.ink}" point-size="{SMALL}">{text}</font></td>'


def read_fired(declaration: Declaration[Any], text: str | bytes) -> Fired:
    """How often each row was fired, from a report: the JSON that `pytest --rows FILE` of this project, `danube-dispatcher simulate --json FILE`, or
    `danube_statemachines.coverage.fired_report` of your own makes. Where it holds several runs of the machine, they are added up.

    Raises InvalidArgument when it is no such report, knows nothing of this machine, or tells of another table than the one declared.
    """
    try:
        report = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("rows", f"needs a report of rows as JSON: {error}") from error
    groups = [group for group in _objects(report) if _is_report(group)]
    if not groups:
        raise InvalidArgument("rows", f"needs a report such as pytest --rows writes: machines with their rows, not {shown(report)}")
    runs = [group[declaration.title] for group in groups if declaration.title in group]
    if not runs:
        known = sorted({machine for group in groups for machine in group})
        raise InvalidArgument("rows", f"knows nothing of {declaration.title}, only of {', '.join(known)}")
    fired = Fired()
    for rows in runs:
        _check(declaration, rows)
        fired.update({(declaration.title, entry["row"], source): times for entry in rows for source, times in entry["sources"].items()})
    return fired


def _objects(report: object) -> list[dict[str, Any]]:
    """Where machines may stand: at the top, or in groups."""
    top = _object(report)
    return [top, *map(_object, top.values())]


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _is_report(group: dict[str, Any]) -> bool:
    return bool(group) and all(isinstance(rows, list) and all(map(_is_row, cast("list[object]", rows))) for rows in group.values())


def _is_row(value: object) -> bool:
    row = _object(value)
    return isinstance(row.get("row"), int) and all(isinstance(times, int) and times >= 0 for times in _object(row.get("sources")).values())


def _check(declaration: Declaration[Any], rows: list[dict[str, Any]]) -> None:
    """Counts of another table would be painted on the wrong rows."""
    wanted = cast("list[dict[str, Any]]", fired_report([declaration], {})[declaration.title])
    if len(rows) != len(wanted):
        raise InvalidArgument("rows", f"is of another table: it has {len(rows)} rows of {declaration.title}, and {len(wanted)} are declared; run again")
    for nth, (row, right) in enumerate(zip(rows, wanted, strict=True)):
        if any(row.get(name) != right[name] for name in COMPARED) or _object(row.get("sources")).keys() != right["sources"].keys():
            raise InvalidArgument("rows", f"is of another table: row {nth} of {declaration.title} is not {right['trigger']!r} as it is declared; run again")
