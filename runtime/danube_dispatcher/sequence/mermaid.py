"""Elements as a sequence diagram in Mermaid's language."""

from __future__ import annotations

from collections.abc import Sequence

from ..diagrams.paint import entities
from .elements import Arrow, Element, Note, involved, participants

BROAD = 40
"""Characters of a line of text, about; longer ones are broken."""


def mermaid(title: str, elements: Sequence[Element], order: Sequence[str]) -> str:
    names = {name: f"p{nth}" for nth, name in enumerate(participants(elements, order))}
    lines = ["sequenceDiagram", *(f"  participant {key} as {entities(name)}" for name, key in names.items())]
    # Mermaid's own titles are cut off where they are longer than the diagram is broad
    for each in [*([Note((), title)] if title else []), *elements]:
        text = _broken(each.text if each.at is None else _at(each.text, each.at))
        if isinstance(each, Arrow):
            lines.append(f"  {names[each.source]}-{'-' if each.answer else ''}>>{names[each.target]}: {text}")
        else:
            over = [key for name, key in names.items() if name in involved(each)] or [*names.values()]
            lines.append(f"  Note over {','.join(over[:: max(1, len(over) - 1)])}: {text}")
    return "\n".join(lines) + "\n"


def _at(text: str, seconds: float) -> str:
    """With the time, before what the call was."""
    what, *call = text.split("\n", 1)
    return "\n".join([f"{what}, at {seconds:g} s", *call])


def _broken(text: str) -> str:
    """Over several lines, if it is long."""
    lines: list[str] = []
    for line in text.split("\n"):
        told = ""
        for word in line.split(" "):
            if told and len(told) + len(word) >= BROAD:
                lines.append(told)
                told = ""
            told = f"{told} {word}" if told else word
        lines.append(told)
    return "<br/>".join(map(entities, lines))
