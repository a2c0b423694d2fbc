"""The protocol between one detector and one storage: whose frame is it, and when is its scan over."""

from __future__ import annotations

import functools
import logging
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._binding import QtCore, Signal
from ._run import Run

if TYPE_CHECKING:
    from ._storage import DataStorage

log = logging.getLogger("lys_storage")

LATE_FRAME_MS = 500
"""How long a stopped scan waits for its late frame, where neither busy False nor a next reserve comes first."""


def _guarded(slot: Callable[..., None]) -> Callable[..., None]:
    """An exception that leaves a slot can abort the process: it is logged, and `failed` says it."""

    @functools.wraps(slot)
    def guarded(self: DetectorLink, *args: Any) -> None:
        try:
            slot(self, *args)
        except Exception as error:
            self._storage._caught(error)

    return guarded


class DetectorLink(QtCore.QObject):
    """Lives in the detector's thread, as long as the detector does, and keeps the storage alive.

    The k-th busy False belongs to the k-th True; a False that is queued while the next True comes is told from one that
    never comes (a device error) by a marker queued behind it.
    """

    _marked = Signal(object)

    def __init__(self, storage: DataStorage, detector: Any) -> None:
        super().__init__()
        self._storage = storage
        self._detector = weakref.ref(detector)
        self._run: Run | None = None
        self._awaiting: deque[Run] = deque()
        self._strays = 0
        self._late = QtCore.QTimer(self)
        self._late.setSingleShot(True)
        self._late.setInterval(LATE_FRAME_MS)
        self._late.timeout.connect(self._late_frame_is_over)
        kind = QtCore.Qt.ConnectionType
        self._marked.connect(self._falls_have_come, kind.QueuedConnection)  # type: ignore[call-arg]
        detector.dataAcquired.connect(self._arrived, kind.DirectConnection)
        # Never direct: lys_instr drops the emitting QThread in a slot of this signal, and waits for it with the GIL held.
        detector.busyStateChanged.connect(self._busy_changed, kind.AutoConnection)
        detector.stopped.connect(self._was_stopped, kind.AutoConnection)

    @_guarded
    def _busy_changed(self, busy: bool) -> None:
        if busy:
            self._late.stop()
            self._run = run = self._storage._begin_for(self._detector())
            self._awaiting.append(run)
            self._marked.emit(run)
        elif self._awaiting and not (self._awaiting[0] is self._run and self._is_busy()):
            run = self._awaiting.popleft()
            if run is self._run:
                self._late.stop()
            self._end(run)
            run.tell_end()

    def _is_busy(self) -> bool:
        """A detector that knows it, and is busy, has not told the end of its run: the False is an older one's.

        lys_instr's is not busy any more before it says so; a script that looks may start the next run in between.
        """
        return getattr(self._detector(), "isBusy", False) is True

    @_guarded
    def _falls_have_come(self, run: Run) -> None:
        """What was queued before `run` began has been handled: older runs still waiting have lost their busy False."""
        while run in self._awaiting and self._awaiting[0] is not run:
            self._awaiting.popleft().tell_end()

    @_guarded
    def _arrived(self, data: dict[Any, Any]) -> None:
        """In the thread that emits: a slow disk slows the detector, and nothing waits in a queue."""
        run = self._run
        if not data:
            return
        if run is None:
            self._strays += len(data)
            if self._strays == len(data):
                log.warning("frames came outside of any acquisition; they are not stored")
        elif run.refused:
            run.frames_lost += len(data)
        elif run.finished:
            run.frames_after += len(data) if run.scan is not None else 0
        else:
            for fault in self._storage._store(run, data, self._detector()):
                run.complain(fault)

    @_guarded
    def _was_stopped(self) -> None:
        if self._run is not None and not self._run.finished:
            self._run.stopped = True
            self._late.start()

    @_guarded
    def _late_frame_is_over(self) -> None:
        if self._run is not None:
            self._end(self._run)

    def _end(self, run: Run) -> None:
        if not run.finished:
            self._storage._finish(run, self._storage._axes_of(self._detector(), run))
