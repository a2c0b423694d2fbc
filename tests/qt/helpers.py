"""Helpers for storages: a log of their signals, and waiting for the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lys_storage.qt import QtCore
from tests.qt.detector import DEADLINE_S, DIRECT


@dataclass
class Emission:
    name: str
    args: tuple[Any, ...]
    thread: int


class Log(list[Emission]):
    """All emissions of the signals, in order, as seen in the emitting thread."""

    def listen(self, **signals: Any) -> Log:
        for name, signal in signals.items():

            def slot(*args: Any, name: str = name) -> None:
                self.append(Emission(name, args, threading.get_ident()))

            signal.connect(slot, DIRECT)
        return self

    def args(self, name: str) -> list[tuple[Any, ...]]:
        return [emission.args for emission in self if emission.name == name]

    def names(self) -> list[str]:
        return [emission.name for emission in self]


STORAGE_SIGNALS = ("savingStateChanged", "tagRequest", "numberChanged", "saved", "failed", "frameWritten")


def listen_to(storage: Any) -> Log:
    """A log of all signals of a storage."""
    return Log().listen(**{name: getattr(storage, name) for name in STORAGE_SIGNALS})


def wait_until(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Handle events until `condition` is true. Fails at the deadline."""
    loop = QtCore.QEventLoop()
    poll = QtCore.QTimer()
    poll.timeout.connect(lambda: loop.quit() if condition() or time.monotonic() > end else None)
    end = time.monotonic() + deadline_s
    if not condition():
        poll.start(2)
        loop.exec()
        poll.stop()
    assert condition(), "the deadline has passed"


def wait_saved(storage: Any) -> None:
    """Wait in the event loop, as an application does."""
    wait_until(lambda: not storage.saving)
