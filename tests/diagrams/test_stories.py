"""The stories are recorded runs: played again they are what is committed, and they say what they are told for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from diagrams.stage import play
from diagrams.stories import FOLDER, STORIES, drawn

import plants
from danube_dispatcher import DanubeError
from danube_dispatcher.adapter import ReliableAdapter
from danube_dispatcher.dead_letters import DeadLetters
from danube_dispatcher.messages import Message
from danube_statemachines import Held
from sequences import shorthand

ROOT = Path(__file__).parents[2]
AGAIN = "run `make diagrams` and look at what changed"
Plant = Callable[[pytest.MonkeyPatch], None]


@cache
def told(name: str) -> list[str]:
    """A story in a shorthand, with the time before what happens then."""
    return shorthand(play(STORIES[name].script))


def in_order(name: str, *lines: str) -> None:
    """Each of the lines comes after the one before it."""
    rest = iter(told(name))
    for line in lines:
        assert line in rest, f"{line!r} does not come where it should:\n" + "\n".join(told(name))


# drift


@pytest.mark.parametrize("name", STORIES)
def test_the_committed_story_is_what_happens(name: str) -> None:
    for suffix, text in drawn(name).items():
        path = FOLDER / f"{name}.{suffix}"
        assert path.is_file(), f"{path.name} is missing: {AGAIN}"
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is not what happens: {AGAIN}"


def test_there_are_no_other_stories() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.{suffix}" for name in STORIES for suffix in ("mmd", "svg")}, AGAIN


def test_they_are_written_with_one_command_and_are_the_same_in_any_process(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from diagrams.stories import main; main(Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": "7"}, check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {path.name: path.read_bytes() for path in FOLDER.iterdir()}


def a_dead_letter_counts_before_it_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    write = DeadLetters.write

    def early(self: DeadLetters, message: Message, held: Held) -> None:
        monkeypatch.setattr(self, "_written", lambda _: None)
        self._driver.step(self._driver.machine.dead_lettered, None)
        write(self, message, held)

    monkeypatch.setattr(DeadLetters, "write", early)


def an_ack_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ack_message(self: ReliableAdapter, delivery: tuple[int, int, int, int]) -> bool:
        self.step(self.machine.ack, delivery)
        return True

    monkeypatch.setattr(ReliableAdapter, "ack_message", ack_message)


@pytest.mark.parametrize(
    ("plant", "name"),
    [
        (a_dead_letter_counts_before_it_is_durable, "dead-letter"),
        (an_ack_says_nothing, "late-ack"),
        (plants.a_dead_letter_is_never_written, "dead-letter"),
        (plants.a_failure_is_charged_twice, "backoff"),
        (plants.a_write_is_not_fenced, "takeover"),
        (plants.nobody_is_careful_after_a_crash, "crash"),
        (plants.a_lost_consumer_acknowledges_what_it_held, "failover"),
    ],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_code_that_does_something_else_tells_another_story(plant: Plant, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = told(name)
    plant(monkeypatch)
    try:
        after = shorthand(play(STORIES[name].script))
    except (RuntimeError, DanubeError):  # it has come to no end
        return
    assert after != before


# what they say


def test_an_ack_settles_and_the_next_message_leaves_before_it_returns() -> None:
    in_order(
        "ack-cycle",
        "publisher -> store: publish order 1",
        "store ~> publisher: offset 0, durable",
        "machine -> anna: send order 1, attempt 1, epoch 1",
        "anna -> machine: ack: order 1, attempt 1",
        "machine -> engine: settle order 1: acked",
        "machine -> anna: send order 2, attempt 1, epoch 1",
        "machine ~> anna: True",
        "anna -> machine: ack: order 2, attempt 1",
        "machine = Idle",
        "7 s",  # the flush interval after the first ack
        "engine -> store: write cursor 1, epoch 1",
        "store ~> engine: durable",
    )


def test_the_standby_gets_what_was_in_flight_as_the_next_attempt() -> None:
    in_order(
        "failover",
        "dispatcher -> anna: send order 1, attempt 1, epoch 1",
        "anna: handler raises RuntimeError",
        "anna -> dispatcher: consumer lost",
        "dispatcher -> bert: active changed: your turn",
        "dispatcher -> bert: send order 1, attempt 2, epoch 1",
        "dispatcher = Failover → AwaitingAck",
        "dispatcher -> store: write cursor -1; order 1: failures 1, 'consumer lost', epoch 1",
        "bert -> dispatcher: ack: order 1, attempt 2",
        "dispatcher ~> bert: True",
    )


def test_a_late_ack_is_stale_and_the_redelivery_settles() -> None:
    in_order(
        "late-ack",
        "30 s",
        "clock -> dispatcher: tick: time is up",
        "dispatcher -> anna: withdraw order 1, attempt 1, epoch 1",
        "dispatcher = Failover → Redelivering",
        "dispatcher -> store: write cursor -1; order 1: failures 1, 'ack timeout', due at 31 s, epoch 1",
        "31 s",
        "dispatcher -> anna: send order 1, attempt 2, epoch 1",
        "40 s",
        "anna -> dispatcher: ack: order 1, attempt 1",
        "dispatcher: stale: this ack changes nothing",
        "dispatcher ~> anna: False",
        "anna -> dispatcher: ack: order 1, attempt 2",
        "dispatcher: settle order 1: acked",
        "dispatcher ~> anna: True",
    )
    assert told("late-ack").count("dispatcher: settle order 1: acked") == 1


def test_the_delay_doubles_and_can_be_lengthened() -> None:
    sends = [
        (next(time for time in reversed(told("backoff")[:nth]) if time.endswith(" s") and time[0].isdigit()), line)
        for nth, line in enumerate(told("backoff"))
        if "send" in line
    ]
    assert sends == [(at, f"dispatcher -> anna: send order 1, attempt {nth}, epoch 1") for nth, at in enumerate(("0 s", "1 s", "3 s", "33 s"), 1)]


def test_a_dead_letter_settles_once_it_is_durable_and_before_the_cursor_passes() -> None:
    in_order(
        "dead-letter",
        "dispatcher -> dead letters: dead letter order 1: failures 2, 'illegible', exhausted",
        "dispatcher = Failover → DeadLettering",
        "dead letters: order 1 is durable in /default/dead, offset 0",
        "dead letters -> dispatcher: dead lettered: it is durable",
        "dispatcher: settle order 1: dead lettered",
        "dispatcher -> anna: send order 2, attempt 1, epoch 1",
        "dispatcher -> store: write cursor 0, epoch 1",
    )


def test_after_a_crash_what_was_not_durable_comes_again_with_care() -> None:
    in_order(
        "crash",
        "anna -> dispatcher: ack: order 1, attempt 1",
        "dispatcher ~> anna: True",
        "anna, dispatcher: the process is killed",
        "store ~> dispatcher: owned until 10 s: it waits",
        "10 s",
        "store ~> dispatcher: epoch 2, after an unclean end",
        "store ~> dispatcher: cursor -1",
        "dispatcher -> store: write cursor -1; order 1 marked as sent, attempt 1, epoch 2",
        "store ~> dispatcher: durable",
        "dispatcher -> anna: send order 1, attempt 1, epoch 2",
        "anna -> dispatcher: ack: order 1, attempt 1",
        "dispatcher -> store: write cursor 0; order 2 marked as sent, attempt 1, epoch 2",
        "dispatcher -> anna: send order 2, attempt 1, epoch 2",
    )


def test_the_second_owner_has_a_higher_epoch_and_the_first_ones_ack_counts_for_nothing() -> None:
    in_order(
        "takeover",
        "store ~> process 1: epoch 1",
        "store ~> process 2: owned until 10 s: it waits",
        "store ~> process 1: yours until 13 s",
        "process 1: the process stands still",
        "13 s",
        "store ~> process 2: epoch 2, after an unclean end",
        "process 2 -> bert: send order 1, attempt 1, epoch 2",
        "process 1: the process goes on",
        "anna -> process 1: ack: order 1, attempt 1",
        "process 1 -> store: write cursor 0, epoch 1",
        "store ~> process 1: Fenced",
        "process 1 = Closed",
        "process 1 ~> anna: False",
        "process 1 ~> anna: OwnershipLost",
        "bert -> process 2: ack: order 1, attempt 1",
        "process 2 -> store: write cursor 0, epoch 2",
        "store ~> process 2: durable",
        "process 2 ~> bert: True",
    )
