"""A simulated detector with the interface that `DataStorage.connect` and the panel of lys_instr need.

Every frame is emitted in the acquisition thread, in one buffer that the next frame overwrites, as the driver of a camera
does. The check of the demo then finds a storage that keeps a reference instead of the bytes.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from ..qt import QtCore, Signal
from ._simulation import SimulatedMeasurement

log = logging.getLogger("lys_storage")


class SimulatedDetector(QtCore.QObject):
    """Emits the frames of `measurement`, at most `rate` per second (None: as fast as they are stored)."""

    dataAcquired = Signal(dict)
    """{index: frame}, in the acquisition thread. The frame is valid until the slot returns."""
    busyStateChanged = Signal(bool)
    """True in the caller of startAcq, False in the acquisition thread, after everything else."""
    stopped = Signal()
    """In the caller of stop(), after the last frame."""

    def __init__(
        self, measurement: SimulatedMeasurement, rate: float | None = None, parent: QtCore.QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._measurement = measurement
        self._rate = rate
        self._interrupted = threading.Event()
        self._mutex = threading.Lock()  # guards _busy
        self._busy = False
        # Threads are kept until they have finished: ~QThread of a running one ends the process.
        self._threads: list[_AcquisitionThread] = []

    @property
    def dataShape(self) -> tuple[int, ...]:
        return self._measurement.shape

    @property
    def indexShape(self) -> tuple[int, ...]:
        return self._measurement.grid_shape

    @property
    def frameShape(self) -> tuple[int, ...]:
        return self._measurement.frame_shape

    @property
    def axes(self) -> list[Any]:
        """One coordinate array for each dimension of the data."""
        return list(self._measurement.axes)

    @property
    def isBusy(self) -> bool:
        return self._busy

    def startAcq(self, iter: int = 1) -> None:
        """Start `iter` passes over the whole grid (-1: until stop()) in a thread. A busy detector does nothing."""
        with self._mutex:
            if self._busy:
                log.warning("the simulated detector is busy: startAcq does nothing")
                return
            self._busy = True
        self._interrupted.clear()
        self.busyStateChanged.emit(True)
        self._threads = [thread for thread in self._threads if not thread.isFinished()]
        self._threads.append(_AcquisitionThread(self, iter))
        self._threads[-1].start()

    def stop(self) -> None:
        """Stop after the present frame, wait for the acquisition thread, and emit `stopped`."""
        self._interrupted.set()
        for thread in self._threads:
            if thread is not QtCore.QThread.currentThread():
                thread.wait()
        self.stopped.emit()

    def waitForReady(self, timeout_s: float | None = None) -> bool:
        """Wait until no acquisition thread runs; False if `timeout_s` was too short. Runs no event loop."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            if deadline is None:
                thread.wait()
            elif not thread.wait(max(0, int(1000 * (deadline - time.monotonic())))):
                return False
        return True

    def _acquire(self, passes: int) -> None:
        """In the acquisition thread: all passes, and the end."""
        try:
            done = 0
            while done != passes and not self._interrupted.is_set():
                self._one_pass()
                done += 1
        except Exception:  # an exception that leaves QThread.run ends the process
            log.exception("the simulated detector has failed")
        finally:
            with self._mutex:
                self._busy = False
            self.busyStateChanged.emit(False)

    def _one_pass(self) -> None:
        buffer = self._measurement.empty_frame()
        due = time.monotonic()
        for index in self._measurement.indices():
            if self._rate is None:
                if self._interrupted.is_set():
                    return
            else:
                due += 1 / self._rate
                if self._interrupted.wait(max(0.0, due - time.monotonic())):
                    return
            self.dataAcquired.emit({index: self._measurement.frame(index, buffer)})


class _AcquisitionThread(QtCore.QThread):
    def __init__(self, detector: SimulatedDetector, passes: int) -> None:
        super().__init__()
        self._detector = detector
        self._passes = passes

    def run(self) -> None:
        self._detector._acquire(self._passes)
