"""The thread that takes checksums of frames that have arrived, while further ones come.

While a flush waits for the disk it goes on: where memory is short, what comes meanwhile would be evicted, and would have to
be read from the disk again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ..callbacks import ErrorHandler, notify_error
from ..errors import ScanClosedError
from ..journal import Span
from ..store import ScanStore

log = logging.getLogger("lys_storage")

AGAIN_S = 1.0
"""What failed is tried again, but not sooner."""


def checksum_batch_bytes(frame_bytes: int) -> int:
    """Checksums are taken each time so many bytes have come: often, so that little is left to do at the end; but each time
    the writer may have to wait for the interpreter, and small frames come at once."""
    return 4 << 20 if frame_bytes >= 1 << 16 else 16 << 20


class ChecksumThread:
    """Takes checksums each time `batch_bytes` have come. The thread starts with the first batch.

    `on_batch(span, came)` is called, in the thread, after the checksums of each batch; `on_error` where they fail.
    """

    def __init__(self, store: ScanStore, on_batch: Callable[[Span, int], None], on_error: ErrorHandler) -> None:
        self._store, self._on_batch, self._on_error = store, on_batch, on_error
        self.batch_bytes = checksum_batch_bytes(store.description.frame_bytes)
        self._wake, self._ended = threading.Event(), threading.Event()
        self._thread_lock = threading.Lock()  # guards _thread
        self._thread: threading.Thread | None = None
        self._not_before_s = 0.0  # what could not be started is tried again

    @property
    def is_due(self) -> bool:
        table = self._store.table
        return bool(table.dirty_backlog) or table.dirty_bytes >= self.batch_bytes

    def wake(self) -> None:
        """A batch has come."""
        if self._thread is None:
            self._start()
        if not self._wake.is_set():
            self._wake.set()

    def wake_after_interrupt(self) -> None:
        """wake() was interrupted: perhaps between the flag of the event and its notice, so that the flag says nothing."""
        self._wake.set()

    def _start(self) -> None:
        with self._thread_lock:
            if self._thread is not None or time.monotonic() < self._not_before_s:
                return
            self._thread = threading.Thread(target=self._run, name="lys_storage checksums", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                log.warning("scan %s: checksums are taken by flushes, and at the end: %s", self._store.path, error)
                self._thread, self._not_before_s = None, time.monotonic() + AGAIN_S

    def _run(self) -> None:
        while not self._ended.is_set():
            self._store.table.wake_at_bytes = 0  # the next frame notifies; before is_due, so that no batch is missed
            if not self.is_due:
                self._wake.wait()
            self._wake.clear()
            if self._ended.is_set():
                return
            try:
                if self.is_due:
                    self._on_batch(*self._store.checksum_batch(self.batch_bytes))
            except ScanClosedError:
                return
            except Exception as error:
                log.error("scan %s: checksums could not be taken, and will be tried again: %s", self._store.path, error)
                notify_error(self._on_error, error)
                self._ended.wait(AGAIN_S)

    @property
    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """Have the thread end; without waiting for it."""
        self._ended.set()
        self._wake.set()

    def join(self) -> None:
        """After stop(): wait for checksums that are under way. Holding no lock that they could want."""
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
