"""The page: what it watches, and where it is."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from itertools import count
from typing import Self

from danube_statemachines import VARIANTS
from danube_statemachines.checks import count as whole_number

from ..context import Closable
from ..diagrams import render
from ..dispatcher import Dispatcher
from ..errors import Closed, UsageError
from ..subscription import Subscription
from ..validation import check_kind
from .feed import Feed, Watched
from .server import File, Server

MOST_WATCHED = 32
TYPES = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
STYLE = re.compile("<style>(.*?)</style>", re.DOTALL)


class LivePage(Closable):
    """A page in the browser that shows dispatchers at work: each as its own picture, the current state lit, the transition just taken flashing, with
    its counts, its story of the last steps, and the sentence of `explain()`.

        async with await LivePage.open() as page:
            page.watch(subscription)
            print(page.url)

    It is served to this machine only (127.0.0.1), and can be read only. It shows names, offsets and reasons of failures, and no payloads. While nobody
    looks at it, nothing is paid for it: a dispatcher is observed as long as a browser shows the page.
    """

    def __init__(self, server: Server, feed: Feed, url: str) -> None:
        """Use `LivePage.open`."""
        super().__init__("the live page")
        self.url = url
        self._server = server
        self._feed = feed
        self._keys = count(1)

    @classmethod
    async def open(cls, *, port: int = 0) -> Self:
        """Draw the machines and listen on a port of 127.0.0.1; 0 takes a free one.

        Drawing blocks the event loop for some tenths of a second, once in a process. Raises InvalidArgument, and UsageError when the port is taken or
        the extra `diagrams` is not installed.
        """
        port = whole_number("port", port, least=0, most=65535)
        feed = Feed()
        server = Server(_files(), feed)
        return cls(server, feed, await server.start(port))

    def __repr__(self) -> str:
        return f"<live page {self.url}>"

    def watch(self, watched: Subscription | Dispatcher, *, name: str | None = None) -> None:
        """Show it, under this name or its own, until it is unwatched or the page closes. A dispatcher is shown once.

        Raises InvalidArgument, Closed, and UsageError when it is not open yet or the page shows 32 already.
        """
        self._check()
        dispatcher = _dispatcher(watched)
        if name is not None:
            check_kind("name", name, str)
        if self._find(dispatcher) is not None:
            return
        if len(self._feed.watched) == MOST_WATCHED:
            raise UsageError(f"the live page shows {MOST_WATCHED} dispatchers at most; unwatch one, or open another page")
        own = f"{watched.topic} {watched.name}" if isinstance(watched, Subscription) else f"{dispatcher.type} dispatcher"
        self._feed.add(Watched(next(self._keys), own if name is None else name, dispatcher))

    def unwatch(self, watched: Subscription | Dispatcher) -> None:
        """Show it no more. Harmless when it is not shown."""
        self._check()
        found = self._find(_dispatcher(watched))
        if found is not None:
            self._feed.remove(found)

    async def close(self) -> None:
        """Hang up, and watch nothing any more. Again is harmless."""
        await super().close()

    async def _close(self) -> None:
        await self._server.close()
        self._feed.watched.clear()

    def _check(self) -> None:
        self._context.check()
        if self._closing is not None:
            raise Closed("the live page is closed; open it again")

    def _find(self, dispatcher: Dispatcher) -> Watched | None:
        return next((each for each in self._feed.watched.values() if each.dispatcher is dispatcher), None)


def _dispatcher(watched: Subscription | Dispatcher) -> Dispatcher:
    return watched.dispatcher if isinstance(watched, Subscription) else check_kind("watched", watched, Dispatcher)


@cache
def _files() -> dict[str, File]:
    """All there is to get, by path. The pictures' own style is a file of its own: the page takes no style from anywhere else."""
    assets = {
        f"/{asset.name}": File(TYPES[asset.name.rpartition(".")[2]], asset.read_bytes())
        for asset in files("danube_dispatcher.live").joinpath("assets").iterdir()
    }
    assets["/"] = assets.pop("/live.html")
    pictures = {name: render(machine, "svg").decode() for name, machine in VARIANTS.items()}
    styles = dict.fromkeys(style for picture in pictures.values() for style in STYLE.findall(picture))
    assets["/machines.css"] = File(TYPES["css"], "\n".join(styles).encode())
    return assets | {f"/{name}.svg": File(TYPES["svg"], STYLE.sub("", picture).encode()) for name, picture in pictures.items()}
