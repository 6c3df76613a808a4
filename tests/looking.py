"""What tests of the live page share: a browser's side of the wire, by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any, NamedTuple
from urllib.parse import urlsplit

PATIENCE = 10.0
"""Seconds after which an answer that should come is taken for lost."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


async def ask(url: str, request: bytes) -> Answer:
    """Send these bytes; read until the other side hangs up."""
    return _parsed(await exchange(url, request))


async def exchange(url: str, request: bytes) -> bytes:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        with closing(writer):
            writer.write(request)
            return await reader.read()


def _parsed(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return Answer(int(first.split()[1]), {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}, body)


def request(url: str, path: str = "/", *headers: str, method: str = "GET", host: str | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host or urlsplit(url).netloc}", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def get(url: str, path: str = "/", *headers: str) -> Answer:
    return await ask(url, request(url, path, *headers))


@asynccontextmanager
async def looking(url: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """What is told to one who looks, event by event."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    with closing(writer):
        writer.write(request(url, "/feed"))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        assert _parsed(head).headers["content-type"] == "text/event-stream"
        yield _events(reader)


async def _events(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    while True:
        try:
            event = await asyncio.wait_for(reader.readuntil(b"\n\n"), PATIENCE)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        yield json.loads(event.decode().removeprefix("data: "))
