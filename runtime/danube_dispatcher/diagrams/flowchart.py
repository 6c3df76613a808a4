"""Both styles in Mermaid's language, without the actions: they would not fit. Flowcharts, since Mermaid's state diagrams know neither coloured nor
dashed arrows.
"""

from __future__ import annotations

from collections.abc import Iterator

from .drawing import NOTHING_STAYS, Drawing, merged
from .heat import Heat
from .paint import NEVER, PAINT, TEXT, entities, printable

BROAD = 24
"""Characters of a label beyond which labels come to lie on each other, unless they are broken."""

WIDE = 640
"""Pixels of a box, where lines are broken."""


def flow(drawing: Drawing, heat: Heat | None) -> Iterator[str]:
    names = drawing.identifiers()
    yield "flowchart TB"
    yield from _classes()
    yield "  start(( )):::quiet"
    for state in drawing.states:
        note = f"<br/>{entities(drawing.notes[state])}" if state in drawing.notes else ""
        yield f'  {names[state]}("{entities(printable(state))}{note}"):::{"text" if heat else drawing.way_of(state)}'
    yield f"  start --> {names[drawing.initial]}"
    links: dict[str, list[str]] = {f"stroke:{PAINT['quiet'].ink}": ["0"]}
    for nth, (arrow, lines) in enumerate(drawing.arrows.items(), 1):
        times = [heat.times(line.row, arrow.source) for line in lines] if heat else []
        if heat:
            colour, width = heat.line(sum(times))
            look = f"stroke:{colour},stroke-width:{width:.1f}px"
        else:
            look = f"stroke:{PAINT[drawing.way(arrow)].ink}"
        links.setdefault(look, []).append(str(nth))
        counts = [f" ({_count(n)})" for n in times] or [""] * len(lines)
        label = "<br/>".join(_label(line.head) + count for line, count in zip(lines, counts, strict=True))
        yield f'  {names[arrow.source]} {"-.->" if arrow.same_step else "-->"}|"{label}"| {names[arrow.dest]}'
    for look, numbers in links.items():
        yield f"  linkStyle {','.join(numbers)} {look}"


def stays(drawing: Drawing, heat: Heat | None) -> Iterator[str]:
    yield f'%%{{init: {{"flowchart": {{"wrappingWidth": {WIDE}}}}}}}%%'
    yield "flowchart TB"
    yield from _classes()
    if not drawing.stays:
        yield f'  g0("{NOTHING_STAYS}"):::text'
    for nth, (states, rows) in enumerate(drawing.stays.items()):
        told = [f"<b>{entities(', '.join(map(printable, states)))}</b>"]
        never = False
        for stay in rows if heat else merged(rows):
            counts = {state: heat.times(stay.row, state) for state in states} if heat else {}
            never = never or 0 in counts.values()
            text = ", ".join(f"{printable(state)} {_count(times)}" for state, times in counts.items()) or stay.why
            told.append(entities(f"{stay.head}: {text}" if text else stay.head))
        yield f'  g{nth}("{"<br/>".join(told)}"):::{"never" if never else "text"}'
        if nth:
            yield f"  g{nth - 1} ~~~ g{nth}"


def _classes() -> Iterator[str]:
    for way, (ink, area, *_) in PAINT.items():
        yield f"  classDef {way} fill:{area},stroke:{ink},color:{ink}" + (",stroke-dasharray:5 3" if way == "leaves" else "")
    for name, line in (("text", TEXT.ink), ("never", NEVER.area)):
        yield f"  classDef {name} fill:{TEXT.area},stroke:{line},color:{TEXT.ink}"


def _label(head: str) -> str:
    return entities(head).replace(", ", ",<br/>" if len(head) > BROAD else ", ")


def _count(times: int) -> str:
    return f"{times:,}" if times else "never"
