"""Danube's four dispatchers as declared state machines: pure, synchronous, without a clock and without I/O.

Events go in, effects come out on a port. The same declaration is executed, drawn and explored.
"""

from .coupling import Coupling
from .declaration import Declaration, LeanEvent, Row, RowSpec, row
from .engine import FLUSH_INTERVAL, FLUSH_MESSAGES, LATER, EngineCore, Later, Refusal, Resumed, backoff
from .errors import DanubeError, DefinitionError, IllegalEvent, InvalidArgument
from .identity import DeliveryId, Extend, Lost, Nack, Replaced
from .non_reliable import NonReliable
from .policy import FailurePolicy, PoisonPolicy
from .port import NonReliablePort, Recorder, ReliablePort, RosterPort, Settlement, Stale
from .progress import Held, Progress, advanced
from .reliable import AWAITING_ACK, BLOCKED, CLOSED, DEAD_LETTERING, DISPATCHING, FAILOVER, IDLE, REDELIVERING, Reliable
from .roster import RosterMachine
from .selection import Roster, RoundRobin, Selection, SingleActive
from .variants import (
    NON_RELIABLE_EXCLUSIVE,
    NON_RELIABLE_SHARED,
    RELIABLE_EXCLUSIVE,
    RELIABLE_SHARED,
    VARIANTS,
    declare_non_reliable,
    declare_reliable,
)

__all__ = [
    "AWAITING_ACK",
    "BLOCKED",
    "CLOSED",
    "DEAD_LETTERING",
    "DISPATCHING",
    "FAILOVER",
    "FLUSH_INTERVAL",
    "FLUSH_MESSAGES",
    "IDLE",
    "LATER",
    "NON_RELIABLE_EXCLUSIVE",
    "NON_RELIABLE_SHARED",
    "REDELIVERING",
    "RELIABLE_EXCLUSIVE",
    "RELIABLE_SHARED",
    "VARIANTS",
    "Coupling",
    "DanubeError",
    "Declaration",
    "DefinitionError",
    "DeliveryId",
    "EngineCore",
    "Extend",
    "FailurePolicy",
    "Held",
    "IllegalEvent",
    "InvalidArgument",
    "Later",
    "LeanEvent",
    "Lost",
    "Nack",
    "NonReliable",
    "NonReliablePort",
    "PoisonPolicy",
    "Progress",
    "Recorder",
    "Refusal",
    "Reliable",
    "ReliablePort",
    "Replaced",
    "Resumed",
    "Roster",
    "RosterMachine",
    "RosterPort",
    "RoundRobin",
    "Row",
    "RowSpec",
    "Selection",
    "Settlement",
    "SingleActive",
    "Stale",
    "advanced",
    "backoff",
    "declare_non_reliable",
    "declare_reliable",
    "row",
]
