"""How to watch a dispatcher from inside: every transition and every effect, in order.

A machine that nobody watches does not know that it could be: it runs as another class, to which an observer's coming and going changes it
(`Declaration.lean`, `Declaration.observed`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from danube_statemachines import NonReliablePort, ReliablePort

log = logging.getLogger(__package__)


class Observer(Protocol):
    """Given at construction, or to `Dispatcher.add_observer`; called in the dispatcher's own stack. It may not call back into the dispatcher, but for
    `status` and `explain`; what it raises is logged.
    """

    def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
        """A row was taken, `danube_statemachines.VARIANTS[machine].table[row]`; its effects follow."""
        ...

    def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
        """The machine asked for an effect (danube_statemachines.port lists them). Arguments carry no payloads."""
        ...


class ObservedPort:
    """Stands between an observed machine and its port. `observing` is true while an observer runs."""

    def __init__(self, machine: str, port: ReliablePort | NonReliablePort) -> None:
        self._machine = machine
        self._port = port
        self.observers: tuple[Observer, ...] = ()
        self.observing = False

    def __getattr__(self, name: str) -> Callable[..., None]:
        carry_out: Callable[..., None] = getattr(self._port, name)

        def effect(*arguments: Any) -> None:
            self._tell([observer.effect for observer in self.observers], self._machine, name, arguments)
            carry_out(*arguments)

        self.__dict__[name] = effect
        return effect

    def transition(self, trigger: str, source: str, dest: str, row: int) -> None:
        self._tell([observer.transition for observer in self.observers], self._machine, source, trigger, dest, row)

    def _tell(self, calls: Sequence[Callable[..., None]], *arguments: Any) -> None:
        self.observing = True
        try:
            for call in calls:
                try:
                    call(*arguments)
                except Exception:
                    log.exception("an observer of %s failed", self._machine)
        finally:
            self.observing = False
