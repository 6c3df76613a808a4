"""`consume --exec`."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from danube_dispatcher import Message
from danube_dispatcher.cli import handlers

from .conftest import STORE, TOPIC, Cli

pytestmark = [pytest.mark.real_time, pytest.mark.skipif(os.name != "posix", reason="the commands are a shell's")]

CONSUME = ("consume", STORE, TOPIC, "s", "--start", "earliest")


def test_the_command_gets_the_message(cli: Cli) -> None:
    cli.publish(Message("ü\n".encode(), "k", {"x-y": "1", "nul": "a\0b"}), b"plain")
    script = 'cat; echo "$DANUBE_TOPIC $DANUBE_OFFSET $DANUBE_KEY $DANUBE_ATTEMPT $DANUBE_ATTR_X_Y $DANUBE_ATTR_NUL ${DANUBE_PUBLISHED_AT%%.*}"'
    code, out, err = cli.run(*CONSUME, "--until-empty", "--exec", f"sh -c '{script}'")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:1] == ["ü"]
    assert lines[1].startswith(f"{TOPIC} 0 k 1 1 a\N{REPLACEMENT CHARACTER}b 1")
    assert lines[2].startswith(f"plain{TOPIC} 1  1   1")
    assert cli.cursor() == 1


def test_any_other_exit_code_is_a_failure(cli: Cli) -> None:
    cli.publish(b"one", b"two")
    script = 'test "$DANUBE_ATTEMPT" = 2 || exit 3; cat; echo'
    code, out, err = cli.run(*CONSUME, "--count", "2", "--redelivery-delay", "0.01", "--exec", f"sh -c '{script}'")
    assert (code, out) == (0, "one\n")
    assert err == "danube-dispatcher: message 0 (attempt 1): sh exited with code 3\n"
    assert cli.cursor() == 0


def test_a_command_that_a_signal_ends_has_failed(cli: Cli) -> None:
    cli.publish(b"one")
    code, _, err = cli.run(*CONSUME, "--until-empty", "--max-redeliveries", "0", "--exec", "sh -c 'kill -KILL $$'")
    assert code == 1  # it cannot become empty
    failed, blocked = err.splitlines()
    assert failed == "danube-dispatcher: message 0 (attempt 1): sh was ended by SIGKILL"
    assert blocked.startswith("danube-dispatcher: not empty: message 0 (attempt 1, 1 failure) is exhausted after: sh was ended by SIGKILL")
    info = cli.subscription()
    assert (info.blocked, info.failures, info.owner, cli.cursor()) == (True, 1, "", -1)


def test_a_poisoned_message_goes_to_its_dead_letter_topic(cli: Cli) -> None:
    cli.publish(Message(b"one", "k", {"a": "1"}))
    policy = ("--max-redeliveries", "1", "--redelivery-delay", "0.01", "--poison-policy", "dead_letter", "--dead-letter-topic", "/default/dead")
    assert cli.run(*CONSUME, *policy, "--until-empty", "--exec", "false")[:2] == (0, "")
    (dead,) = cli.messages("/default/dead")
    assert (dead.payload, dead.key, dead.attributes["a"]) == (b"one", "k", "1")
    assert (dead.attributes["x-failure-reason"], dead.attributes["x-delivery-attempt"]) == ("false exited with code 1", "2")


def test_a_command_that_reads_nothing(cli: Cli) -> None:
    cli.publish(b"x" * 1_000_000)
    assert cli.run(*CONSUME, "--until-empty", "--exec", "true") == (0, "", "")


def test_the_deadline_is_moved_while_it_runs(cli: Cli) -> None:
    cli.publish(b"one")
    assert cli.run(*CONSUME, "--until-empty", "--ack-timeout", "0.3", "--exec", "sh -c 'sleep 1; echo $DANUBE_ATTEMPT'") == (0, "1\n", "")
    assert cli.cursor() == 0


def test_a_command_that_takes_too_long_is_ended(cli: Cli) -> None:
    cli.publish(b"one")
    limits = ("--ack-timeout", "0.2", "--max-hold", "0.3", "--max-redeliveries", "0", "--poison-policy", "drop")
    code, out, err = cli.run(*CONSUME, "--until-empty", *limits, "--exec", "sh -c 'sleep 60; echo never'")
    assert (code, out) == (0, "")
    assert err == "danube-dispatcher: message 0 (attempt 1) was no longer ours (sh was ended): its deadline passed, or another process has it\n"
    assert cli.cursor() == 0


def test_ctrl_c_ends_the_command_and_acknowledges_nothing(cli: Cli) -> None:
    cli.publish(b"one")
    consuming = cli.start(*CONSUME, "--exec", "sh -c 'sleep 60 & echo started; wait; echo ended'")
    assert consuming.line() == "started"
    # standard output is also what the sleep holds open: its end says that all of them are gone
    assert consuming.end(signal.SIGINT) == (130, "", "")
    info = cli.subscription()
    assert (info.owner, info.failures, info.blocked, cli.cursor()) == ("", 0, False, -1)
    assert cli.run(*CONSUME, "--until-empty", "--exec", "sh -c 'echo $DANUBE_ATTEMPT'") == (0, "2\n", "")


async def test_a_command_that_does_not_listen_is_made_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "GRACE", 0.05)
    script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    process = await asyncio.create_subprocess_exec("sh", "-c", script, stdout=asyncio.subprocess.PIPE, process_group=0)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    await handlers._end(process)
    assert process.returncode == -signal.SIGKILL


def test_the_environment_of_an_outer_consume_is_not_handed_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.publish(b"one")
    monkeypatch.setenv("DANUBE_KEY", "outer")
    monkeypatch.setenv("DANUBE_ATTR_X", "outer")
    assert cli.run(*CONSUME, "--until-empty", "--exec", "sh -c 'echo [$DANUBE_KEY$DANUBE_ATTR_X]'")[1] == "[]\n"
