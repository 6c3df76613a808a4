"""Machines as pictures, read off their declarations: the four of `danube_statemachines.VARIANTS`, or one of your own.

`dot` and `mermaid` give text that is the same for the same declaration, with nothing but the standard library; `render` makes a picture of it.

Drawn is every row that changes the state, as `trigger [guards]` and below it the actions; rows between the same two states share an arrow. The rows
of a completion are dashed and numbered: the first whose guards hold is taken, in the same step. Left out are rows that stay, and rows that lead to
the final state from everywhere: its box names them. Names are the table's, with blanks for underscores.

Colours tell three ways apart: the normal one (all that is reached without passing a state that has a completion), what leaves it, and what happens
beyond it.
"""

from __future__ import annotations

import html
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Literal, NamedTuple

from danube_statemachines import Declaration, RowSpec
from danube_statemachines.checks import choice

from .errors import UsageError

__all__ = ["FORMATS", "dot", "mermaid", "render"]

FORMATS = ("dot", "mermaid", "png", "svg")

Way = Literal["normal", "leaves", "beyond", "quiet"]


class Paint(NamedTuple):
    """Colours of lines and letters, and of areas, on a light page and on a dark one. Letters have a contrast of 4.5 or more on their area."""

    ink: str
    area: str
    dark_ink: str
    dark_area: str


PAINT: dict[Way, Paint] = {
    "normal": Paint("#14717f", "#e6f4f5", "#7fcfdc", "#12343b"),
    "leaves": Paint("#b34d0c", "#fdefe4", "#f0a972", "#402919"),
    "beyond": Paint("#7350b8", "#f2edfb", "#c0abf0", "#2d2548"),
    "quiet": Paint("#5b6470", "#ffffff", "#9aa5b1", "#161b22"),
}
LEGEND: dict[Way, str] = {"normal": "the normal way", "leaves": "leaving it", "beyond": "what becomes of it", "quiet": "dashed: in the same step"}
FONT = "DejaVu Sans,Verdana,sans-serif"
"""Two of the same widths: a label fits its place where the picture is made and where it is looked at."""

BROAD = 24
"""Characters of a label beyond which Mermaid's labels come to lie on each other, unless they are broken."""


class Line(NamedTuple):
    """A row on an arrow."""

    head: str
    actions: str


class Arrow(NamedTuple):
    source: str
    dest: str
    same_step: bool
    """Its rows are a completion's."""


class Drawing:
    """What stands in the picture of a declaration, in the order of its table."""

    def __init__(self, declaration: Declaration[Any]) -> None:
        self.title = declaration.title
        self.states = list(declaration.states)
        self.initial = str(declaration.initial)
        self.final = declaration.final
        self.completion = declaration.completion
        self.ends = _from_everywhere(declaration)
        self.notes = {self.final: f"{', '.join(map(_words, self.ends))}, from every state"} if self.ends else {}
        self.arrows: dict[Arrow, list[Line]] = {}
        rows = [(spec, source) for spec in declaration.table for source in spec["source"]]
        groups = Counter((spec["trigger"], source) for spec, source in rows)
        seen = Counter[tuple[str, str]]()
        for spec, source in rows:
            group = (spec["trigger"], source)
            seen[group] += 1
            self._read(spec, source, seen[group], groups[group])
        self.normal = {self.initial}
        for _ in self.states:
            self.normal |= {arrow.dest for arrow in self.arrows if arrow.source in self.normal and arrow.dest not in self.completion}

    def _read(self, spec: RowSpec, source: str, nth: int, of: int) -> None:
        trigger, dest = spec["trigger"], spec["dest"]
        completes = self.completion.get(source) == trigger
        guards = f" [{', '.join(map(_words, spec['conditions']))}]" if spec["conditions"] else " [else]" if nth > 1 else ""
        head = f"{nth}:{guards}" if completes and of > 1 else f"{_words(trigger)}{guards}"
        if dest is None or dest == source:
            if completes:
                self.notes[source] = f"{head} {_printable(spec['why'] or 'stays')}"
        elif dest != self.final or trigger not in self.ends:
            self.arrows.setdefault(Arrow(source, dest, completes), []).append(Line(head, ", ".join(map(_words, spec["before"]))))

    def way(self, arrow: Arrow) -> Way:
        return "beyond" if arrow.source not in self.normal else "normal" if arrow.dest in self.normal else "leaves"

    def way_of(self, state: str) -> Way:
        return "quiet" if state == self.final else "leaves" if state in self.completion else "normal" if state in self.normal else "beyond"

    def identifiers(self) -> dict[str, str]:
        """For each state a name that means nothing else to any tool: its own, if that is one capitalised word."""
        return {state: state if re.fullmatch("[A-Z][A-Za-z0-9]*", state) else f"s{nth}" for nth, state in enumerate(self.states)}


def _from_everywhere(declaration: Declaration[Any]) -> list[str]:
    """The triggers that lead to the final state from all others."""
    sources: dict[str, set[str]] = {}
    for spec in declaration.table:
        if spec["dest"] == declaration.final:
            sources.setdefault(spec["trigger"], set()).update(spec["source"])
    return [trigger for trigger, states in sources.items() if states >= {*declaration.states} - {declaration.final}]


def _words(name: str) -> str:
    return _printable(name.replace("_", " "))


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def dot(declaration: Declaration[Any]) -> str:
    """The machine in Graphviz's language.

    A label is a node on its arrow's way, so that no other arrow crosses it. In a picture made of it a state has its identifier as `id`, an arrow and its
    label have `FROM-TO` as `class`.
    """
    return "\n".join(_dot(Drawing(declaration))) + "\n"


def _dot(drawing: Drawing) -> Iterator[str]:
    names = drawing.identifiers()
    quiet = PAINT["quiet"].ink
    yield f"digraph {_quoted(drawing.title)} {{"
    yield f'  graph [bgcolor="{PAINT["quiet"].area}", pad=0.3, nodesep=0.4, ranksep=0.3]'
    yield f'  graph [label={_legend(drawing)}, labelloc=b, fontname="{FONT}", fontsize=10, fontcolor="{quiet}"]'
    yield f'  node [shape=box, style="rounded,filled", fontname="{FONT}", fontsize=14, margin="0.22,0.12", penwidth=1.4]'
    yield "  edge [arrowsize=0.7, penwidth=1.3]"
    yield f'  start [shape=point, width=0.13, color="{quiet}", label=""]'
    yield f'  start -> {names[drawing.initial]} [color="{quiet}"]'
    for state in drawing.states:
        way = drawing.way_of(state)
        ink, area, *_ = PAINT[way]
        note = f'<br/><font point-size="9">{html.escape(drawing.notes[state])}</font>' if state in drawing.notes else ""
        look = 'fontsize=11, penwidth=0.8, style="rounded,filled"' if way == "quiet" else f'style="rounded,filled{",dashed" if way == "leaves" else ""}"'
        text = f"<b>{html.escape(_printable(state))}</b>{note}"
        yield f'  {names[state]} [id={names[state]}, label=<{text}>, color="{ink}", fontcolor="{ink}", fillcolor="{area}", {look}]'
    for nth, (arrow, lines) in enumerate(drawing.arrows.items()):
        way = drawing.way(arrow)
        source, dest, ink = names[arrow.source], names[arrow.dest], PAINT[way].ink
        look = f'class="{source}-{dest}", color="{ink}"' + (", style=dashed" if arrow.same_step else "") + (", weight=4" if way == "normal" else "")
        cells = "".join(f'<tr><td align="left">{_cell(line)}</td></tr>' for line in lines)
        table = f'<table border="0" cellspacing="0" cellpadding="2">{cells}</table>'
        yield f'  l{nth} [shape=plain, style="", fontsize=10, class="{source}-{dest}", fontcolor="{ink}", label=<{table}>]'
        if drawing.states.index(arrow.source) < drawing.states.index(arrow.dest):
            yield f"  {source} -> l{nth}:n [{look}, dir=none]"
            yield f"  l{nth}:s -> {dest} [{look}]"
        else:  # told the other way round, so that the states come down the page in their order
            yield f"  {dest} -> l{nth}:n [{look}, dir=back]"
            yield f"  l{nth}:s -> {source} [{look}, dir=none]"
    yield "}"


def _cell(line: Line) -> str:
    actions = f'<font point-size="9">{html.escape(line.actions)}</font><br align="left"/>' if line.actions else ""
    return f'{html.escape(line.head)}<br align="left"/>{actions}'


def _legend(drawing: Drawing) -> str:
    ways = {drawing.way(arrow) for arrow in drawing.arrows}
    if any(arrow.same_step for arrow in drawing.arrows):
        ways.add("quiet")
    words = [f'<font color="{PAINT[way].ink}">{text}</font>' for way, text in LEGEND.items() if way in ways]
    return f"<<br/>{'  ·  '.join(words)}>" if len(words) > 1 else '""'


def _quoted(text: str) -> str:
    return '"' + _printable(text).replace("\\", "/").replace('"', "'") + '"'


def mermaid(declaration: Declaration[Any]) -> str:
    """The machine in Mermaid's language, without the actions: they would not fit. A flowchart, since Mermaid's state diagrams know neither coloured
    nor dashed arrows.
    """
    return "\n".join(_mermaid(Drawing(declaration))) + "\n"


def _mermaid(drawing: Drawing) -> Iterator[str]:
    names = drawing.identifiers()
    yield "flowchart TB"
    for way, (ink, area, *_) in PAINT.items():
        yield f"  classDef {way} fill:{area},stroke:{ink},color:{ink}" + (",stroke-dasharray:5 3" if way == "leaves" else "")
    yield "  start(( )):::quiet"
    for state in drawing.states:
        note = f"<br/>{entities(drawing.notes[state])}" if state in drawing.notes else ""
        yield f'  {names[state]}("{entities(_printable(state))}{note}"):::{drawing.way_of(state)}'
    yield f"  start --> {names[drawing.initial]}"
    links: dict[Way, list[str]] = {"quiet": ["0"]}
    for nth, (arrow, lines) in enumerate(drawing.arrows.items(), 1):
        links.setdefault(drawing.way(arrow), []).append(str(nth))
        label = "<br/>".join(entities(line.head).replace(", ", ",<br/>" if len(line.head) > BROAD else ", ") for line in lines)
        yield f'  {names[arrow.source]} {"-.->" if arrow.same_step else "-->"}|"{label}"| {names[arrow.dest]}'
    for way, numbers in links.items():
        yield f"  linkStyle {','.join(numbers)} stroke:{PAINT[way].ink}"


def entities(text: str) -> str:
    """The text with Mermaid's own escapes for whatever could mean something to it."""
    return re.sub(r"[^\w ,.:/()\[\]…–-]|_", lambda found: f"#{ord(found[0])};", text)


def render(declaration: Declaration[Any], format: str) -> bytes:
    """The machine as "svg" or "png" (or the text of `dot` or `mermaid`). An SVG is dark where the reader's system is.

    Uses `dot` where it is installed, else the Graphviz that the wheels of pygraphviz carry. Raises InvalidArgument, and UsageError when the extra
    `diagrams` is not installed.
    """
    choice("format", format, FORMATS)
    if format in ("dot", "mermaid"):
        return {"dot": dot, "mermaid": mermaid}[format](declaration).encode()
    picture = _graphviz(dot(declaration), format)
    return picture.replace(b"<g ", _dark_style() + b"<g ", 1) if format == "svg" else picture


def _graphviz(text: str, format: str) -> bytes:
    try:
        if shutil.which("dot"):
            piped: bytes = import_module("graphviz").Source(text).pipe(format=format)
            return piped
        drawn: bytes = import_module("pygraphviz").AGraph(string=text).draw(format=format, prog="dot")
        return drawn
    except ImportError as error:
        raise UsageError(f"a picture needs more than this is installed with: pip install 'danube-dispatcher[diagrams]' ({error})") from error


def _dark_style() -> bytes:
    pairs = [(light, dark) for paint in PAINT.values() for light, dark in ((paint.ink, paint.dark_ink), (paint.area, paint.dark_area))]
    rules = " ".join(f'[{what}="{light}"]{{{what}:{dark}}}' for light, dark in pairs for what in ("fill", "stroke"))
    return f"<style>@media (prefers-color-scheme: dark) {{ {rules} }}</style>\n".encode()
