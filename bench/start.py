"""What starting costs, beside a bare `import asyncio`: importing the package, `danube-dispatcher --help`, and the first message.

Each is a process of its own, in interleaved rounds; the best of each counts. Modules are compiled before, as an installer does it, into a folder that is
thrown away.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .rows import Row, study

IMPORT = """
import time
began = time.perf_counter()
import {}
print(time.perf_counter() - began)
"""
FIRST = """
import asyncio, time
from danube_dispatcher import Topic

async def main():
    async with await Topic.open("memory:", "/bench/topic") as topic:
        async with await topic.subscribe("s") as subscription, subscription.consumer("c") as consumer:
            await topic.publish(b"x")
            await (await anext(consumer)).ack()
            print(time.perf_counter() - began)

began = time.perf_counter()
asyncio.run(main())
"""
IMPORTED, BARE = "import danube_dispatcher", "import asyncio"
PROCESS, BARE_PROCESS = "python -c 'import danube_dispatcher'", "python -c 'import asyncio'"
HELP = "danube-dispatcher --help"
FIRST_MESSAGE = "from the import to the first message acknowledged, memory:"
RATIOS = {f"{ours}, to {bare}": (ours, bare) for ours, bare in ((IMPORTED, BARE), (PROCESS, BARE_PROCESS), (HELP, BARE_PROCESS))}
IMPORT_RATIO, PROCESS_RATIO, HELP_RATIO = RATIOS
"""The names of their rows."""
ROUNDS, QUICK_ROUNDS = 100, 25


def _run(*command: str, environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def measure(quick: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def told(program: str) -> Callable[[], float]:
            """Seconds, as the program says."""
            return lambda: float(_run(sys.executable, "-c", program, environment=environment))

        def whole(*command: str) -> Callable[[], float]:
            """Seconds, from outside."""

            def timed() -> float:
                began = time.perf_counter()
                _run(*command, environment=environment)
                return time.perf_counter() - began

            return timed

        subjects = {
            BARE: told(IMPORT.format("asyncio")),
            IMPORTED: told(IMPORT.format("danube_dispatcher")),
            BARE_PROCESS: whole(sys.executable, "-c", "import asyncio"),
            PROCESS: whole(sys.executable, "-c", "import danube_dispatcher"),
            HELP: whole(str(Path(sys.executable).with_name("danube-dispatcher")), "--help"),
            FIRST_MESSAGE: told(FIRST),
        }
        seconds: dict[str, list[float]] = {name: [] for name in subjects}
        for number in range(1 + (QUICK_ROUNDS if quick else ROUNDS)):
            for name, run in subjects.items():
                took = run()
                if number:  # the first compiles
                    seconds[name].append(took)
    return [
        *(_ratio(name, seconds[ours], seconds[bare]) for name, (ours, bare) in RATIOS.items()),
        Row(FIRST_MESSAGE, 1000 * min(seconds[FIRST_MESSAGE]), "ms", _spread(seconds[FIRST_MESSAGE])),
    ]


def _ratio(name: str, ours: list[float], bare: list[float]) -> Row:
    return Row(name, min(ours) / min(bare), "×", f"{_spread(ours)}; to {_spread(bare)}")


def _spread(seconds: list[float]) -> str:
    low, middle, high = (1000 * each for each in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"best {low:.1f} ms, median {middle:.1f}, worst {high:.1f}"


if __name__ == "__main__":
    study(measure)
