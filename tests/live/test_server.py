"""Who is answered, and with what; who is not."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from danube_dispatcher import InvalidArgument, UsageError
from danube_dispatcher.live import LivePage, server
from danube_dispatcher.live.feed import Feed
from danube_dispatcher.live.server import MOST_BYTES, MOST_CONNECTIONS, Reader, Server
from danube_statemachines import VARIANTS
from looking import PATIENCE, ask, exchange, get, request

pytestmark = pytest.mark.real_time


@pytest_asyncio.fixture
async def page() -> AsyncIterator[LivePage]:
    async with await LivePage.open() as page:
        yield page


def port(page: LivePage) -> int:
    return urlsplit(page.url).port or 0


async def test_all_that_the_page_needs_is_there(page: LivePage) -> None:
    start = await get(page.url)
    assert (start.status, start.headers["content-type"]) == (200, "text/html; charset=utf-8")
    names = re.findall(r'(?:href|src)="([^"]+)"', start.body.decode()) + [f"{name}.svg" for name in VARIANTS]
    assert {"live.css", "live.js", "machines.css", "icon.svg"} < set(names)
    for name in names:
        answer = await get(page.url, f"/{name}")
        assert (answer.status, answer.headers["content-length"]) == (200, str(len(answer.body))), name
        assert answer.body
    picture = (await get(page.url, "/reliable_exclusive.svg")).body.decode()
    assert 'id="AwaitingAck"' in picture
    assert "<style" not in picture, "the page takes no style from a picture"
    assert "prefers-color-scheme: dark" in (await get(page.url, "/machines.css")).body.decode()


async def test_the_page_holds_no_script_and_no_style_and_names_no_other_place(page: LivePage) -> None:
    start = (await get(page.url)).body.decode()
    assert not re.search(r"<style|\bstyle=|\bon[a-z]+=|<script(?![^>]*\bsrc=)|https?:", start)
    for name in ("live.js", "live.css"):
        assert not re.search(r"https?:|innerHTML|insertAdjacent|\beval\b", (await get(page.url, f"/{name}")).body.decode())


@pytest.mark.parametrize("path", ["/", "/live.js", "/feed", "/missing"])
async def test_every_answer_says_what_a_browser_may_not_do(page: LivePage, path: str) -> None:
    answer = await ask(page.url, request(page.url, path, method="HEAD"))
    assert (answer.status, answer.body) == ((200, b"") if path != "/missing" else (404, b"404 Not Found\n"))
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH"])
async def test_it_can_only_be_read(page: LivePage, method: str) -> None:
    answer = await ask(page.url, request(page.url, "/", "Content-Length: 0", method=method))
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/live.html", "/page.py", "/assets/live.js", "/../page.py", "/%2e%2e/page.py", "//etc/passwd", "/live.js?x", "/.", "/feed/"])
async def test_there_is_nothing_but_what_the_page_needs(page: LivePage, path: str) -> None:
    assert (await get(page.url, path)).status == 404


@pytest.mark.parametrize(
    "host", ["example.com", "example.com:PORT", "127.0.0.1", "127.0.0.1:1", "localhost.example.com:PORT", "[::1]:PORT", "127.0.0.1:PORT@x"]
)
async def test_a_foreign_name_is_refused(page: LivePage, host: str) -> None:
    answer = await ask(page.url, request(page.url, host=host.replace("PORT", str(port(page)))))
    assert answer.status == 421


async def test_its_own_names_are_not(page: LivePage) -> None:
    for host in (f"127.0.0.1:{port(page)}", f"localhost:{port(page)}", f"LocalHost:{port(page)}"):
        assert (await ask(page.url, request(page.url, host=host))).status == 200


async def test_one_host_is_named_and_not_two(page: LivePage) -> None:
    assert (await ask(page.url, b"GET / HTTP/1.1\r\n\r\n")).status == 421
    assert (await get(page.url, "/", f"Host: 127.0.0.1:{port(page)}")).status == 421


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_page_may_link_to_it_and_no_more(page: LivePage, site: str) -> None:
    assert (await get(page.url, "/", f"Sec-Fetch-Site: {site}")).status == 200
    for path in ("/feed", "/live.js"):
        assert (await get(page.url, path, f"Sec-Fetch-Site: {site}")).status == 403
    assert (await get(page.url, "/live.js", "Sec-Fetch-Site: same-origin")).status == 200


@pytest.mark.parametrize(
    "garbage",
    [b"\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n", b"GET http://x/ HTTP/1.1\r\n\r\n", b"get / HTTP/1.1\r\n\r\n", b"GET  / HTTP/1.1\r\n\r\n"]
    + [b"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n", b"\x16\x03\x01\r\n\r\n"],
)
async def test_what_is_no_request_is_said_to_be_none(page: LivePage, garbage: bytes) -> None:
    assert (await ask(page.url, garbage)).status == 400


async def test_a_request_is_bounded(page: LivePage) -> None:
    assert (await get(page.url, "/", "X: " + "x" * (MOST_BYTES // 2))).status == 200
    assert (await get(page.url, "/", "X: " + "x" * MOST_BYTES)).status == 431


async def test_no_request_takes_long_to_read(page: LivePage) -> None:
    began = time.process_time()
    blanks = b"GET / HTTP/1.1\r\nHost:" + b" " * 2000 + b"\n\r\n\r\n"
    assert (await ask(page.url, blanks)).status == 400
    assert time.process_time() - began < 2, "what is read in many ways must be given up in one"


async def test_who_says_nothing_is_let_go(page: LivePage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.02)
    reader, writer = await asyncio.open_connection("127.0.0.1", port(page))
    writer.write(b"GET / HTTP/1.1\r\n")
    with pytest.raises(ConnectionError):  # cut off, and not answered
        assert await asyncio.wait_for(reader.read(), 5) == b""
        raise ConnectionResetError
    writer.close()


async def test_who_goes_on_talking_while_it_is_told_what_happens_is_let_go(page: LivePage) -> None:
    assert (await exchange(page.url, request(page.url, "/feed") + b"and")).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_so_many_may_be_connected_and_one_more_when_one_has_gone(page: LivePage) -> None:
    async def connected(number: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(page._server._connections) != number:
                await asyncio.sleep(0.001)

    seats = [await asyncio.open_connection("127.0.0.1", port(page)) for _ in range(MOST_CONNECTIONS)]
    await connected(MOST_CONNECTIONS)
    assert (await ask(page.url, b"")).status == 503
    seats.pop()[1].close()
    await connected(MOST_CONNECTIONS - 1)
    assert (await get(page.url)).status == 200
    for _, writer in seats:
        writer.close()


async def test_it_listens_on_one_address_of_this_machine(page: LivePage) -> None:
    assert page.url == f"http://127.0.0.1:{port(page)}/"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.2", port(page))


async def test_a_port_that_is_taken_is_said(page: LivePage) -> None:
    with pytest.raises(UsageError, match=rf"port {port(page)} of 127\.0\.0\.1 cannot be had: .* in use; port 0"):
        await LivePage.open(port=port(page))


@pytest.mark.parametrize("wrong", [-1, 65536, "80", True, 1.0])
async def test_what_is_no_port(wrong: int) -> None:
    with pytest.raises(InvalidArgument, match="port"):
        await LivePage.open(port=wrong)


class Slow(asyncio.WriteTransport):
    """A reader that has taken nothing of what was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.written))

    def abort(self) -> None:
        self.aborted = True


def test_a_reader_that_takes_nothing_is_sent_no_more_and_let_go_in_the_end() -> None:
    transport = Slow()
    reader = Reader(transport, 1000.0)
    for waited in (0.0, server.PERIOD, server.BEAT, server.STALLED):  # more often when there is more to tell
        reader.send(b"event", 1000.0 + waited)
    assert (transport.written, transport.aborted) == ([b"event"], False)
    transport.written.clear()  # it has taken it at last
    reader.send(b"event", 1000.0 + server.STALLED)
    reader.send(b"event", 1000.0 + server.STALLED + server.BEAT)
    assert (transport.written, transport.aborted) == ([b"event"], False)
    reader.send(b"event", 1000.0 + 2 * server.STALLED + server.BEAT)
    assert transport.aborted


@pytest.mark.parametrize(("call", "events", "told"), [("hello", 0, "failed to answer"), ("news", 1, "cannot tell what happens")])
async def test_a_feed_that_fails_hangs_up_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str, events: int, told: str
) -> None:
    feed = Feed()
    broken = Server({}, feed)
    url = await broken.start(0)

    def fail() -> bytes:
        raise RuntimeError("no news")

    monkeypatch.setattr(feed, call, fail)
    assert (await exchange(url, request(url, "/feed"))).count(b"data: ") == events
    assert told in caplog.text
    await broken.close()
