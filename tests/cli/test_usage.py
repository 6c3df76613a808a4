"""Help, exit codes and bad input."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from danube_dispatcher.cli.arguments import store_url
from danube_dispatcher.cli.parser import COMMANDS
from danube_dispatcher.cli.running import main

from .conftest import STORE, TOPIC, Cli

pytestmark = pytest.mark.real_time


Here = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(cli: Cli, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """Run a command line in this process, which is faster: exit code, standard output, standard error."""
    monkeypatch.chdir(cli.directory)

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capfd.readouterr()

    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        yield run


def test_help_names_every_command(here: Here) -> None:
    code, out, err = here("--help")
    assert (code, err) == (0, "")
    assert all(command in out for command in COMMANDS)
    assert "exit codes" in out


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in ("demo", "diagram", "simulate", "verify")])
def test_each_command_says_what_it_takes(here: Here, command: str) -> None:
    code, out, err = here(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: danube-dispatcher {command} ")
    assert "STORE" in out


def test_version(here: Here) -> None:
    assert here("--version") == (0, f"danube-dispatcher {version('danube-dispatcher')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "COMMAND"),
        (["nothing"], "invalid choice: 'nothing'"),
        (["publish", STORE], "TOPIC"),
        (["publish", STORE, TOPIC, "--attribute", "x"], "needs NAME=VALUE, not 'x'"),
        (["publish", STORE, TOPIC, "--max-payload", "0"], "needs a whole number, 1 or more, not '0'"),
        (["consume", STORE, TOPIC, "s", "--exec", "no-such-program"], "there is no program 'no-such-program'"),
        (["consume", STORE, TOPIC, "s", "--exec", "'"], "No closing quotation"),
        (["consume", STORE, TOPIC, "s", "--exec", " "], "needs a command"),
        (["consume", STORE, TOPIC, "s", "--type", "any"], "invalid choice: 'any'"),
        (["consume", STORE, TOPIC, "s", "--no-reliable", "--until-empty"], "--until-empty needs a reliable subscription"),
        (["release", STORE, TOPIC, "s", "forget"], "invalid choice: 'forget'"),
    ],
    ids=str,
)
def test_wrong_usage(cli: Cli, here: Here, arguments: list[str], problem: str) -> None:
    code, out, err = here(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("usage: ")
    assert problem in err.splitlines()[-1]
    assert os.listdir(cli.directory) == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["status", "missing.db"], "missing.db: there is none at "),
        (["consume", "missing.db", TOPIC, "s"], "missing.db: there is none at "),
        (["release", "missing.db", TOPIC, "s", "drop"], "missing.db: there is none at "),
        (["status", "other.db"], "the file is something else, not a store"),
        (["publish", "other.db", TOPIC], "the file is something else, not a store"),
        (["status", "."], "is a directory"),
        (["publish", "nowhere/queue.db", TOPIC], "nowhere"),
        (["publish", "redis://host", TOPIC], "the known ones are 'memory:' and 'sqlite:'"),
        (["publish", "", TOPIC], "has no path"),
        (["publish", STORE, "jobs"], "topic: needs '/namespace/name'"),
        (["publish", STORE, TOPIC, "--key", "x" * 2000], "key: needs at most 1024 bytes"),
        (["publish", STORE, TOPIC, "missing.txt"], "missing.txt: No such file or directory"),
        (["publish", STORE, TOPIC, "."], ".: is a directory; name its files"),
        (["publish", STORE, TOPIC, "--whole-file", "other.db", "--max-payload", "5"], "other.db: has more than 5 bytes"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_changes_nothing(cli: Cli, here: Here, arguments: list[str], problem: str) -> None:
    (cli.directory / "other.db").write_bytes(b"anything else but a store")
    code, out, err = here(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("danube-dispatcher: ")
    assert problem in err
    assert err.count("\n") == 1
    assert os.listdir(cli.directory) == ["other.db"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["consume", STORE, "/default/none", "s"], "there is no topic /default/none"),
        (["status", STORE, "/default/none"], "there is no topic /default/none"),
        (["status", STORE, "none"], "topic: needs '/namespace/name'"),
        (["consume", STORE, TOPIC, "no spaces"], "subscription: needs a name"),
        (["consume", STORE, TOPIC, "s", "--name", "no spaces"], "consumer: needs a name"),
        (["consume", STORE, TOPIC, "s", "--start", "7"], "7 is beyond the head 1"),
        (["consume", STORE, TOPIC, "s", "--start", "now"], "start: needs 'earliest', 'latest' or an offset"),
        (["consume", STORE, TOPIC, "s", "--ack-timeout", "nan"], "ack_timeout: needs a finite number"),
        (["consume", STORE, TOPIC, "s", "--rate-limit", "0"], "rate_limit: needs a finite number"),
        (["consume", STORE, TOPIC, "s", "--wait", "-1"], "wait: needs a finite number"),
        (["consume", STORE, TOPIC, "s", "--poison-policy", "dead_letter"], "needs a topic to move messages to"),
        (["consume", STORE, TOPIC, "s", "--no-reliable", "--ack-timeout", "5"], "policy: needs reliable=True"),
        (["release", STORE, TOPIC, "s", "drop"], "there is none of that name"),
    ],
    ids=str,
)
def test_bad_input_for_a_store_that_is_there(cli: Cli, here: Here, arguments: list[str], problem: str) -> None:
    cli.publish(b"a")
    code, out, err = here(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("danube-dispatcher: ")
    assert problem in err
    assert err.count("\n") == 1
    assert cli.topics() == [TOPIC]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("queue.db", "sqlite:queue.db"),
        ("/some/queue.db", "sqlite:/some/queue.db"),
        ("sqlite:queue.db", "sqlite:queue.db"),
        ("memory:", "memory:"),
        ("nats://host", "nats://host"),
        ("./a:b", "sqlite:./a:b"),
        ("a.db:b", "sqlite:a.db:b"),
        ("C:\\queue.db", "sqlite:C:\\queue.db"),
    ],
)
def test_a_store_is_a_url_or_a_path(text: str, url: str) -> None:
    assert store_url(text) == url


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["status", STORE], ["consume", STORE, TOPIC, "s", "--start", "earliest"]], ids=["status", "consume"])
def test_an_output_without_room(cli: Cli, arguments: list[str]) -> None:
    cli.publish(b"a")
    with open("/dev/full", "wb") as full:
        code, _, err = cli.start(*arguments, stdout=full.fileno()).end()
    assert (code, err) == (1, "danube-dispatcher: No space left on device\n")
    if arguments[0] == "consume":
        assert cli.cursor() == -1
        assert cli.subscription().failures == 0
