"""A small server for one page: this machine only, reading only, and everything bounded.

It runs on the event loop of what it shows, as asyncio streams, and has no thread: a snapshot is made where it is true, and no thread competes for the
interpreter while messages pass. A reader never keeps anybody waiting: who has not taken the last event yet is not sent the next.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple, Protocol

from ..errors import UsageError

log = logging.getLogger(__package__)

ADDRESS = "127.0.0.1"
PERIOD = 0.1
"""Seconds between two looks at what is new."""
BEAT = 1.0
"""Seconds after which something is sent though nothing is new."""
MOST_CONNECTIONS = 32
MOST_BYTES = 8192
"""Of a request."""
PATIENCE = 5.0
"""Seconds for a request to come and for its answer to be taken."""
STALLED = 30.0
"""Seconds after which a reader that takes nothing is let go."""
FEED = "/feed"

REQUEST = re.compile(r"([A-Z]{1,16}) (/[!-~]{0,255}) HTTP/1\.[01]")
HEADER = re.compile(r"([!-9;-~]+):(.*)")
POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{what} 'self'" for what in ("script-src", "style-src", "img-src", "connect-src")),
        *(f"{what} 'none'" for what in ("base-uri", "form-action", "frame-ancestors")),
    ]
)
HEADERS = f"""\
Content-Security-Policy: {POLICY}
X-Content-Type-Options: nosniff
Cross-Origin-Resource-Policy: same-origin
Cross-Origin-Opener-Policy: same-origin
Referrer-Policy: no-referrer
Cache-Control: no-store
Connection: close"""


class Source(Protocol):
    """What the stream of events is made of."""

    def begin(self) -> None:
        """The first reader has come."""
        ...

    def end(self) -> None:
        """The last one has gone."""
        ...

    def hello(self) -> bytes:
        """The first event of a reader."""
        ...

    def news(self) -> bytes:
        """The next event of all readers."""
        ...


class File(NamedTuple):
    type: str
    content: bytes


EVENTS = File("text/event-stream", b"")
"""What is never over."""


class Refused(Exception):
    """A request that is not carried out."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


class Reader:
    """Somebody who is sent events."""

    def __init__(self, transport: asyncio.WriteTransport, now: float) -> None:
        self._transport = transport
        self._took_at = now

    def send(self, event: bytes, now: float) -> None:
        if not self._transport.get_write_buffer_size():
            self._transport.write(event)
            self._took_at = now
        elif now - self._took_at > STALLED:
            self._transport.abort()

    def let_go(self) -> None:
        self._transport.abort()


class Server:
    def __init__(self, files: Mapping[str, File], source: Source) -> None:
        self._files = files
        self._source = source
        self._server: asyncio.Server
        self._names: set[str] = set()
        self._connections: dict[asyncio.Task[None], asyncio.WriteTransport] = {}
        self._readers: set[Reader] = set()
        self._telling: asyncio.Task[None] | None = None

    async def start(self, port: int) -> str:
        """Listen; return the URL. Raises UsageError when the port is taken."""
        try:
            self._server = await asyncio.start_server(self._connected, ADDRESS, port, limit=MOST_BYTES, backlog=MOST_CONNECTIONS)
        except OSError as error:
            raise UsageError(f"port {port} of {ADDRESS} cannot be had: {os.strerror(error.errno or 0)}; port 0 takes a free one") from error
        port = self._server.sockets[0].getsockname()[1]
        self._names = {f"{ADDRESS}:{port}", f"localhost:{port}"} | ({ADDRESS, "localhost"} if port == 80 else set())
        return f"http://{ADDRESS}:{port}/"

    async def close(self) -> None:
        self._server.close()
        for transport in self._connections.values():
            transport.abort()
        await asyncio.gather(*self._connections)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer.transport
        try:
            await self._answer(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # it has gone, or takes too long
        except Exception:
            log.exception("the live page failed to answer")
        finally:
            writer.transport.abort()
            del self._connections[task]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if len(self._connections) > MOST_CONNECTIONS or not self._server.is_serving():
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE)
            method, path = self._checked(await self._request(reader))
        except Refused as refused:
            status = refused.status
            extra = "Allow: GET, HEAD\n" if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
            await self._send(writer, status, File("text/plain; charset=utf-8", f"{status.value} {status.phrase}\n".encode()), extra)
        else:
            if method == "HEAD":
                await self._send(writer, HTTPStatus.OK, EVENTS if path == FEED else self._files[path], body=False)
            elif path == FEED:
                await self._stream(reader, writer)
            else:
                await self._send(writer, HTTPStatus.OK, self._files[path])

    async def _send(self, writer: asyncio.StreamWriter, status: HTTPStatus, file: File, extra: str = "", *, body: bool = True) -> None:
        length = f"Content-Length: {len(file.content)}\n" if file.content else ""
        writer.write(_head(status, file.type, extra + length) + (file.content if body else b""))
        async with asyncio.timeout(PATIENCE):
            writer.close()
            await writer.wait_closed()

    async def _request(self, reader: asyncio.StreamReader) -> str:
        try:
            async with asyncio.timeout(PATIENCE):
                return (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.LimitOverrunError as error:
            raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from error

    def _checked(self, request: str) -> tuple[str, str]:
        """Method and path."""
        first, *lines = request.removesuffix("\r\n\r\n").split("\r\n")
        found, headers = REQUEST.fullmatch(first), [HEADER.fullmatch(line) for line in lines]
        if found is None or None in headers:
            raise Refused(HTTPStatus.BAD_REQUEST)
        pairs = [(header[1].lower(), header[2].strip(" \t")) for header in headers if header is not None]
        hosts = [value.lower() for name, value in pairs if name == "host"]
        if len(hosts) != 1 or hosts[0] not in self._names:
            raise Refused(HTTPStatus.MISDIRECTED_REQUEST)  # a foreign name that was made to lead here
        method, path = found.groups()
        if method not in ("GET", "HEAD"):
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED)
        if path != "/" and dict(pairs).get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Refused(HTTPStatus.FORBIDDEN)  # another page may link to this one, and no more
        if path != FEED and path not in self._files:
            raise Refused(HTTPStatus.NOT_FOUND)
        return method, path

    # the stream of events

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until it hangs up. What it says meanwhile hangs up, too."""
        mine = Reader(writer.transport, asyncio.get_running_loop().time())
        if self._telling is None:
            self._source.begin()
            self._telling = asyncio.create_task(self._tell())
        self._readers.add(mine)
        try:
            writer.write(_head(HTTPStatus.OK, EVENTS.type) + self._source.hello())
            await reader.read(1)
        finally:
            self._readers.discard(mine)
            if not self._readers:
                self._telling.cancel()
                self._telling = None
                self._source.end()

    async def _tell(self) -> None:
        loop = asyncio.get_running_loop()
        told, due = b"", 0.0
        try:
            while True:
                event, now = self._source.news(), loop.time()
                if event != told or now >= due:
                    told, due = event, now + BEAT
                    for reader in self._readers:
                        reader.send(event, now)
                await asyncio.sleep(PERIOD)
        except Exception:
            log.exception("the live page cannot tell what happens")
            for reader in self._readers:
                reader.let_go()


def _head(status: HTTPStatus, type: str, extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status.value} {status.phrase}\nContent-Type: {type}\n{extra}{HEADERS}\n\n"
    return head.replace("\n", "\r\n").encode("latin-1")
