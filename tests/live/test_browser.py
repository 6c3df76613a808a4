"""The page as somebody sees it: a real subscription, and a real Chromium without a window (make browser-test)."""

from __future__ import annotations

import asyncio
import resource
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from danube_dispatcher import FailurePolicy, Subscription, Topic
from danube_dispatcher.live import LivePage
from danube_dispatcher.live.feed import STORY
from delivering import join, take, take_and_ack

pytestmark = [pytest.mark.real_time, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
HOSTILE = "<img src=x onerror=hurt=1><script>hurt=1</script>"
GONE = "connection lost, trying again"


class Sight:
    """A browser that looks at the page, and all that it complained of and asked for."""

    def __init__(self, tab: Any) -> None:
        self.tab = tab
        self.complaints: list[str] = []
        self.asked: set[str | None] = set()
        tab.on("console", lambda message: self.complaints.append(message.text))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("request", lambda request: self.asked.add(urlsplit(request.url).hostname))

    async def text(self, selector: str) -> str:
        text: str = await self.tab.inner_text(selector)
        return text

    async def shows(self, selector: str, text: str | None = None) -> None:
        """Wait for it. A test that waits for what never comes fails."""
        await self.tab.wait_for_selector(selector if text is None else f"{selector} >> text={text}", timeout=5000)

    async def figure(self, label: str) -> str:
        return await self.text(f'#figures div:has(dt:text-is("{label}")) dd')

    async def figures(self, **expected: int) -> None:
        async with asyncio.timeout(5):
            while found := {label: await self.figure(label.replace("_", " ")) for label in expected}:
                if found == {label: f"{value:,}" for label, value in expected.items()}:
                    return
                await asyncio.sleep(0.05)

    async def steps(self) -> list[list[str]]:
        """The story, the latest first: what happened, and what followed."""
        lines: list[list[str]] = await self.tab.eval_on_selector_all(
            "#steps li", "all => all.map(li => [...li.children].slice(1).map(span => span.textContent))"
        )
        return lines

    async def style(self, selector: str, name: str) -> str:
        value: str = await self.tab.eval_on_selector(selector, f"element => getComputedStyle(element)['{name}']")
        return value


@contextmanager
def roomy() -> Iterator[None]:
    """What is started here may reserve as much address space as it likes, which the tests themselves may not (conftest.py)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Any]:
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.fail(f"none of {', '.join(NAMES)} is installed; on Debian: apt-get install chromium")
    from playwright.async_api import async_playwright

    async with AsyncExitStack() as stack:
        with roomy():
            playwright = await stack.enter_async_context(async_playwright())
            browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def sight(chromium: Any) -> AsyncIterator[Sight]:
    tab = await chromium.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
    await tab.add_init_script("addEventListener('securitypolicyviolation', event => console.log('refused: ' + event.blockedURI))")
    sight = Sight(tab)
    yield sight
    await tab.close()
    assert sight.asked <= {"127.0.0.1"}, "nothing leaves this machine"
    assert sight.complaints == []


@pytest_asyncio.fixture(loop_scope="module")
async def topic() -> AsyncIterator[Topic]:
    async with await Topic.open("memory:", "/test/orders") as topic:
        yield topic


@pytest_asyncio.fixture(loop_scope="module")
async def page() -> AsyncIterator[LivePage]:
    async with await LivePage.open() as page:
        yield page


@pytest_asyncio.fixture(loop_scope="module")
async def readers(topic: Topic, page: LivePage) -> Subscription:
    policy = FailurePolicy(max_redeliveries=0, redelivery_delay=0.01)
    readers = await topic.subscribe("readers", type="failover", start="earliest", policy=policy)
    page.watch(readers, name="readers")
    return readers


def silence(page: LivePage) -> None:
    """From now on it tells nothing by itself."""
    assert page._server._telling is not None
    page._server._telling.cancel()


async def test_a_message_passes_and_the_picture_follows(sight: Sight, page: LivePage, topic: Topic, readers: Subscription) -> None:
    await sight.tab.goto(page.url)
    await sight.shows("#Idle.lit")
    await sight.shows("#sentence", "no consumer is attached")
    anna = await join(readers, "anna")
    await sight.shows("#consumers th", "anna active")

    flashing = asyncio.create_task(sight.shows(".edge.Dispatching-AwaitingAck.flash"))
    await topic.publish(b"a")
    await flashing
    await sight.shows("#AwaitingAck.lit")
    assert await sight.tab.locator(".lit").count() == 1
    await sight.shows("#sentence", "message 0 (attempt 1, 0 failures) is with consumer anna")
    await sight.figures(delivered=1, acked=0, in_flight=0, attempt=1, head=1)
    before = await sight.text("#ends")
    await asyncio.sleep(0.3)
    assert await sight.text("#ends") < before, "the deadline comes nearer"

    flashing = asyncio.create_task(sight.shows(".node.AwaitingAck-Dispatching.flash"))
    await (await take(anna)).ack()
    await flashing
    await sight.shows("#Idle.lit")
    await sight.shows("#tabs .state", "Idle")
    await sight.figures(delivered=1, acked=1, cursor=0, lag=0)
    assert (await sight.steps())[:3] == [["poll empty → Idle", ""], ["ack → Dispatching", "message 0 acked"], ["polled → AwaitingAck", "message 0 to anna"]]
    await asyncio.sleep(1)
    assert await sight.tab.locator(".flash").count() == 0, "it fades"


async def test_a_row_that_stays_lights_its_state_up(sight: Sight, page: LivePage, topic: Topic, readers: Subscription) -> None:
    await sight.tab.goto(page.url)
    await sight.shows("#Idle.lit")
    anna = await join(readers, "anna")
    await topic.publish(b"a")
    await sight.shows("#AwaitingAck.lit:not(.flash)")
    flashing = asyncio.create_task(sight.shows("#AwaitingAck.lit.flash"))
    await (await take(anna)).extend(60)
    await flashing


async def test_more_than_anyone_reads_is_counted(sight: Sight, page: LivePage, topic: Topic, readers: Subscription) -> None:
    await sight.tab.goto(page.url)
    await sight.shows("#Idle.lit")
    silence(page)
    anna = await join(readers, "anna")
    await topic.publish_many([b"x"] * 1500)
    await take_and_ack(anna, count=1500)
    for reader in page._server._readers:
        reader.send(page._feed.news(), asyncio.get_running_loop().time())
    await sight.figures(delivered=1500, acked=1500, cursor=1499)
    steps = await sight.steps()
    missed = page._feed.watched[1].tell(all=True)["number"] - STORY
    assert missed > 2 * 1500 - STORY
    assert [head for head, _ in (steps[0], steps[-1])] == ["poll empty → Idle", f"{missed:,} more"]
    assert len(steps) == STORY + 1


async def test_blocked_is_said_and_not_only_shown(sight: Sight, page: LivePage, topic: Topic, readers: Subscription) -> None:
    await sight.tab.goto(page.url)
    await sight.shows("#Idle.lit")
    light = await sight.style("#why", "border-left-color")
    anna = await join(readers, "anna")
    await topic.publish(b"a")
    await (await take(anna)).nack(reason="illegible")
    await sight.shows("#Blocked.lit")
    await sight.shows("#ends", 'ends with release("retry"), release("drop") or release("dead_letter")')
    assert await sight.style("#why", "border-left-color") != light
    assert await sight.tab.text_content("#alarm") == "readers: message 0 (attempt 1, 1 failure) is exhausted after: illegible"


async def test_what_comes_from_outside_is_text(sight: Sight, page: LivePage, topic: Topic, readers: Subscription) -> None:
    other = await topic.subscribe("other", start="earliest", policy=FailurePolicy(max_redeliveries=0))
    page.unwatch(readers)
    page.watch(other, name=HOSTILE)
    await sight.tab.goto(page.url)
    await sight.shows("#Idle.lit")
    anna = await join(other, "anna")
    await topic.publish(b"a")
    await (await take(anna)).nack(reason=HOSTILE)
    await sight.shows("#Blocked.lit")
    assert await sight.text("#tabs .name") == HOSTILE
    assert HOSTILE in await sight.text("#sentence")
    assert any(HOSTILE in tail for _, tail in await sight.steps())
    assert await sight.tab.locator("img, body script").count() == 0
    assert await sight.tab.evaluate("typeof hurt") == "undefined"


async def test_several_are_told_apart_with_the_keyboard(sight: Sight, page: LivePage, topic: Topic, readers: Subscription) -> None:
    page.watch(await topic.subscribe("live", type="shared", reliable=False), name="live feed")
    await sight.tab.goto(page.url)
    await sight.shows("#DeadLettering")
    await sight.tab.keyboard.press("Tab")
    await sight.shows('[role="tab"][aria-selected="true"]:focus .name', "readers")
    await sight.tab.keyboard.press("ArrowRight")
    await sight.shows('[role="tab"][aria-selected="true"]:focus .name', "live feed")
    await sight.tab.wait_for_selector("#DeadLettering", state="detached")
    assert await sight.tab.is_hidden('#figures div:has(dt:text-is("cursor"))')
    assert await sight.tab.get_attribute("#panel", "aria-labelledby") == await sight.tab.get_attribute('[aria-selected="true"]', "id")
    await sight.tab.reload()
    await sight.shows('[role="tab"][aria-selected="true"] .name', "live feed")
    page.unwatch(readers)
    await sight.tab.wait_for_selector('[role="tab"] >> text=readers', state="detached")
    assert await sight.tab.locator('[role="tab"]').count() == 1


async def test_a_picture_that_could_not_be_had_is_asked_for_again(sight: Sight, page: LivePage, readers: Subscription) -> None:
    tries: list[str] = []

    async def fail_first(route: Any) -> None:
        tries.append(route.request.url)
        await (route.abort() if len(tries) == 1 else route.continue_())

    await sight.tab.route("**/reliable_exclusive.svg", fail_first)
    await sight.tab.goto(page.url)
    await sight.shows("#Idle.lit")
    assert len(tries) == 2
    sight.complaints = [text for text in sight.complaints if "ERR_FAILED" not in text]


async def test_who_comes_late_has_missed_nothing_and_holds_nothing_of_another(sight: Sight, page: LivePage, topic: Topic, readers: Subscription) -> None:
    page.watch(await topic.subscribe("live", type="shared", reliable=False), name="live feed")
    await sight.tab.goto(page.url)
    await sight.shows("#Idle.lit")
    anna = await join(readers, "anna")
    await topic.publish_many([b"x"] * STORY)
    await take_and_ack(anna, count=STORY)
    await sight.tab.goto("about:blank")
    await sight.tab.goto(page.url)
    await sight.shows("#Idle.lit")
    assert len(await sight.steps()) == STORY
    await sight.tab.click("#hold")
    await sight.tab.click('[role="tab"] >> text=live feed')
    assert await sight.text("#hold") == "Hold"


async def test_the_story_can_be_held(sight: Sight, page: LivePage, topic: Topic, readers: Subscription) -> None:
    await sight.tab.goto(page.url)
    await sight.shows("#Idle.lit")
    anna = await join(readers, "anna")
    await sight.shows("#steps li")
    await sight.tab.click("#hold")
    held = await sight.steps()
    await topic.publish(b"a")
    await (await take(anna)).ack()
    await sight.figures(acked=1)
    assert await sight.steps() == held
    await sight.tab.click("#hold")
    assert len(await sight.steps()) > len(held)


async def test_dark_and_light(sight: Sight, page: LivePage, readers: Subscription) -> None:
    await sight.tab.goto(page.url)
    await sight.shows("#Idle.lit")
    places = [("body", "background-color"), ("body", "color"), ("#Dispatching path", "fill"), ("#Dispatching text", "fill"), ("#why", "background-color")]
    light = [await sight.style(*place) for place in places]
    await sight.tab.emulate_media(color_scheme="dark", reduced_motion="reduce")
    dark = [await sight.style(*place) for place in places]
    assert not set(light) & set(dark)
    assert await sight.style("#Dispatching path", "transition-duration") == "0s"


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
async def test_it_fits(sight: Sight, page: LivePage, readers: Subscription, width: int, height: int) -> None:
    await sight.tab.set_viewport_size({"width": width, "height": height})
    await sight.tab.goto(page.url)
    await sight.shows("#Idle.lit")
    size = await sight.tab.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert size[0] <= width
    assert size[1] <= height or width < 900, "a phone scrolls"
    letters = await sight.tab.eval_on_selector("#Idle text", "text => text.getBoundingClientRect().height")
    assert letters > 10


async def test_nothing_to_watch_is_said(sight: Sight, page: LivePage) -> None:
    await sight.tab.goto(page.url)
    await sight.shows("#connection", "live")
    await sight.shows("#nothing", "Nothing is watched yet.")
    assert await sight.tab.is_hidden("#panel")


async def test_the_end_is_seen_and_so_is_a_new_beginning(sight: Sight, page: LivePage, topic: Topic, readers: Subscription) -> None:
    await sight.tab.goto(page.url)
    await sight.shows("#Idle.lit")
    await page.close()
    await sight.shows("#connection", GONE)
    assert "grayscale" in await sight.style("#machine", "filter")
    await join(readers, "anna")
    port = urlsplit(page.url).port
    assert port is not None
    async with await LivePage.open(port=port) as again:
        again.watch(readers, name="readers")
        await sight.shows("#connection", "live")
        await sight.shows("#consumers th", "anna active")
        assert await sight.steps() == [], "it tells its own story"
    # that nobody answered is what the browser complains of, and rightly
    sight.complaints = [text for text in sight.complaints if "ERR_CONNECTION_REFUSED" not in text and "ERR_INCOMPLETE" not in text]


async def test_a_program_that_does_not_answer_is_not_taken_for_one_that_rests(sight: Sight, page: LivePage, readers: Subscription) -> None:
    await sight.tab.goto(page.url)
    await sight.shows("#Idle.lit")
    silence(page)
    await sight.shows("#connection", "no answer for 3 s: the program is busy or stopped")
