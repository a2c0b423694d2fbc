"""One acquisition of a storage: its scan, from the reservation to the end of its save. It uses neither Qt nor the storage.

This is the only module of the package that uses the internals of `Scan`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import AxisLengthError, LysStorageError, ScanClosedError, ScanShapeError
from ..export import FinalizeReport
from ..format import check_axes, check_axes_leniently, recover_command
from ..recovery import resume_scan
from ..scan import FrameWriter, Scan, begin_scan, frame_writer
from ..store import NOT_STORED
from .fault_report import Failed, FaultReport

log = logging.getLogger("lys_storage")


@dataclass(frozen=True)
class ScanOptions:
    """What the properties of a storage say of its next scan, as of the reservation.

    `incomplete`: as in create. `dtype`: a numpy dtype, "detector" for that of the first frame, or None: float64, or complex128
    where the first frame is complex.
    """

    folder: Path
    stem: str
    numbered: bool
    dtype: Any
    flush_interval_s: float | None
    incomplete: str
    burst_bytes: int | None
    cached_bytes: int | None


@dataclass(frozen=True)
class SaveResult:
    """How a save ended: `report` if the export is in place, else None, and `message` says what failed."""

    acquisition: Acquisition
    part_path: Path
    axes: Any
    report: FinalizeReport | None
    message: str


def is_detector_dtype(dtype: Any) -> bool:
    """Whether `dtype` stands for that of the first frame."""
    return isinstance(dtype, str) and dtype == "detector"


class Acquisition:
    """From a reservation to the end of its save. `scan` is None if nothing is stored: disabled, or the reservation failed.

    Frames may come, and the acquisition may be finished, in any thread.
    """

    def __init__(self, path: str, failed: Failed, tag: dict[str, Any] | None = None) -> None:
        self.path = path
        self.tag: dict[str, Any] = {} if tag is None else tag
        self.faults = FaultReport(path, failed)
        self.scan: Scan | None = None
        self.writer: FrameWriter | None = None  # of `scan`
        self._incomplete = "fill"
        self.refused = False  # the reservation has failed
        self.stopped = False
        self.awaits_detector = False  # a resumed scan, until a detector goes on with it
        self.known_axes: Any = None  # to save with, where no others are given
        self.axes_are_known = False  # the last frame saves the scan at once
        self.awaits_axes = False  # complete; save(axes) may still come
        self._lock = threading.Lock()  # guards _finished
        self._finished = True

    # -- the beginning --------------------------------------------------------------------------------------------

    def reserve(self, options: ScanOptions, shape: Any, fill: Any, axes: Any, grid_ndim: int | None) -> None:
        """Create the scan on disk, with `axes` if they are known. Raises what `begin_scan` raises, with nothing left behind."""
        if not options.stem:
            raise ValueError('the file has no name: set the name of the storage, such as "scan"')
        by_detector = is_detector_dtype(options.dtype)
        dtype_is_free = by_detector or options.dtype is None
        scan = begin_scan(
            options.folder,
            options.stem,
            shape,
            np.float64 if dtype_is_free else options.dtype,
            numbered=options.numbered,
            replace_existing=not options.numbered,
            fill_value=None if by_detector else fill,
            axes=axes,
            note=self.tag,
            grid_ndim=grid_ndim,
            flush_interval_s=options.flush_interval_s,
            on_error=self.faults.report_error,
            preallocate=not by_detector,
            incomplete=options.incomplete,
            burst_bytes=options.burst_bytes,
            cached_bytes=options.cached_bytes,
        )
        if dtype_is_free:
            frame_writer(scan).infer_dtype_from_first_frame(fill, only_complex=not by_detector)
        self._open(scan, options.incomplete)
        self.axes_are_known = axes is not None

    def resume(self, path: str | os.PathLike[str], options: ScanOptions) -> Iterator[tuple[int, ...]]:
        """Go on with the interrupted scan at `path`; the indices of its missing frames. Raises what `resume` raises."""
        scan = resume_scan(
            Path(path),
            flush_interval_s=options.flush_interval_s,
            incomplete=options.incomplete,
            on_error=self.faults.report_error,
            burst_bytes=options.burst_bytes,
            cached_bytes=options.cached_bytes,
        )
        missing = scan.missing()
        self._open(scan, options.incomplete)
        self.awaits_detector = True
        return missing

    def assume_axes(self, axes: Any) -> None:
        """Save with `axes`, where no others are given; only if they fit."""
        if axes is not None and self.scan is not None:
            with contextlib.suppress(AxisLengthError):
                self.known_axes = check_axes(axes, self.scan.shape)

    def _open(self, scan: Scan, incomplete: str) -> None:
        self.writer, self._incomplete = frame_writer(scan), incomplete
        self.scan, self.path, self.faults.path = scan, str(scan.path), str(scan.path)
        self._finished = False

    def attach_detector(self, shape: tuple[int, ...]) -> bool:
        """True if this is a resumed scan, which a detector of `shape` goes on with; ScanShapeError if its shape differs."""
        if not self.awaits_detector or self.scan is None:
            return False
        if self.scan.shape != shape:
            raise ScanShapeError(
                f"the resumed scan {self.path} is of shape {self.scan.shape}, the detector delivers {shape}: set the "
                "detector to the shape of the scan, or call save() to save the scan as it is"
            )
        self.awaits_detector = False
        return True

    # -- looking at it --------------------------------------------------------------------------------------------

    @property
    def array(self) -> np.memmap[Any, Any] | None:
        """The scan as a read-only map; None where there is none, and where it has just ended or gets another layout."""
        try:
            return None if self.scan is None else self.scan.array
        except (LysStorageError, OSError, ValueError) as error:
            log.debug("%s: it cannot be mapped now: %s", self.path, error)
            return None

    @property
    def written(self) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
        """Which frames have been written; None as for `array`."""
        try:
            return None if self.scan is None else self.scan.written
        except (LysStorageError, ValueError) as error:
            log.debug("%s: its states cannot be read now: %s", self.path, error)
            return None

    # -- frames ---------------------------------------------------------------------------------------------------

    def store(self, data: Mapping[Any, Any], stored: int = NOT_STORED) -> list[LysStorageError]:
        """Store `{index: frame}`, and return an error for each frame that could not be stored.

        Frames that came after the end of the scan are counted, and are no error. Requires a scan.
        """
        assert self.writer is not None
        errors = self.writer.store(data, stored)
        if not errors:
            return errors
        others = [error for error in errors if not isinstance(error, ScanClosedError)]
        self.faults.frames_late += len(errors) - len(others)
        return others

    @property
    def complete(self) -> bool:
        """Whether every frame of its scan has been stored."""
        return self.scan is not None and self.scan.complete

    # -- the end --------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether it takes no more frames."""
        return self._finished

    def claim_finish(self) -> bool:
        """True for the one caller that is to finish it."""
        with self._lock:
            first, self._finished = not self._finished, True
        return first

    def seal(self) -> None:
        """Accept no more frames, and wait for those that are being written."""
        assert self.scan is not None
        self.scan.seal()

    @property
    def is_worth_saving(self) -> bool:
        """Whether it has frames, or was stopped: a stopped acquisition leaves a file in any case."""
        return self.stopped or (self.scan is not None and self.scan.frames_written > 0)

    def discard(self) -> None:
        """Remove the files of a sealed scan that has no frames, and give its number back."""
        assert self.scan is not None
        self.scan.discard()

    def save(self, axes: Any) -> SaveResult:
        """Export the scan with `axes` (None: those that it has). If that fails, the scan stays in progress on disk.

        Errors are in the result; only what no save can expect is raised.
        """
        scan = self.scan
        assert scan is not None
        try:
            if axes is not None and not scan.published:
                scan.axes, faults = check_axes_leniently(axes, scan.shape)
                for fault in faults:
                    self.faults.report_error(ValueError(fault))
            scan.close()  # the note is what the tag holds now
            return SaveResult(self, scan.part_path, axes, scan.report, "")
        except Exception as error:
            return self._keep_in_progress(scan, axes, error)

    def save_again(self, part_path: Path, axes: Any) -> SaveResult:
        """Export a scan whose save has failed before."""
        if self.scan is not None and self.scan.published:
            return self.save(axes)
        try:
            self.scan = resume_scan(part_path, incomplete=self._incomplete, on_error=self.faults.report_error)
        except Exception as error:
            return SaveResult(self, part_path, axes, None, str(error))
        return self.save(axes)

    def _keep_in_progress(self, scan: Scan, axes: Any, error: Exception) -> SaveResult:
        """Suspend a scan whose export has failed, so that retry() or a recovery can export it."""
        log.error("%s could not be saved: %s", self.path, error, exc_info=not isinstance(error, LysStorageError))
        if scan.published:
            message = f"{error}; the export is in place, but may not survive a power cut: call retry()"
            return SaveResult(self, scan.part_path, axes, None, message)
        try:
            scan.suspend()
        except Exception as second:
            log.error("%s: %s", scan.part_path, second)
        kept = f"the scan is kept in progress: retry(), or {recover_command(scan.part_path.parent)}, exports it"
        return SaveResult(self, scan.part_path, axes, None, f"{error}; {kept}")
