"""The rows that stay in their state, with their reasons, in Graphviz's language: one table.

States in which the same rows stay stand together: a band shows which, each at its own place, and the rows follow. In a heat map each row has its count
below each of its states.
"""

from __future__ import annotations

from collections.abc import Iterator

from .drawing import NOTHING_STAYS, Drawing, Stay, merged
from .heat import Heat
from .paint import FONT, PAINT, SMALL, TEXT, USUAL, broken, left, markup, quoted, wrapped

BROAD = 44
"""Characters of a line, of each of the two columns."""


def dot(drawing: Drawing, heat: Heat | None) -> Iterator[str]:
    quiet = PAINT["quiet"]
    yield f"digraph {quoted(drawing.title)} {{"
    yield f'  graph [bgcolor="{quiet.area}", pad=0.15]'
    yield f'  node [shape=plain, fontname="{FONT}", fontsize={USUAL}, fontcolor="{TEXT.ink}"]'
    yield '  stays [label=<<table border="0" cellspacing="2" cellpadding="3">'
    yield from (f"    <tr>{row}</tr>" for row in _rows(drawing, heat))
    yield "  </table>>]"
    yield "}"


def _rows(drawing: Drawing, heat: Heat | None) -> Iterator[str]:
    """Of the table, which has a column for each state, and two at least."""
    wide, quiet = max(len(drawing.states), 2), PAINT["quiet"]
    if not drawing.stays:
        yield _cell(NOTHING_STAYS, wide)
    for nth, (states, rows) in enumerate(drawing.stays.items()):
        if nth:
            yield f'<td colspan="{wide}" height="4"></td>'
        yield "".join(_place(state, states, drawing, heat) for state in drawing.states)
        for stay in rows if heat else merged(rows):
            if heat is None:
                text = left(broken(stay.head, BROAD)) + (left(broken(stay.actions, BROAD), size=SMALL) if stay.actions else "")
                why = left(wrapped(stay.why, BROAD), color=quiet.ink)
                yield _cell(text, wide // 2) + _cell(why, wide - wide // 2)
            else:
                yield from _counted(stay, states, drawing, heat)
    if heat:
        yield f'<td colspan="{wide}">{heat.legend()}</td>'


def _counted(stay: Stay, states: tuple[str, ...], drawing: Drawing, heat: Heat) -> Iterator[str]:
    """A row with its counts: beside it if there is one, else below it."""
    wide, first = max(len(drawing.states), 2), drawing.states.index(states[0])
    head = left(broken(stay.head, 2 * BROAD))
    counts = [heat.chip(heat.times(stay.row, state)) if state in states else "<td></td>" for state in drawing.states]
    if len(states) > 1:
        yield _cell(head, wide)
        yield "".join(counts)
    elif first < wide // 2:
        yield "".join(counts[: first + 1]) + _cell(head, wide - first - 1)
    else:
        yield _cell(head, first) + "".join(counts[first:])


def _place(state: str, states: tuple[str, ...], drawing: Drawing, heat: Heat | None) -> str:
    ink, area, *_ = TEXT if heat else PAINT[drawing.way_of(state)]
    if state not in states:
        return f'<td><font color="{PAINT["quiet"].ink}">·</font></td>'
    return f'<td border="1" style="rounded" color="{ink}" bgcolor="{area}"><font color="{ink}"><b>{markup(state)}</b></font></td>'


def _cell(text: str, columns: int) -> str:
    return f'<td colspan="{columns}" align="left">{text}</td>'
