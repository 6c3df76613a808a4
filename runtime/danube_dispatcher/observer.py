"""How to watch a dispatcher from inside: every transition and every effect, in order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from danube_statemachines import NonReliablePort, ReliablePort

log = logging.getLogger(__package__)


class Observer(Protocol):
    """Given at construction, called in the dispatcher's own stack. It may not call back into the dispatcher; what it raises is logged."""

    def transition(self, machine: str, source: str, trigger: str, dest: str, row: int) -> None:
        """A row was taken, `danube_statemachines.VARIANTS[machine].table[row]`; its effects follow."""
        ...

    def effect(self, machine: str, name: str, arguments: tuple[object, ...]) -> None:
        """The machine asked for an effect (danube_statemachines.port lists them). Arguments carry no payloads."""
        ...


class ObservedPort:
    """Stands between an observed machine and its port. `observing` is true while an observer runs."""

    def __init__(self, machine: str, port: ReliablePort | NonReliablePort, observer: Observer) -> None:
        self._machine = machine
        self._port = port
        self._observer = observer
        self.observing = False

    def __getattr__(self, name: str) -> Callable[..., None]:
        carry_out: Callable[..., None] = getattr(self._port, name)

        def effect(*arguments: Any) -> None:
            self._tell(self._observer.effect, self._machine, name, arguments)
            carry_out(*arguments)

        self.__dict__[name] = effect
        return effect

    def transition(self, trigger: str, source: str, dest: str, row: int) -> None:
        self._tell(self._observer.transition, self._machine, source, trigger, dest, row)

    def _tell(self, call: Callable[..., None], *arguments: Any) -> None:
        self.observing = True
        try:
            call(*arguments)
        except Exception:
            log.exception("an observer of %s failed", self._machine)
        finally:
            self.observing = False
