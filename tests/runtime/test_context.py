"""Where an object may be used: on the loop, in the thread and in the process that opened it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from danube_dispatcher import Closed, Consumer, Dispatcher, Message, Subscription, SubscriptionEngine, Topic, WrongContext
from delivering import TOPIC, join

Opened = tuple[Topic, Subscription]

COROUTINES: dict[str, Callable[[Topic, Subscription], Coroutine[Any, Any, Any]]] = {
    "publish": lambda t, s: t.publish(b"x"),
    "publish_many": lambda t, s: t.publish_many([b"x"]),
    "subscribe": lambda t, s: t.subscribe("other"),
    "unsubscribe": lambda t, s: t.unsubscribe("s"),
    "subscriptions": lambda t, s: t.subscriptions(),
    "topic.release": lambda t, s: t.release("s", "drop"),
    "topic.close": lambda t, s: t.close(),
    "pause": lambda t, s: s.pause(),
    "resume": lambda t, s: s.resume(),
    "caught_up": lambda t, s: s.caught_up(),
    "drain": lambda t, s: s.drain(),
    "release": lambda t, s: s.release("drop"),
    "close": lambda t, s: s.close(),
    "consumer": lambda t, s: s.consumer("other").__aenter__(),
    "run": lambda t, s: s.run(print),
    "flush": lambda t, s: s.dispatcher.flush_progress(),
    "disconnect": lambda t, s: s.dispatcher.disconnect_all_consumers(),
    "ready": lambda t, s: s.dispatcher.ready(),
}


async def opened(url: str = "memory:") -> Opened:
    topic = await Topic.open(url, TOPIC)
    subscription = await topic.subscribe("s", type="failover")
    return topic, subscription


@pytest.mark.parametrize("name", COROUTINES)
def test_another_loop_is_told_so(name: str) -> None:
    with asyncio.Runner() as runner, asyncio.Runner() as other:
        topic, subscription = runner.run(opened())
        with pytest.raises(WrongContext, match="another event loop"):
            other.run(COROUTINES[name](topic, subscription))
        runner.run(topic.close())  # and it still works where it belongs


@pytest.mark.parametrize("name", COROUTINES)
def test_another_thread_is_told_so(name: str) -> None:
    errors: list[BaseException] = []

    def call() -> None:
        try:
            asyncio.run(COROUTINES[name](topic, subscription))
        except WrongContext as error:
            errors.append(error)

    with asyncio.Runner() as runner:
        topic, subscription = runner.run(opened())
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        (error,) = errors
        assert "another thread" in str(error)
        assert "call_soon_threadsafe" in str(error)
        runner.run(topic.close())


def test_without_a_running_loop_synchronous_calls_are_told_so() -> None:
    with asyncio.Runner() as runner:
        topic, subscription = runner.run(opened())
        dispatcher = subscription.dispatcher
        calls: list[Callable[[], object]] = [
            lambda: dispatcher.add_consumer(Consumer("x")),
            lambda: dispatcher.remove_consumer("x"),
            dispatcher.poll_and_dispatch,
            lambda: dispatcher.dispatch_message(Message(b"x")),
        ]
        for call in calls:
            with pytest.raises(WrongContext, match="another event loop"):
                call()
        runner.run(topic.close())


def test_an_engine_of_another_loops_topic_is_refused() -> None:
    async def serve(topic: Topic) -> None:
        await Dispatcher.reliable_exclusive(SubscriptionEngine(topic, "mine")).ready()

    with asyncio.Runner() as runner, asyncio.Runner() as other:
        topic, _ = runner.run(opened())
        with pytest.raises(WrongContext):
            other.run(serve(topic))
        runner.run(topic.close())


CHILD = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[1])
from test_context import COROUTINES
from danube_dispatcher import Topic, WrongContext

async def main():
    topic = await Topic.open(sys.argv[2], "/test/orders")
    subscription = await topic.subscribe("s", type="failover")
    await topic.publish(b"before")
    async with subscription.consumer("c") as consumer:
        pid = os.fork()
        if pid == 0:
            refused = 0
            for call in COROUTINES.values():
                try:
                    call(topic, subscription).send(None)  # the child has no running loop
                except WrongContext as error:
                    refused += "forked" in str(error)
            os._exit(0 if refused == len(COROUTINES) else 1)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0, "the child was not refused everything"
        assert await topic.publish(b"after") == 1
    await topic.close()
    again = await Topic.open(sys.argv[2], "/test/orders")
    print(again.head)
    await again.close()

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_child_of_a_fork_is_told_so_and_its_parent_goes_on(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(Path(__file__).parent), f"sqlite:{tmp_path}/s.db"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.strip() == "2"


async def test_an_engine_of_a_closed_topic_is_refused() -> None:
    topic, _ = await opened()
    await topic.close()
    with pytest.raises(Closed):
        SubscriptionEngine(topic, "mine")


async def test_in_its_own_place_it_works() -> None:
    topic, subscription = await opened()
    await join(subscription, "c")
    assert await topic.publish(b"x") == 0
    await topic.close()
