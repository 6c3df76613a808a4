"""The view itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, VerticalScroll
from textual.content import Content
from textual.events import Click, Key, Resize
from textual.geometry import Region
from textual.screen import Screen
from textual.widgets import Static
from textual.worker import Worker, WorkerError

from . import panel
from .feed import Feed, Picked
from .lines import Line, Which
from .table import SORTS, Table, drawn, written

LOOK = 1.0
"""Seconds between two readings of the store, and between two questions to an owner."""
WIDE = 130
"""Columns from which on the last transitions stand beside the machine, and not below it."""
REST, REST_NARROW = 20, 26
"""Rows of all but the table when a machine is shown, in a wide terminal and in a narrow one. Where there are not so many, its ways have no titles."""
KEYS = (
    ("↑ ↓  j k", "pick"),
    ("PgUp PgDn", "pick further away; Home End"),
    ("Enter", "its machine"),
    ("Esc", "back to the table"),
    ("s", "sort: " + ", ".join(SORTS)),
    ("p", "freeze what is shown; again: go on"),
    ("?", "help"),
    ("q", "quit"),
)


class Help(Screen[None]):
    """Any key ends it, and does nothing else."""

    def compose(self) -> ComposeResult:
        yield Static(panel.help_text(KEYS), id="help")

    def on_key(self, event: Key) -> None:
        event.stop()
        self.call_later(self._end)

    def _end(self) -> None:
        _ = self.dismiss()  # it cannot be waited for from in here


class Watch(App[bool]):
    """Shows what the feed has found, and finds; `where` names the store. Returns whether it was ended by Ctrl-C."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { background: ansi_default; color: ansi_default; layers: base; }
    Static { text-wrap: nowrap; text-overflow: ellipsis; height: 1; }
    #rows, #states, #out, #help { height: auto; }
    #why, #trouble { text-wrap: wrap; height: auto; max-height: 50%; padding: 0 1; }
    .picked #why { height: 2; }
    .picked.compact #table { scrollbar-size-vertical: 0; }
    #trouble { color: ansi_red; display: none; }
    #table { height: 1fr; scrollbar-size-vertical: 1; }
    #panel { display: none; height: 1fr; border-top: solid ansi_bright_black; }
    #machine { height: 12; }
    .compact #machine { height: 9; }
    #states { width: 20; }
    #out { width: 1fr; }
    #story { height: 1fr; padding: 0 1; }
    .picked #panel { display: block; }
    .wide #body { layout: horizontal; }
    .wide #machine { width: 69; height: 1fr; }
    .wide #story { width: 1fr; }
    #keys { dock: bottom; text-style: dim; }
    #help { padding: 1 2; text-wrap: wrap; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)"),
        Binding("up,k", "move(-1)"),
        Binding("pagedown", "move(10)"),
        Binding("pageup", "move(-10)"),
        Binding("end", "move(1000000)"),
        Binding("home", "move(-1000000)"),
        Binding("enter", "pick"),
        Binding("escape", "leave"),
        Binding("s", "sort"),
        Binding("p", "freeze"),
        Binding("question_mark", "help"),
        Binding("q", "end(False)"),
        Binding("ctrl+c", "end(True)", priority=True),
    ]

    def __init__(self, feed: Feed, where: str) -> None:
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"  # the terminal's own colours, on its own ground, dark or light; none with NO_COLOR
        self._feed = feed
        self._where = where
        self._order = next(iter(SORTS))
        self._lines: list[Line] = []
        self._nth = 0
        self._chosen: Which | None = None
        self._wanted = asyncio.Event()
        """Set while there is something to ask."""
        self._loops: list[Worker[None]] = []
        """What looks and what asks; none while it is frozen."""

    def compose(self) -> ComposeResult:
        yield Static(id="title")
        yield Static(id="trouble")
        yield Static(id="heading")
        with VerticalScroll(id="table", can_focus=False):
            yield Static(id="rows")
        yield Static(id="why")
        with Container(id="panel"):
            yield Static(id="picked")
            yield Static(id="counts")
            with Container(id="body"):
                with Horizontal(id="machine"):
                    yield Static(id="states")
                    yield Static(id="out")
                yield Static(id="story")
        yield Static(" ↑↓ pick   Enter its machine   Esc back   s sort   p freeze   ? help   q quit", id="keys")

    def on_mount(self) -> None:
        self._go_on()

    def on_resize(self, event: Resize) -> None:
        self.call_after_refresh(self._show)

    # what happens by itself

    def _go_on(self) -> None:
        self._loops = [self.run_worker(self._look()), self.run_worker(self._ask())]

    async def stop(self) -> None:
        """Ask nobody any more; a question that is not answered yet is taken back."""
        workers, self._loops = self._loops, []
        for worker in workers:
            worker.cancel()
        for worker in workers:
            with suppress(WorkerError):
                await worker.wait()

    async def _look(self) -> None:
        while True:
            await self._feed.look()
            self._show()
            await asyncio.sleep(LOOK)

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wanted.wait()
            next_at = loop.time() + LOOK
            await self._feed.ask()
            self._show()
            await asyncio.sleep(next_at - loop.time())

    # what there is to see

    def _show(self) -> None:
        sight = self._feed.sight
        lines = self._lines = sorted(sight.lines, key=SORTS[self._order])
        keys = [line.key for line in lines]
        self._nth = keys.index(self._chosen) if self._chosen in keys else max(0, min(self._nth, len(lines) - 1))
        line = lines[self._nth] if lines else None
        self._chosen = None if line is None else line.key
        self._pick_chosen()
        wide = self.size.width >= WIDE
        room = self.size.height - (REST if wide else REST_NARROW)
        self.set_class(self._feed.picked is not None, "picked")
        self.set_class(room < 1, "compact")
        self.set_class(wide, "wide")
        table = Table(lines, self.size.width - 1)
        rows = [table.row(nth, chosen=nth == self._nth) for nth in range(len(lines))]
        self._put("title", panel.title(sight, self._where, self._order, frozen=not self._loops))
        self._put("heading", table.heading())
        self._put("rows", Content("\n").join(rows) if rows else Content("  no subscriptions (non-reliable ones leave no trace in a store)"))
        self._put("why", panel.why(line, () if self._feed.picked else lines))
        self._put("trouble", written((sight.trouble, "")))
        self.query_one("#trouble").display = bool(sight.trouble)
        box = self.query_one("#table")
        box.styles.height = "1fr" if self._feed.picked is None else max(1, min(len(lines), room))
        self.call_after_refresh(box.scroll_to_region, Region(0, self._nth, 1, 1), animate=False)
        if line is not None and self._feed.picked is not None:
            drawing = drawn(line.machine)
            self._put("picked", panel.heading(line, self._feed.picked))
            self._put("counts", panel.counts(line))
            self._put("states", panel.states(drawing, line, self._feed.picked, titles=room >= 1))
            self._put("out", panel.ways_out(drawing, line, self._feed.picked))
            self._put("story", panel.story(drawing, line, self._feed.picked))

    def _put(self, place: str, content: Content) -> None:
        self.query_one(f"#{place}", Static).update(content)

    def _pick_chosen(self) -> None:
        """The panel follows the table."""
        if self._feed.picked is not None and self._feed.picked.key != self._chosen:
            self._pick(self._chosen)

    def _pick(self, key: Which | None) -> None:
        self._feed.picked = picked = None if key is None else Picked(key)
        if picked is None:
            self._wanted.clear()
        else:
            self._wanted.set()
            if not self._loops:
                picked.unheard("frozen: nobody is asked")

    # keys

    def action_move(self, by: int) -> None:
        if self._lines:
            self._choose(self._nth + by)

    def _choose(self, nth: int) -> None:
        self._chosen = self._lines[max(0, min(nth, len(self._lines) - 1))].key
        self._show()

    def on_click(self, event: Click) -> None:
        if event.widget is self.query_one("#rows") and event.y < len(self._lines):
            self._choose(event.y)

    def action_pick(self) -> None:
        if self._feed.picked is None:
            self._pick(self._chosen)
            self._show()

    def action_leave(self) -> None:
        self._pick(None)
        self._show()

    def action_sort(self) -> None:
        orders = list(SORTS)
        self._order = orders[(orders.index(self._order) + 1) % len(orders)]
        self._show()

    async def action_freeze(self) -> None:
        if self._loops:
            await self.stop()
        else:
            self._go_on()
        self._show()

    async def action_help(self) -> None:
        await self.push_screen(Help())

    def action_end(self, interrupted: bool) -> None:
        self.exit(interrupted)
