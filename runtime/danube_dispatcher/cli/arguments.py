"""Arguments that several commands take."""

from __future__ import annotations

import argparse
import re

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+-]+:")  # at least two letters: one is a drive


def store_url(text: str) -> str:
    """The URL of a store; what has no scheme is a path."""
    return text if _SCHEME.match(text) else f"sqlite:{text}"


def add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", metavar="STORE", type=store_url, help="a file, or a URL such as sqlite:PATH; for a file with a colon in its name ./PATH")


def add_topic(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    text = "the topic, /namespace/name"
    if optional:
        parser.add_argument("topic", metavar="TOPIC", nargs="?", help=f"{text}; all of them by default")
    else:
        parser.add_argument("topic", metavar="TOPIC", help=text)


def add_json(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--json", action="store_true", help=help)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"needs a whole number, 1 or more, not {text!r}")
    return number
