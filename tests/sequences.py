"""The elements of a sequence diagram in a shorthand, for tests."""

from __future__ import annotations

from collections.abc import Iterable

from danube_dispatcher.sequence.elements import Arrow, Element, State


def shorthand(story: Iterable[Element]) -> list[str]:
    """With the time before what happens then."""
    lines: list[str] = []
    for element in story:
        if element.at is not None:
            lines.append(f"{element.at:g} s")
        if isinstance(element, Arrow):
            lines.append(f"{element.source} {'~' if element.answer else '-'}> {element.target}: {element.text}")
        elif isinstance(element, State):
            lines.append(f"{element.over} = {element.text}")
        else:
            lines.append(f"{', '.join(element.over)}: {element.text}")
    return lines
