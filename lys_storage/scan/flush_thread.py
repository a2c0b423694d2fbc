"""The thread that flushes each interval."""

from __future__ import annotations

import logging
import threading
import time

from ..callbacks import ErrorHandler, notify_error
from ..errors import LysStorageError, ScanClosedError
from ..store import ScanStore

log = logging.getLogger("lys_storage")
AGAIN_S = 1.0
"""The wait before a failed flush is repeated."""


class FlushThread:
    """Flushes `interval_s` after frames were written (None: never).

    `on_error` is called with the error of a failed flush, which is repeated.
    """

    def __init__(self, store: ScanStore, interval_s: float | None, on_error: ErrorHandler) -> None:
        self._store, self._interval, self._on_error = store, interval_s, on_error
        self.flush_pending = False  # frames were written since the last flush began
        self._flushing = threading.Lock()  # held from before a flush until its error handler has returned
        self._wake = threading.Event()
        self._ended = self._flushes_last = self._flushes_now = False
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

    def flush_now(self) -> None:
        """A write-back has failed: the next flush, which is due now, writes its frames again."""
        self._flushes_now = True
        self._wake.set()

    def _run(self) -> None:
        due: float | None = None
        while not self._ended:
            self._wake.wait(None if due is None else max(0.0, due - time.monotonic()))
            self._wake.clear()
            if self._flushes_last and not self._ended:
                with self._flushing:
                    self._flush()
                return
            if due is None and self.flush_pending and self._interval is not None:
                due = time.monotonic() + self._interval
            if self._flushes_now or (due is not None and time.monotonic() >= due):
                self._flushes_now = False
                with self._flushing:
                    due = self._flush()

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

    @property
    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    def stop(self, *, wait: bool) -> None:
        """End the thread. `wait`: for a running flush. Hold no lock that it may need."""
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
