"""Who gets the next message: a pure value that a machine is given.

The roster is the tuple of attached sessions, and its order is the only rotation state: its first is next.
"""

from __future__ import annotations

from typing import Protocol

Roster = tuple[int, ...]
"""Sessions of attached consumers; the first is next."""


class Selection(Protocol):
    """A rule of selection. Write your own to change who is served; the machines ask nothing else of it. It remembers nothing, and goes by the places of
    the sessions in the roster alone: exploring a machine makes sure of both.
    """

    name: str
    """As in the machine's name."""
    announces: bool
    """Whether the first of the roster is *the* active consumer, so that a change of it is announced."""

    def tries(self, roster: Roster) -> int:
        """How many of the roster, from its first on, may be offered a message that nobody took yet; at least one, if there is one."""
        ...

    def served(self, roster: Roster, session: int) -> Roster:
        """The order after `session` was given a message."""
        ...


class SingleActive:
    """Exclusive: the roster is the order of arrival and its first is active. Nobody is pre-empted."""

    name = "exclusive"
    announces = True

    @staticmethod
    def tries(roster: Roster) -> int:
        return 1 if roster else 0

    @staticmethod
    def served(roster: Roster, session: int) -> Roster:
        return roster


class RoundRobin:
    """Shared: the roster is the order of service and who was served goes to the end. Being skipped or somebody's leaving costs nobody a turn."""

    name = "shared"
    announces = False

    @staticmethod
    def tries(roster: Roster) -> int:
        return len(roster)

    @staticmethod
    def served(roster: Roster, session: int) -> Roster:
        if roster[0] == session:
            return roster[1:] + (session,)
        return (*(s for s in roster if s != session), session)
