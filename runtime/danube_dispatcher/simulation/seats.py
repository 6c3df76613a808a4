"""Who is attached to a subscription in one process, in which order, and whose turn it is; as the history tells it."""

from __future__ import annotations

from collections import deque

from .rules import Broken


class Seats:
    def __init__(self, subject: str, type: str, *, fair: bool = True) -> None:
        """`fair`: whoever waits is served in its turn."""
        self._fair = fair and type == "shared"
        self._subject = subject
        self._type = type
        self._names: dict[int, str] = {}
        """By number; the order is that of the seats."""
        self._waits: dict[int, tuple[int, int]] = {}
        """Line and time since which a consumer waits."""
        self._takes: dict[int, deque[int]] = {}
        """Lines of its last two takes."""

    def __contains__(self, number: int) -> bool:
        return number in self._names

    def join(self, number: int, name: str) -> None:
        """Under an attached name it takes that seat."""
        if name in self._names.values():
            self._names = {number if each == name else other: each for other, each in self._names.items()}
        elif not self._names or self._type != "exclusive":  # otherwise it will be refused
            self._names[number] = name

    def leave(self, number: int) -> None:
        for book in (self._names, self._waits, self._takes):
            book.pop(number, None)

    def clear(self) -> None:
        self._names.clear()

    def wait(self, number: int, line: int, time: int) -> None:
        self._waits[number] = line, time

    def take(self, number: int, line: int, time: int, offset: int) -> bool:
        """A consumer takes a delivery; whether it had waited for it, so that it was sent just now."""
        if number not in self._names:
            raise Broken("single in flight", f"consumer {number} took it and is not attached", self._subject, offset)
        if self._type != "shared":
            active = next(iter(self._names))
            if number != active:
                raise Broken("active consumer", f"it went to consumer {number}, but {active} is active", self._subject, offset)
        since = self._waits.pop(number, (line, time))[1]
        takes = self._takes.setdefault(number, deque(maxlen=2))
        if self._fair and len(takes) == 2:
            # all that was sent to this one since its last but one take found the other waiting before it
            passed = [other for other in self._names if other in self._waits and self._waits[other][0] < takes[0]]
            if passed:
                raise Broken("fair rotation", f"consumer {number} was served three times while {passed[0]} waited", self._subject, offset)
        takes.append(line)
        return since < time
