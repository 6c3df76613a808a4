"""`publish`."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess

import pytest

from danube_dispatcher.cli.sources import CHUNK
from danube_dispatcher.storage.protocols import READ_MESSAGES

from .conftest import STORE, TOPIC, Cli, eventually

pytestmark = pytest.mark.real_time


def test_each_line_is_a_message(cli: Cli) -> None:
    assert cli.run("publish", STORE, TOPIC, input=b"one\n\ntwo\r\nlast \xff") == (0, f"4 messages published to {TOPIC}\n", "")
    assert [message.payload for message in cli.messages()] == [b"one", b"", b"two\r", b"last \xff"]


def test_files_key_and_attributes(cli: Cli) -> None:
    (cli.directory / "a.txt").write_bytes(b"1\n2\n")
    code, out, err = cli.run("publish", "--key", "k", STORE, TOPIC, "--json", "a.txt", "-", "--attribute", "a=1", "--attribute", "b=x=y", input=b"3\n")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"store": f"sqlite:{STORE}", "topic": TOPIC, "published": 3}
    assert [message.payload for message in cli.messages()] == [b"1", b"2", b"3"]
    assert {(message.key, tuple(message.attributes.items())) for message in cli.messages()} == {("k", (("a", "1"), ("b", "x=y")))}


def test_whole_files(cli: Cli) -> None:
    (cli.directory / "a.txt").write_bytes(b"1\n2\n")
    (cli.directory / "empty").write_bytes(b"")
    assert cli.run("publish", STORE, TOPIC, "--whole-file", "a.txt", "empty", "-", input=b"x\ny")[:2] == (0, f"3 messages published to {TOPIC}\n")
    found = [(message.payload, dict(message.attributes)) for message in cli.messages()]
    assert found == [(b"1\n2\n", {"path": "a.txt", "size": "4"}), (b"", {"path": "empty", "size": "0"}), (b"x\ny", {"size": "3"})]


def test_more_than_one_commit_takes(cli: Cli) -> None:
    lines = [b"%0999d" % number for number in range(600)]
    assert len(lines) > 2 * READ_MESSAGES
    assert len(b"\n".join(lines)) > 2 * CHUNK
    assert cli.run("publish", STORE, TOPIC, input=b"\n".join(lines))[:2] == (0, f"600 messages published to {TOPIC}\n")
    assert [message.payload for message in cli.messages()] == lines


def test_a_failure_half_way_says_how_many_are_in(cli: Cli) -> None:
    lines = [b"x" * 999] * 600 + [b"x" * 1001, b"after"]
    code, out, err = cli.run("publish", STORE, TOPIC, "--max-payload", "1000", input=b"\n".join(lines))
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    published = cli.head()
    assert CHUNK // 1000 <= published <= 600
    assert f"{published} of the messages given are in, the rest is not: -, line 601: has more than 1000 bytes" in err


def test_a_line_without_end_is_not_gathered_for_ever(cli: Cli) -> None:
    publishing = cli.start("publish", STORE, TOPIC, "--max-payload", "50", stdin=subprocess.PIPE)
    assert publishing.process.stdin is not None
    publishing.process.stdin.write(b"x" * 51)  # and it stays open
    assert "-, line 1: has more than 50 bytes" in publishing.line("stderr")
    assert publishing.end()[0] == 1


def test_lines_do_not_wait_for_more_and_ctrl_c_says_how_many_are_in(cli: Cli) -> None:
    publishing = cli.start("publish", STORE, TOPIC, stdin=subprocess.PIPE)
    assert publishing.process.stdin is not None
    publishing.process.stdin.write(b"one\ntwo\nhalf of a li")
    eventually(lambda: STORE in os.listdir(cli.directory) and cli.topics() == [TOPIC] and cli.head() == 2)
    publishing.process.send_signal(signal.SIGINT)
    assert publishing.line("stderr") == "danube-dispatcher: interrupted; the first 2 messages are published, and perhaps some more"
    assert publishing.end() == (130, "", "")
    assert cli.head() == 2


def test_progress_on_a_terminal(cli: Cli) -> None:
    (cli.directory / "a.txt").write_bytes(b"1\n2\n")
    terminal, end = pty.openpty()
    try:
        assert cli.start("publish", STORE, TOPIC, "a.txt", stderr=end).end() == (0, f"2 messages published to {TOPIC}\n", "")
        assert b"\r2 messages, 100 %" in os.read(terminal, 1000)
    finally:
        os.close(terminal)
        os.close(end)
