"""Which worlds of a subscription are the same: they differ only in what neither the model nor a check tells apart.

- *Sessions* are their places in the roster, as for a machine alone.
- *Attempts* only grow; of a message that was sent before, it counts that it was, not how often. A mark that nobody has acted on is no attempt.
- *Epochs* only grow; a process has that of the disk, or one that is over.
- *Time* is early or due, for each of the times that something waits for by itself, in any order.
- *Writes* are numbered, and it counts whether one was promised that has not begun. After one has failed the next must be made anyway.
- *What is durable*, as a process knows it, is compared with what should be; but not before the next write has succeeded, if one is under way or has
  failed. Until then it counts how far it lies behind, and whether a mark is there.
- *Failures of storage* in a row only lengthen a wait, and that the head has moved counts while a read is under way.
- *A process that another has succeeded* can write nothing, and is given nothing any more. It counts what it has in hand, for its consumer may answer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from ..progress import Held, Progress
from .processes import CORE, Process
from .worlds import EARLY, places


def _held(held: Held | None, announced: int = 0) -> Hashable:
    return None if held is None else (held.offset, held.attempt > announced, held.failures, held.due_at is None, held.sent)


def same_progress(progress: Progress | None) -> Hashable:
    return None if progress is None else (progress.cursor, _held(progress.held), progress.paused, progress.careful)


def _time_left(time: float | None) -> bool | None:
    return None if time is None else time > EARLY


def same_process(process: Process, epoch: int) -> Hashable:
    if process.epoch != epoch:
        return _outlived(process)
    now = (process.reading, same_progress(process.writing), process.written, process.letter, process.taken)
    if process.machine is None:
        return now, process.unclean
    if process.last is not None:
        return now, same_progress(process.last)
    state, roster, offset, attempt, failures, _, delivery, _, due_at = process.machine
    holder = delivery and places(roster)(delivery[1])
    core = list(process.core)
    for field, same in _ALIKE:
        core[field] = same(core[field])
    held: Held | None = process.its("held")
    core[CORE["held"]] = _held(held, announced=held is not None and held.sent and offset is None)
    if not process.reading:
        core[CORE["_moved"]] = None
    failed = process.its("write_failures") > 0
    if failed:
        core[CORE["promised"]] = None
    if process.writing is not None or failed:
        durable: Any = process.its("durable")
        core[CORE["durable"]] = durable.cursor, durable.held is not None and durable.held.sent
    else:
        core[CORE["durable"]] = core[CORE["durable"]], process.its("durable") == Progress(process.its("cursor"), held, process.its("paused"))
    return now, (state, len(roster), offset, attempt > 0, failures, holder, due_at is None), tuple(core)


def _outlived(process: Process) -> Hashable:
    if process.machine is None or process.last is not None:
        return None
    state, roster, offset, _, failures, _, delivery, _, _ = process.machine
    return state, len(roster), offset, failures, delivery and places(roster)(delivery[1]), process.taken, process.letter


ALIKE: dict[str, Callable[[Any], Hashable]] = {
    "durable": same_progress,
    "writing": same_progress,
    "write_due": _time_left,
    "read_retry_at": _time_left,
    "lease_until": _time_left,
    "write_failures": bool,
    "read_failures": lambda _: None,
}
"""What of a core's field counts; of all others their value does."""
_ALIKE = [(CORE[field], same) for field, same in ALIKE.items()]
