"""What `consume` does with a message: print it, or run a command for it. A handler returns why it failed, or None."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import shlex
import shutil
import signal
from contextlib import suppress
from typing import Any, Protocol

from ..cancellation import to_the_end
from ..delivery import Delivery
from .terminal import Output

GRACE = 5.0
"""Seconds that a command which is asked to end is given before it is made to."""


class Handler(Protocol):
    async def handle(self, delivery: Delivery) -> str | None: ...


async def _hold(delivery: Delivery, work: asyncio.Future[Any], ack_timeout: float | None) -> bool:
    """Wait for the work, and move the ack deadline on (None: there is none) when half of it has passed. False: the delivery was lost before it was done."""
    while not work.done():
        await asyncio.wait([work], timeout=None if ack_timeout is None else ack_timeout / 2)
        if not work.done() and ack_timeout is not None and not await delivery.extend(ack_timeout):
            return False
    return True


class Printer:
    """Prints messages; each is on its way to the reader when it is acknowledged."""

    def __init__(self, ack_timeout: float | None, *, as_json: bool) -> None:
        self._ack_timeout = ack_timeout
        self._as_json = as_json
        self.output = Output()

    async def handle(self, delivery: Delivery) -> str | None:
        line = (_json(delivery) if self._as_json else delivery.message.payload) + b"\n"
        if rest := self.output.write_now(line):
            writing = asyncio.ensure_future(self.output.write(rest))
            try:
                await _hold(delivery, writing, self._ack_timeout)
                await writing  # also of a delivery that was lost: half a line helps nobody
            finally:
                writing.cancel()
        return None


def _json(delivery: Delivery) -> bytes:
    payload, key, attributes, topic, offset, published_at = delivery.message
    try:
        content = {"payload": payload.decode()}
    except UnicodeDecodeError:
        content = {"payload_base64": base64.b64encode(payload).decode()}
    told = {"topic": topic, "offset": offset, "key": key, "attributes": dict(attributes), "attempt": delivery.attempt, "published_at": published_at, **content}
    return json.dumps(told).encode()


def command_line(text: str) -> list[str]:
    """The words of a command, whose program is there."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, in {text!r}") from None
    if not words:
        raise argparse.ArgumentTypeError("needs a command")
    if shutil.which(words[0]) is None:
        raise argparse.ArgumentTypeError(f"there is no program {words[0]!r}; for a line of shell: --exec \"sh -c '...'\"")
    return words


class Runner:
    """Runs a command for each message."""

    def __init__(self, words: list[str], ack_timeout: float | None) -> None:
        self._words = words
        self._ack_timeout = ack_timeout
        # what an outer `consume` has told about its message is not about this one
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(("DANUBE_ATTR_", "DANUBE_KEY"))}

    async def handle(self, delivery: Delivery) -> str | None:
        process = await self._start(delivery)
        running = asyncio.ensure_future(process.communicate(delivery.message.payload))
        try:
            if not await _hold(delivery, running, self._ack_timeout):
                return f"{self._words[0]} was ended"
            await running
        finally:
            running.cancel()
            if process.returncode is None:
                await to_the_end(_end(process))
        return self._failure(process.returncode)

    async def _start(self, delivery: Delivery) -> asyncio.subprocess.Process:
        # a group of its own: a Ctrl-C at the terminal is for us to pass on, and what the command has started ends with it
        own_group: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}
        environment = self._environment | _environment(delivery)
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(*self._words, stdin=asyncio.subprocess.PIPE, env=environment, **own_group),
        )
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:  # asyncio would end the command alone, and not what it has started

            async def end() -> None:
                await _end(await starting)

            await to_the_end(end())
            raise

    def _failure(self, code: int | None) -> str | None:
        if not code:
            return None
        if code > 0:
            return f"{self._words[0]} exited with code {code}"
        return f"{self._words[0]} was ended by {_signal_name(-code)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _environment(delivery: Delivery) -> dict[str, str]:
    message = delivery.message
    told = {f"DANUBE_ATTR_{re.sub('[^A-Za-z0-9_]', '_', name).upper()}": value for name, value in message.attributes.items()}
    if message.key is not None:
        told["DANUBE_KEY"] = message.key
    told |= {
        "DANUBE_TOPIC": message.topic,
        "DANUBE_OFFSET": str(message.offset),
        "DANUBE_ATTEMPT": str(delivery.attempt),
        "DANUBE_PUBLISHED_AT": str(message.published_at),
    }
    # UTF-8 whatever the locale says; an environment cannot hold NUL
    return {name: os.fsdecode(value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode()) for name, value in told.items()}


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask the command and all that it has started to end; after a while, make them."""
    _tell(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(GRACE):
            await process.wait()
    except TimeoutError:
        _tell(process, getattr(signal, "SIGKILL", signal.SIGTERM))
        await process.wait()


def _tell(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        if os.name == "posix":
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
