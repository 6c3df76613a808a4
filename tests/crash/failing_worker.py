"""Carries out cases under the shim. A case is a line of JSON on standard input, its result one on standard output.

Each runs in a fork, in a directory of its own, under virtual time; another fork looks afterwards for what was lost (power_check.py).
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random

from crash.failing_case import Case, Result
from crash.failing_scenario import RESULT, SEED, Scenario
from crash.power_check import Said, check
from crash.power_worker import SAID
from delivering import store_loop

LIMIT = 30.0
"""Real seconds after which a case hangs."""
LOST = "lost"
"""The file with what was lost."""


def forked(work: Callable[[], None]) -> int:
    """Run it in a fork; its status, or minus the signal that ended it."""
    child = os.fork()
    if not child:
        try:
            faulthandler.dump_traceback_later(LIMIT, exit=True)
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(3)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Errors(logging.Handler):
    """Keeps what is logged as an error: trouble that passes is a warning."""

    def __init__(self, wrong: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._wrong = wrong

    def emit(self, record: logging.LogRecord) -> None:
        self._wrong.append(f"logged: {record.getMessage()}")


def live(disk: Path, words: Path, case: Case) -> None:
    async def run() -> None:
        scenario = Scenario(disk, words, case)
        wrong = scenario.result.wrong
        logging.getLogger().addHandler(Errors(wrong))
        threading.excepthook = lambda error: wrong.append(f"a thread ended with {error.exc_value!r}")
        sys.unraisablehook = lambda error: wrong.append(f"unraisable: {error.exc_value!r} in {error.object!r}")
        await scenario.run()

    with asyncio.Runner(loop_factory=store_loop) as runner:
        runner.run(run())


def look(disk: Path, words: Path, case: Case) -> None:
    said = Said(SEED)
    for line in (words / SAID).read_bytes().splitlines():
        said.hear(line)
    with asyncio.Runner(loop_factory=store_loop) as runner:
        found = runner.run(check(disk, said, Random(case.number)))
    (words / LOST).write_text(json.dumps(found.lost))


def carry_out(disk: Path, words: Path, case: Case) -> Result:
    status = forked(partial(live, disk, words, case))
    if status:
        return Result("?", wrong=[f"the process ended with {status}: it hung, or it crashed"])
    result = Result(**json.loads((words / RESULT).read_text()))
    status = forked(partial(look, disk, words, case))
    result.wrong += json.loads((words / LOST).read_text()) if not status else [f"looking for what was lost ended with {status}"]
    return result


def main() -> None:
    for line in sys.stdin:
        # what is said about a case is no part of its disk
        places = Path(os.environ["SHIM_DIRECTORY"]) / "disk", Path(sys.argv[1]) / "words"
        for place in places:
            place.mkdir()
        print(json.dumps(asdict(carry_out(*places, Case(**json.loads(line))))), flush=True)
        for place in places:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
