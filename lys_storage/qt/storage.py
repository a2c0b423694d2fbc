"""`DataStorage`, a drop-in replacement for lys_instr's: the public properties, signals and methods."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any

from ..errors import LysStorageError, NothingReservedError, ScanClosedError
from ..format import check_axes, check_axes_leniently, export_name, plain_note
from ..store import NOT_STORED, STORED
from .acquisition import Acquisition
from .axes_wait import AxesWait
from .binding import QtCore
from .detector_link import DetectorLink, axes_at_end, axes_at_start
from .interrupted_search import InterruptedSearch
from .slots import guarded
from .state import State

log = logging.getLogger("lys_storage")
_PROGRESS_INTERVAL_S = 0.05


class DataStorage(State):
    """Stores the frames of a detector as they arrive, and saves each scan as a .npz that lys.Wave loads.

    It has the properties, signals and methods of lys_instr's storage, and `dtype`, `flushInterval`, `incomplete`, `burstBytes`,
    `cachedBytes`, `array`, `written`, `report`, `saved`, `failed`, `frameWritten`, `resume`, `retry`, `waitForSaved`, `close`.
    The arguments set the properties of the same names. update() may be called in any thread; all else in the storage's own.
    """

    def __init__(
        self,
        *,
        base: str | os.PathLike[str] = ".",
        folder: str | os.PathLike[str] = "folder",
        name: str | os.PathLike[str] = "data",
        numbered: bool = True,
        enabled: bool = True,
        dtype: Any = None,
        flushInterval: float | None = 1.0,
        incomplete: str = "fill",
        burstBytes: int | None = None,
        cachedBytes: int | None = None,
    ) -> None:
        super().__init__()
        self.base, self.folder, self.name, self.numbered, self.enabled = base, folder, name, numbered, enabled
        self.dtype, self.flushInterval, self.incomplete = dtype, flushInterval, incomplete
        self.burstBytes, self.cachedBytes = burstBytes, cachedBytes
        self._detector_axes: Any = None  # of the detector that was the last to become busy
        self._saved_without_axes: str | None = None  # the latest scan, if no save(axes) came for it
        self._links: weakref.WeakKeyDictionary[Any, DetectorLink] = weakref.WeakKeyDictionary()
        self._progress_due_s = 0.0
        self._waits_at_quit = False
        self._axes_wait = AxesWait(self, self._saves)
        self._axes_wait.timedOut.connect(self._on_axes_timeout)
        self._interrupted_search = InterruptedSearch(self._save_thread.submit)
        queued = QtCore.Qt.ConnectionType.QueuedConnection
        self._save_thread.jobDone.connect(self._deliver_results, queued)  # type: ignore[call-arg]
        self._stateIsStale.connect(self._emit_state, queued)  # type: ignore[call-arg]
        self._atEventLoop.connect(self._on_event_loop, queued)  # type: ignore[call-arg]
        self._folderChanged.connect(self._search_for_interrupted)
        self._connect_to_application()
        weakref.finalize(self, self._saves.abandon)
        self.destroyed.connect(self._saves.abandon)  # by Qt; the link of a detector may still refer to it
        self._search_for_interrupted()

    def _connect_to_application(self) -> None:
        application = QtCore.QCoreApplication.instance()
        if application is not None and not self._waits_at_quit:
            application.aboutToQuit.connect(self._on_about_to_quit)
            self._waits_at_quit = True

    def _new_acquisition(self, tag: dict[str, Any] | None = None) -> Acquisition:
        """An acquisition that has no scan yet. Its faults are emitted as `failed` while the storage lives."""
        folder, stem = self._folder_and_stem()
        storage = weakref.ref(self)

        def failed(path: str, message: str) -> None:
            if (alive := storage()) is not None:
                alive._emit("failed", path, message)

        return Acquisition(str(folder / export_name(stem)), failed, tag)

    # -- scans ----------------------------------------------------------------------------------------------------

    def reserve(self, shape: Any, fillValue: Any = None, dtype: Any = None, axes: Iterable[Any] | None = None) -> None:
        """Begin a scan of `shape`. Path, tag and number are fixed now. A running scan that has frames is saved first.

        Missing frames will hold `fillValue` (None: NaN for floating and complex dtypes, else 0). `axes`: one for each
        dimension, as for save(); the last frame then saves the scan at once. Raises ScanShapeError for an impossible shape,
        dtype or fill, AxisLengthError, DiskFullError and StorageOSError; then nothing is left on disk.
        """
        self._begin(shape, fillValue, dtype, None, axes)

    def _begin(self, shape: Any, fill: Any, dtype: Any, grid_ndim: int | None, axes: Any) -> Acquisition:
        if self._saves.closed:
            raise ScanClosedError("the storage is closed")
        options = self._scan_options(dtype)  # first: slots that are called below may change properties
        tag: dict[str, Any] = {"Notes": None}
        acquisition = self._new_acquisition(tag)
        self._finish_running()
        if not self._enabled:
            self._emit_state()
            return acquisition
        self._emit("tagRequest", tag)
        tag.update(plain_note(tag))
        acquisition.reserve(options, shape, fill, axes, grid_ndim)
        if axes is None:
            acquisition.assume_axes(self._detector_axes)  # as lys_instr does
        self._saves.begin(acquisition)
        if options.numbered:
            self._emit("numberChanged")
        self._emit_state()
        return acquisition

    def resume(self, path: str | os.PathLike[str]) -> Iterator[tuple[int, ...]]:
        """Continue an interrupted scan, and return the indices of the frames that are missing now, in C order.

        `path`: the final name of the scan, or its .part. The scan becomes the running one: update() adds to it, and the
        next detector that gets busy continues it; its dataShape must be the scan's shape. Raises ScanInUseError if a
        living process writes the scan, BadFileError if it is damaged.
        """
        if self._saves.closed:
            raise ScanClosedError("the storage is closed")
        self._finish_running()
        acquisition = self._new_acquisition()
        missing = acquisition.resume(path, self._scan_options())
        self._saves.begin(acquisition)
        self._emit_state()
        return missing

    def _finish_running(self) -> None:
        """Save the running scan. A scan that has no frames and was not stopped is discarded."""
        acquisition = self._saves.running
        if acquisition is not None:
            self._finish(acquisition, acquisition.known_axes, keep_empty=False)

    def update(self, data: Mapping[Any, Any], detector: Any = None) -> None:
        """Store `{index: frame}`. When it returns, the frames survive the death of the process, and may be reused.

        The last missing frame saves the scan, with `detector.axes` or those of reserve(). Where neither is given, the
        complete scan waits for save(axes): until the next reserve() or resume(), waitForSaved(), retry(), close(), the end of
        the application or of the storage, or half a second of the event loop. Until then a frame that comes again replaces
        the one before. An invalid frame is not stored; its error is raised after the other frames are stored:
        FrameShapeError, FrameTypeError, FrameIndexError. Raises NothingReservedError if no scan is running, StorageOSError
        if the system refuses to write.
        """
        acquisition = self._saves.running
        if acquisition is None or acquisition.writer is None or not data:
            self._check_unreserved(data)
            return
        write_item_fast = acquisition.writer.write_item_fast
        stored = NOT_STORED if write_item_fast is None else write_item_fast(data)
        if stored == STORED and monotonic() < self._progress_due_s:
            return
        errors = acquisition.store(data, stored)
        self._after_frames(acquisition, detector)
        if errors:
            if len(errors) > 1:
                errors[0].add_note(f"{len(errors) - 1} more frames of this update could not be stored")
            raise errors[0]

    def _check_unreserved(self, data: Mapping[Any, Any]) -> None:
        """No scan is running. Raise, unless `data` is empty or the storage is not enabled."""
        if data and self._saves.closed:
            raise ScanClosedError("the storage is closed")
        if data and self._enabled:
            raise NothingReservedError(
                "a frame came, but no scan is reserved: call reserve() first, or connect() a detector"
            )

    def _store(self, acquisition: Acquisition, data: Mapping[Any, Any], detector: Any) -> Sequence[LysStorageError]:
        """Store frames of a detector's acquisition that has a scan; return an error for each frame that is not stored."""
        errors = acquisition.store(data)
        self._after_frames(acquisition, detector)
        return errors

    def _after_frames(self, acquisition: Acquisition, detector: Any) -> None:
        """Emit the progress if that is due. Finish a complete acquisition, or have it wait for its axes."""
        complete, now_s = acquisition.complete, monotonic()
        if complete or now_s >= self._progress_due_s:
            self._emit_progress(acquisition, now_s)
        if complete and detector is None and not acquisition.axes_are_known:
            self._axes_wait.begin(acquisition)
        elif complete:
            self._finish(acquisition, axes_at_end(detector, acquisition))

    def _emit_progress(self, acquisition: Acquisition, now_s: float) -> None:
        scan = acquisition.scan
        if scan is not None and not acquisition.finished:
            self._progress_due_s = now_s + _PROGRESS_INTERVAL_S
            self._emit("frameWritten", scan.frames_written, scan.frames_expected)

    def save(self, axes: Iterable[Any] | None = None) -> None:
        """Save the running scan now, with `axes`. Missing frames hold the fill value. No effect if no scan is running.

        `axes`: an array, or None for index coordinates, for each dimension, of its length. None: those of reserve() or of the
        detector. Raises AxisLengthError if an axis does not fit; the scan then goes on, and save() can be called again.
        """
        acquisition = self._saves.running
        if acquisition is not None and acquisition.scan is not None:
            checked = acquisition.known_axes if axes is None else check_axes(axes, acquisition.scan.shape)
            acquisition.awaits_axes = False
            self._finish(acquisition, checked)
        elif self._saved_without_axes is not None and axes is not None and len(list(axes)):
            log.warning(
                "%s was saved before save(axes) was called: these axes are not stored. Call save(axes) right after the last "
                "frame, or give reserve() the axes",
                self._saved_without_axes,
            )

    @guarded
    def _on_axes_timeout(self) -> None:
        self._end_wait()

    def _end_wait(self) -> None:
        """Save the running scan if nothing can come but its axes, or the late frame after its stop."""
        acquisition = self._saves.running
        if acquisition is not None and (acquisition.awaits_axes or acquisition.stopped):
            self._finish(acquisition, acquisition.known_axes)

    def _finish(self, acquisition: Acquisition, axes: Any, *, keep_empty: bool = True) -> None:
        """Seal the acquisition and have it saved. May be called in any thread; only the first call has an effect.

        Without `keep_empty`, a scan that has no frames and was not stopped is discarded.
        """
        if not self._saves.finish(acquisition, axes, keep_empty=keep_empty):
            return
        self._saved_without_axes = acquisition.path if acquisition.awaits_axes else None
        if self._is_in_own_thread:
            self._emit_state()
        else:
            self._emit("_stateIsStale")

    @guarded
    def _emit_state(self) -> None:
        self._emit("savingStateChanged", self.saving)

    @guarded
    def _deliver_results(self) -> None:
        """Emit the signals for what the save thread has done. Called in the storage's own thread."""
        for found in self._interrupted_search.take_found():
            if isinstance(found, Exception):
                self._report_error(found)
            else:
                self._emit("interruptedFound", found)
        for result in self._saves.take_results():
            if result.report is None:
                self._emit("failed", result.acquisition.path, result.message)
            else:
                self._report = result.report
                self._emit("saved", str(result.report.path))
                if result.report.renumbered:
                    log.warning(
                        "%s was created by another program meanwhile: saved as %s",
                        result.acquisition.path,
                        result.report.path,
                    )
                    self._emit("numberChanged")
            self._emit_state()

    def retry(self) -> int:
        """Save again the scans that could not be saved; return their number. `saved` or `failed` follows for each."""
        self._end_wait()
        count = self._saves.retry()
        if count:
            self._emit_state()
        return count

    @guarded
    def _search_for_interrupted(self) -> None:
        if self._interrupted_search.schedule(self._data_folder):
            self._emit("_atEventLoop")

    @guarded
    def _on_event_loop(self) -> None:
        self._connect_to_application()  # the storage may have been made before it
        self._interrupted_search.search()

    # -- detectors ------------------------------------------------------------------------------------------------

    def connect(self, detector: Any) -> None:
        """Store what `detector` acquires from now on. Twice is harmless. The detector keeps the storage alive.

        `detector` has the signals dataAcquired(dict), busyStateChanged(bool), stopped() and the properties dataShape,
        axes, and optionally indexShape, the shape of the grid. Errors never reach it: they are logged, and emitted as
        `failed`.
        """
        if detector not in self._links:
            self._links[detector] = DetectorLink(
                detector,
                begin=self._begin_for,
                store=self._store,
                finish=self._finish,
                finish_soon=self._saves.finish_soon,
                report_error=self._report_error,
            )

    def _begin_for(self, detector: Any) -> Acquisition:
        """The acquisition of a detector that has become busy. It never raises. A failed reservation is emitted as `failed`."""
        try:
            shape = tuple(detector.dataShape)
            running = self._saves.running
            if running is not None and running.attach_detector(shape):
                return running
            grid = getattr(detector, "indexShape", None)
            self._detector_axes = axes = axes_at_start(detector)
            fitting = None if axes is None else check_axes_leniently(axes, shape)[0]
            acquisition = self._begin(shape, None, None, None if grid is None else len(grid), fitting)
            acquisition.known_axes = axes  # what does not fit is reported when they are saved
            return acquisition
        except Exception as error:
            acquisition = self._new_acquisition()
            acquisition.refused = True
            acquisition.faults.report_error(error)
            return acquisition

    def _report_error(self, error: Exception) -> None:
        log.error("the storage has failed: %s", error, exc_info=error)
        self._emit("failed", self._new_acquisition().path, f"{type(error).__name__}: {error}")

    # -- the end --------------------------------------------------------------------------------------------------

    def waitForSaved(self, timeout_s: float | None = None) -> bool:
        """Save a scan that waits for its axes or was stopped, and wait until all saves have ended; False at the timeout.

        `timeout_s`: None waits without a limit.
        """
        self._end_wait()
        done = self._save_thread.wait_idle(timeout_s)
        if self._is_in_own_thread:
            self._deliver_results()
        return done

    @guarded
    def _on_about_to_quit(self) -> None:
        self.waitForSaved()

    def close(self) -> None:
        """Save the running scan, wait until all saves have ended, and accept no more frames. Twice is harmless."""
        self._saves.closed = True
        self._interrupted_search.close()
        self._finish_running()
        self.waitForSaved()
        self._save_thread.end()
        self._save_thread.join()
