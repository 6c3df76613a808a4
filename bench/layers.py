"""Where the time of one acknowledged message goes: each layer of its path run alone, beside the whole: `python -m bench.layers`.

No profiler: it would charge for each call, and calls are what there is to see. What a layer calls is replaced by something that does nothing, and the
loop that repeats it is taken off. The whole is measured in the same rounds. What the layers do not explain is *the rest*: the adapter's own step between
them, the answer's coroutine, and whatever runs slower in company than alone.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from fractions import Fraction
from html import escape
from itertools import cycle, takewhile
from pathlib import Path
from sqlite3 import connect

from danube_dispatcher import Consumer, Delivery, Message, Topic
from danube_dispatcher.storage.protocols import READ_BYTES, READ_MESSAGES, Batch, TopicLog
from danube_dispatcher.storage.sqlite.codec import decode
from danube_dispatcher.storage.sqlite.log import SqliteLog
from danube_statemachines import (
    RELIABLE_EXCLUSIVE,
    RELIABLE_SHARED,
    Declaration,
    DeliveryId,
    EngineCore,
    FailurePolicy,
    Progress,
    Recorder,
    Reliable,
    Settlement,
)

from .ours import EXCLUSIVE_MEMORY, EXCLUSIVE_SQLITE, NAMES, SHARED_MEMORY, drain
from .report import number, put, table
from .rows import Row, study
from .scenarios import PAYLOAD

ROOT = Path(__file__).parents[1]
PAGE, PICTURE, RECORD = ROOT / "docs" / "speed.md", ROOT / "docs" / "speed.svg", ROOT / "tests" / "performance" / "record.json"
BEGIN, END = "<!-- begin: layers -->", "<!-- end: layers -->"
MESSAGES, QUICK_MESSAGES = 20_000, 5_000
"""Of a round."""
ROUNDS, QUICK_ROUNDS = 15, 7
CONSUMERS = 4
"""Of a shared subscription."""

LOOP, SWITCH, CLOCK, MACHINE, CORE, DELIVERY, READ, DECODE, REST = LAYERS = (
    "the consumer's loop and `await ack()`",
    "the switch to another task",
    "the clock, read once a step",
    "the machine: ack, polled",
    "the engine's core: settle, poll",
    "making the Delivery",
    "reading the log, 256 messages at a time",
    "checking and decoding a row",
    "the rest: the adapter's step",
)
PATHS = (EXCLUSIVE_MEMORY, EXCLUSIVE_SQLITE, SHARED_MEMORY)
Split = Mapping[str, float]
"""Nanoseconds of CPU a message, by layer."""


class Place:
    """What the layers are measured on: a topic of each store with as many messages as a round passes."""

    def __init__(self, messages: int, topics: Mapping[str, Topic], file: Path) -> None:
        self.messages = messages
        self.topics = topics
        self.file = file
        self.seconds = 0.0

    @contextmanager
    def timed(self) -> Generator[None]:
        began = time.process_time()
        yield
        self.seconds = time.process_time() - began


class Answers:
    """Answers an ack with the next delivery, in the next box, and does nothing else."""

    def __init__(self, boxes: Sequence[Consumer], messages: int) -> None:
        self.left = messages
        self._all = boxes
        self._boxes = cycle(boxes)
        self._delivery = Delivery(Message(PAYLOAD), (0, 1, 0, 1), self)
        for box in boxes:
            box.session = 1
        next(self._boxes).put(self._delivery)

    async def ack_message(self, delivery: DeliveryId) -> bool:
        self.left -= 1
        if self.left:
            next(self._boxes).put(self._delivery)
        else:
            for box in self._all:
                box.end()
        return True

    async def nack_message(self, delivery: DeliveryId, delay: float, reason: str) -> bool:
        return False

    def extend_message(self, delivery: DeliveryId, seconds: float) -> bool:
        return False

    def is_open(self, delivery: DeliveryId) -> bool:
        return True


class Nothing(Recorder):
    """A port whose effects on the path of a message do nothing."""

    def poll(self) -> None:
        pass

    def send(self, delivery: DeliveryId) -> None:
        pass

    def settle(self, offset: int, outcome: Settlement) -> None:
        pass


# each runs its layer once for each message, and says how many it has passed


async def nothing(place: Place) -> int:
    """The loop that repeats the others."""
    with place.timed():
        for _ in range(place.messages):
            pass
    return place.messages


async def consuming(place: Place, consumers: int) -> int:
    boxes = [Consumer(f"c{nth}") for nth in range(consumers)]
    Answers(boxes, place.messages)  # it puts the first delivery into a box

    async def work(box: Consumer) -> int:
        passed = 0
        async for delivery in box:
            passed += await delivery.ack()
        return passed

    with place.timed():
        passed = await asyncio.gather(*map(work, boxes))
    return sum(passed)


async def clock(place: Place) -> int:
    read = asyncio.get_running_loop().time
    with place.timed():
        for _ in range(place.messages):
            read()
    return place.messages


async def machine(place: Place, declaration: Declaration[Reliable], consumers: int) -> int:
    run = declaration.lean(Nothing(), FailurePolicy())
    for session in range(1, consumers + 1):
        run.consumer_added(session)
    run.polled(0)
    with place.timed():
        for offset in range(1, place.messages + 1):
            assert run.delivery is not None
            run.ack(run.delivery)
            run.polled(offset)
    assert run.offset is not None
    return run.offset


async def core(place: Place) -> int:
    rules = EngineCore[Message](Progress(-1), now=0.0, lease_until=float("inf"))
    log, start = place.topics["memory:"].hub.log, 0
    batches: list[Batch] = []
    while start < place.messages:
        batches.append(await _read(log, start))
        start = batches[-1].next_offset
    with place.timed():
        for batch in batches:
            rules.read_begun()
            rules.read_done(*batch, 0.0)
            for _ in batch.messages:
                if rules.plain and rules.buffer:  # as `Coupling.catch_up` does it
                    message = rules.buffer.popleft()
                    rules.settle(message.offset, 0.0)
                if rules.attention:
                    rules.attention = False
                    rules.take_news()
                    if rules.begin_write(0.0):
                        rules.write_done(0.0)
    return rules.cursor + 1


async def making(place: Place) -> int:
    message, id_, answers = Message(PAYLOAD), (0, 1, 0, 1), Answers([Consumer("c")], 1)
    with place.timed():
        for _ in range(place.messages):
            Delivery(message, id_, answers)
    return place.messages


async def reading(place: Place, scheme: str) -> int:
    log, start = place.topics[scheme].hub.log, 0
    with place.timed():
        while start < place.messages:
            _, start = await _read(log, start)
    return start


async def decoding(place: Place) -> int:
    """What reading from SQLite does with the rows."""
    log, passed = place.topics["sqlite:"].hub.log, 0
    assert isinstance(log, SqliteLog)
    with closing(connect(place.file)) as reader:
        bodies = reader.execute("SELECT body FROM messages ORDER BY id").fetchall()
    with place.timed():
        while passed < place.messages:
            rows = bodies[passed : passed + READ_MESSAGES]
            passed += len(decode(log.seed, log.topic, range(passed, passed + len(rows)), rows, READ_BYTES, _not_left_out))
    return passed


def _not_left_out(offset: int) -> bytes:
    raise AssertionError("each body is short enough to come with the others")


async def _read(log: TopicLog, start: int) -> Batch:
    answer = log.read(start)
    return answer if isinstance(answer, Batch) else await answer


async def whole(place: Place, scheme: str, type: str, consumers: int) -> int:
    topic, subscription = place.topics[scheme], f"s{next(NAMES)}"
    async with await topic.subscribe(subscription, type=type, start="earliest") as opened:
        result = await drain(opened, consumers, place.messages)
    await topic.unsubscribe(subscription)
    place.seconds = result.cpu
    return result.messages


PROBES: dict[str, Callable[[Place], Awaitable[int]]] = {
    "nothing": nothing,
    "consumer": lambda place: consuming(place, 1),
    "consumers": lambda place: consuming(place, CONSUMERS),
    "clock": clock,
    "machine, exclusive": lambda place: machine(place, RELIABLE_EXCLUSIVE, 1),
    "machine, shared": lambda place: machine(place, RELIABLE_SHARED, CONSUMERS),
    "core": core,
    "delivery": making,
    "read memory:": lambda place: reading(place, "memory:"),
    "read sqlite:": lambda place: reading(place, "sqlite:"),
    "decode": decoding,
    EXCLUSIVE_MEMORY: lambda place: whole(place, "memory:", "exclusive", 1),
    EXCLUSIVE_SQLITE: lambda place: whole(place, "sqlite:", "exclusive", 1),
    SHARED_MEMORY: lambda place: whole(place, "memory:", "shared", CONSUMERS),
}


@asynccontextmanager
async def opened(messages: int) -> AsyncGenerator[Place]:
    """A place with a backlog in each store."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "layers.db")
        async with await Topic.open("memory:", f"/bench/t{next(NAMES)}") as memory, await Topic.open(f"sqlite:{file}", "/bench/t") as sqlite:
            for topic in (memory, sqlite):
                await topic.publish_many([PAYLOAD] * messages)
            yield Place(messages, {"memory:": memory, "sqlite:": sqlite}, file)


async def rounds(messages: int, number: int) -> dict[str, float]:
    """The best of interleaved rounds of each, after one that does not count: nanoseconds of CPU a message."""
    best = dict.fromkeys(PROBES, float("inf"))
    async with opened(messages) as place:
        for nth in range(number + 1):
            for name, probe in PROBES.items():
                gc.collect()
                passed = await probe(place)
                if passed < messages:
                    raise RuntimeError(f"{name}: {passed} messages passed, not {messages}")
                if nth:
                    best[name] = min(best[name], 1e9 * place.seconds / messages)
    return best


def split(best: Mapping[str, float]) -> dict[str, Split]:
    """By path, all of its layers; their sum is the whole."""
    alone = {name: best[name] - best["nothing"] for name in ("clock", "machine, exclusive", "machine, shared", "core", "delivery")}
    found: dict[str, Split] = {}
    for path in PATHS:
        shared = path == SHARED_MEMORY
        layers = {
            LOOP: best["consumer"],
            SWITCH: best["consumers"] - best["consumer"] if shared else 0.0,
            CLOCK: alone["clock"],
            MACHINE: alone["machine, shared" if shared else "machine, exclusive"],
            CORE: alone["core"],
            DELIVERY: alone["delivery"],
            READ: best["read sqlite:"] - best["decode"] if path == EXCLUSIVE_SQLITE else best["read memory:"],
            DECODE: best["decode"] if path == EXCLUSIVE_SQLITE else 0.0,
        }
        found[path] = {**layers, REST: best[path] - sum(layers.values())}
    return found


def measured(quick: bool) -> dict[str, Split]:
    return split(asyncio.run(rounds(QUICK_MESSAGES, QUICK_ROUNDS) if quick else rounds(MESSAGES, ROUNDS)))


def measure(quick: bool) -> list[Row]:
    how = f"of CPU a message, best of {QUICK_ROUNDS if quick else ROUNDS} interleaved rounds"
    return [
        Row(f"{path}, {name.replace('`', '')}", value, "ns", f"{value / sum(layers.values()):.0%} of {sum(layers.values()):,.0f} ns {how}")
        for path, layers in measured(quick).items()
        for name, value in layers.items()
        if value
    ]


def calls() -> dict[str, Counter[str]]:
    """Calls a message by path and module, from the record that the tests hold the code to."""
    found: dict[str, Counter[str]] = {}
    for path, entry in json.loads(RECORD.read_text(encoding="utf-8")).items():
        found[path] = Counter()
        for name, each in entry["functions"].items():
            found[path][_module(name)] += float(Fraction(each))  # type: ignore[assignment]
    return found


def _module(function: str) -> str:
    if not function.startswith("danube_"):
        return "generated events" if function.startswith("events.") else "built in"
    return ".".join(takewhile(str.islower, function.split(".")[:-1])).replace("danube_", "", 1)


# the page


def tables(splits: Mapping[str, Split]) -> str:
    """In Markdown."""
    sums = {path: sum(layers.values()) for path, layers in splits.items()}
    rows = [[name, *(f"{layers[name]:,.0f} ({layers[name] / sums[path]:.0%})" if layers[name] else "–" for path, layers in splits.items())] for name in LAYERS]
    time_ = table(("what", *splits), [*rows, ["the whole, ns", *(number(each) for each in sums.values())]])
    counts = {path: by for path, by in calls().items() if path.startswith("reliable")}
    modules = sorted({name for by in counts.values() for name in by}, key=lambda name: -max(by[name] for by in counts.values()))
    cells = [[name, *(f"{by[name]:.2f}" if by[name] else "–" for by in counts.values())] for name in modules]
    return f"{time_}\n\nCalls a message, by module; exact, from tests/performance/record.json:\n\n{table(('what', *counts), cells)}"


WIDTH, NAME, RIGHT, BAR, TOP, LINE = 960, 210, 70, 30, 44, 52
COLOURS = ("#0a7ea4", "#5b4bb5", "#6e7781", "#1a7f5a", "#7a9a2e", "#b7791f", "#b4532a", "#9c3d6e", "#59636e")
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f } .title { font-size: 14px; font-weight: 600 } .in { fill: #fff }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .in { fill: #fff } }"""


def svg(splits: Mapping[str, Split]) -> str:
    """A bar for each path, its layers side by side; one that took no time of its own, or less than none, has no width."""
    longest = max(sum(max(value, 0.0) for value in layers.values()) for layers in splits.values())
    scale, drawn, y = (WIDTH - NAME - RIGHT) / longest, list[str](), TOP
    for path, layers in splits.items():
        drawn.append(f'<text x="{NAME - 8}" y="{y + 19}" text-anchor="end">{escape(path)}</text>')
        x = float(NAME)
        for name, colour in zip(LAYERS, COLOURS, strict=True):
            width = max(layers[name], 0.0) * scale
            words = escape(f"{name.replace('`', '')}: {layers[name]:,.0f} ns")
            drawn.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"><title>{words}</title></rect>')
            if width > 28:
                drawn.append(f'<text class="in" x="{x + width / 2:.1f}" y="{y + 19}" text-anchor="middle">{layers[name]:,.0f}</text>')
            x += width
        drawn.append(f'<text x="{x + 6:.1f}" y="{y + 19}">{sum(layers.values()):,.0f} ns</text>')
        y += LINE
    for nth, (name, colour) in enumerate(zip(LAYERS, COLOURS, strict=True)):
        left, top = 16 + 460 * (nth % 2), y + 20 * (nth // 2)
        drawn.append(
            f'<rect x="{left}" y="{top}" width="12" height="12" fill="{colour}"/><text x="{left + 18}" y="{top + 10}">{escape(name.replace("`", ""))}</text>'
        )
    height = y + 20 * ((len(LAYERS) + 1) // 2) + 8
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Where the time of one message goes">',
            f"<style>{STYLE}\n</style>",
            '<text class="title" x="8" y="22">Where the time of one acknowledged message goes: nanoseconds of CPU</text>',
            *drawn,
            "</svg>\n",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the time of one message goes: prints it, and writes docs/speed.svg and the tables of docs/speed.md.")
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    splits = measured(quick)
    page = tables(splits)
    print(page)
    PICTURE.write_text(svg(splits), encoding="utf-8")
    put(PAGE, page, BEGIN, END)


if __name__ == "__main__":
    study(measure) if "--json" in sys.argv else main()
