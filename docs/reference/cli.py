"""docs/reference/cli.md: every command, from its parser."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from importlib import import_module
from textwrap import dedent

from danube_dispatcher.cli import parser as whole

from .markdown import cell, prose

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
    return "\n".join([HEAD, *commands, "", general, *(_command(name, parser) for name, parser in parsers().items())])


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
    names = [f"{option} {_value(action)}" if action.nargs != 0 and option.startswith("--") else option for option in action.option_strings]
    if isinstance(action, argparse.BooleanOptionalAction):
        names = list(action.option_strings)
    said = (action.help or "").removesuffix(" (default: %(default)s)")  # what some Pythons add by themselves
    text = said % {**vars(action), "prog": whole.PROGRAM}
    if action.choices is not None and not all(str(choice) in text for choice in action.choices):
        text = f"{' or '.join(map(str, action.choices))}; {text}"
    return f"| {', '.join(f'`{name}`' for name in names or [_positional(action)])} | {cell(prose(text, {}))} |"


def _prose(text: str) -> Iterator[str]:
    for paragraph in filter(None, re.split(r"\n\s*\n", text.strip("\n"))):
        yield f"{prose(paragraph, {})}\n"


def _epilog(text: str, title: str = "") -> Iterator[str]:
    """Paragraphs; what is indented below a line that ends in a colon keeps its lines."""
    for paragraph in filter(None, re.split(r"\n\s*\n", text.strip("\n"))):
        head, _, rest = paragraph.partition("\n")
        if head.endswith(":") and all(line.startswith("  ") for line in rest.splitlines()):
            name = head.removesuffix(":")
            yield f"{title}{name[0].upper()}{name[1:]}\n" if title else f"{name[0].upper()}{name[1:]}:\n"
            yield f"```{'sh' if whole.PROGRAM in rest else 'text'}\n{dedent(rest)}\n```\n"
        else:
            yield f"{prose(paragraph, {})}\n"
