"""Runs scenarios in interleaved rounds, and studies one after the other.

All scenarios are timed in one process, whose state is prepared once: the rounds of a limit and of what is compared with it are seconds apart, and see
the same machine. Memory is another matter, since a process does not give back what an earlier scenario took: so each scenario runs once more, in a
process of its own, which is not timed.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from .measured import Line, Round
from .rows import Row
from .scenarios import Run, Scenario

FEWEST = 1_000
"""Messages a round at least, if it is not meant to have fewer: by then SQLite's WAL has its full size, and a commit to it costs half as much from then on."""
PATIENCE = 300.0
"""Seconds for a study, or for one round in a process of its own."""

Say = Callable[[str], None]


async def measure(scenarios: Sequence[Scenario], *, rounds: int, part: int, say: Say) -> list[Line]:
    """So many rounds of all scenarios after one that does not count, each with one `part`th of its messages.

    What fails is skipped from then on, and says why.
    """
    lines = [Line.of(scenario, max(min(scenario.messages, FEWEST), scenario.messages // part)) for scenario in scenarios]
    runs: list[tuple[Line, Run]] = []
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        async with AsyncExitStack() as stack:
            for nth, (scenario, line) in enumerate(zip(scenarios, lines, strict=True)):
                if line.skipped is None:
                    home = Path(folder, str(nth))
                    home.mkdir()
                    try:
                        runs.append((line, await stack.enter_async_context(scenario.open(line.messages, home))))
                    except Exception as error:
                        line.skipped = failed(error)
            for number in range(rounds + 1):
                say(f"round {number} of {rounds}" if number else "warming up")
                for line, run in runs:
                    if line.skipped is None:
                        await _round(line, run, counts=number > 0)
    return lines


async def _round(line: Line, run: Run, *, counts: bool) -> None:
    gc.collect()  # nobody pays for what others left
    try:
        result = await run()
        if result.messages != line.messages:
            raise RuntimeError(f"{result.messages} messages arrived, not {line.messages}")
    except Exception as error:
        line.skipped, line.rounds = failed(error), []
    else:
        if counts:
            line.rounds.append(Round.of(result))


def failed(error: Exception) -> str:
    return f"failed: {type(error).__name__}: {error}".splitlines()[0]


def memory(lines: Sequence[Line], say: Say) -> None:
    """How much more each occupies while it runs."""
    say("memory")
    for line in lines:
        if line.rounds:
            done = _module("memory", line.name, str(line.messages))
            if isinstance(done, str):
                say(f"memory of {line.name}: {done}")
            else:
                line.memory_bytes = int(done.stdout)


def study(name: str, *, quick: bool) -> list[Row] | str:
    """The rows of a study; or why there are none."""
    done = _module(name, "--json", *(["--quick"] if quick else []))
    return done if isinstance(done, str) else [Row(**row) for row in json.loads(done.stdout)]


def _module(name: str, *arguments: str) -> subprocess.CompletedProcess[str] | str:
    try:
        return subprocess.run(
            [sys.executable, "-m", f"{__package__}.{name}", *arguments],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
    except subprocess.CalledProcessError as error:
        return f"failed: {(error.stderr.strip().splitlines() or ['it said nothing'])[-1]}"
    except subprocess.TimeoutExpired:
        return f"failed: not done after {PATIENCE:.0f} s"
