"""The background threads of a scan: one takes checksums, one flushes, one writes frames back and drops their pages."""

from __future__ import annotations

import logging
import weakref

from ..callbacks import ErrorHandler
from ..errors import LysStorageError, ScanClosedError
from ..store import ScanStore
from .checksum_thread import ChecksumThread
from .flush_thread import FlushThread
from .lifecycle import Lifecycle
from .write_behind_thread import WriteBehindThread

log = logging.getLogger("lys_storage")
DROP_WAIT_S = 10.0
"""The longest wait for the last flush of a dropped scan. The flush itself goes on."""


class BackgroundWorkers:
    """Takes the checksums of each batch of frames, and flushes every `flush_interval_s` (None: only at the end).

    The threads start with the first frames. `on_error` is called with the errors of both.
    """

    def __init__(
        self,
        store: ScanStore,
        lifecycle: Lifecycle,
        flush_interval_s: float | None,
        on_error: ErrorHandler,
        *,
        burst_bytes: int | None = None,
        cached_bytes: int | None = None,
    ) -> None:
        self._store, self._lifecycle, self._on_error = store, lifecycle, on_error
        self._flush_interval_s = flush_interval_s
        self._flush_thread: FlushThread | None = None
        self._checksum_thread: ChecksumThread | None = None
        self._write_behind: WriteBehindThread | None = None
        self._burst_bytes, self._cached_bytes = burst_bytes, cached_bytes

    def notify_written(self) -> None:
        """Called by the writer after frames, once `wake_at_bytes` dirty bytes have accumulated."""
        flush_thread = self._flush_thread or self._start()
        checksum_thread, table = self._checksum_thread, self._store.table
        if flush_thread is None or checksum_thread is None:
            return
        try:
            # Before the flush thread is notified: its flush sets wake_at_bytes to 0, which must not be overwritten.
            dirty_bytes, batch_bytes = table.dirty_bytes, checksum_thread.batch_bytes
            if self._flush_interval_s != 0:  # while a batch is due the checksum thread polls, and sets it to 0
                table.wake_at_bytes = dirty_bytes + batch_bytes if dirty_bytes >= batch_bytes else batch_bytes
            if not flush_thread.flush_pending:
                flush_thread.notify_written()
            if checksum_thread.batch_is_due or checksum_thread.is_resting or not checksum_thread.is_started:
                checksum_thread.wake()
        except BaseException:  # interrupted: the next frame notifies again
            table.wake_at_bytes, flush_thread.flush_pending = 0, False
            checksum_thread.wake_after_interrupt()
            raise
        if self._write_behind is not None:
            self._write_behind.throttle()

    def _start(self) -> FlushThread | None:
        with self._lifecycle.lock:
            if self._flush_thread is None and self._lifecycle.is_open:
                flush_thread = FlushThread(self._store, self._flush_interval_s, self._on_error)
                self._checksum_thread = ChecksumThread(self._store, self._on_error)
                self._flush_thread = flush_thread
                self._write_behind = WriteBehindThread(
                    self._store, self._burst_bytes, self._cached_bytes, flush_thread.flush_now
                )
                self._write_behind.start()
            return self._flush_thread

    def stop(self, *, wait: bool = True) -> None:
        """End the threads, and wait for running checksums and a running flush. Hold no lock that they may need.

        If one of the threads ends the scan, in its error handler, it does not wait: the other may do the same.
        """
        flush_thread, checksum_thread = self._flush_thread, self._checksum_thread
        if flush_thread is None or checksum_thread is None:
            return
        wait = wait and not self._is_current
        if self._write_behind is not None:
            self._write_behind.stop()
        checksum_thread.stop()
        flush_thread.stop(wait=wait)
        if wait:
            checksum_thread.join()

    def drop(self, scan: weakref.ref[object]) -> None:
        """Flush once more, if `scan` was dropped, or the interpreter exits, before the end of the scan."""
        if self._lifecycle.is_over:
            return
        if scan() is not None:  # the interpreter exits: other threads may still use it
            self._flush_at_exit()
            return
        flush_thread, checksum_thread = self._flush_thread, self._checksum_thread
        if flush_thread is None or checksum_thread is None:
            return
        if self._write_behind is not None:
            self._write_behind.stop()
        if self._is_current:
            flush_thread.flush_and_end(0.0)
            checksum_thread.stop()
        elif flush_thread.flush_and_end(DROP_WAIT_S):
            checksum_thread.stop()
            checksum_thread.join()
            self._store.close()

    def _flush_at_exit(self) -> None:
        try:
            self._store.flush()
        except ScanClosedError:
            log.debug("scan %s: another thread has ended it meanwhile, and synced it", self._store.path)
        except LysStorageError as error:
            log.error(
                "scan %s: the last flush failed, the newest frames may not survive a restart of the machine: %s",
                self._store.path,
                error,
            )

    def join_io(self) -> None:
        """After stop(): wait until no thread uses the scan file, which would keep its lock."""
        if self._flush_thread is not None and not self._is_current:
            self._flush_thread.join()

    @property
    def _is_current(self) -> bool:
        """Whether the caller is one of the threads."""
        threads = self._flush_thread, self._checksum_thread, self._write_behind
        return any(thread is not None and thread.is_current for thread in threads)
