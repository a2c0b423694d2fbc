"""The thread that waits for the disk: it flushes each interval, and starts the kernel's write-back in between.

Early write-back leaves a sync little to do, and the kernel need not throttle the writer. It makes nothing durable, and is done
where it costs nothing: not right after the first frames, because a short burst ends before it is on the disk; not for frames
that are far apart, because the kernel can merge adjacent pages later; not during a flush, which would wait for it too.
"""

from __future__ import annotations

import logging
import threading
import time

from ..callbacks import ErrorHandler, notify_error
from ..disk import WRITES_BACK
from ..errors import LysStorageError, ScanClosedError
from ..journal import Span
from ..store import ScanStore, join

log = logging.getLogger("lys_storage")
AGAIN_S = 1.0
"""The wait before a failed flush is repeated."""
AFTER_S = 0.2
"""The wait after the first frames before write-back begins."""
_APART = 2
"""Frames that are spread over more than this many times their own bytes are far apart."""
_WHOLE = 1 << 21
"""Bytes. Write-back ends at a multiple: the kernel caches a file in folios of up to this size, and the last is being written."""
_PIECE = 1 << 22


class FlushThread:
    """Flushes `interval_s` after frames were written (None: never), and starts write-back in between.

    `on_error` is called with the error of a failed flush, which is repeated.
    """

    def __init__(self, store: ScanStore, interval_s: float | None, on_error: ErrorHandler) -> None:
        self._store, self._interval, self._on_error = store, interval_s, on_error
        self.flush_pending = False  # frames were written since the last flush began
        self._lock = threading.Lock()  # guards _bytes
        self._bytes: Span = (0, 0)  # to be written back
        self._waiting: tuple[Span, int] = (
            (0, 0),
            0,
        )  # frames that wait for older ones, and how many of their bytes are new
        self._flushing = threading.Lock()  # held from before a flush until its error handler has returned
        self._wake = threading.Event()
        self._ended = self._flushes_last = False
        self._write_back_s = time.monotonic() + AFTER_S
        self._thread = threading.Thread(target=self._run, name="lys_storage flush", daemon=True)
        try:
            self._thread.start()
        except BaseException as error:
            self.stop(wait=False)  # after an interrupt it may be running
            if not isinstance(error, RuntimeError):
                raise
            what = f"scan {store.path}: the flush thread did not start ({error})"
            if interval_s:
                raise LysStorageError(
                    f"{what}: frames are stored, but survive a power cut only after flush() or close()"
                ) from error
            log.warning("%s", what)

    def notify_written(self) -> None:
        """Called by the writer after frames, if no flush is pending."""
        self.flush_pending = True
        self._wake.set()

    def notify_checksummed(self, span: Span, came: int) -> None:
        """Write back the frames of `span`, of which `came` bytes are new. They have a checksum.

        Frames without one are not written back: if the kernel lost such a frame, its bytes would not show it.
        """
        table = self._store.table
        span, came = self._waiting = (join(self._waiting[0], span), self._waiting[1] + came)
        if table.dirty_backlog:  # frames before these have no checksum yet
            return
        self._waiting = ((0, 0), 0)
        unchecked = table.dirty[0] if table.dirty[0] < table.dirty[1] else span[1]
        first, stop = (table.array_offset + number * table.frame_bytes for number in (span[0], min(span[1], unchecked)))
        if WRITES_BACK and came * _APART >= stop - first:
            with self._lock:
                self._bytes = join(self._bytes, (first, stop))
            self._wake.set()

    def _run(self) -> None:
        due: float | None = None
        while not self._ended:
            times = [] if due is None else [due]
            if self._bytes[0] < self._bytes[1]:
                times.append(self._write_back_s)
            self._wake.wait(max(0.0, min(times) - time.monotonic()) if times else None)
            self._wake.clear()
            if self._flushes_last and not self._ended:
                with self._flushing:
                    self._flush()
                return
            if due is None and self.flush_pending and self._interval is not None:
                due = time.monotonic() + self._interval
            if due is not None and time.monotonic() >= due:
                with self._flushing:
                    due = self._flush()
            elif time.monotonic() >= self._write_back_s:
                self._write_back(due)

    def _flush(self) -> float | None:
        """Flush. Returns the time at which a failed flush is to be repeated, else None."""
        if self._ended:
            return None
        self.flush_pending = False  # first: a frame that is written from now on notifies again
        self._store.table.wake_at_bytes = 0
        try:
            self._store.flush()
        except ScanClosedError:
            self._ended = True
        except Exception as error:
            what = "a flush failed and is repeated, the newest frames may not survive a power cut"
            log.error("scan %s: %s: %s", self._store.path, what, error)
            notify_error(self._on_error, error)
            return time.monotonic() + max(self._interval or 0.0, AGAIN_S)
        return None

    def _write_back(self, due: float | None) -> None:
        """Start write-back of the bytes that wait for it, until the next flush is due."""
        while not self._ended and (due is None or time.monotonic() < due):
            with self._lock:
                first, stop = (at // _WHOLE * _WHOLE for at in self._bytes)
                upto = min(first + _PIECE, stop)
                self._bytes = (upto, self._bytes[1]) if upto < stop else (0, 0)
            if first >= stop:
                return
            self._store.file.begin_write_back(first, upto - first)

    @property
    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    def stop(self, *, wait: bool) -> None:
        """End the thread. `wait`: for a running flush, but not for write-back. Hold no lock that it may need."""
        self._ended = True
        self._wake.set()
        if wait:
            with self._flushing:
                pass

    def flush_and_end(self, timeout_s: float) -> bool:
        """Flush a last time, and end the thread. Returns whether it ended within `timeout_s`."""
        self._flushes_last = True
        self._wake.set()
        if not self.is_current:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def join(self) -> None:
        """After stop(): wait until the thread no longer uses the scan file. It takes none of the scan's locks."""
        if self._thread.is_alive():
            self._thread.join()
