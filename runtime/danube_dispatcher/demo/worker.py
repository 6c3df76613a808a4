"""The process that does the work, and that is killed half-way: `python -m danube_dispatcher.demo.worker JSON`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import cast

from ..errors import DanubeError
from .reports import Failed, Report, encode
from .workload import Workload


def tell(report: Report) -> None:
    """Let the parent know. Raises BrokenPipeError when there is none any more."""
    sys.stdout.buffer.write(encode(report))
    sys.stdout.buffer.flush()


async def work(store: str, folder: str, run: int, seed: int) -> None:
    """All of it. SIGTERM, by which the parent ends us, cancels this task: everything is closed."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def stop(number: int, _: object) -> None:
        loop.call_soon_threadsafe(task.cancel)

    signal.signal(signal.SIGTERM, stop)
    await Workload(store, Path(folder), run, seed, tell).run()


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to hear
    try:
        asyncio.run(work(**json.loads(sys.argv[1])))
    except asyncio.CancelledError:
        return 1
    except BaseException as error:
        if not isinstance(cause := _cause(error), (DanubeError, OSError)):
            raise
        try:
            tell(Failed(str(cause)))
        except BrokenPipeError:  # there is no parent any more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
        return 1
    return 0


def _cause(error: BaseException) -> BaseException:
    """The first error of a group that is expected, if all are; otherwise the error itself."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    causes = [_cause(each) for each in group.exceptions]
    return next((each for each in causes if not isinstance(each, (DanubeError, OSError))), causes[0])


if __name__ == "__main__":
    sys.exit(main())
