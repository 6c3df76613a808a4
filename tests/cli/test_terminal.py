"""Standard output that keeps nobody waiting."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from danube_dispatcher.cli.terminal import Output

from .conftest import PATIENCE

pytestmark = [pytest.mark.real_time, pytest.mark.skipif(os.name != "posix", reason="pipes of other systems cannot be asked")]

DATA = bytes(range(250)) * 4000
"""More than a pipe holds."""


@contextmanager
def piped() -> Iterator[tuple[Output, int]]:
    """Standard output, and where it can be read. A write that waits for its reader is interrupted at last."""

    def stuck(*_: object) -> None:
        raise TimeoutError("the write waits for its reader")

    reading, writing = os.pipe()
    before = signal.signal(signal.SIGALRM, stuck)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE / 3)
    try:
        with open(writing, "w") as stdout, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", stdout)
            yield Output(), reading
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.close(reading)


def test_what_does_not_fit_is_given_back() -> None:
    with piped() as (output, reading):
        rest = output.write_now(DATA)
        written = os.read(reading, len(DATA))
        assert 0 < len(written) < len(DATA)
        assert written + rest == DATA


async def test_the_loop_goes_on_while_the_reader_takes_its_time() -> None:
    with piped() as (output, reading):
        os.set_blocking(reading, False)
        writing = asyncio.ensure_future(output.write(DATA))
        read = bytearray()
        while len(read) < len(DATA):
            await asyncio.sleep(0)
            with suppress(BlockingIOError):  # its turn to write is still to come
                read += os.read(reading, 50_000)
        await writing
        assert read == DATA


async def test_a_reader_that_goes_ends_the_write() -> None:
    with piped() as (output, reading):
        writing = asyncio.ensure_future(output.write(DATA))
        await asyncio.sleep(0)
        other = os.open(os.devnull, os.O_RDONLY)
        os.dup2(other, reading)  # closes it, and leaves something to close
        os.close(other)
        with pytest.raises(BrokenPipeError):
            await writing
