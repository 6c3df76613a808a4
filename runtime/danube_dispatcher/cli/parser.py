"""Which commands there are. The module of a command is imported when it is its turn, so that `--help` starts nothing."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any, NoReturn

PROGRAM = "danube-dispatcher"
COMMANDS = {
    "demo": ("danube_dispatcher.demo", "run all four dispatchers on real input, with failures, and check what came of it"),
    "publish": ("danube_dispatcher.cli.publish", "publish lines or files to a topic"),
    "consume": ("danube_dispatcher.cli.consume", "print the messages of a subscription, or run a command for each"),
    "status": ("danube_dispatcher.cli.status", "show what the subscriptions of a store are doing, and why not"),
    "watch": ("danube_dispatcher.cli.watch", "watch the subscriptions of a store on a terminal, and the machine of one"),
    "release": ("danube_dispatcher.cli.release", "let the blocked message of a subscription go"),
    "simulate": ("danube_dispatcher.cli.simulate", "run everything on virtual time, with every fault, and check what comes of it"),
    "diagram": ("danube_dispatcher.cli.diagram", "draw a state machine: one that ships, or one of your own"),
    "verify": ("danube_dispatcher.cli.verify", "explore the machines that ship: everything that can happen, against every invariant"),
}
EPILOG = """\
exit codes:
  0    done
  1    it failed; standard error says why, in one line
  2    wrong usage
  130  ended by Ctrl-C (143: by SIGTERM): positions are saved, subscriptions let go; nothing is acknowledged that was not
  141  the reader of standard output has gone; what was not written yet is delivered again

for example:
  seq 10 | danube-dispatcher publish queue.db /default/numbers
  danube-dispatcher consume queue.db /default/numbers adder --start earliest --until-empty
  danube-dispatcher status queue.db
"""


class Command(argparse.ArgumentParser):
    """The parser of one command: what it takes, and what it runs, its module knows."""

    def __init__(self, *, module: str, **options: Any) -> None:
        super().__init__(**options)
        self._module: str | None = module

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  (three overloads)
        if self._module is None:
            return super().parse_known_args(args, namespace)
        module, self._module = import_module(self._module), None
        module.add_arguments(self)
        self.set_defaults(run=module.run)
        # otherwise FILE … and [TOPIC] would have to stand right behind what is before them, and not behind an option
        return self.parse_known_intermixed_args(args, namespace)


class Version(argparse.Action):
    """Reads the version of the installed distribution, when asked and not before."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(PROGRAM, version(PROGRAM))
        parser.exit()


def build() -> argparse.ArgumentParser:
    """The parser of the whole command line; what it returns has `run`, which takes it."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Durable topics in a file, and subscriptions to them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Command, title="commands (COMMAND --help says more)")
    for name, (module, text) in COMMANDS.items():
        commands.add_parser(name, module=module, help=text)
    return parser
