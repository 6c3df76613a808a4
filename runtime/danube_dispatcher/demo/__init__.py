"""`danube-dispatcher demo`: all four dispatchers on real input, with failures.

corpus.py    the files, and what is found out about each; the four subscriptions
worker.py    the process that does the work, which is workload.py; faults.py says what goes wrong in it
reports.py   what it tells its parent; records.py what it writes down of its work
process.py   that process, as its parent sees it
parent.py    the parent: kills, restarts, judges; screen.py draws; verdict.py compares
show.py      another demo, for the browser: slow, and without an end
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..cli.arguments import positive, store_url

if TYPE_CHECKING:
    from .corpus import Corpus

DESCRIPTION = """\
Publish every source file of this Python's standard library to a durable topic in a file, and process them through all four dispatchers at
once, while consumers die, say no, stall and are slow, and while the whole worker process is killed half-way. Then compare with the same
numbers computed directly from the files. It takes about half a minute, ten seconds of which are the dead process's lease.

With --browser: the four of them at a pace that eyes can follow, on a page that is served to this machine only, until Ctrl-C. It is slow, kills no
process and compares nothing.
"""
EPILOG = """\
exit codes: 0 everything matches; 1 a reliable subscription lost something, a result differs, or it failed; 130 ended by Ctrl-C
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `danube-dispatcher demo`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("--store", metavar="PATH", type=_new_file, help="keep the store in this new file; a temporary one is used otherwise")
    parser.add_argument("--files", metavar="N", type=positive, help="publish only so many files, spread over all of them")
    parser.add_argument("--no-kill", dest="kill", action="store_false", help="do not kill the worker process half-way")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="another seed: other messages meet the failures (default: 0)")
    parser.add_argument("--browser", metavar="PORT", type=_port, nargs="?", const=0, help="show them in the browser (default: at a free port)")


def _new_file(text: str) -> Path:
    scheme, _, path = store_url(text).partition(":")
    if scheme != "sqlite" or not path:
        raise argparse.ArgumentTypeError(f"needs a file, not {text!r}")
    if Path(path).exists():
        raise argparse.ArgumentTypeError(f"{path} exists, and the demo needs a new file; name another one")
    return Path(path)


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"needs a port up to 65535, or 0 for a free one, not {text!r}")
    return port


def run(arguments: argparse.Namespace) -> int:
    """Run it; return the exit code. Raises KeyboardInterrupt, OSError or a DanubeError; no worker process is left behind."""
    from .corpus import Corpus

    kept: Path | None = arguments.store
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        with tempfile.TemporaryDirectory(prefix="danube-demo-") as folder:
            kind = _check if arguments.browser is None else _show
            code = kind(kept or Path(folder, "demo.db"), Path(folder), Corpus.find(arguments.files), arguments)
    finally:
        signal.signal(signal.SIGTERM, before)
    if kept is not None:
        print(f"The store is kept; look at it with: danube-dispatcher status {kept}")
    return code


def _check(store: Path, folder: Path, corpus: Corpus, arguments: argparse.Namespace) -> int:
    from .parent import Demo

    return 0 if Demo(store, folder, corpus, kill=arguments.kill, seed=arguments.seed).run() else 1


def _show(store: Path, folder: Path, corpus: Corpus, arguments: argparse.Namespace) -> int:
    from ..cli.running import execute
    from .show import show

    return execute(show(f"sqlite:{store}", corpus, arguments.seed, arguments.browser))


def _terminated(number: int, _: object) -> None:
    """Ends the worker process and removes the temporary files on the way out."""
    sys.exit(128 + number)
