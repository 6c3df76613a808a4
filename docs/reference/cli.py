"""docs/reference/cli.md: every command, from its parser."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from importlib import import_module
from textwrap import dedent

from danube_dispatcher.cli import parser as whole

from .markdown import cell, markdown, meanings, paragraphs, prose

HEAD = f"""\
# Command line

`{whole.PROGRAM} COMMAND …`, also `python -m danube_dispatcher COMMAND …`. `make reference` writes this page from the parsers; `COMMAND --help` says
the same in the terminal. What the words mean: [API](api.md); numbers and limits: [configuration](configuration.md).
"""
HELP = ("-h", "--help")


def parsers() -> dict[str, argparse.ArgumentParser]:
    """That of each command, by name. (Those of the whole fetch their arguments only when it is their turn.)"""
    found: dict[str, argparse.ArgumentParser] = {}
    for name, (where, _) in whole.COMMANDS.items():
        found[name] = argparse.ArgumentParser(prog=f"{whole.PROGRAM} {name}")
        import_module(where).add_arguments(found[name])
    return found


def page() -> str:
    commands = [f"- [{name}](#{name}): {text}" for name, (_, text) in whole.COMMANDS.items()]
    general = "\n".join(_epilog(whole.EPILOG, title="## "))
    return "\n".join([HEAD, *commands, "", general + "".join(_command(name, parser) for name, parser in parsers().items())])


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    lines = [f"\n## {name}\n", *_prose(parser.description or ""), "```text", _usage(parser), "```", ""]
    for group in parser._action_groups:
        if rows := [_row(action) for action in group._group_actions if action.option_strings != list(HELP) and action.help is not argparse.SUPPRESS]:
            title = {"positional arguments": "arguments"}.get(group.title or "", group.title or "")
            lines += [f"| {title} | |", "|---|---|", *rows, ""]
    return "\n".join([*lines, *_epilog(parser.epilog or "")]).rstrip() + "\n"


def _usage(parser: argparse.ArgumentParser) -> str:
    optional = "[OPTION …] " if any(action.option_strings != list(HELP) for action in parser._actions if action.option_strings) else ""
    given = [action for action in parser._actions if not action.option_strings]
    return f"{parser.prog} {optional}{' '.join(map(_positional, given))}".rstrip()


def _positional(action: argparse.Action) -> str:
    name = _value(action)
    return {"?": f"[{name}]", "*": f"[{name} …]", "+": f"{name} …", argparse.REMAINDER: f"{name} …"}.get(str(action.nargs), name)


def _value(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper())


def _row(action: argparse.Action) -> str:
    names = [f"{option} {_positional(action)}" if action.nargs != 0 and option.startswith("--") else option for option in action.option_strings]
    if isinstance(action, argparse.BooleanOptionalAction):
        names = list(action.option_strings)
    said = (action.help or "").removesuffix(" (default: %(default)s)")  # what some Pythons add by themselves
    text = said % {**vars(action), "prog": whole.PROGRAM}
    if action.choices is not None and not all(str(choice) in text for choice in action.choices):
        text = f"{' or '.join(map(str, action.choices))}{' ' if text.startswith('(') else '; '}{text}"
    return f"| {', '.join(f'`{name}`' for name in names or [_positional(action)])} | {cell(_told(text))} |"


def _told(text: str) -> str:
    """Prose, in which options are code."""
    return prose(re.sub(r"(?<![\w`-])--[a-z][a-z-]*", r"`\g<0>`", text), {})


def _prose(text: str) -> Iterator[str]:
    for paragraph in paragraphs(text):
        yield f"{_told(paragraph)}\n"


def _epilog(text: str, title: str = "") -> Iterator[str]:
    """Paragraphs; what is indented below a line that ends in a colon is a table or a program, if it looks like one."""
    for paragraph in paragraphs(text):
        head, _, rest = paragraph.partition("\n")
        if not head.endswith(":"):
            yield f"{_told(paragraph[0].upper() + paragraph[1:])}\n"
            continue
        name = head[0].upper() + head[1:].removesuffix(":")
        yield f"{title}{name}\n" if title else f"{name}:\n"
        below = dedent(rest)
        yield markdown(below) + "\n" if meanings(below) else f"```sh\n{below}\n```\n" if whole.PROGRAM in below else f"{_told(below)}\n"
