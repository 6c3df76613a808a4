"""The non-reliable machine: at most once, fire and forget.

Theory of operation. The machine holds no message: one is offered to a box, and the box answers.

  Idle           ready for a message
  Dispatching    an offer is out; the box answers it exactly once, with `accepted` or `refused`
  Failover       the offer was refused: `proceed` takes the next candidate, or drops the message, in the same step
  Closed         takes everything, does nothing

`candidates` are those who may still be tried, the one with the offer first. A consumer that goes while its offer is out stays there until its box
has answered: nothing is offered twice on a guess. Exclusive tries the active consumer alone; shared tries each once, from the next in rotation on.
"""

from __future__ import annotations

from collections.abc import Callable

from .declaration import Shape, row
from .identity import Lost, Replaced
from .port import NonReliablePort
from .roster import RosterMachine
from .selection import Roster

STATES = IDLE, DISPATCHING, FAILOVER, CLOSED = ("Idle", "Dispatching", "Failover", "Closed")
OPEN = STATES[:-1]
STAYS = None
SHAPE = Shape(states=STATES, initial=IDLE, final=CLOSED, completion={FAILOVER: "proceed"})

TABLE = [
    row("message", IDLE, DISPATCHING, when=["anyone"], do=["line_up", "offer"]),
    row("message", IDLE, STAYS, do=["no_consumer"], why="an outcome, not an error of the publisher's"),
    row("accepted", DISPATCHING, IDLE, when=["offered"], do=["sent"]),
    row("accepted", OPEN, STAYS, why="late or foreign"),
    row("refused", DISPATCHING, FAILOVER, when=["offered"], do=["pass_over"]),
    row("refused", OPEN, STAYS, why="late or foreign"),
    row("proceed", FAILOVER, DISPATCHING, when=["another"], do=["offer"]),
    row("proceed", FAILOVER, IDLE, do=["drop"]),
    row("consumer_added", OPEN, STAYS, do=["join"]),
    row("consumer_lost", OPEN, STAYS, do=["leave", "strike"]),
    row("consumer_replaced", OPEN, STAYS, do=["replace", "strike"]),
    row("close", OPEN, CLOSED, do=["let_go"]),
    *(
        row(event, CLOSED, STAYS, why="under way when we closed")
        for event in ("message", "accepted", "refused", "consumer_added", "consumer_lost", "consumer_replaced", "close")
    ),
]

EXCLUSIVE_TABLE = [entry for entry in TABLE if "another" not in entry["conditions"]]
"""With one candidate there is never another."""


class NonReliable(RosterMachine):
    """What a non-reliable dispatcher holds and can do; when it does it is the table's word alone.

    Make one with `NON_RELIABLE_EXCLUSIVE.lean(port)`. What can be called is a trigger of the table.
    """

    __slots__ = ("candidates",)
    fields = ("state", "roster", "candidates")
    port: NonReliablePort

    # the triggers, made from the table
    message: Callable[[None], bool]
    accepted: Callable[[int], bool]
    refused: Callable[[int], bool]
    consumer_added: Callable[[int], bool]
    consumer_lost: Callable[[Lost], bool]
    consumer_replaced: Callable[[Replaced], bool]
    close: Callable[[None], bool]

    def __init__(self, port: NonReliablePort) -> None:
        super().__init__(port)
        self.state = IDLE
        self.candidates: Roster = ()

    # guards

    def offered(self, session: int) -> bool:
        return self.candidates[0] == session

    def another(self, _: object) -> bool:
        return self.candidates != ()

    # actions

    def line_up(self, _: object) -> None:
        self.candidates = self.roster[: self.selection.tries(self.roster)]

    def offer(self, _: object) -> None:
        self.port.offer(self.candidates[0])

    def sent(self, session: int) -> None:
        self.candidates = ()
        if session in self.roster:
            self.roster = self.selection.served(self.roster, session)
        self.port.sent(session)

    def pass_over(self, _: object) -> None:
        self.candidates = self.candidates[1:]

    def strike(self, gone: Lost | Replaced) -> None:
        self.candidates = self.candidates[:1] + tuple(session for session in self.candidates[1:] if session != gone.session)

    def drop(self, _: object) -> None:
        self.candidates = ()
        self.port.dropped()

    def no_consumer(self, _: object) -> None:
        self.port.no_consumer()

    def let_go(self, _: object) -> None:
        self.candidates = ()
