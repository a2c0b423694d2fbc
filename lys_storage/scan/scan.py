"""One acquisition in progress, as scripts see it: frames by index, axes and note, and the export at the end.

How it is looked at, and read, is in `scan_view`.
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
    """A scan that is being written. Made by `create` or `resume`; frames may be written from several threads.

    `path` is the final name; until it is published the scan is at `part_path`. A frame whose write has returned survives
    the death of the process; one older than `flush_interval_s` survives a power cut.
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
    ) -> None:
        """`metadata_is_trusted`: axes and note are this process's own. `incomplete`, `casting`: as in create."""
        on_error = on_error or log_error
        self.report = None
        self._store, self._incomplete, self._is_released = store, incomplete, False
        lifecycle = Lifecycle()
        self._space = space or ScanSpace(store, on_error)
        self._workers = BackgroundWorkers(store, lifecycle, flush_interval_s, on_error)
        self._metadata = ScanMetadata(store, note, is_trusted=metadata_is_trusted)
        self._map = ArrayMap(store)
        self._writer = FrameWriter(
            *(store, lifecycle, self._workers, self._space, self._map),
            grid_is_known=grid_is_known,
            flush_each_write=flush_interval_s == 0,
            checks_values=casting == "same_value",
        )
        self._finalizer = weakref.finalize(self, self._workers.drop, weakref.ref(self))
        self._lifecycle = lifecycle  # last: __del__ finds a scan that is whole, or none
        warn_at_exit(self)

    # -- axes and note --------------------------------------------------------------------------------------------

    @property
    def axes(self) -> list[np.ndarray[Any, Any]]:
        """One coordinate array for each dimension. Set it as a whole; None entries become index coordinates."""
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
        """The note of the wave. Set it as a whole, or change it in place: what is in it at close() counts."""
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
        """Store `frame` at `index`; when this returns it survives the death of the process, and may be reused.

        `index`: ints, slices, Ellipsis, as for numpy, without masks and lists; in range, and of whole frames
        (FrameIndexError). The frame's shape is exactly what the index leaves over (FrameShapeError), its dtype casts by
        same_kind and keeps each value (FrameTypeError); otherwise nothing of it is stored, and the scan goes on. A Python
        number or a numpy scalar fills all that the index names; an array is never broadcast, also not one of shape ().
        DiskFullError, StorageOSError: the system refused; the frame is missing. ScanClosedError: it came too late.
        """
        self._writer.write(index, frame, True)

    def update(self, data: Mapping[Any, Any]) -> None:
        """Store every frame of `{index: frame}`, each as `write` does.

        A bad one does not keep the others out: it is raised afterwards.
        """
        self._writer.update(data)

    def __setitem__(self, index: Any, frame: Any) -> None:
        self._writer.write(index, frame, True)

    def flush(self) -> None:
        """Make every frame written so far survive a power cut."""
        self._raise_if_over()
        self._store.flush()

    def change_dtype(self, dtype: Any, fill_value: Any = None) -> None:
        """Store frames as `dtype` from now on. Only while no frame has been written: ScanShapeError otherwise.

        `fill_value`: as in create.
        """
        self._writer.change_dtype(dtype, fill_value)

    # -- the end --------------------------------------------------------------------------------------------------

    def seal(self) -> None:
        """Refuse further frames and wait for those in flight. What is left to do is close()."""
        self._raise_if_over()
        self._store.stop_accepting("it accepts no more frames: seal, close, suspend or discard has ended it")
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

        `incomplete`: "fill" or "trim", as in create; None: what create was given. `on_progress(done, total)`: bytes of fill
        value written so far. Where it raises, the scan stays in progress on disk, and close() can be called again.
        """
        return self._close(incomplete or self._incomplete, on_progress, recovering=False)

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
        """Stop writing, and keep the scan in progress on disk, for `resume` or `recover`. Twice is harmless."""
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
                if self._store.find_export():  # close() could not end, else it would be saved
                    sync_folder(self.part_path.parent)
                elif self._store.table.successor is None:  # then everything has been synced before
                    self._metadata.store_note()
                    self._store.flush()
            finally:
                self._lifecycle.state = "suspended"
                self._release()

    def discard(self) -> None:
        """Give up a scan of which nothing has arrived (else ScanClosedError): its files go, and its name is free again."""
        self._end_writing()
        with self._lifecycle.lock:
            if self.frames_written or self._lifecycle.state not in ("sealed", DISCARDING):
                raise ScanClosedError(f"scan {self.part_path} has {self.frames_written} frames, and is not discarded")
            self._discard()

    def _discard(self) -> None:
        self._lifecycle.state = DISCARDING
        self._store.discard()
        if self.number is not None:
            give_back(self.part_path.parent, self._store.description.stem, self.number)
        self._lifecycle.state = "discarded"
        self._release()

    def _release(self) -> None:
        """Let the files go, and with them the lock. Again where it was interrupted."""
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
        log.warning("%s", message)  # a ResourceWarning is not shown by default
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
            error.add_note(f"And the last flush failed: {second}")
        if self.report is None:
            error.add_note(kept_in_progress(self))


def export_recovered(scan: Scan, incomplete: str, on_progress: Progress | None) -> Path:
    """As Scan.close, for recovery: no file is replaced, also where create was told to replace one."""
    return scan._close(incomplete, on_progress, recovering=True)


def frame_writer(scan: Scan) -> FrameWriter:
    """The writer of a scan, for the parts of this package that need more of it than scripts do."""
    return scan._writer
