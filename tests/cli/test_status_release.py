"""`status` and `release`, with and without an owner."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from danube_dispatcher import Lag, SubscriptionInfo
from danube_dispatcher.cli.status import _shown
from danube_dispatcher.cli.terminal import say
from danube_dispatcher.overview import told as told_of

from .conftest import STORE, TOPIC, Cli, Running, eventually

pytestmark = pytest.mark.real_time

CONSUME = ("consume", STORE, TOPIC, "s", "--start", "earliest")
# the first message fails at its first attempt and blocks; everything else is printed
BLOCKING = (*CONSUME, "--max-redeliveries", "0", "--exec", "sh -c 'test $DANUBE_OFFSET$DANUBE_ATTEMPT != 01 && cat && echo'")


def blocked(cli: Cli) -> Running:
    """A process that has a blocked message."""
    cli.publish(b"one", b"two")
    consuming = cli.start(*BLOCKING)
    assert "exited with code 1" in consuming.line("stderr")
    assert "is exhausted after" in consuming.line("stderr")
    return consuming


def blocked_and_left(cli: Cli) -> None:
    """A blocked message that no process has."""
    assert blocked(cli).end(signal.SIGINT)[0] == 130


def status(cli: Cli, *arguments: str) -> dict[str, Any]:
    code, out, err = cli.run("status", STORE, *arguments, "--json")
    assert (code, err) == (0, "")
    answer: dict[str, Any] = json.loads(out)
    return answer


def test_nothing_to_show(cli: Cli) -> None:
    cli.publish(b"one")
    assert cli.run("status", STORE) == (0, f"{TOPIC}  head 1\n  no subscriptions\n", "")
    assert status(cli) == {"store": f"sqlite:{STORE}", "topics": [{"topic": TOPIC, "head": 1, "subscriptions": []}]}


def test_without_an_owner(cli: Cli) -> None:
    cli.publish(b"one", b"two", b"three")
    assert cli.run("publish", STORE, "/default/other", input=b"x\n")[0] == 0
    assert cli.run(*CONSUME, "--count", "2")[0] == 0
    told = status(cli)
    assert [topic["topic"] for topic in told["topics"]] == [TOPIC, "/default/other"]
    assert status(cli, TOPIC)["topics"] == told["topics"][:1]
    ((only,), head) = told["topics"][0]["subscriptions"], told["topics"][0]["head"]
    assert (only["name"], only["type"], only["owner"], only["owned"]) == ("s", "exclusive", "", False)
    assert (head, only["lag"]["cursor"], only["lag"]["messages"]) == (3, 1, 1)
    assert only["status"]["code"] == "unowned"

    _, out, _ = cli.run("status", STORE, TOPIC)
    _, heading, row, why = out.splitlines()
    assert dict(zip(heading.split(), row.split(), strict=False))["STATE"] == "unowned"
    assert "no process has it open" in why


def test_while_another_process_has_it(cli: Cli) -> None:
    owner = blocked(cli)
    eventually(lambda: cli.row().status != "")
    ((only,),) = [topic["subscriptions"] for topic in status(cli)["topics"]]
    assert (only["owned"], only["blocked"], only["failures"]) == (True, True, 1)
    assert only["owner"].endswith(f":{owner.process.pid}")
    told = only["status"]
    assert (told["state"], told["code"], told["active"], told["consumers"]) == ("Blocked", "blocked", "cli", ["cli"])
    assert (told["delivered"], told["settled"], told["in_flight"]) == (1, 0, None)
    assert "is exhausted after: sh exited with code 1" in told["explanation"]

    _, out, _ = cli.run("status", STORE)
    assert "Blocked" in out
    assert f":{owner.process.pid} until " in out
    assert told["explanation"] in out


def test_release_by_the_owner(cli: Cli) -> None:
    owner = blocked(cli)
    assert cli.run("release", STORE, TOPIC, "s", "retry") == (0, "0\n", "")
    assert [owner.line(), owner.line()] == ["one", "two"]
    code, out, err = cli.run("release", STORE, TOPIC, "s", "retry")
    assert (code, out) == (1, "")
    assert f":{owner.process.pid} answers: nothing is blocked" in err
    assert owner.end(signal.SIGINT)[0] == 130
    assert cli.cursor() == 1


def test_release_without_an_owner(cli: Cli) -> None:
    blocked_and_left(cli)
    assert status(cli)["topics"][0]["subscriptions"][0]["status"]["code"] == "blocked"
    assert cli.run("release", STORE, TOPIC, "s", "drop") == (0, "0\n", "")
    assert (cli.row().owner, cli.cursor(), cli.subscription().blocked) == ("", 0, False)
    code, out, err = cli.run("release", STORE, TOPIC, "s", "drop")
    assert (code, out) == (1, "")
    assert "nothing is blocked" in err


def test_release_to_dead_letters_without_an_owner(cli: Cli) -> None:
    blocked_and_left(cli)
    release = ("release", STORE, TOPIC, "s", "dead_letter")
    for arguments, problem in (
        ((), "needs a FailurePolicy with a dead_letter_topic"),
        (("--dead-letter-topic", "dead"), "dead_letter_topic: needs '/namespace/name'"),
        (("--dead-letter-topic", TOPIC), "needs another topic than"),
    ):
        code, out, err = cli.run(*release, *arguments)
        assert (code, out) == (1, "")
        assert problem in err
        assert (cli.topics(), cli.cursor(), cli.subscription().blocked) == ([TOPIC], -1, True)
    assert cli.run(*release, "--dead-letter-topic", "/default/dead") == (0, "0\n", "")
    assert [message.payload for message in cli.messages("/default/dead")] == [b"one"]
    assert cli.cursor() == 0


def test_a_closed_pipe(cli: Cli) -> None:
    cli.publish(b"one")
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        assert cli.start("status", STORE, stdout=theirs).end() == (141, "", "")
        assert cli.start("status", "missing.db", stderr=theirs).end() == (1, "", "")
    finally:
        os.close(theirs)


def info(owner: str, until: float, **status: object) -> SubscriptionInfo:
    return SubscriptionInfo("s", "shared", True, owner, until, Lag(3, 10, 6), 0, False, False, dict(status))


def test_what_an_owner_has_said_counts_while_it_is_the_owner() -> None:
    said = {"state": "AwaitingAck", "cursor": 5, "explanation": "it works"}
    told = told_of(info("host:1", 100.0, **said), now=99.0)
    assert (told["status"]["state"], told["lag"]["cursor"], told["lag"]["durable_cursor"], told["lag"]["messages"]) == ("AwaitingAck", 5, 3, 4)
    for gone in (info("host:1", 100.0, **said), info("", 200.0, **said)):
        told = told_of(gone, now=101.0)
        assert (told["status"]["state"], told["lag"]["cursor"], told["lag"]["messages"]) == ("unowned", 3, 6)
    assert told_of(info("host:1", 100.0), now=99.0)["status"]["code"] == "opening"


def test_what_an_owner_told_is_shown_with_its_age_and_without_what_was_settled_since() -> None:
    def shown(in_flight: int, age: float) -> tuple[str, str]:
        """What stands at IN FLIGHT, and the sentence. The durable cursor is 3; the owner told of one at 2."""
        said = {"state": "AwaitingAck", "cursor": 2, "in_flight": in_flight, "attempt": 1, "explanation": "it works"}
        each = told_of(info("host:1", 10.0, **said), now=age)
        _, heading, row, why = _shown({"topic": TOPIC, "head": 10, "subscriptions": [each]}).splitlines()
        return row[heading.index("IN FLIGHT") : heading.index("CURSOR")].strip(), why.strip()

    assert shown(3, 2.0) == ("-", "it works (told 2 s ago)")
    assert shown(4, 1.0) == ("4 (attempt 1)", "it works")
    said = info("host:1", 10.0, in_flight=3)
    assert (told_of(said, now=2.0)["age"], said.status["in_flight"]) == (2.0, 3), "what was read is left as it was"
    assert told_of(said, now=99.0)["age"] is None


@pytest.mark.parametrize("why", ["\x1b]0;title\x07 \x1b[31mred", "two\nlines", "\u202eback to front"])
def test_a_terminal_obeys_nothing_that_a_reason_says(why: str, capsys: pytest.CaptureFixture[str]) -> None:
    each = told_of(info("host:1", 100.0, state="Blocked", code="blocked", explanation=f"message 0 is exhausted after: {why}"), now=99.0)
    shown = _shown({"topic": TOPIC, "head": 1, "subscriptions": [each]})
    say(f"message 0: {why}")
    for text in (*shown.splitlines(), capsys.readouterr().err.removesuffix("\n")):
        assert text.isprintable()
    assert len(shown.splitlines()) == 4
