"""The thread that waits for the disk: it flushes in time, and has the kernel write frames in between.

Write-back in between leaves a sync little to do, and the kernel never has to hold a writer back. It promises nothing, and is
done where it costs nothing: not in the first moment, since a burst ends before it is on the disk; nor where frames come far
apart, since the kernel merges adjacent pages if it is left alone; nor during a flush, which would wait for that, too.
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
"""What failed is tried again, but not sooner."""
AFTER_S = 0.2
"""Nothing is written back sooner after the first frames."""
_APART = 2
"""Frames that are spread over more than so many times their own bytes come far apart."""
_WHOLE = 1 << 21
"""Bytes; up to a multiple of it: the kernel keeps a file in pieces of up to that, and the last one is still being written."""
_PIECE = 1 << 22


class FlushThread:
    """Flushes `interval_s` after frames have come (None: never), and has the kernel write in between.

    Its thread begins with the first frames. `on_error` is called with the error of a failed flush, which is tried again.
    """

    def __init__(self, store: ScanStore, interval_s: float | None, on_error: ErrorHandler) -> None:
        self._store, self._interval, self._on_error = store, interval_s, on_error
        self.flush_pending = False  # that frames have come since the last flush began
        self._lock = threading.Lock()  # guards _bytes
        self._bytes: Span = (0, 0)  # to be written back
        self._waiting: tuple[Span, int] = ((0, 0), 0)  # of frames, and the bytes of them that came
        self._flushing = threading.Lock()  # held from before a flush until its error handler has returned
        self._wake = threading.Event()
        self._ended = self._flushes_last = False
        self._write_back_s = time.monotonic() + AFTER_S
        self._thread = threading.Thread(target=self._run, name="lys_storage flush", daemon=True)
        try:
            self._thread.start()
        except BaseException as error:
            self.stop(wait=False)  # where an interrupt came it may have begun
            if not isinstance(error, RuntimeError):
                raise
            what = f"scan {store.path}: no thread can be begun that flushes ({error})"
            if interval_s:
                raise LysStorageError(
                    f"{what}: frames are stored, and survive a power cut once they are saved"
                ) from error
            log.warning("%s", what)

    def notify_written(self) -> None:
        """To be called by the writer after frames, where it does not know yet."""
        self.flush_pending = True
        self._wake.set()

    def notify_checksummed(self, span: Span, came: int) -> None:
        """The frames of `span`, of which `came` bytes are new, have a checksum and are hardly written again soon.

        Not those that have none yet: if the kernel lost one, its bytes would not show it.
        """
        table = self._store.table
        span, came = self._waiting = (join(self._waiting[0], span), self._waiting[1] + came)
        if table.dirty_backlog:  # some before these
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
        """When it is to be tried again, also where no more frames come."""
        if self._ended:
            return None
        self.flush_pending = False  # first: a frame that comes from now on notifies again
        self._store.table.wake_at_bytes = 0
        try:
            self._store.flush()
        except ScanClosedError:
            self._ended = True
        except Exception as error:
            what = "what came since the last flush may not survive a power cut"
            log.error("scan %s: %s: %s", self._store.path, what, error)
            notify_error(self._on_error, error)
            return time.monotonic() + max(self._interval or 0.0, AGAIN_S)
        return None

    def _write_back(self, due: float | None) -> None:
        """Have the kernel write what waits for it, until the next flush is due."""
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
        """End the thread. `wait`: for a flush that is under way, but not for the kernel. Holding no lock that it could want."""
        self._ended = True
        self._wake.set()
        if wait:
            with self._flushing:
                pass

    def flush_and_end(self, timeout_s: float) -> bool:
        """Nobody will flush or save the scan any more: flush what has come, and end. Whether it has ended by then."""
        self._flushes_last = True
        self._wake.set()
        if not self.is_current:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def join(self) -> None:
        """After stop(): wait until the thread uses the scan file no longer. It takes none of the scan's locks."""
        if self._thread.is_alive():
            self._thread.join()
