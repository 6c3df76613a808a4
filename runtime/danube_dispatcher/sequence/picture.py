"""Elements as an SVG picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from ..diagrams.paint import FONT, PAINT, TEXT, printable
from .elements import Arrow, Element, involved
from .layout import Box, Shape, Text, layout

LIVES, PASSES = ("#b4bdc7", "#4c5763"), ("#dfe4e9", "#2b333d")
"""Colours of lines that nobody reads, on a light page and on a dark one."""


def picture(title: str, elements: Sequence[Element], order: Sequence[str]) -> str:
    width, height, shapes = layout(title, elements, order)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img">',
        f"<title>{_escaped(title)}</title>",
        f"<desc>{_escaped('; '.join(map(_read_out, elements)))}</desc>",
        f"<style>{' '.join(_rules(0))} @media (prefers-color-scheme: dark) {{ {' '.join(_colours(1))} }}</style>",
        f'<rect class="page" width="{width:g}" height="{height:g}"/>',
        *map(_drawn, shapes),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _rules(scheme: int) -> Iterator[str]:
    yield f"text {{ font-family: {FONT}; text-anchor: middle; }}"
    yield ".left { text-anchor: start; } .bold { font-weight: bold; }"
    yield ".label { paint-order: stroke; stroke-width: 4px; stroke-linejoin: round; }"
    yield "path { fill: none; } .line { stroke-width: 1.5px; } .cross { stroke-width: 2.5px; }"
    yield ".answer { stroke-dasharray: 6 4; } .life { stroke-dasharray: 2 4; stroke-width: 1.3px; }"
    yield from _colours(scheme)


def _colours(scheme: int) -> Iterator[str]:
    """Light: 0, dark: 1."""
    page = PAINT["quiet"][1 + 2 * scheme]
    quiet = PAINT["quiet"][2 * scheme]
    yield f".page {{ fill: {page}; }} .label {{ stroke: {page}; }} text {{ fill: {TEXT[2 * scheme]}; }} .time {{ fill: {quiet}; }}"
    yield f".life {{ stroke: {LIVES[scheme]}; }} .passes {{ stroke: {PASSES[scheme]}; }}"
    yield f"rect.note {{ fill: {TEXT[2 * scheme + 1]}; stroke: {PASSES[scheme]}; }} rect.plain {{ fill: {page}; stroke: {LIVES[scheme]}; }}"
    for way, paint in PAINT.items():
        ink, area = paint[2 * scheme], paint[2 * scheme + 1]
        yield f"text.{way} {{ fill: {ink}; }} rect.{way} {{ fill: {area}; stroke: {ink}; }} .line.{way} {{ stroke: {ink}; }} .tip.{way} {{ fill: {ink}; }}"


def _drawn(shape: Shape) -> str:
    if isinstance(shape, Text):
        look = f"{shape.look}{' left' if shape.left else ''}"
        return f'<text class="{look}" x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size}">{_escaped(shape.words)}</text>'
    if isinstance(shape, Box):
        size = f'width="{shape.width:.1f}" height="{shape.height:.1f}" rx="{shape.round:g}"'
        return f'<rect class="{shape.look}" x="{shape.x:.1f}" y="{shape.y:.1f}" {size}/>'
    return f'<path class="{shape.look}" d="{shape.d}"/>'


def _read_out(element: Element) -> str:
    """An element for those who do not see the picture."""
    at = "" if element.at is None else f"at {element.at:g} s, "
    if isinstance(element, Arrow):
        return f"{at}{element.source} to {element.target}: {element.text}"
    return f"{at}{' and '.join(involved(element)) or 'all'}: {element.text}"


def _escaped(text: str) -> str:
    return escape(printable(text.replace("\n", " ")))
