"""Every async test runs under virtual time unless it is marked `real_time`."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest

import stateful
from delivering import store_loop

# a deadline would measure the machine; the profile that Hypothesis chose (in CI: without chance) stays otherwise
hypothesis.settings.register_profile("danube", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("danube")

# an exploration keeps hundreds of thousands of values; looking for cycles among them again and again took a tenth of all the time
gc.set_threshold(100_000, 20, 100)

# a loop that spins on a fault fills memory faster than anyone looks: let it fail instead of the machine
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("real_time"):
        return {"real": asyncio.new_event_loop}
    return {"virtual": store_loop}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rows", type=Path, metavar="FILE", help="write how often the stateful tests have fired each row of each table, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a job in the background, and so of the processes that tests start
        signal.signal(signal.SIGINT, signal.default_int_handler)
    stateful.seed_given = config.getoption("--hypothesis-seed")


def pytest_sessionfinish(session: pytest.Session) -> None:
    output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if output is not None:  # one of several processes (pytest-xdist): what it has fired it tells the one that sums up
        output["fired"] = stateful.told()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    stateful.hear(getattr(node, "workeroutput", {}).get("fired", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if stateful.FIRED:
        terminalreporter.section("rows fired in the stateful tests")
        terminalreporter.write_line("\n".join(stateful.summary()))
    target: Path | None = config.getoption("--rows")
    if target is not None:
        target.write_text(json.dumps(stateful.report(), indent=1) + "\n", encoding="utf-8")
