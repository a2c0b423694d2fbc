"""Detectors for the tests. They behave as DESIGN.md measured lys_instr 0.1: its signals, their order, their threads.

`SimulatedDetector` has an acquisition thread like the detectors of lys_instr. `BareDetector` has only what the protocol
promises, and the test emits its signals. Of lys_storage they use only the choice of the Qt binding.

Nothing sleeps: with `by_hand=True` a frame is taken when the test asks for it, and every wait has a deadline.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lys_storage.qt import QtCore, Signal

DEADLINE_S = 20.0

DIRECT = QtCore.Qt.ConnectionType.DirectConnection
QUEUED = QtCore.Qt.ConnectionType.QueuedConnection


def process_events() -> None:
    """Deliver the queued events of objects of the calling thread."""
    QtCore.QCoreApplication.sendPostedEvents()
    QtCore.QCoreApplication.processEvents()


def in_another_thread(action: Callable[..., Any], *args: Any) -> None:
    """Run `action` in another thread and wait for it. The calling thread handles no events meanwhile.

    An exception of `action` is raised here.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            action(*args)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert not thread.is_alive(), "the other thread waits for something that the main thread would have to do"
    if raised:
        raise raised[0]


class _AcqThread(QtCore.QThread):
    """One acquisition. Queued `updated` signals are handled in the main thread, the last one in this thread."""

    dataAcquired = Signal(dict)

    def __init__(self, detector: SimulatedDetector, iterations: int) -> None:
        super().__init__()
        self._detector = detector
        self._iterations = iterations
        detector.updated.connect(self._onUpdated)

    def run(self) -> None:
        if self._detector._run(self._iterations):
            self._onUpdated()

    def _onUpdated(self) -> None:
        data = self._detector._get()
        self.dataAcquired.emit(data)
        self._detector._reuse(data)


class SimulatedDetector(QtCore.QObject):
    """A detector on an index grid, as lys_instr's are.

    Args:
        index_shape, frame_shape: The shapes of the grid and of one frame.
        dtype: Of the data and the frames.
        index_style: The keys of the data: "full" (a tuple of ints for each grid point), "numpy" (the same, of
            np.int64), "negative" (the same, counted from the end), "short" (`(i,)` with a whole row), "whole" (`()`
            with everything).
        frame_style: "array", "list", or "scalar" (for 0-d frames).
        reuse_buffer: Whether the memory of a frame is overwritten after the emit has returned.
        emits_empty: Whether an `{}` is emitted with every frame.
        by_hand: Whether frames are taken only by `take` and `step`.
        delay_s: Otherwise, the time for a frame.
        fails_after: The number of frames after which the device fails: then neither frames, nor `stopped`, nor
            `busyStateChanged(False)` are emitted.
    """

    busyStateChanged = Signal(bool)
    dataAcquired = Signal(dict)
    updated = Signal()
    stopped = Signal()

    def __init__(
        self,
        index_shape: tuple[int, ...] = (2, 3),
        frame_shape: tuple[int, ...] = (4,),
        *,
        dtype: Any = float,
        index_style: str = "full",
        frame_style: str = "array",
        reuse_buffer: bool = False,
        emits_empty: bool = False,
        by_hand: bool = False,
        delay_s: float = 0.0,
        fails_after: int | None = None,
    ) -> None:
        super().__init__()
        self.indexShape = tuple(index_shape)
        self.frameShape = tuple(frame_shape)
        self.axes: Sequence[Any] = [np.arange(length) * 0.5 + dim for dim, length in enumerate(self.dataShape)]
        #: The data of the first pass of an acquisition; the k-th pass after it adds 1000 * k.
        self.data = np.arange(1, 1 + np.prod(self.dataShape, dtype=int)).reshape(self.dataShape).astype(dtype)
        self._index_style = index_style
        self._frame_style = frame_style
        self._reuse_buffer = reuse_buffer
        self._emits_empty = emits_empty
        self._by_hand = by_hand
        self._delay_s = delay_s
        self.fails_after = fails_after
        self._mutex = QtCore.QMutex()
        self._busy = False
        self._thread: _AcqThread | None = None
        self._threads: list[_AcqThread] = []
        self._lock = threading.Lock()  # guards _pending
        self._pending: dict[Any, Any] = {}
        self._should_stop = threading.Event()
        self._permits = threading.Semaphore(0)
        self._taken = threading.Semaphore(0)
        self._ended = threading.Event()
        self._frames_left = 0

    @property
    def dataShape(self) -> tuple[int, ...]:
        return (*self.indexShape, *self.frameShape)

    @property
    def indexDim(self) -> int:
        return len(self.indexShape)

    @property
    def frameDim(self) -> int:
        return len(self.frameShape)

    @property
    def isBusy(self) -> bool:
        return self._busy

    # What the experiment calls

    def startAcq(self, iter: int = 1) -> None:
        """Start `iter` passes (-1: a stream). `busyStateChanged(True)` is emitted before this returns."""
        if self._busy:
            return
        if self._thread is not None:
            self.updated.disconnect(self._thread._onUpdated)
        self._busy = True
        self.busyStateChanged.emit(True)

        self._should_stop.clear()
        self._ended.clear()
        self._permits = threading.Semaphore(0)
        self._taken = threading.Semaphore(0)
        self._frames_left = len(list(self._indices())) * iter if iter > 0 else -1
        thread = _AcqThread(self, iter)
        thread.dataAcquired.connect(self.dataAcquired, DIRECT)
        thread.finished.connect(self._onAcqFinished, DIRECT)
        # Kept until close(): dropping a QThread during its last emit hangs the process (DESIGN.md).
        self._threads.append(thread)
        self._thread = thread
        thread.start()

    def stop(self) -> None:
        """Stop, and wait for the acquisition thread. The calling thread handles no events meanwhile."""
        self._should_stop.set()
        self._permits.release()
        if self._thread is not None and self._thread.isRunning():
            self._thread.quit()
            self._thread.wait()
        data = self._get()
        self.dataAcquired.emit(data)
        self._reuse(data)
        self.stopped.emit()

    # What the test calls

    def take(self, count: int = 1) -> None:
        """Let the acquisition thread take `count` frames. The calling thread handles no events meanwhile.

        After the last frame of all this returns when the acquisition thread has done its last emits.
        """
        assert self._by_hand
        for _ in range(count):
            self._permits.release()
            assert self._taken.acquire(timeout=DEADLINE_S)
            self._frames_left -= 1
        if self._frames_left == 0:
            self.wait_ended()

    def step(self, count: int = 1) -> None:
        """Take `count` frames. Each is delivered before the next one is taken: the last one of all in the acquisition
        thread, the others in the main thread."""
        for _ in range(count):
            self.take()
            process_events()

    def wait_ended(self) -> None:
        """Wait until the acquisition thread has ended. The calling thread handles no events meanwhile."""
        assert self._ended.wait(DEADLINE_S)

    def run_all(self, iter: int = 1) -> None:
        """Run a whole acquisition, and handle the events that are left."""
        self.startAcq(iter)
        if self._by_hand:
            self.step(self._frames_left)
        self.wait_ended()
        process_events()

    def reset(self) -> None:
        """Be ready again after a device error. Nothing is emitted."""
        self._busy = False

    def close(self) -> None:
        """End every thread."""
        self._should_stop.set()
        self._permits.release()
        for thread in self._threads:
            assert thread.wait(int(DEADLINE_S * 1000))
        self._threads.clear()

    # The acquisition thread

    def _run(self, iterations: int) -> bool:
        """Take all frames of all passes. Returns False if the device has failed."""
        frames = 0
        passes = 0
        while passes != iterations:
            for index in self._indices():
                if self._by_hand:
                    self._permits.acquire()
                elif self._delay_s:
                    self._should_stop.wait(self._delay_s)
                if self._should_stop.is_set():
                    return True
                if frames == self.fails_after:
                    self._taken.release()
                    return False
                with self._lock:
                    self._pending[index] = self._frame(index, passes)
                self.updated.emit()
                self._taken.release()
                frames += 1
            passes += 1
        return True

    def _onAcqFinished(self) -> None:
        if self.fails_after is None:
            with QtCore.QMutexLocker(self._mutex):
                self._busy = False
                self._emit_idle()
        self._ended.set()

    def _emit_idle(self) -> None:
        self.busyStateChanged.emit(False)

    def _get(self) -> dict[Any, Any]:
        with self._lock:
            data = dict(self._pending)
            self._pending.clear()
        if self._emits_empty and data:
            self.dataAcquired.emit({})
        return data

    def _reuse(self, data: dict[Any, Any]) -> None:
        """Overwrite the memory of this frame, as the next frame would."""
        if self._reuse_buffer:
            for frame in data.values():
                frame[...] = 77

    def _indices(self) -> Iterator[tuple[Any, ...]]:
        depth = {"short": 1, "whole": 0}.get(self._index_style, self.indexDim)
        for index in np.ndindex(self.indexShape[:depth]):
            if self._index_style == "numpy":
                yield tuple(np.int64(i) for i in index)
            elif self._index_style == "negative":
                yield tuple(i - length for i, length in zip(index, self.indexShape, strict=True))
            else:
                yield tuple(int(i) for i in index)

    def _frame(self, index: tuple[Any, ...], passes: int) -> Any:
        frame = np.array(self.data[index] + self.data.dtype.type(1000 * passes))
        if self._frame_style == "list":
            return frame.tolist()
        if self._frame_style == "scalar":
            return frame[()]
        return frame


class BareDetector(QtCore.QObject):
    """A detector that has only what the protocol promises: no `indexShape`, no thread. The test emits its signals."""

    busyStateChanged = Signal(bool)
    dataAcquired = Signal(dict)
    stopped = Signal()

    def __init__(self, data_shape: tuple[int, ...] = (3, 4), axes: Sequence[Any] | None = None) -> None:
        super().__init__()
        self.dataShape = tuple(data_shape)
        self.axes = [np.arange(length) * 0.5 for length in data_shape] if axes is None else axes


class BrokenDetector(QtCore.QObject):
    """A bare detector with one property that raises until the test repairs it."""

    busyStateChanged = Signal(bool)
    dataAcquired = Signal(dict)
    stopped = Signal()

    def __init__(self, broken: str, data_shape: tuple[int, ...] = (3, 4)) -> None:
        super().__init__()
        self.broken: str | None = broken
        self._data_shape = tuple(data_shape)

    @property
    def dataShape(self) -> tuple[int, ...]:
        if self.broken == "dataShape":
            raise RuntimeError("the device does not answer (dataShape)")
        return self._data_shape

    @property
    def axes(self) -> list[Any]:
        if self.broken == "axes":
            raise RuntimeError("the device does not answer (axes)")
        return [np.arange(length) * 0.5 for length in self._data_shape]
