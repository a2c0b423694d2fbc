"""A signal without Qt: functions that are called when something has happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Callback = Callable[..., Any]


class Connection:
    """A callback, and what it has been told: the number of events, or the last state."""

    def __init__(self, callback: Callback) -> None:
        self.callback = callback
        self.events = 0
        self.state: str | None = None


class Signal:
    """Functions that a follower calls in its own thread. An exception of a function is logged, and the others are called.

    Functions that are equal are connected once each time connect() is called.
    """

    def __init__(self, start: Callable[[], None]) -> None:
        self._start = start
        self.connections: tuple[Connection, ...] = ()

    def connect(self, callback: Callback) -> None:
        """Call `callback` from now on. The first call of the follower starts its thread."""
        if not callable(callback):
            raise TypeError(f"{callback!r} cannot be called: connect a function")
        self.connections = (*self.connections, Connection(callback))
        self._start()

    def disconnect(self, callback: Callback | None = None) -> None:
        """Do not call `callback` any more; without one, call none. It may be running in the thread of the follower.

        Raises ValueError if it is not connected.
        """
        kept = tuple(one for one in self.connections if callback is not None and one.callback != callback)
        if callback is not None and len(kept) == len(self.connections):
            raise ValueError(f"{callback!r} is not connected")
        self.connections = kept
