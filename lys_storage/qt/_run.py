"""One acquisition of a storage: its scan, its tag, and what went wrong with its frames. Knows no Qt and no storage."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lys_storage.errors import LysStorageError, ScanClosedError
from lys_storage.export import FinalizeReport
from lys_storage.format import check_axes_leniently
from lys_storage.recovery import resume_scan
from lys_storage.scan import FrameWriter, Scan, frame_writer

log = logging.getLogger("lys_storage")

Failed = Callable[[str, str], None]
"""failed(path, message)"""


@dataclass(frozen=True)
class SaveResult:
    """How a save ended: its report, or the message of what failed."""

    run: Run
    part: Path
    axes: Any
    report: FinalizeReport | None
    message: str


class Run:
    """From a reservation to the end of its save. `scan` is None where nothing is stored: disabled, or it failed."""

    def __init__(self, path: str, failed: Failed, tag: dict[str, Any] | None = None) -> None:
        self.path, self.tag = path, {} if tag is None else tag
        self.scan: Scan | None = None
        self.writer: FrameWriter | None = None  # of `scan`
        self.partial = "fill"  # what becomes of a scan that is not complete
        self.refused = False  # the reservation failed: its frames are counted
        self.stopped = False
        self.resumed = False  # an interrupted scan that waits for its detector
        self.known_axes: Any = None
        self._failed = failed
        self._lock = threading.Lock()  # guards _taken_over, _faults, _over
        self._taken_over = True
        self._over = False
        self._faults: Counter[str] = Counter()
        self.frames_lost = 0
        self.frames_after = 0

    def open(self, scan: Scan) -> None:
        """The reservation has succeeded: frames go to `scan` from now on."""
        self.scan, self.writer, self.path = scan, frame_writer(scan), str(scan.path)
        self._taken_over = False

    @property
    def finished(self) -> bool:
        """Whether it takes no more frames."""
        return self._taken_over

    def take_over(self) -> bool:
        """True for the one caller that is to end it."""
        with self._lock:
            first, self._taken_over = not self._taken_over, True
        return first

    # -- frames ---------------------------------------------------------------------------------------------------

    def without_late_ones(self, faults: list[LysStorageError]) -> list[LysStorageError]:
        """`faults` but for frames that came after the end of the scan, which are counted."""
        others = [fault for fault in faults if not isinstance(fault, ScanClosedError)]
        self.frames_after += len(faults) - len(others)
        return others

    # -- what went wrong ------------------------------------------------------------------------------------------

    def complain(self, error: BaseException) -> None:
        """Tell a fault at once the first time, and count its kind afterwards."""
        kind = type(error).__name__
        with self._lock:
            self._faults[kind] += 1
            first = self._faults[kind] == 1
        if first:
            log.error("%s: %s", self.path, error)
            self._failed(self.path, str(error))

    def tell_end(self) -> None:
        """Say once, at the end, how many frames were not stored and why."""
        with self._lock:
            if self._over:
                return
            self._over = True
            repeats = {kind: n - 1 for kind, n in self._faults.items() if n > 1}
        for kind, n in repeats.items():
            self._failed(self.path, f"{kind}: {n} more of them in this acquisition")
        if self.frames_lost:
            text = f"{self.frames_lost} frames of this acquisition were not stored, because its reservation had failed"
            log.error("%s: %s", self.path, text)
            self._failed(self.path, text)
        if self.frames_after:
            log.warning(
                "%s: %d frames after the first full pass, or after the end of the scan, were not written",
                *(self.path, self.frames_after),
            )

    # -- the end --------------------------------------------------------------------------------------------------

    def save(self, axes: Any) -> SaveResult:
        """Export the scan. Where that fails it stays in progress on disk; never raises what a save can meet."""
        scan = self.scan
        assert scan is not None
        try:
            if axes is not None and not scan.published:
                fitting, faults = check_axes_leniently(axes, scan.shape)
                scan.axes = fitting
                for fault in faults:
                    self.complain(ValueError(fault))
            scan.close()  # what is in the tag by now is the note
            return SaveResult(self, scan.part_path, axes, scan.report, "")
        except Exception as error:
            return self._kept(scan, axes, error)

    def save_again(self, part: Path, axes: Any) -> SaveResult:
        """Export a scan whose save has failed before."""
        if self.scan is not None and self.scan.published:
            return self.save(axes)
        try:
            scan = resume_scan(part, partial=self.partial)
        except Exception as error:
            return SaveResult(self, part, axes, None, str(error))
        self.scan = scan
        return self.save(axes)

    def _kept(self, scan: Scan, axes: Any, error: Exception) -> SaveResult:
        log.error("%s could not be saved: %s", self.path, error, exc_info=not isinstance(error, LysStorageError))
        if scan.published:
            return SaveResult(
                self, scan.part_path, axes, None, f"{error}; the export is there: retry() makes it durable"
            )
        try:
            scan.suspend()
        except LysStorageError as second:
            log.error("%s: %s", scan.part_path, second)
        kept = f'the scan is kept in progress: retry(), or "lys-storage recover {scan.part_path.parent}", exports it'
        return SaveResult(self, scan.part_path, axes, None, f"{error}; {kept}")
