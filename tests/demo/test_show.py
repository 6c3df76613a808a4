"""The demo for the browser: what it is there to show does happen, and it ends when it is told to."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from danube_dispatcher.demo.corpus import ROLES, Corpus
from danube_dispatcher.demo.show import LEAD, TOPIC, Show, subscribe
from danube_dispatcher.virtual_time import advance
from delivering import Place
from looking import looking

MINUTES = 4


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    paths = tuple(f"{letter}.py" for letter in "abc")
    for path in paths:
        (tmp_path / path).write_text("x = 1\n")
    return Corpus(tmp_path, paths)


@pytest.mark.parametrize("seed", [0, 1])
async def test_in_some_minutes_everything_happens(corpus: Corpus, seed: int) -> None:
    place = await Place.open("memory:")
    topic = await place.topic(TOPIC)
    subscriptions = await subscribe(topic)
    running = asyncio.create_task(Show(topic, subscriptions, corpus, seed).run())
    codes = {role: set[str]() for role in ROLES}
    for _ in range(MINUTES * 60 * 4):
        await advance(0.25)
        for role, subscription in subscriptions.items():
            codes[role].add(subscription.explain().code)
            lag = subscription.status().lag
            assert lag is None or lag.messages <= LEAD
    assert not running.done()
    assert {"awaiting_ack", "redelivering", "blocked"} <= codes["compile"]
    assert {"awaiting_ack", "redelivering"} <= codes["lines"]
    assert "no_consumer" in codes["live-files"]
    counts = {role: subscription.status().counts for role, subscription in subscriptions.items()}
    assert min(counts["compile"].acked, counts["lines"].acked) > MINUTES * 20, "most is done all the same"
    assert min(counts["compile"].dropped, counts["lines"].dead_lettered, counts["lines"].stale_acks) > 0
    assert counts["live-bytes"].dropped > 0
    assert counts["live-files"].no_consumer > 0
    running.cancel()
    await asyncio.wait([running])
    await place.close()


@pytest.mark.real_time
@pytest.mark.skipif(os.name != "posix", reason="signals")
async def test_it_serves_the_page_until_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "danube_dispatcher", "demo", "--browser", "--files", "3"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    demo = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    try:
        assert demo.stdout is not None
        told = (await demo.stdout.readline()).decode()
        found = re.fullmatch(r"All four dispatchers at work: (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n", told)
        assert found is not None, told
        async with looking(found[1]) as events:
            async for event in events:
                if all(each["counts"]["delivered"] for each in event["watched"]):
                    break
        assert [each["name"] for each in event["watched"]] == [*ROLES]
        assert len({each["machine"] for each in event["watched"]}) == 4
        demo.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(demo.communicate(), 60)
    finally:
        with suppress(ProcessLookupError):
            demo.kill()
    assert demo.returncode == 130
    assert b"Traceback" not in errors
    assert not list(tmp_path.iterdir())
