"""`Scan`: an acquisition in progress. Writes frames, axes and note, and exports the scan at the end.

Its base `ScanView` has the parts that only read.
"""

from __future__ import annotations

import logging
import sys
import warnings
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..callbacks import ErrorHandler, Progress, log_error
from ..disk import give_back, sync_folder
from ..errors import LysStorageError, ScanClosedError
from ..export import finalize
from ..store import ScanStore
from .array_map import ArrayMap
from .background import BackgroundWorkers
from .lifecycle import DISCARDING, Lifecycle
from .metadata import ScanMetadata
from .options import check_incomplete
from .scan_view import ScanView
from .space import ScanSpace
from .unclosed import kept_in_progress, unclosed, warn_at_exit
from .writer import FrameWriter

log = logging.getLogger("lys_storage")


class Scan(ScanView):
    """A scan that is being written. `create` and `resume` make it; use it in a `with` block, or call `close()`.

    `scan[index] = frame` stores a frame. Several threads may write. A frame survives the death of the process once its write
    has returned, and a power cut once it is older than `flush_interval_s` (seconds). `close()` makes the export at `path`;
    until then the scan is in the file `part_path`.

    Once the scan is over, reading and writing frames raises ScanClosedError.
    """

    def __init__(
        self,
        store: ScanStore,
        *,
        flush_interval_s: float | None = 1.0,
        on_error: ErrorHandler | None = None,
        space: ScanSpace | None = None,
        grid_is_known: bool = True,
        metadata_is_trusted: bool = False,
        note: dict[Any, Any] | None = None,
        incomplete: str = "fill",
        casting: str = "same_value",
        burst_bytes: int | None = None,
        cached_bytes: int | None = None,
    ) -> None:
        """`metadata_is_trusted`: this process wrote axes and note, so unpickling them is safe. The others: as in create."""
        on_error = on_error or log_error
        self.report = None
        self._store, self._incomplete, self._is_released = store, incomplete, False
        lifecycle = Lifecycle()
        self._space = space or ScanSpace(store, on_error)
        self._workers = BackgroundWorkers(
            *(store, lifecycle, flush_interval_s, on_error), burst_bytes=burst_bytes, cached_bytes=cached_bytes
        )
        self._metadata = ScanMetadata(store, note, is_trusted=metadata_is_trusted)
        self._map = ArrayMap(store)
        self._writer = FrameWriter(
            *(store, lifecycle, self._workers, self._space, self._map),
            grid_is_known=grid_is_known,
            flush_each_write=flush_interval_s == 0,
            checks_values=casting == "same_value",
        )
        self._finalizer = weakref.finalize(self, self._workers.drop, weakref.ref(self))
        self._lifecycle = lifecycle  # set last: __del__ does nothing for a scan without it
        warn_at_exit(self)

    # -- axes and note --------------------------------------------------------------------------------------------

    @property
    def axes(self) -> list[np.ndarray[Any, Any]]:
        """One array of coordinates for each dimension. Assign a list; None in it stands for index coordinates 0, 1, 2, ...

        Assigning raises AxisLengthError for too many axes, a wrong length, or points that cannot be stored.
        """
        with self._lifecycle.lock:
            if not self._metadata.axes_are_read:
                self._raise_if_over()
            return self._metadata.axes()

    @axes.setter
    def axes(self, axes: Iterable[Any] | None) -> None:
        checked = self._metadata.check_axes(axes)
        with self._lifecycle.lock:
            self._raise_if_over()
            self._metadata.set_axes(checked)

    @property
    def note(self) -> dict[Any, Any]:
        """The note of the wave, a dict. Assign one, or change it in place: `close()` and `suspend()` store it.

        Assigning raises ScanShapeError if it is not a dict that can be stored.
        """
        with self._lifecycle.lock:
            if not self._metadata.note_is_read:
                self._raise_if_over()
            return self._metadata.note()

    @note.setter
    def note(self, note: Mapping[Any, Any] | None) -> None:
        with self._lifecycle.lock:
            self._raise_if_over()
            self._metadata.set_note(note)

    # -- frames ---------------------------------------------------------------------------------------------------

    def write(self, index: Any, frame: Any) -> None:
        """Store `frame` at `index`. When this returns, the frame survives the death of the process.

        Args:
            index: Ints, slices, Ellipsis, or a tuple of them, as for numpy; no masks and no lists. It selects whole frames.
            frame: An array, or nested lists, of the shape `scan.read(index)` has. Arrays are not broadcast. A Python number
                or numpy scalar is stored in all elements that `index` selects. The buffer may be reused afterwards.

        Raises FrameIndexError if the index is out of range or selects a part of a frame; FrameShapeError if the shape
        differs; FrameTypeError if the dtype does not cast by `same_kind`, or a value would change (`casting` of `create`).
        None of the frame is stored then, and the scan continues. Raises DiskFullError or StorageOSError if the system cannot
        write; a new frame is then missing. Raises ScanClosedError if the scan accepts no more frames.
        """
        self._writer.write(index, frame, True)

    def update(self, data: Mapping[Any, Any]) -> None:
        """Store every frame of `{index: frame}`, as `write` does.

        A frame that cannot be stored does not prevent the others: the first error is raised after all have been tried.
        """
        self._writer.update(data)

    def __setitem__(self, index: Any, frame: Any) -> None:
        self._writer.write(index, frame, True)

    def flush(self) -> None:
        """Make all frames that have been written survive a power cut. Raises StorageOSError if the system cannot sync."""
        self._raise_if_over()
        self._store.flush()

    def change_dtype(self, dtype: Any, fill_value: Any = None) -> None:
        """Change the dtype of a scan without frames. `fill_value`: as in create.

        Raises ScanShapeError if a frame has been written, or `dtype` or `fill_value` cannot be stored; DiskFullError if there
        is not enough space.
        """
        self._writer.change_dtype(dtype, fill_value)

    # -- the end --------------------------------------------------------------------------------------------------

    def seal(self) -> None:
        """Accept no more frames, and wait for the writes in progress. `close()` then exports the scan."""
        self._raise_if_over()
        self._store.stop_accepting(
            "it accepts no more frames after seal, close, suspend or discard; create another scan"
        )
        with self._lifecycle.lock:
            if self._lifecycle.is_open:
                self._lifecycle.state = "sealed"

    def _end_writing(self) -> None:
        self.seal()
        self._end_threads()

    def _end_threads(self) -> None:
        self._workers.stop()
        self._space.stop()

    def close(self, *, incomplete: str | None = None, on_progress: Progress | None = None) -> Path:
        """Export the scan, and return the path of the export. A second call returns the same path.

        Args:
            incomplete: "fill" or "trim", as in create. None: the value that was given to create.
            on_progress: `on_progress(done, total)` is called with the bytes of fill value that have been written. It must
                not call the scan.

        Raises StorageOSError or DiskFullError if the system cannot write, NameTakenError if another file has taken the name,
        and ScanShapeError for another `incomplete`. The scan then stays in progress on disk; `close()` can be called again.
        """
        return self._close(self._incomplete if incomplete is None else incomplete, on_progress, recovering=False)

    def _close(self, incomplete: str, on_progress: Progress | None, *, recovering: bool) -> Path:
        check_incomplete(incomplete)
        if self.report is not None:
            self._release()
            return self.report.path
        self._end_writing()
        with self._lifecycle.lock:
            if self.report is None:
                self._raise_if_over()
                self._lifecycle.raise_if_discarding(self.path)
                if not self._store.find_export():
                    self._metadata.store_note()
                trim = incomplete == "trim"
                self.report = finalize(self._store, on_progress, trim=trim, recovering=recovering)
                self._lifecycle.state = "saved"
                self._release()
        return self.report.path

    def suspend(self) -> None:
        """Stop writing, and keep the scan in progress on disk for `resume` or `recover`. A second call does nothing.

        Raises StorageOSError if the last flush fails; the scan is suspended all the same.
        """
        if self._lifecycle.is_over and not self._lifecycle.is_forked:
            self._release()
            return
        self._end_writing()
        with self._lifecycle.lock:
            if self._lifecycle.is_over:
                return
            if self._lifecycle.state == DISCARDING:
                return self._discard()
            try:
                if self._store.find_export():  # a close() that did not complete has published the export
                    sync_folder(self.part_path.parent)
                elif self._store.table.successor is None:  # else a layout change was interrupted: all frames are synced
                    self._metadata.store_note()
                    self._store.flush()
            finally:
                self._lifecycle.state = "suspended"
                self._release()

    def discard(self) -> None:
        """Remove the files of a scan without frames, and free its name. Raises ScanClosedError if it has frames."""
        self._end_writing()
        with self._lifecycle.lock:
            if self.frames_written or self._lifecycle.state not in ("sealed", DISCARDING):
                raise ScanClosedError(
                    f"scan {self.part_path} has {self.frames_written} of {self.frames_expected} frames, and only a scan "
                    "without frames can be discarded: export it with close(), or keep it in progress with suspend()"
                )
            self._discard()

    def _discard(self) -> None:
        self._lifecycle.state = DISCARDING
        self._map.end()  # Windows neither cuts nor removes a file that is mapped
        self._store.discard()
        if self.number is not None:
            give_back(self.part_path.parent, self._store.description.stem, self.number)
        self._lifecycle.state = "discarded"
        self._release()

    def _release(self) -> None:
        """Close the files, which releases the lock. If a call was interrupted, the next one completes it."""
        if not self._is_released:
            self._finalizer.detach()
            self._map.end()
            self._workers.join_io()
            self._store.close()
            self._is_released = True

    def __del__(self) -> None:
        lifecycle = getattr(self, "_lifecycle", None)
        if lifecycle is None or lifecycle.is_over or sys.is_finalizing():
            return
        message = unclosed(self)
        log.warning("%s", message)  # Python hides a ResourceWarning by default
        warnings.warn(message, ResourceWarning, stacklevel=2)

    def __enter__(self) -> Scan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lifecycle.state == "suspended":
            self._release()
            return
        if error is None:
            self.close()
            return
        try:
            self.suspend()
        except LysStorageError as second:
            error.add_note(f"The last flush failed too: {second}")
        if self.report is None:
            error.add_note(kept_in_progress(self))


def export_recovered(scan: Scan, incomplete: str, on_progress: Progress | None) -> Path:
    """As Scan.close, for recovery: it replaces no file, even if the scan was created with `overwrite=True`."""
    return scan._close(incomplete, on_progress, recovering=True)


def frame_writer(scan: Scan) -> FrameWriter:
    """The FrameWriter of `scan`, for other modules of this project. It is not public."""
    return scan._writer
