"""The tables: on the screen as they stand in the docs, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .measured import Line, Measured
from .scenarios import Group
from .targets import TARGETS

BEGIN, END = "<!-- begin: figures -->", "<!-- end: figures -->"
NONE = "–"
HEAD = (
    *("what", "messages/s", "best", "ratio", "lowest–highest", "to"),
    *("p50 µs", "p99 µs", "CPU ms per 1,000", "memory MiB", "survives a kill", "survives a power cut"),
)
LEFT = {"what", "to", "unit", "survives a kill", "survives a power cut", "target", "figure", ""}
"""Columns of words."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown that can also be read as it is."""
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width if title in LEFT else "-" * (width - 1) + ":" for title, width in zip(head, widths, strict=True)]
    padded = [
        [cell.ljust(width) if title in LEFT else cell.rjust(width) for title, cell, width in zip(head, row, widths, strict=True)]
        for row in (lines[0], rule, *lines[1:])
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in padded)


def number(value: float | None, digits: int = 3) -> str:
    """With so many digits that count."""
    if value is None:
        return NONE
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}" if value else "0"


def cells(measured: Measured, line: Line) -> list[str]:
    """A row of HEAD."""
    survives = [line.kill, line.power]
    if not line.rounds:
        return [line.name, "skipped", *[NONE] * (len(HEAD) - 4), *survives]
    ratios = measured.ratios(line)
    memory = line.memory_bytes
    return [
        *(line.name, number(line.median(lambda each: each.messages_per_second)), number(line.best("rate"))),
        *((number(ratios[0]), f"{number(ratios[1])}–{number(ratios[2])}") if ratios else (NONE, NONE)),
        line.limit.partition(":")[0] if line.limit and ratios else NONE,
        *(number(line.median(lambda each: each.p50_us)), number(line.median(lambda each: each.p99_us))),
        number(line.median(lambda each: each.cpu_ms_per_1000)),
        number(memory / 2**20, 2) if memory is not None else NONE,
        *survives,
    ]


def sections(measured: Measured) -> Iterator[tuple[str, str]]:
    """(heading, table) of all that was measured."""
    for group in Group:
        lines = [line for line in measured.lines if line.group == group]
        if lines:
            skipped = [f"- *{line.name}* was skipped: {line.skipped or 'no round was asked for'}" for line in lines if not line.rounds]
            yield group, "\n\n".join([table(HEAD, [cells(measured, line) for line in lines]), *(["\n".join(skipped)] if skipped else [])])
    if measured.rows or measured.skipped:
        rows = [[row.name, number(row.value, 4), row.unit, row.detail] for rows in measured.rows.values() for row in rows]
        missing = [[study, "skipped", "", reason] for study, reason in measured.skipped.items()]
        yield "Other figures", table(("figure", "value", "unit", ""), [*rows, *missing])
    yield "Targets", table(("target", "wanted", "reached", ""), verdicts(measured))


def verdicts(measured: Measured) -> Iterator[list[str]]:
    for target in TARGETS:
        value = target.value(measured)
        said = "not measured" if value is None else "yes" if target.reached(value) else "**no**"
        yield [target.title, target.wanted(measured), number(value), said]


def page(measured: Measured) -> str:
    """What stands between the markers of the page."""
    machine = ", ".join(f"{name} {value}" if name != "CPU" else value for name, value in measured.machine.items())
    rounds = max((len(line.rounds) for line in measured.lines), default=0)
    told = f"{'A quick run, of little weight' if measured.quick else 'Measured'}: {rounds} rounds. {machine}."
    return "\n\n".join([told, *(f"## {heading}\n\n{text}" for heading, text in sections(measured))])


def write(path: Path, measured: Measured) -> None:
    """Put the tables between the markers of the page."""
    put(path, page(measured))


def put(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Between two markers of a page."""
    before = path.read_text(encoding="utf-8")
    found = re.search(f"{re.escape(begin)}.*?{re.escape(end)}", before, re.DOTALL)
    if found is None:
        raise ValueError(f"{path.name}: has no {begin} … {end} to write between; put them where the tables shall stand")
    path.write_text(f"{before[: found.start()]}{begin}\n\n{text}\n\n{end}{before[found.end() :]}", encoding="utf-8")
