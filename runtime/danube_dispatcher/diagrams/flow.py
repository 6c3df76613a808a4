"""The rows that change the state, in Graphviz's language.

A row is written `trigger [guards]`, and below it its actions; rows between the same two states share an arrow. The rows of a completion are dashed
and numbered: the first whose guards hold is taken, in the same step. Left out are rows that stay, and rows that lead to the final state from
everywhere: its box names them. A label is a node on its arrow's way, so that no other arrow crosses it.

In a heat map counts take the place of the actions, and what is left out is counted below.
"""

from __future__ import annotations

from collections.abc import Iterator

from .drawing import Arrow, Drawing, Line
from .heat import Heat
from .paint import FONT, NEVER, PAINT, SMALL, TEXT, USUAL, Way, broken, left, markup, quoted, words

LEGEND: dict[Way, str] = {"normal": "the normal way", "leaves": "leaving it", "beyond": "what becomes of it", "quiet": "dashed: in the same step"}
BROAD = 30
"""Characters of a line of a label, where that can be."""
BOXES = (
    f'  node [shape=box, style="rounded,filled", fontname="{FONT}", fontsize=15, margin="0.2,0.1", penwidth=1.5]',
    "  edge [arrowsize=0.75, penwidth=1.4]",
)
"""How boxes and arrows look where nothing else is said."""


def dot(drawing: Drawing, heat: Heat | None) -> Iterator[str]:
    names = drawing.identifiers()
    quiet = PAINT["quiet"].ink
    yield f"digraph {quoted(drawing.title)} {{"
    yield f'  graph [bgcolor="{PAINT["quiet"].area}", pad=0.15, nodesep=0.22, ranksep=0.22]'
    yield f'  graph [label={_scale(drawing, heat) if heat else _legend(drawing)}, labelloc=b, fontname="{FONT}", fontsize={USUAL}, fontcolor="{quiet}"]'
    yield from BOXES
    yield f'  start [shape=point, width=0.14, color="{quiet}", label=""]'
    yield f'  start -> {names[drawing.initial]} [color="{quiet}"]'
    for state in drawing.states:
        ink, area, *_ = TEXT if heat else PAINT[drawing.way_of(state)]
        final = state == drawing.final
        note = f'<br/><font point-size="{SMALL}">{markup(drawing.notes[state])}</font>' if state in drawing.notes else ""
        look = "peripheries=2, penwidth=0.8, fontsize=13" if final else f'style="rounded,filled{",dashed" if state in drawing.completion else ""}"'
        yield f'  {names[state]} [id={names[state]}, label=<<b>{markup(state)}</b>{note}>, color="{ink}", fontcolor="{ink}", fillcolor="{area}", {look}]'
    for nth, (arrow, lines) in enumerate(drawing.arrows.items()):
        yield from _arrow(f"l{nth}", arrow, lines, drawing, heat)
    yield "}"


def _arrow(label: str, arrow: Arrow, lines: list[Line], drawing: Drawing, heat: Heat | None) -> Iterator[str]:
    names, way = drawing.identifiers(), drawing.way(arrow)
    source, dest = names[arrow.source], names[arrow.dest]
    if heat is None:
        ink, width = PAINT[way].ink, ""
        cells = "".join(f'<tr><td align="left">{_cell(line)}</td></tr>' for line in lines)
    else:
        ink, wide = heat.line(sum(heat.times(line.row, arrow.source) for line in lines))
        width = f", penwidth={wide:.1f}"
        cells = "".join(f'<tr>{heat.chip(heat.times(line.row, arrow.source))}<td align="left">{_head(line)}</td></tr>' for line in lines)
    look = f'class="{source}-{dest}", color="{ink}"{width}' + (", style=dashed" if arrow.same_step else "") + (", weight=4" if way == "normal" else "")
    table = f'<table border="0" cellspacing="{1 if heat else 0}" cellpadding="2">{cells}</table>'
    yield f'  {label} [shape=plain, style="", fontsize={USUAL}, class="{source}-{dest}", fontcolor="{TEXT.ink if heat else ink}", label=<{table}>]'
    yield from led(source, label, dest, look, down=drawing.states.index(arrow.source) < drawing.states.index(arrow.dest))


def led(source: str, label: str, dest: str, look: str, *, down: bool) -> Iterator[str]:
    """An arrow over its label."""
    if down:
        yield f"  {source} -> {label}:n [{look}, dir=none]"
        yield f"  {label}:s -> {dest} [{look}]"
    else:  # told the other way round, so that the boxes come down the page in their order
        yield f"  {dest} -> {label}:n [{look}, dir=back]"
        yield f"  {label}:s -> {source} [{look}, dir=none]"


def _head(line: Line) -> str:
    return left(broken(line.head, BROAD))


def _cell(line: Line) -> str:
    return _head(line) + (left(broken(line.actions, BROAD), size=SMALL) if line.actions else "")


def _legend(drawing: Drawing) -> str:
    ways = {drawing.way(arrow) for arrow in drawing.arrows}
    if any(arrow.same_step for arrow in drawing.arrows):
        ways.add("quiet")
    told = [f'<font color="{PAINT[way].ink}">{text}</font>' for way, text in LEGEND.items() if way in ways]
    return f"<<br/>{'  ·  '.join(told)}>" if len(told) > 1 else '""'


def _scale(drawing: Drawing, heat: Heat) -> str:
    """The legend of a heat map, and what became of the rows without an arrow."""
    stays = [(stay.row, state) for states, several in drawing.stays.items() for stay in several for state in states]
    never = [state for row, state in drawing.ending if not heat.times(row, state)]
    told = [
        f"{what}: {len(rows) - missed} of {len(rows)} fired" + (f', <font color="{NEVER.area}">{missed} never{where}</font>' if missed else "")
        for what, rows, missed, where in (
            ("rows that stay", stays, sum(not heat.times(*place) for place in stays), ""),
            (markup(", ".join(map(words, drawing.ends))), drawing.ending, len(never), f" (in {markup(', '.join(never))})"),
        )
        if rows
    ]
    lines = "".join(f"<tr><td>{line}</td></tr>" for line in (" · ".join(told), "each counts once for each of its states") if told)
    return f'<<table border="0" cellspacing="0" cellpadding="1"><tr><td>{heat.legend()}</td></tr>{lines}</table>>'
