"""What came of it: computed from the records of the work and from the files, not from what the library says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .corpus import ROLES
from .records import Records


@dataclass(frozen=True, slots=True)
class Tally:
    """One subscription."""

    role: str
    published: int
    delivered: int
    """Deliveries that a consumer took."""
    redelivered: int
    late: int
    """Messages processed again by the same process: an answer came after its deadline."""
    replayed: int
    """Messages processed again after the kill."""
    dropped: int
    lost: int
    """Neither processed nor dropped."""
    wrong: tuple[int, ...]
    """Offsets whose result is another one than that of the file."""
    seconds: float
    """For which it was at work."""

    @property
    def duplicates(self) -> int:
        return self.late + self.replayed

    @property
    def rate(self) -> float:
        return self.delivered / self.seconds if self.seconds else 0.0


def tally(role: str, runs: Sequence[Records], expected: Sequence[str], *, published: int, dropped: int = 0, seconds: float = 0.0) -> Tally:
    """Compare what was done, by one process after the other, with the results computed from the files; `dropped` is the library's count."""
    seen = set[int]()
    late = replayed = 0
    wrong = set[int]()
    for run in runs:
        times = Counter(offset for offset, _ in run.results)
        late += sum(times.values()) - len(times)
        replayed += len(times.keys() & seen)
        seen |= times.keys()
        wrong |= {offset for offset, result in run.results if offset >= len(expected) or result != expected[offset]}
    attempts = [attempt for run in runs for attempt in run.attempts]
    lost = published - len(seen) - dropped
    return Tally(role, published, len(attempts), sum(attempt > 1 for attempt in attempts), late, replayed, dropped, lost, tuple(sorted(wrong)), seconds)


def problems(tallies: Sequence[Tally], *, files: int, killed: bool) -> Iterator[str]:
    """What must not be; nothing when everything matches."""
    for each in tallies:
        if each.published != files:
            yield f"{each.published} messages are in the topic, but there are {files} files"
            break
    for each in tallies:
        if each.wrong:
            first = ", ".join(map(str, each.wrong[:5]))
            yield f"{each.role}: {len(each.wrong)} results differ from those of the files, at offsets {first}{' ...' if len(each.wrong) > 5 else ''}"
        if ROLES[each.role].reliable:
            if each.lost:
                yield f"{each.role}: {each.lost} of {each.published} messages were never processed, though the subscription is reliable"
        else:
            if each.duplicates:
                yield f"{each.role}: {each.duplicates} messages came twice, though the subscription is at most once"
            if each.lost < 0 or (each.lost and not killed):
                yield f"{each.role}: {each.lost} messages are neither delivered nor counted as dropped"


def results(runs: Sequence[Records]) -> dict[int, str]:
    """The result of each message, however often it was processed."""
    return {offset: result for run in runs for offset, result in run.results}
