"""`consume` without a command: it prints."""

from __future__ import annotations

import base64
import json
import signal

import pytest

from danube_dispatcher import Message

from .conftest import PATIENCE, STORE, TOPIC, Cli, eventually

pytestmark = pytest.mark.real_time

CONSUME = ("consume", STORE, TOPIC, "s", "--start", "earliest")


def test_until_everything_is_settled(cli: Cli) -> None:
    cli.publish(b"one", b"", b"two \xc3\xbc")
    assert cli.run(*CONSUME, "--until-empty") == (0, "one\n\ntwo ü\n", "")
    info = cli.subscription()
    assert (info.type, info.owner, cli.cursor()) == ("exclusive", "", 2)
    assert cli.run(*CONSUME, "--until-empty") == (0, "", "")


def test_so_many_and_no_more(cli: Cli) -> None:
    cli.publish(b"one", b"two", b"three")
    assert cli.run(*CONSUME, "--count", "2", "--type", "shared") == (0, "one\ntwo\n", "")
    assert (cli.subscription().type, cli.cursor()) == ("shared", 1)
    assert cli.run(*CONSUME, "--count", "1", "--type", "shared", "--json")[1].count('"attempt": 1') in (0, 1)


def test_json(cli: Cli) -> None:
    cli.publish(Message("ü\n".encode(), "k", {"a": "1"}), b"\xff")
    code, out, err = cli.run(*CONSUME, "--count", "2", "--json")
    assert (code, err) == (0, "")
    first, second = map(json.loads, out.splitlines())
    assert first.pop("published_at") > 1e9
    assert first == {"topic": TOPIC, "offset": 0, "key": "k", "attributes": {"a": "1"}, "attempt": 1, "payload": "ü\n"}
    assert base64.b64decode(second["payload_base64"]) == b"\xff"
    assert (second["key"], second["attributes"], "payload" in second) == (None, {}, False)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_saves_the_position_and_lets_go(cli: Cli, number: signal.Signals, code: int) -> None:
    cli.publish(b"one", b"two")
    consuming = cli.start(*CONSUME)
    assert [consuming.line(), consuming.line()] == ["one", "two"]
    assert cli.row().owner.endswith(f":{consuming.process.pid}")
    assert consuming.end(number) == (code, "", "")
    assert (cli.row().owner, cli.cursor()) == ("", 1)


def test_ctrl_c_while_the_reader_takes_nothing(cli: Cli) -> None:
    messages = [b"%05d" % number + b"x" * 10_000 for number in range(200)]  # more than a pipe holds
    cli.publish(*messages)
    consuming = cli.start(*CONSUME, "--flush-interval", "0")
    assert consuming.line() == messages[0].decode()
    eventually(lambda: cli.cursor() >= 3)
    consuming.process.send_signal(signal.SIGINT)
    assert consuming.process.wait(timeout=PATIENCE) == 130
    _, out, err = consuming.end()
    assert err == ""
    row = cli.row()
    assert row.owner == ""
    assert 3 <= row.progress.cursor <= out.count("\n") < len(messages)  # one more was read before


def test_the_reader_goes_while_nothing_comes(cli: Cli) -> None:
    cli.publish(b"one")
    consuming = cli.start(*CONSUME)
    assert consuming.line() == "one"
    assert consuming.process.stdout is not None
    consuming.process.stdout.close()
    assert consuming.line("stderr") == ""
    assert consuming.process.wait(timeout=PATIENCE) == 141
    assert (cli.row().owner, cli.cursor()) == ("", 0)


def test_the_reader_goes_in_the_middle(cli: Cli) -> None:
    cli.publish(*[b"%05d" % number + b"x" * 4000 for number in range(200)])
    consuming = cli.start(*CONSUME, "--json")
    assert '"payload": "00000x' in consuming.line()
    assert consuming.process.stdout is not None
    consuming.process.stdout.close()
    assert consuming.line("stderr") == ""
    assert consuming.process.wait(timeout=PATIENCE) == 141
    info = cli.subscription()
    assert (info.owner, info.failures) == ("", 0)  # nobody is to blame
    assert cli.cursor() < 199


def test_a_second_one_waits_for_its_turn(cli: Cli) -> None:
    cli.publish(b"one")
    first = cli.start(*CONSUME)
    assert first.line() == "one"
    second = cli.start(*CONSUME)
    told = second.line("stderr")
    assert told.startswith(f"danube-dispatcher: waiting for subscription s of {TOPIC}: ")
    assert f":{first.process.pid} has it, until " in told
    assert first.end(signal.SIGINT)[0] == 130
    cli.publish(b"two")
    assert second.line() == "two"
    assert second.end(signal.SIGINT) == (130, "", "")
    assert (cli.row().owner, cli.cursor()) == ("", 1)


def test_one_that_waits_can_be_interrupted(cli: Cli) -> None:
    cli.publish(b"one")
    first = cli.start(*CONSUME)
    assert first.line() == "one"
    second = cli.start(*CONSUME)
    assert "waiting" in second.line("stderr")
    assert second.end(signal.SIGINT) == (130, "", "")
    assert cli.row().owner.endswith(f":{first.process.pid}")


def test_one_that_shall_not_wait(cli: Cli) -> None:
    cli.publish(b"one")
    first = cli.start(*CONSUME)
    assert first.line() == "one"
    code, out, err = cli.run(*CONSUME, "--wait", "0")
    assert (code, out) == (1, "")
    assert f":{first.process.pid}" in err
    assert "waiting" not in err
    code, out, err = cli.run(*CONSUME, "--wait", "0.2")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 2
    assert "waiting" in err


def test_another_type_is_an_error(cli: Cli) -> None:
    cli.publish(b"one")
    assert cli.run(*CONSUME, "--count", "1")[0] == 0
    code, out, err = cli.run(*CONSUME, "--type", "shared")
    assert (code, out) == (1, "")
    assert "it is stored as exclusive, not shared" in err


def test_non_reliable_prints_what_comes_and_leaves_nothing(cli: Cli) -> None:
    cli.publish(b"before")
    consuming = cli.start("consume", STORE, TOPIC, "s", "--no-reliable", "--json", "--count", "1")

    def ended() -> bool:
        cli.publish(b"live")
        return consuming.process.poll() is not None

    eventually(ended)
    code, out, err = consuming.end()
    assert (code, err) == (0, "")
    assert json.loads(out)["payload"] == "live"
    assert '"subscriptions": []' in cli.run("status", STORE, "--json")[1]
