"""`danube-dispatcher simulate`."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from ..simulation.rates import KINDS
from .terminal import Progress

if TYPE_CHECKING:
    from ..simulation.run import Outcome

DESCRIPTION = """\
Simulate several processes that compete for subscriptions of every kind, on virtual time and on a disk that survives crashes, while calls of the
store fail, lag and lie, processes crash, stall and lose their leases, clocks jump, and consumers answer wrongly, late, twice or never. Everything
is drawn from the seed: the same seed gives the same history. A checker that knows nothing of the code reads it; every hour faults stop for a
while, and everything must be settled in a bounded time.
"""
EPILOG = """\
kinds of faults:
  {kinds}

exit codes: 0 every rule was kept; 1 one was broken: what, by which seed, and how to repeat it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = fill(", ".join(KINDS), 100, subsequent_indent="  ")
    parser.description, parser.epilog = DESCRIPTION, EPILOG.format(kinds=kinds)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="what chance begins with (default: 0)")
    parser.add_argument("--hours", metavar="H", type=_positive, default=1.0, help="simulated hours of each seed (default: 1)")
    parser.add_argument("--minutes", metavar="M", type=_positive, help="go on with seeds N+1, N+2 and so on until so many real minutes are over")
    parser.add_argument(
        "--rate", metavar="KIND=FACTOR", type=_rate, action="append", default=[], help="multiply the rate of a kind of fault, or of all=FACTOR; 0 is never"
    )
    parser.add_argument("--history", metavar="FILE", type=Path, help="write the history to this file; of one seed")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write what came of it to this file, as one JSON object")


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1000:
        raise argparse.ArgumentTypeError(f"needs a number above 0, up to 1000, not {text!r}")
    return number


def _rate(text: str) -> tuple[str, float]:
    kind, _, factor = text.partition("=")
    try:
        return kind, float(factor)
    except ValueError:
        raise argparse.ArgumentTypeError(f"needs KIND=FACTOR, such as crash=2, not {text!r}") from None


def run(arguments: argparse.Namespace) -> int:
    from ..errors import InvalidArgument
    from ..simulation.run import campaign, simulate

    if arguments.history is not None and arguments.minutes is not None:
        raise InvalidArgument("--history", "is of one seed; leave out --minutes")
    factors = dict(arguments.rate)
    with ExitStack() as stack:
        shown = stack.enter_context(Progress())
        if arguments.minutes is not None:
            outcome = campaign(
                arguments.seed,
                arguments.hours,
                60 * arguments.minutes,
                factors=factors,
                progress=lambda total, hours: shown.show(f"{len(total.seeds)} seeds, {total.hours + hours:,.1f} simulated hours"),
            )
        else:

            def told(hours: float) -> bool:
                shown.show(f"{hours:,.2f} of {arguments.hours:g} simulated hours")
                return True

            file = stack.enter_context(arguments.history.open("w", encoding="utf-8")) if arguments.history is not None else None
            outcome = simulate(arguments.seed, arguments.hours, factors=factors, file=file, progress=told)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(outcome.report(), indent=1) + "\n", encoding="utf-8")
    print(outcome)
    return _judged(outcome, arguments)


def _judged(outcome: Outcome, arguments: argparse.Namespace) -> int:
    """Say what was broken, if anything was; return the exit code."""
    violation = outcome.violation
    if violation is None:
        print("every rule was kept")
        return 0
    rates = "".join(f" --rate {kind}={factor:g}" for kind, factor in arguments.rate)
    print(f"\nseed {violation.seed} breaks a rule: {violation.problem}\n")
    print(*(f"  {line}" for line in violation.lines), sep="\n")
    print(f"\nrepeat it: danube-dispatcher simulate --seed {violation.seed} --hours {arguments.hours:g}{rates} --history history.txt")
    return 1
