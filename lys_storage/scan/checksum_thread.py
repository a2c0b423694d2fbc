"""The thread that takes the checksums of frames, while others are written.

It takes them for each batch, and for all dirty frames every LATEST_S: after the death of the process, a frame with a checksum
survives an orderly restart of the machine too.

It does not wait for a flush: if memory is short, frames that are written during the flush would be evicted, and would have to
be read from the disk again.
"""

from __future__ import annotations

import logging
import threading
import time

from ..callbacks import ErrorHandler, notify_error
from ..errors import ScanClosedError
from ..store import ScanStore

log = logging.getLogger("lys_storage")

AGAIN_S = 1.0
"""The wait before a failed operation is repeated."""
LATEST_S = 0.04
"""The longest wait of a frame for its checksum to begin, while the thread keeps up."""
_APART = 2
"""Frames whose span is more than this many times their own bytes are far apart."""
_SHARE = 4
"""It takes long to find dirty frames that are far apart. At most a fifth of the time is spent on it."""


def checksum_batch_bytes(frame_bytes: int) -> int:
    """The size of a batch. Small batches leave little to do at the end. Each batch can make the writer wait for the GIL,
    so that small frames have larger ones."""
    return 4 << 20 if frame_bytes >= 1 << 16 else 16 << 20


class ChecksumThread:
    """Takes checksums of each `batch_bytes` of dirty frames, and of all dirty frames every LATEST_S.

    `on_error` is called in the thread if they fail.
    """

    def __init__(self, store: ScanStore, on_error: ErrorHandler) -> None:
        self._store, self._on_error = store, on_error
        self.batch_bytes = checksum_batch_bytes(store.description.frame_bytes)
        self._wake, self._ended = threading.Event(), threading.Event()
        self._thread_lock = threading.Lock()  # guards _thread
        self._thread: threading.Thread | None = None
        self._not_before_s = 0.0  # before this neither a failed start nor a search for all dirty frames is repeated
        self._all_due_s: float | None = None  # when the checksums of all dirty frames are due; None: there are none
        self.is_resting = False  # it waits for the next frame

    @property
    def is_started(self) -> bool:
        return self._thread is not None

    @property
    def batch_is_due(self) -> bool:
        """Not for small frames that are far apart: hardly any block of them is complete, and all are searched for them."""
        table = self._store.table
        if table.dirty_bytes < self.batch_bytes:
            return bool(table.dirty_backlog)
        first, stop = table.dirty
        is_dense = (stop - first) * table.frame_bytes <= _APART * table.dirty_bytes
        return is_dense or table.states.per_block == 1 or bool(table.dirty_backlog)

    def wake(self) -> None:
        """Called after frames were written: the first ones since it rested, or a batch."""
        if self._thread is None:
            self._start()
        if not self._wake.is_set():
            self._wake.set()

    def wake_after_interrupt(self) -> None:
        """Set the event again: an interrupted wake() may have set its flag and notified nobody."""
        self._wake.set()

    def _start(self) -> None:
        with self._thread_lock:
            if self._thread is not None or time.monotonic() < self._not_before_s:
                return
            self._thread = threading.Thread(target=self._run, name="lys_storage checksums", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                log.warning(
                    "scan %s: the checksum thread did not start, flushes take the checksums: %s",
                    self._store.path,
                    error,
                )
                self._thread, self._not_before_s = None, time.monotonic() + AGAIN_S

    def _run(self) -> None:
        table = self._store.table
        while not self._ended.is_set():
            table.wake_at_bytes = 0  # first, so that no frame is missed: the next one notifies
            if self._all_due_s is None and table.has_dirty:
                self._all_due_s = max(time.monotonic() + LATEST_S, self._not_before_s)
            if not self.batch_is_due:
                self._rest()
            self._wake.clear()
            if self._ended.is_set():
                return
            try:
                if self._all_due_s is not None and time.monotonic() >= self._all_due_s:
                    self._all_due_s = None
                    self._checksum_all()
                elif self.batch_is_due:
                    self._store.checksum_batch(self.batch_bytes)
            except ScanClosedError:
                return
            except Exception as error:
                log.error("scan %s: checksums could not be taken, and will be tried again: %s", self._store.path, error)
                notify_error(self._on_error, error)
                self._ended.wait(AGAIN_S)

    def _rest(self) -> None:
        """Wait for a frame, for a batch, or until checksums are due."""
        if self._all_due_s is not None:
            self._wake.wait(max(0.0, self._all_due_s - time.monotonic()))
            return
        self.is_resting = True
        self._store.table.wake_at_bytes = 0  # after is_resting: a writer that has not seen it set this before
        if not self._store.table.has_dirty:
            self._wake.wait()
        self.is_resting = False

    def _checksum_all(self) -> None:
        begin = time.monotonic()
        self._store.checksum_all()
        end = time.monotonic()
        self._not_before_s = end + _SHARE * (end - begin)

    @property
    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """End the thread, without waiting for it."""
        self._ended.set()
        self._wake.set()

    def join(self) -> None:
        """After stop(): wait for running checksums. Hold no lock that they may need."""
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
