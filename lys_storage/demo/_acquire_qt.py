"""The scan of the demo as in a laboratory: a detector's acquisition thread, a DataStorage, a Qt event loop.

Importing it loads Qt, and raises BindingError if that fails.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from ..qt import DataStorage, QtCore
from ._acquire import NAME, Interrupt, Outcome
from ._detector import SimulatedDetector
from ._progress import Meter
from ._simulation import SimulatedMeasurement

_TICK_MS = 100


def acquire_with_qt(
    measurement: SimulatedMeasurement, folder: Path, rate: float | None, console: Console, interrupt: Interrupt
) -> Outcome:
    """Store all frames with a DataStorage. Frames before an interrupt or an error are saved."""
    application = QtCore.QCoreApplication.instance() or QtCore.QCoreApplication(sys.argv[:1])
    storage = DataStorage(base=str(folder.parent), folder=folder.name, name=NAME, dtype=measurement.dtype)
    detector = SimulatedDetector(measurement, rate)
    try:
        with Meter(console, "scanning", measurement.frame_count, measurement.frame_bytes) as meter:
            session = _Session(storage, detector, measurement.note, meter, interrupt)
            session.run()
    finally:
        detector.stop()
        storage.close()
    del application  # not earlier: without an application no queued signal arrives
    if session.error is not None:
        raise session.error
    return session.outcome


def _kept(slot: Callable[..., None]) -> Callable[..., None]:
    """Keep the exception of a slot for the caller of run(): an exception that leaves a slot ends the process."""

    @functools.wraps(slot)
    def kept(self: _Session, *args: Any) -> None:
        try:
            slot(self, *args)
        except Exception as error:
            self.error = self.error or error
            self._loop.quit()

    return kept


class _Session(QtCore.QObject):
    """One acquisition, from the start to the end of the last save. Its slots run in the thread of the event loop."""

    def __init__(
        self,
        storage: DataStorage,
        detector: SimulatedDetector,
        note: dict[str, Any],
        meter: Meter,
        interrupt: Interrupt,
    ) -> None:
        super().__init__()
        self.outcome = Outcome()
        self.error: Exception | None = None
        self._storage, self._detector, self._note = storage, detector, note
        self._meter, self._interrupt = meter, interrupt
        self._stopping = False
        self._loop = QtCore.QEventLoop()
        # Python handles Ctrl-C only while it runs, and in an idle event loop it does not: the timer makes it run.
        self._tick = QtCore.QTimer(self)
        self._tick.setInterval(_TICK_MS)
        self._tick.timeout.connect(self._look_for_interrupt)
        storage.connect(detector)
        storage.tagRequest.connect(self._fill_tag)
        storage.frameWritten.connect(self._frame_written)
        storage.saved.connect(self._saved)
        # Queued: the reservation may fail before startAcq has started the thread.
        storage.failed.connect(self._failed, QtCore.Qt.ConnectionType.QueuedConnection)  # type: ignore[call-arg]
        storage.savingStateChanged.connect(self._end_when_over)
        detector.busyStateChanged.connect(self._busy_changed)

    def run(self) -> None:
        """Acquire one pass, and return when it is saved or has failed."""
        self._started = time.monotonic()
        self._tick.start()
        self._detector.startAcq()
        self._loop.exec()
        self._tick.stop()

    @_kept
    def _fill_tag(self, tag: dict[Any, Any]) -> None:
        tag.update(self._note)

    @_kept
    def _frame_written(self, done: int, total: int) -> None:
        self._meter.update(done)

    @_kept
    def _saved(self, path: str) -> None:
        self.outcome.path = Path(path)
        self.outcome.report = self._storage.report

    @_kept
    def _failed(self, path: str, message: str) -> None:
        self.outcome.failures.append(f"{path}: {message}")
        self._stop()

    @_kept
    def _busy_changed(self, busy: bool) -> None:
        if not busy:
            self.outcome.seconds = time.monotonic() - self._started
            self._end_when_over()

    @_kept
    def _look_for_interrupt(self) -> None:
        if self._interrupt.is_set():
            self._stop()

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._detector.stop()
            self._end_when_over()

    @_kept
    def _end_when_over(self, *_: Any) -> None:
        if not self._detector.isBusy and not self._storage.saving:
            self._loop.quit()
