"""The process that the user starts: it draws, kills and restarts the worker, and checks what came of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from danube_statemachines import FLUSH_INTERVAL, FLUSH_MESSAGES

from ..clock import LEASE
from ..errors import DanubeError
from ..topic import Topic
from .corpus import ROLES, Corpus
from .process import WorkerProcess
from .records import Records
from .reports import Event, Failed, Snapshot, State, Waiting
from .screen import Screen, View, table
from .verdict import Tally, problems, results, tally
from .workload import FLUSH, TOPIC

TICK = 0.1
"""Seconds between two looks of the screen, at most."""
PATIENCE = 45.0
"""Seconds without any progress after which the demo gives up: far more than lease, deadline and delay together."""
HEADINGS = ("subscription", "published", "delivered", "redelivered", "duplicates", "dropped", "lost", "messages/s")
WIDTHS = (-12, 9, 9, 11, 10, 7, 4, 10)


class DemoFailed(DanubeError):
    """The worker did not do its work."""


class Patience:
    """How long nothing has moved, not counting what this process itself has slept through (Ctrl-Z)."""

    def __init__(self) -> None:
        self._mark: object = None
        self._still = 0.0
        self._looked = time.monotonic()

    def ends(self, mark: object) -> bool:
        """Look again; a mark that is another one is progress."""
        now = time.monotonic()
        self._still = self._still + min(now - self._looked, 1.0) if mark == self._mark else 0.0
        self._mark, self._looked = mark, now
        return self._still > PATIENCE


class Demo:
    def __init__(self, store: Path, folder: Path, corpus: Corpus, *, kill: bool, seed: int) -> None:
        self._store = f"sqlite:{store}"
        self._folder = folder
        self._corpus = corpus
        self._seed = seed
        self._kill = kill
        self._screen = Screen()
        self._view = View(len(corpus.paths))
        self._latest: list[dict[str, Snapshot]] = []
        """What the dispatchers of each worker process said last."""

    def run(self) -> bool:
        """Whether everything matches. Raises DemoFailed, or what the store raised."""
        self._corpus.save(self._folder / "corpus.json")
        self._introduce()
        if self._work() == "killed":
            self._screen.event(f"a new one starts, and must wait until the dead one's leases end ({LEASE:g} s)", "bold")
            self._work()
        elif self._kill:
            self._screen.event("everything was done before the process could be killed; that takes more files")
        return self._judge()

    def _introduce(self) -> None:
        say = self._screen.say
        say(f"{len(self._corpus.paths)} source files of Python's standard library go to a topic in a file,", "bold")
        say(f"{self._store}, and through four dispatchers at once:", "bold")
        for role, kind in ROLES.items():
            say(f"  {role:10}  {'reliable' if kind.reliable else 'non-reliable':12} {kind.type:9}  {kind.about}")
        say()

    # while it runs

    def _work(self) -> str:
        """Start a worker and look after it until it has ended: "done" or "killed"."""
        view, run, killed = self._view, len(self._latest) + 1, False
        view.dispatchers = {}
        self._latest.append({})
        lease_until, patience = 0.0, Patience()
        with WorkerProcess(self._folder, self._store, run, self._seed) as process:
            for report in process.reports(TICK):
                if isinstance(report, Failed):
                    raise DemoFailed(report.text)
                if isinstance(report, Event):
                    self._screen.event(report.text)
                elif isinstance(report, Waiting):
                    view.waiting = f"waits for the lease of {report.owner}, which was killed"
                    lease_until = report.until
                elif isinstance(report, State):
                    view.published = report.published
                    view.dispatchers = self._latest[-1] = report.dispatchers
                    view.cursors |= {role: each.cursor for role, each in report.dispatchers.items() if each.cursor is not None}
                    if self._kill and run == 1 and not killed and 2 * view.processed >= view.files > view.processed:
                        process.kill()
                        killed = True
                        self._screen.event(f"kill -9 {process.pid}: the whole worker process is gone, in mid-work", "bold red")
                view.phase, view.lease = self._phase(run), max(0.0, lease_until - time.time())
                if patience.ends((view.published, view.processed, lease_until)):
                    raise DemoFailed(f"nothing has moved for {PATIENCE:g} s: " + "; ".join(f"{role}: {each.why}" for role, each in view.dispatchers.items()))
                if not killed:
                    self._screen.draw(view)
            self._screen.clear()
            if killed:
                return "killed"
            if process.code:
                raise DemoFailed(f"the worker process ended with exit code {process.code}\n{process.complaints()}")
            if process.complaints():
                self._screen.say(process.complaints(), "dim")
            return "done"

    def _phase(self, run: int) -> str:
        if all(role in self._view.dispatchers for role in ROLES):
            return "publishing and processing" if run == 1 else "going on, careful: each message is marked on disk before it is sent"
        if self._view.waiting:
            return "waiting for the dead owner's lease; publishing needs none"
        return "a worker process starts"

    # afterwards

    def _judge(self) -> bool:
        screen, runs = self._screen, len(self._latest)
        published = asyncio.run(self._head())
        expected = self._compute()
        records = {role: [Records.read(self._folder, role, run + 1) for run in range(runs)] for role in ROLES}
        tallies = [
            tally(
                *(role, records[role], expected[role]),
                published=published,
                dropped=sum(latest[role].dropped for latest in self._latest if role in latest),
                seconds=sum(latest[role].busy for latest in self._latest if role in latest),
            )
            for role in ROLES
        ]
        screen.say()
        heading, *rows = table(HEADINGS, WIDTHS, [self._row(each) for each in tallies])
        screen.say(heading, "bold")
        for row in rows:
            screen.say(row)
        screen.say()
        for line in notes(tallies, killed=runs > 1):
            screen.say(line, indent=2)
        screen.say()
        found = list(problems(tallies, files=len(self._corpus.paths), killed=runs > 1))
        for problem in found:
            screen.say(f"WRONG: {problem}", "bold red")
        if not found:
            compiled = Counter(results(records["compile"]).values())
            counted = sum(map(int, results(records["lines"]).values()))
            others = ", ".join(f"{count} {name}" for name, count in sorted(compiled.items()) if name != "compiled")
            screen.say(
                f"Everything matches what was computed directly from the files: {compiled['compiled']} of {published} compile"
                f"{f' (the others, test data: {others})' if others else ''}, {counted:,} lines. Nothing reliable was lost.",
                "bold green",
            )
        return not found

    async def _head(self) -> int:
        async with await Topic.open(self._store, TOPIC, create=False) as topic:
            return topic.head

    def _compute(self) -> dict[str, list[str]]:
        """The same numbers, straight from the files."""
        expected: dict[str, list[str]] = {role: [] for role in ROLES}
        self._screen.event("all done; now the same is computed directly from the files, to compare")
        for number, path in enumerate(self._corpus.paths):
            payload = self._corpus.payload(number)
            for role, kind in ROLES.items():
                expected[role].append(kind.measure(payload, path))
        return expected

    @staticmethod
    def _row(each: Tally) -> tuple[object, ...]:
        return (each.role, each.published, each.delivered, each.redelivered, each.duplicates, each.dropped, each.lost, f"{each.rate:.0f}")


def notes(tallies: Sequence[Tally], *, killed: bool) -> Iterator[str]:
    """What the numbers mean."""
    late, replayed = sum(each.late for each in tallies), sum(each.replayed for each in tallies)
    gone = sum(each.lost for each in tallies if not ROLES[each.role].reliable)
    if late:
        yield f"{late} duplicates: a worker answered after its deadline, when another had got the message."
    if killed:
        yield (
            f"{replayed} duplicates: processed before the kill, but not yet saved as such. Positions are saved every {FLUSH:g} s here"
            f" ({FLUSH_INTERVAL:g} s by default) and after {FLUSH_MESSAGES:,} messages: no more than that comes twice, and nothing gets lost."
        )
        yield "After the kill each message was marked on disk before it was sent, so that one that kills its process is found: slower for a while."
    if gone:
        yield f"{gone} live messages were in the killed process's hands, or dropped just before: at most once means that these are gone."
    yield "messages/s is what the slow workers, stalls and waits of this demo leave; it is no benchmark."
