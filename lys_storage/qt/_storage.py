"""`DataStorage`: in the place of lys_instr's, with scans that go straight to disk."""

from __future__ import annotations

import functools
import logging
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from lys_storage.errors import LysStorageError, NothingReservedError, ScanClosedError, ScanShapeError
from lys_storage.export import FinalizeReport
from lys_storage.format import check_axes, check_axes_leniently, plain_note
from lys_storage.recovery import find_interrupted, resume_scan
from lys_storage.scan import Scan, begin_scan, frame_writer
from lys_storage.store import NOT_STORED, STORED

from ._binding import QtCore, Signal
from ._finalizer import Finalizer
from ._link import DetectorLink
from ._run import Run, SaveResult
from ._settings import Settings, is_detector

log = logging.getLogger("lys_storage")

_TELL_EVERY_S = 0.05


class DataStorage(Settings):
    """Stores the frames of a detector as they arrive, and saves each scan as a .npz that lys.Wave loads.

    The properties, signals and methods of lys_instr's storage, and: `dtype`, `array`, `written`, `saved`, `failed`,
    `frameWritten`, `waitForSaved`, `close`. Frames may come in any thread; the rest is called in the storage's own.
    """

    #: (bool) whether a scan is reserved or being saved; False comes through the event loop, or in waitForSaved.
    savingStateChanged = Signal(bool)
    #: (dict) listeners add to it what is to become the note; what is in it when the scan is saved counts.
    tagRequest = Signal(dict)
    #: the next free number may be another one.
    numberChanged = Signal()
    #: (str) the path of an export that is in place.
    saved = Signal(str)
    #: (str, str) path and message: something could not be stored or saved. Repeats are gathered.
    failed = Signal(str, str)
    #: (int, int) frames done and in all, at most about 20 a second.
    frameWritten = Signal(int, int)

    #: (list) paths of interrupted scans (.part) in the folder; nobody writes them. Looked for in the background.
    interruptedFound = Signal(list)

    _stateIsStale = Signal()

    def __init__(self, **properties: Any) -> None:
        super().__init__()
        self._state = _State()
        self._known_axes: Any = None
        self._links: weakref.WeakKeyDictionary[Any, DetectorLink] = weakref.WeakKeyDictionary()
        self._tell_at = 0.0
        self._report: FinalizeReport | None = None
        self._unsaved: list[SaveResult] = []
        self._looked_into: str | None = None
        self._look = QtCore.QTimer(self)
        self._look.setSingleShot(True)
        self._look.timeout.connect(self._look_for_interrupted)
        self._closed = False
        self._finalizer = Finalizer()
        queued = QtCore.Qt.ConnectionType.QueuedConnection
        self._finalizer.jobDone.connect(self._drain, queued)  # type: ignore[call-arg]
        self._stateIsStale.connect(self._tell_state, queued)  # type: ignore[call-arg]
        application = QtCore.QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self._about_to_quit)
        for name, value in properties.items():
            if not isinstance(getattr(type(self), name, None), property):
                raise TypeError(f"DataStorage has no property {name!r}")
            setattr(self, name, value)
        weakref.finalize(self, _abandon, self._state, self._finalizer)
        self._look.start(0)

    # -- what there is now ----------------------------------------------------------------------------------------

    @property
    def saving(self) -> bool:
        """True from a reservation until the last file is in place."""
        with self._state.lock:
            return self._state.run is not None or bool(self._state.saves)

    @property
    def array(self) -> np.memmap[Any, Any] | None:
        """The running scan as a read-only map, or None; zeros where nothing has come yet, `written` tells."""
        scan = self._running_scan()
        return None if scan is None else scan.array

    @property
    def written(self) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
        """Which frames of the running scan have come (bool, of the grid's shape), or None."""
        scan = self._running_scan()
        return None if scan is None else scan.written

    def _running_scan(self) -> Any:
        run = self._state.run
        return None if run is None else run.scan

    @property
    def report(self) -> FinalizeReport | None:
        """How the latest export came about: path, size, frames, seconds with and without sync; None before the first."""
        return self._report

    @property
    def _arr(self) -> np.memmap[Any, Any] | None:
        return self.array

    @property
    def _paths(self) -> list[str]:
        """The files reserved, for lys_instr's panel."""
        run = self._state.run
        return [] if run is None else [run.path]

    @property
    def _threads(self) -> list[str]:
        """The files being saved, for lys_instr's panel."""
        with self._state.lock:
            return [run.path for run in self._state.saves]

    def _new_run(self, tag: dict[str, Any] | None = None) -> Run:
        """A run that has no scan yet; its faults are told as long as the storage lives."""
        folder, stem = self._place()
        storage = weakref.ref(self)

        def tell(path: str, message: str) -> None:
            if (alive := storage()) is not None:
                alive.failed.emit(path, message)

        return Run(str(folder / f"{stem}.npz"), tell, tag)

    # -- one scan -------------------------------------------------------------------------------------------------

    def reserve(self, shape: Any, fillValue: Any = None, dtype: Any = None) -> None:
        """Begin a scan of `shape`. Path, tag and number are fixed now; a running scan that has frames is saved first.

        `fillValue` (None: NaN for floating and complex dtypes, else 0) is what frames that never came will hold. Raises
        ScanShapeError for a shape, dtype or fill that cannot be, DiskFullError and StorageOSError, with nothing left behind.
        """
        self._begin(shape, fillValue, dtype, None, None)

    def _begin(self, shape: Any, fill: Any, dtype: Any, grid_ndim: int | None, axes: Any) -> Run:
        if self._closed:
            raise ScanClosedError("the storage is closed")
        folder, stem = self._place()
        numbered, wanted = self._numbered, self._dtype if dtype is None else dtype
        tag: dict[str, Any] = {"Notes": None}
        run = self._new_run(tag)
        self._end_running()
        if not self._enabled:
            self._tell_state()
            return run
        self.tagRequest.emit(tag)
        tag.update(plain_note(tag))
        by_detector = is_detector(wanted)
        scan = begin_scan(
            *(folder, stem, shape, np.float64 if wanted is None or by_detector else wanted),
            numbered=numbered,
            replace_existing=not numbered,
            fill=None if by_detector else fill,
            axes=None if axes is None else check_axes_leniently(axes, tuple(shape))[0],
            note=tag,
            grid_ndim=grid_ndim,
            partial=self._partial,
            flush_interval_s=self._flush_interval_s,
            on_error=run.complain,
            preallocate=not by_detector,
        )
        if by_detector or wanted is None:
            frame_writer(scan).infer_dtype_from_first_frame(fill, only_complex=not by_detector)
        run.partial = self._partial
        run.open(scan)
        run.known_axes = self._known_axes if axes is None else axes
        with self._state.lock:
            self._state.run = run
        if numbered:
            self.numberChanged.emit()
        self._tell_state()
        return run

    def resume(self, path: str | os.PathLike[str]) -> Iterator[tuple[int, ...]]:
        """Go on with an interrupted scan, and return the indices of the frames that are missing now, in C order.

        `path`: the name it was to have, or its .part. It is the running scan from now on: update() adds to it, and a
        detector that gets busy goes on with it where its dataShape is the scan's, instead of beginning a new one. Raises
        ScanInUseError where a living process writes it, BadFileError where it is not sound.
        """
        if self._closed:
            raise ScanClosedError("the storage is closed")
        self._end_running()
        scan = resume_scan(Path(path), flush_interval_s=self._flush_interval_s, partial=self._partial)
        missing = scan.missing()
        run = self._new_run()
        run.partial = self._partial
        run.open(scan)
        run.resumed = True
        with self._state.lock:
            self._state.run = run
        self._tell_state()
        return missing

    def _resumed_for(self, shape: tuple[int, ...]) -> Run | None:
        """The resumed scan that waits for a detector; ScanShapeError where the detector's shape is another."""
        run = self._state.run
        if run is None or not run.resumed or run.scan is None:
            return None
        if run.scan.shape != shape:
            raise ScanShapeError(
                f"the resumed scan {run.path} is of shape {run.scan.shape}, the detector delivers {shape}: set the detector "
                "as it was, or save the scan as it is"
            )
        run.resumed = False
        return run

    def _end_running(self) -> None:
        """Save the running scan; one that nothing has come of, and that was not stopped, leaves no trace."""
        run = self._state.run
        if run is not None:
            self._finish(run, run.known_axes, keep_empty=False)

    def update(self, data: Mapping[Any, Any], detector: Any = None) -> None:
        """Store `{index: frame}`; when this returns the frames survive the death of the process, and may be reused.

        The scan is saved when its last frame has come, with `detector.axes` or the axes known so far. A bad frame is
        not stored and raised after the good ones have been: FrameShapeError, FrameTypeError, FrameIndexError. Raises
        NothingReservedError where no scan is running, and StorageOSError where the system refuses.
        """
        run = self._state.run
        if run is None or run.writer is None or not data:
            self._refuse(data)
            return
        write_item_fast = run.writer.write_item_fast
        stored = NOT_STORED if write_item_fast is None else write_item_fast(data)
        if stored == STORED and monotonic() < self._tell_at:
            return
        faults = self._store(run, data, detector, stored)
        if faults:
            if len(faults) > 1:
                faults[0].add_note(f"{len(faults) - 1} more frames of this update could not be stored")
            raise faults[0]

    def _refuse(self, data: Mapping[Any, Any]) -> None:
        """Data came while no scan is running: fine where there is none of it, or nothing is to be stored."""
        if data and self._closed:
            raise ScanClosedError("the storage is closed")
        if data and self._enabled:
            raise NothingReservedError("a frame came while no scan is reserved: call reserve() first, or connect()")

    def _store(
        self, run: Run, data: Mapping[Any, Any], detector: Any, stored: int = NOT_STORED
    ) -> list[LysStorageError]:
        """The way of every frame, so it does next to nothing. `run` has a scan; `stored`: what put_only said of `data`."""
        scan: Scan = run.scan  # type: ignore[assignment]  # whoever calls it has looked
        faults = run.writer.store(data, stored)  # type: ignore[union-attr]
        complete, now = scan.complete, monotonic()
        if complete or now >= self._tell_at:
            self._tell_progress(run, now)
            if complete:
                self._finish(run, self._axes_of(detector, run))
        return run.without_late_ones(faults) if faults else faults

    def _tell_progress(self, run: Run, now: float) -> None:
        if run.scan is not None and not run.finished:
            self._tell_at = now + _TELL_EVERY_S
            self.frameWritten.emit(run.scan.frames_written, run.scan.frames_expected)

    def save(self, axes: Iterable[Any] | None = None) -> None:
        """Save what there is of the running scan, now; frames that never came hold the fill value.

        Raises AxisLengthError where an axis does not fit, before anything is done, so that it can be called again.
        """
        run = self._state.run
        if run is None or run.scan is None:
            if self._enabled and not self._closed:
                raise NothingReservedError("there is no scan to save: call reserve() first")
            return
        axes = self._known_axes if axes is None else list(axes)
        checked = check_axes(axes, run.scan.shape)
        self._known_axes = axes
        self._finish(run, checked)

    def _axes_of(self, detector: Any, run: Run) -> Any:
        """The axes of `detector`, or those known so far where there is none; foreign code, so no lock is held."""
        if detector is None:
            return run.known_axes
        try:
            return detector.axes
        except Exception as error:
            run.complain(RuntimeError(f"the detector's axes cannot be read ({error}); saved with index coordinates"))
            return []

    def _finish(self, run: Run, axes: Any, *, keep_empty: bool = True) -> None:
        """Take no more frames, and hand the scan to the finalizer. In any thread; only the first call counts.

        Without `keep_empty`, a scan of which nothing has come, and that was not stopped, leaves no trace.
        """
        if run.scan is None or not run.take_over():
            return
        run.scan.seal()
        keep = keep_empty or run.stopped or run.scan.frames_written > 0
        with self._state.lock:
            if keep:
                self._state.saves.append(run)
            if self._state.run is run:
                self._state.run = None
        if keep:
            self._finalizer.submit(lambda: run.save(axes))
        else:
            run.scan.discard()
        if QtCore.QThread.currentThread() == self.thread():
            self._tell_state()
        else:
            self._stateIsStale.emit()

    def _tell_state(self) -> None:
        self.savingStateChanged.emit(self.saving)

    def _drain(self) -> None:
        """In the storage's own thread: tell of the saves that have ended."""
        while self._finalizer.results:
            result: SaveResult | list[str] | None = self._finalizer.results.popleft()
            if isinstance(result, list):
                self.interruptedFound.emit(result)
                continue
            if result is None:
                continue
            with self._state.lock:
                self._state.saves.remove(result.run)
            if result.report is None:
                self._unsaved.append(result)
                self.failed.emit(result.run.path, result.message)
            else:
                self._report = result.report
                self.saved.emit(str(result.report.path))
                if result.report.renumbered:
                    log.warning("%s was taken meanwhile: saved as %s", result.run.path, result.report.path)
                    self.numberChanged.emit()
            self._tell_state()

    def retry(self) -> int:
        """Save again what could not be saved; how many scans that is. `saved` or `failed` tells how each one ended."""
        again, self._unsaved = self._unsaved, []
        for result in again:
            with self._state.lock:
                self._state.saves.append(result.run)
            self._finalizer.submit(functools.partial(result.run.save_again, result.part, result.axes))
        if again:
            self._tell_state()
        return len(again)

    # -- interrupted scans ----------------------------------------------------------------------------------------

    def _look_again(self) -> None:
        if QtCore.QThread.currentThread() == self.thread():
            self._look.start(0)

    def _look_for_interrupted(self) -> None:
        """In the finalizer's thread, once the event loop runs: what a crash has left in the folder."""
        folder = Path(self._base, self._folder)
        if self._closed or str(folder) == self._looked_into:
            return
        self._looked_into = str(folder)
        if folder.is_dir():
            self._finalizer.submit(lambda: find_interrupted(folder) or None)

    # -- detectors ------------------------------------------------------------------------------------------------

    def connect(self, detector: Any) -> None:
        """Store what `detector` acquires from now on. Twice is harmless. Keeps the storage alive as long as the detector.

        `detector`: signals dataAcquired(dict), busyStateChanged(bool), stopped(); properties dataShape, axes; where it
        has indexShape, that is the grid. Nothing raised in here stops it: `failed` tells, and the log.
        """
        if detector in self._links:
            return
        link = DetectorLink(self, detector)
        link.moveToThread(detector.thread())
        if detector.thread() == QtCore.QThread.currentThread():
            link.setParent(detector)
        else:
            detector.__dict__.setdefault("_lys_storage_links", []).append(link)
        self._links[detector] = link

    def _begin_for(self, detector: Any) -> Run:
        """A reservation that a signal asks for: where it fails, `failed` says so, and the frames are counted."""
        try:
            shape = tuple(detector.dataShape)
            resumed = self._resumed_for(shape)
            if resumed is not None:
                return resumed
            grid = getattr(detector, "indexShape", None)
            return self._begin(shape, None, None, None if grid is None else len(grid), self._axes_so_far(detector))
        except Exception as error:
            run = self._new_run()
            run.refused = True
            run.complain(error)
            return run

    def _axes_so_far(self, detector: Any) -> Any:
        """For the journal, should the process die; they are read again when the scan is saved, and faults are told then."""
        try:
            return detector.axes
        except Exception as error:
            log.info("the detector's axes cannot be read yet: %s", error)
            return None

    def _caught(self, error: Exception) -> None:
        log.error("a slot of the storage failed: %s", error, exc_info=error)
        self.failed.emit(self._new_run().path, f"{type(error).__name__}: {error}")

    # -- the end --------------------------------------------------------------------------------------------------

    def waitForSaved(self, timeout_s: float | None = None) -> bool:
        """Wait until everything that is to be saved is in place (a stopped scan too); False where that took longer."""
        run = self._state.run
        if run is not None and run.stopped:
            self._finish(run, run.known_axes)
        done = self._finalizer.wait_idle(timeout_s)
        if QtCore.QThread.currentThread() == self.thread():
            self._drain()
        return done

    def close(self) -> None:
        """Save what there is, wait for it, and take no more. Twice is harmless."""
        if self._closed:
            return
        self._closed = True
        self._end_running()
        self.waitForSaved()
        self._finalizer.end()
        self._finalizer.join()

    def _about_to_quit(self) -> None:
        self.waitForSaved()


class _State:
    """What a storage leaves behind when it is dropped: its running scan, and the saves under way."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # guards run and saves
        self.run: Run | None = None
        self.saves: list[Run] = []
        self.process = os.getpid()


def _abandon(state: _State, finalizer: Finalizer) -> None:
    """The storage is gone, or the interpreter exits: what has come of its running scan is saved all the same."""
    if os.getpid() != state.process:
        return  # a forked child saves nothing
    run = state.run
    if run is not None and run.scan is not None and run.take_over():
        run.scan.seal()
        if run.scan.frames_written or run.stopped:
            finalizer.submit(lambda: run.save(None))
        else:
            run.scan.discard()
    finalizer.end()
