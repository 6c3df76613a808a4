"""`danube-dispatcher diagram`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from danube_statemachines import VARIANTS, Declaration
from danube_statemachines.checks import shown

from .. import diagrams
from ..errors import DanubeError, InvalidArgument

DESCRIPTION = """\
Draw a state machine from its declaration: one of the four that ship, or one of your own, as module:name of a Declaration
that can be imported from here. Pictures (svg, png) need the extra `diagrams`; text (dot, mermaid) needs nothing.

With --rows: a heat map. Each row shows how often a run has fired it, and those never fired stand out.
"""
FORMATS = {".svg": "svg", ".png": "png", ".dot": "dot", ".mmd": "mermaid"}
"""What a file is by its name, unless told otherwise."""
MOST = 64 << 20
"""Bytes of a report of rows; one of a campaign has some 100 kB."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.set_defaults(usage_error=parser.error)
    parser.add_argument("variant", metavar="VARIANT", type=_variant, help=f"{', '.join(VARIANTS)}, or module:name")
    parser.add_argument("--format", choices=diagrams.FORMATS, help="by the name of the file (.svg .png .dot .mmd) by default, else svg")
    parser.add_argument("--style", choices=diagrams.STYLES, default="flow", help="; ".join(f"{name}: {style.shows}" for name, style in diagrams.STYLES.items()))
    parser.add_argument("--rows", metavar="FILE", type=Path, help="a report of rows: pytest --rows FILE, simulate --json FILE, or your own")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write it there; to standard output by default, and for -")


def _variant(text: str) -> str:
    module, colon, name = text.partition(":")
    if text not in VARIANTS and not (colon and name.isidentifier() and all(map(str.isidentifier, module.split(".")))):
        raise argparse.ArgumentTypeError(f"needs one of {', '.join(VARIANTS)}, or module:name of a Declaration, not {shown(text)}")
    return text


def run(arguments: argparse.Namespace) -> int:
    output: Path | None = None if str(arguments.output) == "-" else arguments.output
    suffix = "" if output is None else output.suffix.lower()
    if not arguments.format and suffix not in ("", *FORMATS):
        arguments.usage_error(f"what {output} is to be is not told by {suffix}: name it {' '.join(FORMATS)}, or give --format")
    kind = arguments.format or FORMATS.get(suffix, "svg")
    if output is None and kind == "png" and sys.stdout is not None and sys.stdout.isatty():
        arguments.usage_error("a PNG is not for a terminal: --output FILE, or a pipe, takes it")
    declaration = _declared(arguments.variant)
    fired = None if arguments.rows is None else diagrams.read_fired(declaration, _report(arguments.rows))
    drawn = diagrams.render(declaration, kind, style=arguments.style, fired=fired)
    if output is not None:
        _replace(output, drawn)
    elif sys.stdout is None:  # it is when it was closed from the start
        raise InvalidArgument("--output", "needs a file: standard output is closed")
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(drawn)
    return 0


def _report(path: Path) -> bytes:
    with path.open("rb") as file:
        report = file.read(MOST + 1)
    if len(report) > MOST:
        raise InvalidArgument("rows", f"{path} has more than {MOST >> 20} MiB: it is no report of rows")
    return report


def _declared(variant: str) -> Declaration[Any]:
    if variant in VARIANTS:
        return VARIANTS[variant]
    module, _, name = variant.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does
    try:
        found = getattr(import_module(module), name, None)
    except DanubeError:
        raise
    except (Exception, SystemExit) as error:  # whatever the module's own code raises; a script ends by itself
        raise InvalidArgument(variant, f"{module} cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(found, Declaration):
        problem = f"{module} has no {name}" if found is None else f"it is no Declaration, but {shown(found)}"
        raise InvalidArgument(variant, problem)
    return found  # pyright: ignore[reportUnknownVariableType]


def _replace(path: Path, data: bytes) -> None:
    """Write all of it or leave what is there. What is no ordinary file (a pipe, a device) is written to."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("xb") as file:
            file.write(data)
        if path.exists():
            shutil.copymode(path, beside)
        beside.replace(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        with suppress(OSError):
            beside.unlink()
