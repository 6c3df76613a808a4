"""The picture of the docs: bars of messages a second on a logarithmic scale, by group. SVG by hand: no package is worth a page of bars."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from .measured import Measured
from .scenarios import Group

WIDTH, NAMES, RIGHT = 960, 380, 90
BAR, GAP, HEADING, TOP = 16, 6, 34, 40
LOWEST, HIGHEST = 3, 7
"""Powers of ten: messages a second."""
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f } .heading { font-weight: 600 } .axis { fill: #6e7781 } .title { font-size: 14px; font-weight: 600 }
.grid { stroke: #d0d7de } .limit { fill: #8c959f } .ours { fill: #0a7ea4 } .others { fill: #c4713b }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .axis { fill: #9198a1 } .grid { stroke: #3d444d } .limit { fill: #7d8590 } .ours { fill: #3fb6dc } .others { fill: #e09a6b }
}"""


def place(rate: float) -> float:
    """Where a rate lies on the scale."""
    power = min(max(math.log10(rate), LOWEST), HIGHEST)
    return NAMES + (WIDTH - NAMES - RIGHT) * (power - LOWEST) / (HIGHEST - LOWEST)


def svg(measured: Measured) -> str:
    """The best round of each scenario; what was skipped is named, without a bar."""
    body = list(_groups(measured))
    height = max((bottom for bottom, _ in body), default=TOP) + HEADING
    scale = []
    for power in range(LOWEST, HIGHEST + 1):
        x = place(10**power)
        scale.append(f'<line class="grid" x1="{x:.0f}" y1="{TOP}" x2="{x:.0f}" y2="{height - 24}"/>')
        scale.append(f'<text class="axis" x="{x:.0f}" y="{height - 8}" text-anchor="middle">{10**power:,}</text>')
    key = "".join(
        f'<rect class="{name}" x="{x}" y="10" width="12" height="12"/><text x="{x + 18}" y="20">{words}</text>'
        for name, x, words in (("limit", 560, "limit"), ("ours", 640, "danube-dispatcher"), ("others", 790, "others"))
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Messages a second">',
            f"<style>{STYLE}\n</style>",
            f'<text class="title" x="8" y="20">Messages a second, best round, logarithmic</text>{key}',
            *scale,
            *(text for _, text in body),
            "</svg>\n",
        ]
    )


def _groups(measured: Measured) -> Iterator[tuple[int, str]]:
    """(where it ends, what is drawn), from the top."""
    y = TOP
    for group in Group:
        lines = [line for line in measured.lines if line.group == group]
        if not lines:
            continue
        y += HEADING
        yield y, f'<text class="heading" x="8" y="{y - 10}">{escape(group)}</text>'
        for line in lines:
            best = line.best("rate")
            name = f'<text x="{NAMES - 8}" y="{y + BAR - 4}" text-anchor="end">{escape(line.name)}</text>'
            if best is None:
                drawn = f'<text class="axis" x="{NAMES + 4}" y="{y + BAR - 4}">skipped</text>'
            else:
                end = place(best)
                drawn = (
                    f'<rect class="{line.whose}" x="{NAMES}" y="{y}" width="{end - NAMES:.1f}" height="{BAR}" rx="2"/>'
                    f'<text x="{end + 6:.0f}" y="{y + BAR - 4}">{best:,.0f}</text>'
                )
            y += BAR + GAP
            yield y, name + drawn
