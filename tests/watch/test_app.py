"""The view: what stands where, and what the keys do. Textual's pilot presses them; a real owner in the same process answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Static

from danube_dispatcher import Consumer, FailurePolicy, Topic, asking, session
from danube_dispatcher.storage import open_store
from danube_dispatcher.watch import app
from danube_dispatcher.watch.app import Watch
from danube_dispatcher.watch.feed import Feed
from danube_dispatcher.watch.table import clipped
from delivering import join, publish, take

pytestmark = pytest.mark.real_time

QUICK = 0.02
"""Seconds between two looks, and between two heartbeats of the owner."""
PATIENCE = 20.0
SIZES = [(80, 24), (140, 40)]
TOPIC = "/test/orders"


class Scene:
    """A store with an owner, and somebody who watches."""

    def __init__(self, topic: Topic, consumer: Consumer, watch: Watch, pilot: Pilot[bool]) -> None:
        self.topic = topic
        self.consumer = consumer
        self.watch = watch
        self.pilot = pilot

    def text(self, place: str) -> str:
        return str(self.watch.query_one(f"#{place}", Static).content)

    def screen(self) -> str:
        """What can be seen, line by line."""
        return "\n".join("".join(segment.text for segment in strip) for strip in self.watch.screen._compositor.render_strips())

    async def until(self, seen: Callable[[], bool]) -> None:
        """Wait until it is to be seen."""
        async with asyncio.timeout(PATIENCE):
            while not seen():
                await asyncio.sleep(QUICK / 4)

    async def press(self, *keys: str) -> None:
        """As the terminal tells of them; each has done what it does on return. (The pilot waits until the process is idle, which it never is.)"""
        driver = self.watch._driver
        assert driver is not None
        for key in keys:
            driver.send_message(Key(key, None))
            for pump in (self.watch, self.watch.screen, self.watch, self.watch.screen):
                passed = asyncio.Event()
                if pump.call_later(passed.set):
                    await passed.wait()


@asynccontextmanager
async def scene(path: Path, patch: pytest.MonkeyPatch, size: tuple[int, int] = SIZES[0]) -> AsyncIterator[Scene]:
    """Two subscriptions: "s", whose consumer c has the first of three messages, and "t", which is blocked."""
    patch.setattr(app, "LOOK", QUICK)
    patch.setattr(session, "HEARTBEAT", QUICK)
    patch.setattr(session, "RENEWAL", 2 * QUICK)
    patch.setattr(asking, "HEARTBEAT", QUICK)
    url = f"sqlite:{path / 'queue.db'}"
    async with await Topic.open(url, TOPIC) as topic:
        await publish(topic, "a", "b", "c")
        consumer = await join(await topic.subscribe("s", start="earliest", type="shared"), "c")
        blocked = await join(await topic.subscribe("t", start="earliest", policy=FailurePolicy(max_redeliveries=0)), "d")
        await (await take(blocked)).nack(reason="[bold]\x1b[31mno\x07 good[/bold]")
        feed = Feed(partial(open_store, url, create=False))
        await feed.read()
        watch = Watch(feed, "sqlite:queue.db")
        async with watch.run_test(size=size) as pilot:
            scene = Scene(topic, consumer, watch, pilot)
            await scene.until(lambda: "is exhausted after" in scene.text("why") and "AwaitingAck" in scene.text("rows"))
            yield scene
            await watch.stop()
        await feed.close()


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_what_there_is_to_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    async with scene(tmp_path, monkeypatch, size) as s:
        assert "2 subscriptions, 1 stuck" in s.text("title")
        heading, rows = s.text("heading"), s.text("rows").splitlines()
        assert ("OWNER" in heading) == ("TYPE" in heading) == (size == SIZES[1])
        assert all(word in heading for word in ("SUBSCRIPTION", "STATE", "IN FLIGHT", "CURSOR", "LAG", "SETTLED/S"))
        assert [row[:2] for row in rows] == ["  ", "! "]
        assert all(word in rows[0] for word in ("s ", "AwaitingAck", " 0 ", " -1 ", " 3 "))
        assert "is with consumer c" in s.text("why")
        assert "message 0 (attempt 1, 1 failure) is exhausted after: [bold]\ufffd[31mno\ufffd good[/bold]" in s.text("why")
        screen = s.screen()
        assert all(len(line) == size[0] for line in screen.splitlines())
        assert "AwaitingAck" in screen
        assert "? help" in screen.splitlines()[-1]
        assert "last transitions" not in screen


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_the_machine_of_the_picked_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    async with scene(tmp_path, monkeypatch, size) as s:
        await s.press("enter")
        await s.until(lambda: "none yet" in s.text("story"))
        assert "reliable_shared" in s.text("picked")
        states = s.text("states").splitlines()
        assert [state for state in states if "▶" in state] == [" ▶ AwaitingAck "]
        assert ("the normal way" in s.text("states")) == (size == SIZES[1])
        assert "nack [nacks current] → Failover" in s.text("out")
        assert "close → Closed" in s.text("out")
        await (await take(s.consumer)).nack()
        await s.until(lambda: "Redelivering" in s.text("story"))
        assert " • Failover" in s.text("states")
        story = [line.split("  ")[1:] for line in s.text("story").splitlines()[1:] if "wake" not in line]
        assert [[each.strip() for each in line if each.strip()] for line in story] == [
            ["Failover", "4: [delayed] → Redelivering"],
            ["AwaitingAck", "nack [nacks current] → Failover"],
        ]
        await s.until(lambda: "▶ Redelivering" in s.text("states"))
        assert "tick [overdue] → Failover" in s.text("out")
        await s.until(lambda: "4: [delayed]" in s.screen())
        screen = s.screen()
        assert all(word in screen for word in ("last transitions", "▶ Redelivering", "DeadLettering", "Closed", "4: [delayed]", "? help"))


async def test_the_panel_follows_the_table_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path, monkeypatch) as s:
        await s.press("enter", "j")
        await s.until(lambda: "none yet" in s.text("story"))
        assert "▶ Blocked" in s.text("states")
        assert "release drop → Dispatching" in s.text("out")
        assert s.text("picked").split()[0] == "t"
        await s.press("up")
        assert s.text("picked").split()[0] == "s"
        await s.press("escape")
        assert s.watch._feed.picked is None
        await s.until(lambda: "last transitions" not in s.screen())


async def test_moving_sorting_and_clicking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path, monkeypatch) as s:
        for key, which in zip(("down", "down", "k", "up", "end", "home", "pagedown", "pageup"), "ttsststs", strict=True):
            await s.press(key)
            assert s.watch._chosen == (TOPIC, which), key
        assert s.text("rows").startswith("  ")
        await s.press("s")
        assert "by stuck first" in s.text("title")
        assert s.text("rows").startswith("! ")
        assert s.watch._chosen == (TOPIC, "s"), "who was chosen stays so"
        await s.press("s", "s", "s")
        assert "by name" in s.text("title")
        monkeypatch.setattr(app, "LOOK", PATIENCE)
        await s.pilot.click("#rows", offset=(5, 1))
        assert s.watch._chosen == (TOPIC, "t")


async def test_freezing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path, monkeypatch) as s:
        await s.press("p")
        assert "frozen" in s.text("title")
        await (await take(s.consumer)).ack()
        await s.press("enter")
        assert "frozen: nobody is asked" in s.text("story")
        assert " -1 " in s.text("rows").splitlines()[0]
        await s.press("p")
        assert "frozen" not in s.text("title")
        await s.until(lambda: " -1 " not in s.text("rows").splitlines()[0] and "frozen" not in s.text("story"))


async def test_help_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path, monkeypatch) as s:
        await s.press("question_mark")
        await s.until(lambda: "somebody has to come" in s.screen())
        assert max(len(line.rstrip()) for line in s.screen().splitlines()) < SIZES[0][0]
        assert [line for line in s.screen().splitlines() if line.strip().count(" ") == 0 and line.strip()] == [], "a word that stands alone was wrapped"
        await asyncio.sleep(5 * QUICK)
        assert "somebody has to come" in s.screen(), "a look meanwhile changes nothing"
        await s.press("p")
        await s.until(lambda: "AwaitingAck" in s.screen())
        assert "frozen" not in s.text("title"), "the key was spent"


@pytest.mark.parametrize(("key", "interrupted"), [("q", False), ("ctrl+c", True)])
async def test_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, interrupted: bool) -> None:
    async with scene(tmp_path, monkeypatch) as s:
        await s.press("enter")
        await s.until(lambda: "none yet" in s.text("story"))
        await s.press(key)
        await s.until(lambda: not s.watch.is_running)
        assert s.watch.return_value is interrupted
        await s.watch.stop()
        assert await s.topic.store.asked() == [], "no question is left behind"


async def test_a_store_that_goes_is_said_and_what_was_seen_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path, monkeypatch) as s:
        path = tmp_path / "queue.db"
        kept = path.rename(tmp_path / "kept.db")
        await s.until(lambda: "moved, deleted or replaced" in s.screen())
        title, trouble = s.screen().splitlines()[:2]
        assert title.startswith(" old, as of ")
        assert "2 subscriptions, 1 stuck" in title
        assert trouble.startswith(" store ")
        assert "AwaitingAck" in s.screen()
        kept.rename(path)
        await s.until(lambda: s.text("trouble") == "")
        assert "old" not in s.text("title")


async def test_a_terminal_that_is_too_small_is_none_to_fall_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path, monkeypatch, (20, 6)) as s:
        await s.press("enter", "j", "s")
        monkeypatch.setattr(app, "LOOK", PATIENCE)
        await s.pilot.resize_terminal(140, 40)
        await s.until(lambda: "OWNER" in s.text("heading") and "last transitions" in s.screen())


async def test_a_name_that_is_too_long_keeps_its_ends() -> None:
    assert [clipped(text, 9) for text in ("short", "just-nine", "worker-north-17", "worker-north-18")] == ["short", "just-nine", "work…h-17", "work…h-18"]
    assert all(len(clipped("x" * 30, width)) == width for width in range(3, 12))


async def test_an_empty_store(tmp_path: Path) -> None:
    opening = partial(open_store, f"sqlite:{tmp_path / 'empty.db'}", create=True)
    feed = Feed(opening)
    await feed.read()
    watch = Watch(feed, "empty.db")
    async with watch.run_test(size=SIZES[0]):
        watch.action_pick()
        watch.action_move(1)
        assert "no subscriptions (non-reliable ones leave no trace" in str(watch.query_one("#rows", Static).content)
        await watch.stop()
    await feed.close()
