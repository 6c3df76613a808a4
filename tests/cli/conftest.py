"""The command line as its users have it: processes, in a directory of their own, with one store in it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from danube_dispatcher import Message, SubscriptionInfo, Topic
from danube_dispatcher.storage import open_store
from danube_dispatcher.storage.protocols import Row

TOPIC = "/default/jobs"
STORE = "queue.db"
PATIENCE = 30.0
"""Real seconds after which what should come is taken for lost."""

# whoever runs the tests may ignore SIGINT, as a shell's background jobs do, and a child inherits that
PROGRAM = [
    sys.executable,
    "-c",
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from danube_dispatcher.__main__ import main; sys.exit(main())",
]


class Running:
    """A command that has been started."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def line(self, descriptor: str = "stdout") -> str:
        """The next line that it writes, without its end; "" once it has closed."""
        stream = getattr(self.process, descriptor).fileno()
        text = b""
        while not text.endswith(b"\n"):
            assert select.select([stream], [], [], PATIENCE)[0], f"nothing came after {text!r}"
            byte = os.read(stream, 1)
            if not byte:
                break
            text += byte
        return text.decode().removesuffix("\n")

    def end(self, number: signal.Signals | None = None) -> tuple[int, str, str]:
        """Send the signal, if any, and wait until nobody writes any more: exit code, and what is left of its output."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, (out or b"").decode(), (err or b"").decode()


class Cli:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._running: list[Running] = []

    @property
    def environment(self) -> dict[str, str]:
        """With standard output as Python has it by itself."""
        return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}

    def start(self, *arguments: str, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE) -> Running:
        process = subprocess.Popen([*PROGRAM, *arguments], cwd=self.directory, env=self.environment, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=0)
        self._running.append(Running(process))
        return self._running[-1]

    def run(self, *arguments: str, input: bytes = b"") -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        done = subprocess.run([*PROGRAM, *arguments], cwd=self.directory, env=self.environment, input=input, capture_output=True, timeout=PATIENCE, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def close(self) -> None:
        for running in self._running:
            if running.process.poll() is None:
                running.process.kill()
            running.process.communicate()

    # the store, as another process sees it

    @property
    def url(self) -> str:
        return f"sqlite:{self.directory / STORE}"

    def publish(self, *payloads: bytes | Message) -> None:
        async def publish() -> None:
            async with await Topic.open(self.url, TOPIC) as topic:
                await topic.publish_many(payloads)

        asyncio.run(publish())

    def messages(self, topic: str = TOPIC) -> list[Message]:
        async def messages() -> list[Message]:
            found: list[Message] = []
            async with (
                await Topic.open(self.url, topic, create=False) as opened,
                await opened.subscribe("reader", start="earliest") as subscription,
                subscription.consumer("reader") as consumer,
            ):
                for _ in range(opened.head):
                    delivery = await anext(consumer)
                    found.append(delivery.message)
                    await delivery.ack()
                await subscription.close()
                await opened.unsubscribe("reader")
            return found

        return asyncio.run(messages())

    def head(self) -> int:
        async def head() -> int:
            async with await Topic.open(self.url, TOPIC, create=False) as topic:
                return topic.head

        return asyncio.run(head())

    def topics(self) -> list[str]:
        async def topics() -> list[str]:
            store = await open_store(self.url, create=False)
            try:
                return await store.topics()
            finally:
                await store.close()

        return asyncio.run(topics())

    def subscription(self, name: str = "s") -> SubscriptionInfo:
        async def subscription() -> SubscriptionInfo:
            async with await Topic.open(self.url, TOPIC, create=False) as topic:
                return next(info for info in await topic.subscriptions() if info.name == name)

        return asyncio.run(subscription())

    def row(self, name: str = "s") -> Row:
        async def row() -> Row:
            store = await open_store(self.url, create=False)
            try:
                return next(row for row in await store.rows(TOPIC) if row.subscription == name)
            finally:
                await store.close()

        return asyncio.run(row())

    def cursor(self, name: str = "s") -> int:
        """The durable one."""
        return self.row(name).progress.cursor


def eventually(happened: Callable[[], bool]) -> None:
    """Look again and again until it has happened."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.05)


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    cli = Cli(tmp_path)
    yield cli
    cli.close()
