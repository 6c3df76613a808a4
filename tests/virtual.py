"""The virtual event loop, under the name by which the tests know it."""

from danube_dispatcher.virtual_time import Deadlock, VirtualLoop, advance

__all__ = ["Deadlock", "VirtualLoop", "advance"]
