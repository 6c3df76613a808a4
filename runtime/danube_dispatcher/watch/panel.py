"""One subscription looked at closely: its machine with the current state lit, the ways out of it, and its last transitions.

All of it is read off the declaration, as the diagrams are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from textual.content import Content

from ..diagrams import Drawing, Way
from ..diagrams.paint import words
from ..recent import Transition
from .feed import Picked, Sight
from .lines import Line, Urgency
from .table import ALARM, INKS, NAME, Part, clipped, ink, written

WAYS: dict[Way, str] = {"normal": "the normal way", "leaves": "leaving it", "beyond": "what becomes of it", "quiet": "the end"}
LIT = "reverse bold"
MOST = 6
"""Explanations below the table."""
COUNTS = {"delivered": True, "redelivered": False, "settled": True, "dropped": False, "dead_lettered": False, "stale_acks": False}
"""What an owner counts; whether it is shown when it is 0."""


def lines(rows: list[list[Part]]) -> Content:
    return Content("\n").join(written(*row) for row in rows)


def states(drawing: Drawing, line: Line, picked: Picked, *, titles: bool) -> Content:
    """The states, by the ways of the diagrams. The current one is lit; a dot stands at those that were passed since the last look."""
    passed = {state for each in picked.fresh for state in (each.source, each.dest)}
    rows: list[list[Part]] = []
    for way, title in WAYS.items():
        rows += [[(f" {title}", "dim")]] if titles else []
        for state in (state for state in drawing.states if drawing.way_of(state) == way):
            if state == line.state:
                rows.append([(f" ▶ {state} ", f"{INKS[way]} {LIT}")])
            else:
                rows.append([(" • " if state in passed else "   ", INKS[way]), (state, INKS[way])])
    return lines(rows)


def ways_out(drawing: Drawing, line: Line, picked: Picked) -> Content:
    """The rows that lead out of the current state. Those that were taken since the last look are lit."""
    taken = {(each.source, each.row) for each in picked.fresh}
    rows: list[list[Part]] = []
    for arrow, several in drawing.arrows.items():
        if arrow.source == line.state:
            for each in several:
                style = LIT if (arrow.source, each.row) in taken else ""
                rows.append([(each.head, style), (" → ", "dim"), (arrow.dest, ink(drawing, arrow.dest)), (f"  {each.actions}" if each.actions else "", "dim")])
    if note := drawing.notes.get(line.state):
        rows.append([(note, "dim" if line.state == drawing.final else "")])
    elif line.state in drawing.states and drawing.ends:
        rows.append([(", ".join(map(words, drawing.ends)), ""), (" → ", "dim"), (drawing.final, "dim")])
    return lines(rows)


def story(drawing: Drawing, line: Line, picked: Picked) -> Content:
    """The last transitions, the newest first."""
    heads = {(arrow.source, each.row): each.head for arrow, several in drawing.arrows.items() for each in several}
    fresh = len(picked.fresh)
    rows = [_transition(line, drawing, heads, each, "" if nth < fresh else "dim") for nth, each in enumerate(reversed(picked.story))]
    if not rows:
        rows = [[(picked.trouble or ("none yet" if picked.glance else "asking its owner"), "")]]
    elif picked.trouble:
        rows.insert(0, [(picked.trouble, "ansi_red")])
    return lines([[("last transitions", "dim")], *rows])


def _transition(line: Line, drawing: Drawing, heads: dict[tuple[str, int], str], each: Transition | int, style: str) -> list[Part]:
    if isinstance(each, int):
        return [(f"{each:,} more", "dim")]
    spec = line.machine.table[each.row] if 0 <= each.row < len(line.machine.table) else None
    known = spec is not None and spec["trigger"] == each.trigger  # otherwise its owner is of another version, and runs another table
    head = heads.get((each.source, each.row), words(each.trigger)) if known else words(each.trigger)
    stays = each.source == each.dest
    parts = [(f"{time_of(each.at, '%H:%M:%S.%f')[:12]}  ", "dim"), (f"{each.source:12}  ", f"{ink(drawing, each.source)} {style}"), (head, style)]
    if not stays:
        parts += [(" → ", "dim"), (each.dest, f"{ink(drawing, each.dest)} {style}")]
    why = spec["why"] if known and spec is not None else ""
    return [*parts, (f"  {'stays: ' if stays else ''}{why}" if why or stays else "", "dim")]


def heading(line: Line, picked: Picked) -> Content:
    told = f"told {time_of(picked.glance.at, '%H:%M:%S')}" if picked.glance is not None else ""
    owner = f"{line.owner or 'nobody'} has it"
    topic = clipped(line.topic, NAME)
    return written((f" {clipped(line.name, NAME)} ", "bold"), ("  ".join(filter(None, (topic, line.machine.title, owner, told))), "dim"))


def counts(line: Line) -> Content:
    """What its owner has counted since it opened the subscription, and what is wrong with the store now."""
    status = line.status
    parts: list[Part] = [(" ", "")]
    for name, always in COUNTS.items():
        if isinstance(number := status.get(name), int) and (number or always):
            parts += [(f"{words(name)} ", "dim"), (f"{number:,}  ", "")]
    if error := status.get("last_error"):
        parts.append((str(error), "ansi_red"))
    return written(*parts)


def time_of(at: float, form: str) -> str:
    """Of today's clock; what is no time is none."""
    try:
        return datetime.fromtimestamp(at).astimezone().strftime(form)
    except (ValueError, OverflowError, OSError):
        return "?"


def help_text(keys: Iterable[tuple[str, str]]) -> Content:
    rows: list[list[Part]] = [[("danube-dispatcher watch", "bold")], []]
    rows += [[(f"  {key:12}", "bold"), (what, "")] for key, what in keys]
    return lines([*rows, [], *([(text, "")] for text in LEGEND.splitlines())])


LEGEND = """\
  !           stuck: it has something to do, and somebody has to come
  ·           goes on by itself: a delay, a rate limit, a lease, the store
  ×2          at IN FLIGHT: the second attempt
  OUT/S       messages a second that its owner hands out; it tells every 3 s

Whose machine is shown, its owner is asked once a second: three small writes in the store \
each time. It keeps its last transitions for that, and gives them up when nobody has asked for 10 s.
"""


def title(sight: Sight, where: str, order: str, *, frozen: bool) -> Content:
    total, stuck = len(sight.lines), sum(line.urgency == "stuck" for line in sight.lines)
    at, old = time_of(sight.at, "%H:%M:%S"), bool(sight.trouble)
    parts: list[Part] = [(f" old, as of {at} ", "reverse") if old else (f" {at}", "bold")]
    parts += [(f"  {total} subscription{'' if total == 1 else 's'}", "dim" if old else "")]
    parts += [(f", {stuck} stuck", "dim" if old else ALARM)] if stuck else []
    parts += [("  ", ""), (" frozen ", "reverse")] if frozen else []
    return written(*parts, (f"  by {order}  {where}", "dim"))  # the longest last: it may be cut


def why(line: Line | None, others: Sequence[Line] = ()) -> Content:
    """Of the chosen one: what it is doing, or why it does not, and what ends the wait. Then the same of what else is stuck, as far as there is room.

    What is true of several is said once.
    """
    alike: dict[tuple[str, Urgency], list[Line]] = {}
    for each in [*([] if line is None else [line]), *(each for each in others if each.urgency == "stuck" and each != line)]:
        alike.setdefault((each.why, each.urgency), []).append(each)
    groups = list(alike.values())
    rows: list[list[Part]] = []
    for first, *more in groups[:MOST]:
        name = clipped(first.name, NAME) + (f" and {len(more):,} more" if more else "")
        age = f" {first.ago}" if first.ago and first == line and not more else ""
        rows.append([(f"{name}: ", "bold"), (first.why, ALARM if first.urgency == "stuck" else ""), (age, "dim")])
    left = sum(map(len, groups[MOST:]))
    return lines([*rows, *([[(f"and {left:,} more", "dim")]] if left else [])])
