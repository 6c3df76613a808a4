"""A story as a sequence diagram, in Mermaid's language: what goes from whom to whom, in which order, whatever the texts are."""

from __future__ import annotations

import re

import pytest

from danube_dispatcher.sequence import sequence
from danube_dispatcher.sequence.elements import Arrow, Element, End, Note, participants
from danube_statemachines import NON_RELIABLE_SHARED, RELIABLE_EXCLUSIVE, RELIABLE_SHARED, FailurePolicy, Held
from danube_statemachines.errors import StoryLine
from danube_statemachines.exploration import replay

DEAD_LETTER = FailurePolicy(max_redeliveries=0, poison_policy="dead_letter", dead_letter_topic="/test/dead")
WILD = 'a "q" <b>&amp;</b> #state; #35; %% \\N |x| `y` {z} loop ->> : + ~ end'
"""A text may be anything."""
PARTICIPANT = re.compile(r"  participant (p\d+) as ([^;#\n]|#\d+;)+")
ARROW = re.compile(r"  (p\d+)--?>>(p\d+): (.+)")
NOTE = re.compile(r"  Note over (p\d+)(?:,(p\d+))?: (.+)")


def said(text: str) -> str:
    """As Mermaid shows it."""
    return re.sub(r"#(\d+);", lambda found: chr(int(found[1])), text.replace("<br/>", " "))


def read(diagram: str) -> list[str]:
    """The diagram's lines with the participants' names, in a shorthand. Fails on a line that is none of Mermaid's."""
    first, *lines = diagram.splitlines()
    assert first == "sequenceDiagram"
    names: dict[str, str] = {}
    found: list[str] = []
    for line in lines:
        if PARTICIPANT.fullmatch(line):
            assert not found, "participants come first"
            key, name = line.removeprefix("  participant ").split(" as ", 1)
            names[key] = said(name)
        elif arrow := ARROW.fullmatch(line):
            found.append(f"{names[arrow[1]]} -> {names[arrow[2]]}: {said(arrow[3])}")
        else:
            note = NOTE.fullmatch(line)
            assert note, line
            over = names[note[1]] if note[2] is None else f"{names[note[1]]}..{names[note[2]]}"
            found.append(f"[{over}] {said(note[3])}")
    return [" | ".join(names.values()), *found]


def test_a_reliable_story() -> None:
    story = replay(
        RELIABLE_EXCLUSIVE,
        [
            *("consumer 0 joins", "message 6", "it is taken", "ack of another attempt", "nack"),
            *("the dead letter fails", "time is up", "the dead letter is durable", "close"),
        ],
        policy=DEAD_LETTER,
    )
    assert read(sequence("a title", story)) == [
        "consumer 0 | machine | engine and log | dead letters | operator | clock",
        "[consumer 0..clock] a title",
        "consumer 0 -> machine: 1. consumer 0 joins consumer_added(0)",
        "machine -> consumer 0: active changed: your turn",
        "machine -> engine and log: poll",
        "[machine] Dispatching",
        "engine and log -> machine: 2. message 6 polled(6)",
        "machine -> consumer 0: send message 6, attempt 1, epoch 1",
        "[machine] AwaitingAck",
        "[consumer 0..clock] 3. it is taken",
        "consumer 0 -> machine: 4. ack of another attempt ack((1, 0, 6, 0))",
        "[machine] stale: this ack changes nothing",
        "consumer 0 -> machine: 5. nack((1, 0, 6, 1), 7.0, 'no')",
        "machine -> engine and log: save failure message 6: failures 1, 'no', due at 17 s, exhausted",
        "machine -> dead letters: dead letter message 6: failures 1, 'no', exhausted",
        "[machine] DeadLettering",
        "dead letters -> machine: 6. the dead letter fails dead_letter_failed(0.5)",
        "clock -> machine: 7. time is up, at 100 s tick(False)",
        "machine -> dead letters: dead letter message 6: failures 1, 'no', exhausted",
        "dead letters -> machine: 8. the dead letter is durable, at 10 s dead_lettered",
        "machine -> engine and log: settle message 6: dead lettered",
        "machine -> engine and log: poll",
        "[machine] Dispatching",
        "operator -> machine: 9. close",
        "[machine] Closed",
    ]


def test_a_non_reliable_story() -> None:
    labels = ["a message", "consumer 0 joins", "consumer 1 joins", "a message", "box 0 is full", "box 1 has room", "consumer 2 takes over from 0"]
    assert read(sequence("a title", replay(NON_RELIABLE_SHARED, labels))) == [
        "consumer 0 | consumer 1 | consumer 2 | publisher | machine",
        "[consumer 0..machine] a title",
        "publisher -> machine: 1. a message message",
        "machine -> publisher: no consumer",
        "[machine] Idle",
        "consumer 0 -> machine: 2. consumer 0 joins consumer_added(0)",
        "consumer 1 -> machine: 3. consumer 1 joins consumer_added(1)",
        "publisher -> machine: 4. a message message",
        "machine -> consumer 0: offer(0)",
        "[machine] Dispatching",
        "consumer 0 -> machine: 5. box 0 is full refused(0)",
        "machine -> consumer 1: offer(1)",
        "consumer 1 -> machine: 6. box 1 has room accepted(1)",
        "machine -> publisher: sent(1)",
        "[machine] Idle",
        "consumer 2 -> machine: 7. consumer 2 takes over from 0 consumer_replaced(0, 2, False)",
    ]


def test_consumers_stand_in_the_order_of_their_sessions() -> None:
    story = replay(RELIABLE_SHARED, [f"consumer {session} joins" for session in range(11)])
    assert read(sequence("", story))[0] == " | ".join([*(f"consumer {session}" for session in range(11)), "machine", "engine and log"])


def test_a_name_like_that_of_a_consumer_is_a_name_like_any_other() -> None:
    named = ["consumer ²", "consumer --3", "consumer 1" + "0" * 5000, "consumer 2", "consumer", "consumer -1"]
    drawn = participants([Note((name,), "") for name in named], ())
    assert drawn[:2] == ["consumer -1", "consumer 2"]
    assert sorted(drawn) == sorted(named)


def test_several_machines_have_their_own_places_and_states() -> None:
    story = [
        StoryLine("a", "Idle", (), "wake", None, 0.0, "owner 1"),
        StoryLine("b", "Idle", (("poll",),), "wake", None, 0.0, "owner 2"),
        StoryLine("c", "Idle", (), "wake", None, 0.0, "owner 1"),
        StoryLine("reads", "Idle", (("poll",),), "", None, 0.0, "owner 2"),
        StoryLine("sends", "Idle", (("send", (2, 0, 6, 1)),), "polled", 6, 0.0, "owner 2"),
        StoryLine("published", "", ()),
    ]
    assert read(sequence("two", story)) == [
        "consumer 0 of owner 2 | owner 1 | owner 2 | engine and log",
        "[consumer 0 of owner 2..engine and log] two",
        "engine and log -> owner 1: 1. a wake",
        "[owner 1] Idle",
        "engine and log -> owner 2: 2. b wake",
        "owner 2 -> engine and log: poll",
        "[owner 2] Idle",
        "engine and log -> owner 1: 3. c wake",
        "[owner 2] 4. reads",
        "owner 2 -> engine and log: poll",
        "engine and log -> owner 2: 5. sends polled(6)",
        "owner 2 -> consumer 0 of owner 2: send message 6, attempt 1, epoch 2",
        "[consumer 0 of owner 2..engine and log] 6. published",
    ]


def test_a_state_of_all_machines_is_said_when_it_changes_whoever_changed_it() -> None:
    story = [
        StoryLine("begins", "1: Idle", (), "", None, 0.0, "owner 1"),
        StoryLine("published", "1: Idle", ()),
        StoryLine("crash", "nobody", ()),
        StoryLine("begins", "1: Idle", (), "", None, 0.0, "owner 1"),
    ]
    assert read(sequence("", story)) == ["owner 1", "[owner 1] 1. begins", "[owner 1] 1: Idle"] + [
        *("[owner 1] 2. published", "[owner 1] 3. crash", "[owner 1] nobody", "[owner 1] 4. begins", "[owner 1] 1: Idle")
    ]


def test_what_is_said_twice_is_written_once_and_what_an_observer_is_told_not_at_all() -> None:
    line = StoryLine("wake", "Idle", (("transition", "wake", "Idle", "Idle", 3),), "wake")
    assert read(sequence("t", [line])) == ["machine | engine and log", "[machine..engine and log] t", "engine and log -> machine: 1. wake", "[machine] Idle"]


@pytest.mark.parametrize("story", [[], [StoryLine("crash", "Idle", ())]])
def test_a_short_story(story: list[StoryLine]) -> None:
    told = read(sequence("t", story))
    assert told[:2] == ["machine", "[machine] t"]
    assert len(told) == 2 + 2 * len(story)


def test_any_text_is_escaped_and_the_unknown_is_drawn_too() -> None:
    """Looked at once in the picture that Mermaid makes of it: every character is there."""
    held = Held(6, 1, 1, WILD, 5.0)
    story = [
        StoryLine(WILD, WILD, (("flush", 1, "x"), (WILD, WILD), ("save_failure", held)), "polled", WILD, 0.0),
        StoryLine("end", "end", (), "end", "end", 1.5, "end"),
        StoryLine(WILD, WILD, (), "", None, 1.5, f"consumer {WILD}"),
    ]
    diagram = sequence(WILD, story)
    told = read(diagram)
    assert not set(re.sub(r"#\d+;|<br/>|->>|Note over p\d,p\d", "", diagram)) & set('<>&#;|`{}"\\%+~')
    assert f"[machine..consumer {WILD}]" not in told[1]
    assert told[1].endswith(f"] {WILD}")
    assert f"engine and log -> machine: 1. {WILD} polled({WILD!r})" in told
    assert "[machine] flush(1, 'x')" in told
    assert f"[machine] {WILD}({WILD!r})" in told
    assert f"machine -> engine and log: save failure message 6: failures 1, {WILD!r}, due at 5 s" in told
    assert "end -> end: 2. end('end'), at 1.5 s" in told


def test_long_texts_are_broken() -> None:
    diagram = sequence("word " * 50, [StoryLine("x" * 100, "Idle", ())])
    assert max(len(part) for line in diagram.splitlines() for part in line.split("<br/>") if "x" not in part) < 60
    assert "x" * 100 in diagram, "a word is not"


def test_the_participants_can_be_put_in_order_and_answers_are_dashed() -> None:
    story: list[Element] = [
        Arrow("zoe", "b", "asks", at=0.0),
        Arrow("b", "zoe", "answers", answer=True, at=1.5),
        End(("zoe", "b"), "gone"),
        Note(("a", "b", "zoe"), "all three"),
    ]
    told = sequence("", story, order=("zoe", "b"))
    assert read(told) == [
        "zoe | b | a",
        "zoe -> b: asks, at 0 s",
        "b -> zoe: answers, at 1.5 s",
        "[zoe..b] gone",
        "[zoe..a] all three",
    ]
    assert "p1-->>p0: answers" in told
    assert "p0->>p1: asks" in told
