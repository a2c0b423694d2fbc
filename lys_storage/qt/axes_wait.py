"""The wait of a complete scan for `save(axes)`, where no axes are known: half a second of the event loop at most."""

from __future__ import annotations

import weakref
from typing import cast

from .acquisition import Acquisition
from .binding import QtCore, Signal, Slot, is_deleted
from .saves import Saves
from .slots import ReportsErrors, guarded

AXES_WAIT_MS = 500
"""How long a complete scan waits for its axes, from the moment at which the event loop learns of it."""


class AxesWait(QtCore.QObject):
    """Emits `timedOut` half a second after begin(), in the thread of the storage, whose child it is.

    It finishes nothing itself. Without an event loop `timedOut` never comes, and the storage ends the wait at its next call.
    """

    #: The running scan has waited long enough.
    timedOut = Signal()
    #: Queued: a timer can be started only in its own thread, and only where an event loop runs. It carries no acquisition, as
    #: a script without an event loop would then keep each of them.
    _begun = Signal()

    def __init__(self, storage: QtCore.QObject, saves: Saves) -> None:
        super().__init__(storage)
        self._saves = saves
        self._timed: weakref.ref[Acquisition] | None = None
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(AXES_WAIT_MS)
        self._timer.timeout.connect(self._on_timeout)
        self._begun.connect(self._start_timer, QtCore.Qt.ConnectionType.QueuedConnection)  # type: ignore[call-arg]

    def begin(self, acquisition: Acquisition) -> None:
        """Have `acquisition` wait. In any thread; a second call has no effect."""
        if acquisition.awaits_axes:
            return
        acquisition.awaits_axes, acquisition.awaits_detector = True, False
        try:
            self._begun.emit()
        except RuntimeError:
            if not is_deleted(self):
                raise

    @Slot()
    @guarded
    def _start_timer(self) -> None:
        running = self._saves.running
        if running is not None and running.awaits_axes:
            self._timed = weakref.ref(running)
            self._timer.start()

    @Slot()
    @guarded
    def _on_timeout(self) -> None:
        running = self._saves.running
        if running is not None and self._timed is not None and running is self._timed():
            self.timedOut.emit()

    def _report_error(self, error: Exception) -> None:
        cast(ReportsErrors, self.parent())._report_error(error)
