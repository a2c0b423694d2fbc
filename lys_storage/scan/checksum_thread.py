"""What follows the writer: a thread that takes checksums of what has arrived, and one that waits for the disk."""

from __future__ import annotations

import logging
import threading
import time

from ..callbacks import ErrorHandler, notify_error
from ..errors import ScanClosedError
from ..store import ScanStore
from .flush_thread import AGAIN_S, FlushThread

log = logging.getLogger("lys_storage")


def checksum_batch_bytes(frame_bytes: int) -> int:
    """Checksums are taken each time so many bytes have come: often, so that little is left to do at the end; but each time
    the writer may have to wait for the interpreter, and small frames come at once."""
    return 4 << 20 if frame_bytes >= 1 << 16 else 16 << 20


class BackgroundWorkers:
    """Checks at each checksum_batch_bytes() and flushes every `flush_interval_s` (None: not before the end) while frames come.

    While a flush waits for the disk, checksums of what comes meanwhile are taken: where memory is short it would be gone
    from there, and would have to be read from the disk.
    """

    def __init__(self, part: ScanStore, flush_interval_s: float | None, failed: ErrorHandler) -> None:
        self._part, self._failed = part, failed
        self._wake, self._ended = threading.Event(), threading.Event()
        self._lock = threading.Lock()  # guards _thread
        self._to_disk = FlushThread(part, flush_interval_s, failed)
        self._kick_bytes = checksum_batch_bytes(part.frame_bytes)
        self._tell_at = 0 if flush_interval_s == 0 else self._kick_bytes
        self._thread: threading.Thread | None = None
        self._not_before_s = 0.0  # what could not be begun is tried again

    def frames_came(self) -> None:
        """To be called by the writer after frames, where so many are fresh as the part's `tell_at` says."""
        to_disk = self._to_disk
        try:
            self._part.tell_at = self._tell_at  # first: what a flush that begins now puts back is put back after it
            if not to_disk.knows:
                to_disk.frames_came()
            if self._part.fresh_bytes >= self._kick_bytes:
                if self._thread is None:
                    self._begin()
                if not self._wake.is_set():
                    self._wake.set()
        except BaseException:  # an interrupt, in the middle of it: the next frame tells again
            self._part.tell_at, to_disk.knows = 0, False
            self._wake.set()  # it may have come before whoever waits was woken
            raise

    def _begin(self) -> None:
        with self._lock:
            if self._thread is not None or time.monotonic() < self._not_before_s:
                return
            self._thread = threading.Thread(target=self._run, name="lys_storage follower", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                log.warning("scan %s: checksums are taken by flushes, and at the end: %s", self._part.path, error)
                self._thread, self._not_before_s = None, time.monotonic() + AGAIN_S

    def _run(self) -> None:
        part = self._part
        while not self._ended.is_set():
            if not part.older:
                self._wake.wait()
            self._wake.clear()
            if self._ended.is_set():
                return
            try:
                if part.older or part.fresh_bytes >= self._kick_bytes:
                    self._to_disk.frames_checked(*part.check_some(self._kick_bytes))
            except ScanClosedError:
                return
            except Exception as error:
                log.error("scan %s: checksums could not be taken, and will be tried again: %s", part.path, error)
                notify_error(self._failed, error)
                self._ended.wait(AGAIN_S)

    def let_go(self) -> None:
        """After stop(): wait for what still uses the scan file, which keeps its lock."""
        if not self._is_current:
            self._to_disk.join()

    def stop(self, *, wait: bool = True) -> None:
        """End the threads, and wait for checksums and a flush that are under way. Holding no lock that they could want.

        Not where one of them ends the scan, since it was told of a failure: the other one may be doing the same.
        """
        wait = wait and not self._is_current
        self._ended.set()
        self._wake.set()
        self._to_disk.stop(wait=wait)
        if wait and self._thread is not None and self._thread.is_alive():
            self._thread.join()

    @property
    def _is_current(self) -> bool:
        """Whether it is one of these threads that asks."""
        return self._to_disk.is_current or threading.current_thread() is self._thread
