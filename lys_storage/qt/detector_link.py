"""The protocol between one detector and one storage: which acquisition a frame belongs to, and when that is finished."""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import LysStorageError
from .acquisition import Acquisition
from .binding import QtCore, Signal
from .slots import guarded, log_safely

log = logging.getLogger("lys_storage")

LATE_FRAME_MS = 500
"""How long a stopped scan waits for its late frame, unless busy False or the next reservation comes first."""


def axes_at_start(detector: Any) -> Any:
    """The detector's axes for the journal, should the process die, or None; errors are reported when the scan is saved."""
    try:
        return detector.axes
    except Exception as error:
        log.info("the detector's axes cannot be read yet: %s", error)
        return None


def axes_at_end(detector: Any, acquisition: Acquisition) -> Any:
    """The detector's axes to save, or those known so far if `detector` is None. Foreign code runs: hold no lock."""
    if detector is None:
        return acquisition.known_axes
    try:
        return detector.axes
    except Exception as error:
        text = f"the detector's axes cannot be read ({error}); saved with index coordinates"
        acquisition.faults.report_error(RuntimeError(text))
        return []


class _Runs:
    """The acquisitions of one detector. They outlive the link, which is destroyed with it, and do not keep the storage alive."""

    def __init__(self, finish_soon: Callable[[Sequence[Acquisition]], None]) -> None:
        self.current: Acquisition | None = None
        self.awaiting_busy_false: deque[Acquisition] = deque()
        self._finish_soon = weakref.WeakMethod(finish_soon)

    def end(self, *_: Any) -> None:
        """The detector has been destroyed: save what has come, as at a stop. It raises nothing."""
        finish_soon = self._finish_soon()
        acquisitions = [*self.awaiting_busy_false]
        self.awaiting_busy_false.clear()
        if finish_soon is None or not acquisitions:  # without a storage: it has saved them at its own end
            return
        try:
            ended = [acquisition for acquisition in acquisitions if not acquisition.finished]
            for acquisition in ended:
                acquisition.stopped = True
            finish_soon(acquisitions)
            for acquisition in ended:
                log.warning(
                    "%s: the detector was destroyed while it was busy; the frames that have arrived are saved",
                    acquisition.path,
                )
        except Exception as error:
            log_safely("a scan could not be saved after its detector was destroyed", error)


class DetectorLink(QtCore.QObject):
    """Turns the signals of `detector` into acquisitions. It lives in the detector's thread, as long as the detector does.

    `begin(detector)` reserves an acquisition, and never raises. `store(acquisition, data, detector)` returns an error for
    each frame that is not stored. `finish(acquisition, axes)` saves the acquisition. `finish_soon(acquisitions)` has them saved
    where no slot of the link runs any more. `report_error` is called with what a slot has raised. The first three and the
    last are methods of the storage, and so the link keeps the storage alive.

    The k-th busy False belongs to the k-th True. A False may be queued while the next True comes, or never come (a device
    error). To tell the two apart each True queues a marker: when that arrives, what was queued before it has been handled.
    """

    _marker = Signal(object)
    _late_frame_is_due = Signal()

    def __init__(
        self,
        detector: Any,
        *,
        begin: Callable[[Any], Acquisition],
        store: Callable[[Acquisition, dict[Any, Any], Any], Sequence[LysStorageError]],
        finish: Callable[[Acquisition, Any], None],
        finish_soon: Callable[[Sequence[Acquisition]], None],
        report_error: Callable[[Exception], None],
    ) -> None:
        super().__init__()
        self._begin, self._store, self._finish, self._report_error = begin, store, finish, report_error
        self._detector = weakref.ref(detector)
        self._runs = runs = _Runs(finish_soon)
        self._stray_frames = 0
        self._late_frame_timer = QtCore.QTimer(self)
        self._late_frame_timer.setSingleShot(True)
        self._late_frame_timer.setInterval(LATE_FRAME_MS)
        self._late_frame_timer.timeout.connect(self._on_late_frame_timeout)
        kind = QtCore.Qt.ConnectionType
        # Queued: a timer cannot be started in a thread without an event loop, as before the application is made.
        self._late_frame_is_due.connect(self._wait_for_late_frame, kind.QueuedConnection)  # type: ignore[call-arg]
        self._marker.connect(self._on_marker, kind.QueuedConnection)  # type: ignore[call-arg]
        detector.dataAcquired.connect(self._on_data, kind.DirectConnection)
        # Never direct: lys_instr drops the emitting QThread in a slot of this signal, and waits for it with the GIL held.
        detector.busyStateChanged.connect(self._on_busy_changed, kind.AutoConnection)
        detector.stopped.connect(self._on_stopped, kind.AutoConnection)
        self._attach(detector, runs)

    def _attach(self, detector: Any, runs: _Runs) -> None:
        """Move to the thread of the detector, live as long as it, and learn of its end. It need not be a QObject."""
        # Two ways: a garbage collection cuts connections first, and Qt may destroy an object to which Python still refers.
        weakref.finalize(detector, runs.end).atexit = False  # at exit the storage saves what has come
        if isinstance(detector, QtCore.QObject):
            direct = QtCore.Qt.ConnectionType.DirectConnection
            # No lambda: a garbage collection may clear it before the signal comes, and Python 3.14 crashes in such a call.
            detector.destroyed.connect(runs.end, direct)  # type: ignore[call-arg]
            self.moveToThread(detector.thread())
            if detector.thread() == QtCore.QThread.currentThread():
                self.setParent(detector)
                return  # Qt allows no parent in another thread
        detector.__dict__.setdefault("_lys_storage_links", []).append(self)

    @guarded
    def _on_busy_changed(self, busy: bool) -> None:
        awaiting = self._runs.awaiting_busy_false
        if busy:
            self._late_frame_timer.stop()
            try:
                self._runs.current = current = self._begin(self._detector())
            except BaseException:
                self._runs.current = None  # no frame of this run goes to the one before
                raise
            awaiting.append(current)
            self._marker.emit(current)
        elif awaiting and not (awaiting[0] is self._runs.current and self._is_busy()):
            ended = awaiting.popleft()
            if ended is self._runs.current:
                self._late_frame_timer.stop()
            self._finish_with_axes(ended)
            ended.faults.report_totals()

    def _is_busy(self) -> bool:
        """Whether the detector says that it is busy. Its latest run then goes on, and a False belongs to an older run.

        lys_instr's detector is no longer busy when it emits False; a script that polls it may start the next run before
        the False is handled.
        """
        try:
            return getattr(self._detector(), "isBusy", False) is True
        except Exception as error:
            log.info("isBusy of the detector cannot be read: %s", error)
            return False

    @guarded
    def _on_marker(self, acquisition: Acquisition) -> None:
        """All that was queued before `acquisition` began has been handled: older ones have lost their busy False."""
        awaiting = self._runs.awaiting_busy_false
        while acquisition in awaiting and awaiting[0] is not acquisition:
            awaiting.popleft().faults.report_totals()

    @guarded
    def _on_data(self, data: dict[Any, Any]) -> None:
        """Store frames, in the thread that emits: a slow disk slows the detector down, and no queue grows."""
        current = self._runs.current
        if not data:
            return
        if current is None:
            self._stray_frames += len(data)
            if self._stray_frames == len(data):
                log.warning("frames came while the detector was not busy; they are not stored")
        elif current.refused:
            current.faults.frames_refused += len(data)
        elif current.finished:
            current.faults.frames_late += len(data) if current.scan is not None else 0
        else:
            for error in self._store(current, data, self._detector()):
                current.faults.report_error(error)

    @guarded
    def _on_stopped(self) -> None:
        if self._runs.current is not None and not self._runs.current.finished:
            self._runs.current.stopped = True
            self._late_frame_is_due.emit()

    @guarded
    def _wait_for_late_frame(self) -> None:
        if self._runs.current is not None and self._runs.current.stopped and not self._runs.current.finished:
            self._late_frame_timer.start()

    @guarded
    def _on_late_frame_timeout(self) -> None:
        if self._runs.current is not None:
            self._finish_with_axes(self._runs.current)

    def _finish_with_axes(self, acquisition: Acquisition) -> None:
        if not acquisition.finished:
            self._finish(acquisition, axes_at_end(self._detector(), acquisition))
