"""Takes the picture of the live page, live-page.png: .venv/browser/bin/python docs/guides/live_page.py (needs Chromium, as make browser-test does)."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path

from playwright.async_api import async_playwright

from danube_dispatcher import Topic
from danube_dispatcher.demo.corpus import Corpus
from danube_dispatcher.demo.show import TOPIC, Show, subscribe
from danube_dispatcher.live import LivePage

WANTED = "#Redelivering.lit"
KEEP_GLOWING = f"""
const later = setTimeout;
window.setTimeout = (call, ms) => later(() => ms === 250 && document.querySelector("{WANTED}") ? null : call(), ms);
"""
"""Of what leads there: a picture takes longer than an arrow glows (GLOW in live.js)."""
PICTURE = Path(__file__).with_name("live-page.png")


async def main() -> None:
    async with await Topic.open("memory:", TOPIC) as topic, await LivePage.open() as page, async_playwright() as playwright:
        subscriptions = await subscribe(topic)
        for role, subscription in subscriptions.items():
            page.watch(subscription, name=role)
        running = asyncio.create_task(Show(topic, subscriptions, Corpus.find(None), seed=0).run())
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = await browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        await tab.add_init_script(KEEP_GLOWING)
        await tab.goto(f"{page.url}#lines")
        await tab.wait_for_timeout(8000)  # some story
        await tab.wait_for_selector(WANTED, timeout=60_000)
        await tab.wait_for_timeout(400)  # the arrows that lead there light up one after the other
        await tab.screenshot(path=PICTURE)
        await browser.close()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


if __name__ == "__main__":
    asyncio.run(main())
