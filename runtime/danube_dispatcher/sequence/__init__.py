"""What happened to a machine or to a running dispatcher, step by step, as a sequence diagram.

A story is the one that an exploration or a replay tells (`InvariantBroken.story`), or one that a `Recorder` has written down of a run. It is drawn as
Mermaid text by `sequence`, and as a picture by `svg`. Both are the same for the same story, and need nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from danube_statemachines.errors import StoryLine

from .elements import Element
from .mermaid import mermaid
from .picture import picture
from .recorder import Recorder
from .told import told

__all__ = ["Recorder", "sequence", "svg"]


def sequence(title: str, story: Iterable[StoryLine | Element], *, order: Sequence[str] = ()) -> str:
    """The story in Mermaid's language. `order` names participants from left to right; others follow."""
    return mermaid(title, [*told(story)], order)


def svg(title: str, story: Iterable[StoryLine | Element], *, order: Sequence[str] = ()) -> str:
    """The story as a picture, 820 wide or wider where many take part, which is dark where the reader's system is. `order` as in `sequence`."""
    return picture(title, [*told(story)], order)
