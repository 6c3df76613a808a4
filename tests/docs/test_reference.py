"""The reference says what the code says: its generated pages are those of the sources, and its tables of numbers are true."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import pytest
from docs.reference import api, cli, errors, write
from docs.reference.markdown import markdown, paragraphs

from danube_dispatcher import Consumer, FailurePolicy, InvalidArgument, Subscription, SubscriptionEngine, Topic, validation
from docs import site

FOLDER = site.ROOT / "docs" / "reference"


# what is generated


@pytest.mark.parametrize("name", write.PAGES)
def test_a_generated_page_is_that_of_the_sources(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == write.PAGES[name](), (
        f"{name} is not what the sources say: run `make reference` and look at what changed"
    )


def test_every_public_name_is_shown() -> None:
    assert not api.missing()


@pytest.mark.parametrize("name", errors.errors())
def test_every_error_says_when_it_is_raised_and_what_to_do(name: str) -> None:
    cause, remedy, *_ = [*paragraphs(errors.errors()[name].doc), "", ""]
    assert cause.endswith(".")
    assert remedy.endswith(".")


def test_every_error_that_is_exported_is_in_the_tree() -> None:
    exported = {name for name, value in vars(import_module("danube_dispatcher")).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert exported | {"InvariantBroken"} == set(errors.errors())


def test_every_command_and_option_is_shown() -> None:
    page = cli.page()
    for name, parser in cli.parsers().items():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        for action in parser._actions:
            for option in set(action.option_strings) - {"-h", "--help"}:
                assert re.search(rf"^\| .*`{option}[ `]", section, re.MULTILINE), f"{name} {option}"


@pytest.mark.parametrize(
    ("doc", "shown"),
    [
        ("One *word* of 2 * 3 < 7, __all__ and a_b.", r"One *word* of 2 \* 3 &lt; 7, \_\_all\_\_ and a_b."),
        ("Leave `a * b` alone.", "Leave `a * b` alone."),
        ("name   what it is\nother  more\n       of it", "- `name`: what it is\n- `other`: more\n  of it"),
        ("So:\n\n    go(1)\n\nthen", "So:\n\n```py\ngo(1)\n```\n\nthen"),
        ("In order:\n\n    first   comes\n    second  of course", "In order:\n\n```text\nfirst   comes\nsecond  of course\n```"),
        ("Two:\n- a\n- b", "Two:\n\n- a\n- b"),
        ("Raises Closed, StoreError. Closed it is.", "Raises [Closed](e#c), [StoreError](e#s). Closed it is."),
    ],
)
def test_a_docstring_as_markdown(doc: str, shown: str) -> None:
    assert markdown(doc, {"Closed": "e#c", "StoreError": "e#s"}) == shown


# configuration.md

PAGE = (FOLDER / "configuration.md").read_text(encoding="utf-8")
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
COMPANIONS: dict[str, dict[str, Any]] = {
    "rate_burst": {"rate_limit": 1.0},
    "max_redelivery_delay": {"redelivery_delay": 1e-9},
    "max_hold": {"ack_timeout": 1e-9},
}
"""Arguments that another one cannot do without, or that would bound it more narrowly."""


class Line(NamedTuple):
    """One line of a table: what is named, its value, and the cell behind that."""

    name: str
    value: str
    limits: str


def table(section: str) -> list[Line]:
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = ([cell.strip() for cell in row.split("|")] for row in re.findall(r"^\|( `.*)\|$", text, re.MULTILINE))
    return [Line(name.strip("`"), value, limits) for name, value, limits, *_ in rows]


def value(text: str) -> Any:
    if text in ("none", "True", "False"):
        return {"none": None, "True": True, "False": False}[text]
    if text.startswith("`"):
        return text.strip('`"')
    number, _, unit = text.partition(" ")
    return float(number.replace(",", "")) * UNITS.get(unit, 1)


def bounds(limits: str) -> tuple[list[object], list[object]]:
    """What is just accepted, and what is just refused."""
    told = limits.partition(";")[0]
    if told.startswith("one of "):
        return [choice.strip('`"') for choice in told.removeprefix("one of ").split(", ")], ["other"]
    known: dict[str, tuple[list[object], list[object]]] = {
        "more than 0": ([1e-9], [0, -1]),
        "0 or more": ([0], [-1]),
        "1 or more": ([1], [0]),
        "from 0 to 1": ([0, 1], [-0.1, 1.1]),
    }
    return known[told]


def opening(**arguments: Any) -> None:
    wait = arguments.pop("wait", None)
    validation.check_opening("/default/orders", "orders", **arguments)
    validation.check_wait(wait)


ARGUMENTS: dict[str, tuple[Callable[..., Any], set[str], Callable[..., Any]]] = {
    "Opening a topic": (Topic.open, {"store", "name"}, lambda **one: validation.check_max_payload(*one.values())),
    "Subscribing": (Topic.subscribe, {"self", "name"}, opening),
    "Failure policy": (FailurePolicy, set(), FailurePolicy),
    "Consuming": (Subscription.consumer, {"self", "name"}, lambda **one: Consumer("a", **one)),
}
"""Of each section: what is called, which arguments are no configuration, and who checks the others."""
CHECKS: dict[str, Callable[[Any], Any]] = {
    "nack(delay)": validation.check_delay,
    "extend(seconds)": lambda seconds: validation.check_seconds("seconds", seconds),
    "drain(timeout)": validation.check_timeout,
    "caught_up(timeout)": validation.check_timeout,
    "release(action)": validation.check_release,
}


@pytest.mark.parametrize("section", ARGUMENTS)
def test_every_argument_is_listed_with_its_default(section: str) -> None:
    called, others, _ = ARGUMENTS[section]
    defaults = {name: parameter.default for name, parameter in inspect.signature(called).parameters.items() if name not in others}
    assert {line.name: value(line.value) for line in table(section) if line.name not in CHECKS} == defaults


def test_an_engine_takes_the_same_as_subscribing() -> None:
    lines = {line.name: value(line.value) for line in table("Subscribing")}
    engine = {name: parameter.default for name, parameter in inspect.signature(SubscriptionEngine).parameters.items() if name not in ("topic", "name")}
    assert engine.pop("flush_interval") == validation.check_flush_interval(lines["flush_interval"])
    assert engine.items() <= lines.items()
    assert list(engine) == [
        name for name in list(lines)[list(lines).index("start") : list(lines).index("observer")] if name not in ("policy", "flush_interval")
    ]


@pytest.mark.parametrize(("section", "line"), [(section, line) for section in [*ARGUMENTS, "Operating"] for line in table(section) if line.limits], ids=str)
def test_a_limit_is_where_the_page_says(section: str, line: Line) -> None:
    check = CHECKS.get(line.name) or (lambda given: ARGUMENTS[section][2](**{line.name: given}, **COMPANIONS.get(line.name, {})))
    accepted, refused = bounds(line.limits)
    for given in accepted:
        check(given)
    for given in refused:
        with pytest.raises(InvalidArgument):
            check(given)


@pytest.mark.parametrize("line", [line for section in ("Publishing", "Fixed numbers", "The file") for line in table(section)], ids=str)
def test_a_constant_is_as_the_page_says(line: Line) -> None:
    where, _, name = line.name.rpartition(".")
    constant = getattr(import_module(where if where.startswith("danube_") else f"danube_dispatcher.{where}"), name)
    assert value(line.value) == (float(".".join(map(str, constant))) if isinstance(constant, tuple) else constant)


@pytest.mark.parametrize("line", table("Command line"), ids=str)
def test_an_option_has_the_default_that_the_page_says(line: Line) -> None:
    command, option = line.name.split()
    action = cli.parsers()[command]._option_string_actions[option]
    assert value(line.value) == action.default


def test_the_environment_of_a_command_is_told_in_full() -> None:
    code = inspect.getsource(import_module("danube_dispatcher.cli.handlers"))
    set_for_it = set(re.findall(r"DANUBE_[A-Z_]+", code))
    assert set_for_it == set(re.findall(r"DANUBE_[A-Z_]+", PAGE.partition("\n## Environment\n")[2]))
