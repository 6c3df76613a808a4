"""Draws docs/guides/watch.svg anew, from a run: .venv/bin/python tests/watch/picture.py"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Iterator
from functools import partial
from html import escape
from pathlib import Path

from rich.segment import Segment

from danube_dispatcher import FailurePolicy, Subscription, Topic
from danube_dispatcher.diagrams import PAINT, Way
from danube_dispatcher.storage import open_store
from danube_dispatcher.watch.app import Watch
from danube_dispatcher.watch.feed import Feed, Picked

TARGET = Path(__file__).parents[2] / "docs" / "guides" / "watch.svg"
SIZE = (132, 28)
WIDTH, HEIGHT, MARGIN = 8.0, 18.0, 12.0
"""Of a character, and around them all."""
FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
GROUND, TEXT, DIM, ALARM, RULE = ("#ffffff", "#0d1117"), ("#24292f", "#dde3ea"), ("#6b7580", "#8b949e"), ("#c0243f", "#ff8b9a"), ("#c3ccd5", "#3a434d")
WAYS: dict[str, Way] = {"cyan": "normal", "yellow": "leaves", "magenta": "beyond"}
INKS = {
    **{name: (PAINT[way].ink, PAINT[way].dark_ink) for name, way in WAYS.items()},
    "default": TEXT,
    "dim": DIM,
    "red": ALARM,
    "rule": RULE,
}
"""By the terminal's names, on a light page and on a dark one."""
NUMBERS = {1: "red", 3: "yellow", 5: "magenta", 6: "cyan", 8: "rule"}
"""Of the terminal's colours."""


async def work(subscription: Subscription, name: str, seconds: float, bad: float) -> None:
    async with subscription.consumer(name) as consumer:
        async for delivery in consumer:
            await asyncio.sleep(seconds)
            if random.random() < bad:
                await delivery.nack(reason="no route to the card processor")
            else:
                await delivery.ack()


async def publish(topic: Topic, many: int, seconds: float) -> None:
    while True:
        await topic.publish_many([b"x"] * many)
        await asyncio.sleep(seconds)


async def picture() -> str:
    """What the terminal shows after a while."""
    random.seed(7)
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:{directory}/queue.db"
        async with await Topic.open(url, "/shop/orders") as orders, await Topic.open(url, "/shop/clicks") as clicks:
            await orders.publish_many([b"x"] * 40)
            policy = FailurePolicy(redelivery_delay=0.3, backoff="fixed", max_redeliveries=9)
            billing = await orders.subscribe("billing", type="failover", start="earliest", policy=policy)
            audit = await orders.subscribe("audit", start="earliest", policy=FailurePolicy(max_redeliveries=0))
            mail = await orders.subscribe("mail", type="shared", start="earliest", rate_limit=2)
            await orders.subscribe("archive", start="earliest")
            trends = await clicks.subscribe("trends", type="shared", start="earliest")
            await (await clicks.subscribe("export", start="earliest")).pause()
            workers = [
                *(work(billing, "anna", 0.35, 0.25), work(billing, "bert", 0.35, 0.25), work(audit, "carl", 0.1, 0.08)),
                *(work(mail, "m1", 0, 0), work(mail, "m2", 0, 0), work(trends, "t1", 0.001, 0), work(trends, "t2", 0.001, 0)),
                *(publish(clicks, 20, 0.1), publish(orders, 1, 0.4)),
            ]
            tasks = [asyncio.ensure_future(each) for each in workers]
            feed = Feed(partial(open_store, url, create=False))
            await feed.read()
            watch = Watch(feed, "queue.db")
            async with watch.run_test(size=SIZE):
                await asyncio.sleep(4)
                watch.action_move(4)
                watch.action_pick()
                while not telling(feed.picked):
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.1)
                rows = [list(strip) for strip in watch.screen._compositor.render_strips()]
                await watch.stop()
            await feed.close()
            for task in tasks:
                task.cancel()
    return "\n".join(drawn(rows)) + "\n"


def telling(picked: Picked | None) -> bool:
    """Whether what was told last is worth a picture."""
    told = picked is not None and {"nack", "ack"} <= {each.trigger for each in picked.fresh}
    return told and picked is not None and picked.glance is not None and picked.glance.report["state"] == "AwaitingAck"


def drawn(rows: list[list[Segment]]) -> Iterator[str]:
    width, height = SIZE[0] * WIDTH + 2 * MARGIN, SIZE[1] * HEIGHT + 2 * MARGIN
    yield f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="0 0 {width:g} {height:g}" font-family="{FONT}" font-size="13">'
    yield "<title>danube-dispatcher watch: six subscriptions, three of them stuck, and the machine of one, with AwaitingAck lit</title>"
    night = f"@media (prefers-color-scheme: dark) {{ {' '.join(styles(1))} }}"
    yield f"<style>text {{ white-space: pre }} .bold {{ font-weight: 700 }} {' '.join(styles(0))} {night}</style>"
    yield f'<rect class="ground rule-line" width="{width - 1:g}" height="{height - 1:g}" x="0.5" y="0.5" rx="8"/>'
    for nth, row in enumerate(rows):
        x = MARGIN
        for segment in row:
            yield from cell(segment, x, MARGIN + nth * HEIGHT)
            x += segment.cell_length * WIDTH
    yield "</svg>"


def styles(night: int) -> Iterator[str]:
    yield f".ground {{ fill: {GROUND[night]} }}"
    for name, ink in INKS.items():
        yield f".{name} {{ fill: {ink[night]} }} .{name}-line {{ stroke: {ink[night]} }}"


def cell(segment: Segment, x: float, y: float) -> Iterator[str]:
    style, text = segment.style, segment.text
    number = None if style is None or style.color is None else style.color.number
    name = "dim" if style is not None and style.dim else "default" if number is None else NUMBERS[number]
    classes = name + (" bold" if style is not None and style.bold else "")
    if style is not None and style.reverse:
        yield f'<rect class="{name}" x="{x:g}" y="{y:g}" width="{segment.cell_length * WIDTH:g}" height="{HEIGHT:g}"/>'
        classes = classes.replace(name, "ground")
    if text.strip(" "):
        before = len(text) - len(text.lstrip(" "))
        text = text.strip(" ")
        at = f'x="{x + before * WIDTH:g}" y="{y + 13.5:g}" textLength="{len(text) * WIDTH:g}"'
        yield f'<text class="{classes}" {at} lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'


if __name__ == "__main__":
    TARGET.write_text(asyncio.run(picture()), encoding="utf-8")
