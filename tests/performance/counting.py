"""What Python does while messages pass: which functions are called, and how many instructions are executed. Exact, and the same on every machine.

Counted is what the two packages do: their own functions (among them the events that the declarations write out), and whatever these call, but not
what goes on in there; the event loop, the tests and SQLite have their own ways. A coroutine that goes on is called again. Other threads are not seen.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from types import FrameType
from typing import Any, Protocol, Self

WARM = 1_024
"""Messages that pass before the count begins: by then every consumer takes as many in a row as it ever will."""
MESSAGES = 1_024
"""Messages that are counted: a multiple of everything that comes once in so many of them, a turn of the loop or a batch that is read."""

EVENTS = "events"
"""Stands for the module of the functions that the declarations write out, which have none."""
COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>")
"""Functions in Python 3.11, and no longer in 3.12."""
OURS = ("danube_statemachines", "danube_dispatcher", "namedtuple_", EVENTS)


class Probe(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


class Window:
    """Opens for `MESSAGES` messages once `WARM` have passed; whoever moves messages says so of each."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._passed = 0

    @property
    def over(self) -> bool:
        return self._passed >= WARM + MESSAGES

    def passed(self) -> None:
        self._passed += 1
        if self._passed == WARM:
            self._probe.start()
        elif self._passed == WARM + MESSAGES:
            self._probe.stop()


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", EVENTS))


def _ours(frame: FrameType) -> bool:
    module = _module(frame)
    return module.startswith(OURS) and module != "danube_dispatcher.virtual_time"


class Calls:
    """Calls by the name of the function."""

    def __init__(self) -> None:
        self._counts = Counter[str]()
        self._before = sys.getprofile()

    def start(self) -> None:
        sys.setprofile(self._note)

    def stop(self) -> None:
        sys.setprofile(self._before)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def ours(self) -> dict[str, int]:
        """Those of functions of the two packages, but for what a virtual loop asks as often as it happens to wait for a thread."""
        return {name: number for name, number in self._counts.items() if name.startswith("danube_") and not name.endswith(".outstanding")}

    @property
    def each(self) -> dict[str, Fraction]:
        """Per message."""
        return {name: Fraction(number, MESSAGES) for name, number in sorted(self._counts.items())}

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            name = frame.f_code.co_qualname
            if not name.endswith(COMPREHENSIONS) and (_ours(frame) or (frame.f_back is not None and _ours(frame.f_back))):
                self._counts[f"{_module(frame)}.{name}"] += 1
        elif event == "c_call" and _ours(frame):
            self._counts[argument.__qualname__] += 1


class Instructions:
    """Instructions of the interpreter."""

    def __init__(self) -> None:
        self._count = 0
        self._before = sys.gettrace()

    def start(self) -> None:
        sys.settrace(self._enter)

    def stop(self) -> None:
        sys.settrace(self._before)

    @property
    def each(self) -> Fraction:
        """Per message."""
        return Fraction(self._count, MESSAGES)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if not _ours(frame):
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._note

    def _note(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        self._count += event == "opcode"
        return self._note
