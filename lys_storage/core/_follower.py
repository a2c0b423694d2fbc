"""The thread behind the writer: takes checksums of what has arrived, and makes it survive a power cut in time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ._errors import LysStorageError, ScanClosedError
from ._part import Part
from ._write_back import WriteBack

log = logging.getLogger("lys_storage")

_AGAIN_S = 1.0


def kick_bytes(frame_bytes: int) -> int:
    """Checksums are taken each time so many bytes have come: often, so that little is left to do at the end; but each time
    the writer may have to wait for the interpreter, and small frames come at once."""
    return 4 << 20 if frame_bytes >= 1 << 16 else 16 << 20


class Follower:
    """Checks at each kick_bytes() and flushes every `flush_interval_s` (None: not before the end) while frames come."""

    def __init__(self, part: Part, flush_interval_s: float | None, failed: Callable[[LysStorageError], None]) -> None:
        self._part, self._interval, self._failed = part, flush_interval_s, failed
        self._wake = threading.Event()
        self._ended = False
        self._write_back = WriteBack()
        self._kick_bytes = kick_bytes(part.frame_bytes)
        self._tell_at = 0 if flush_interval_s == 0 else self._kick_bytes
        self._knows = False  # that frames have come since the last flush
        self._thread = threading.Thread(target=self._run, name="lys_storage follower", daemon=True)
        self._thread.start()

    def frames_came(self) -> None:
        """To be called by the writer after frames, where so many are fresh as the part's `tell_at` says."""
        try:
            self._part.tell_at = self._tell_at  # first: what a flush that begins now puts back is put back after it
            if not self._knows:
                self._knows = True
                self._wake.set()
            elif self._part.fresh_bytes >= self._kick_bytes and not self._wake.is_set():
                self._wake.set()
        except BaseException:  # an interrupt, in the middle of it: the next frame tells again
            self._part.tell_at, self._knows = 0, False
            raise

    def _run(self) -> None:
        due: float | None = None
        failed = False
        while True:
            if failed or not self._part.older:
                wait = [] if due is None else [max(0.0, due - time.monotonic())]
                if self._part.older:
                    wait.append(_AGAIN_S)  # what failed is tried again, but not at once
                self._wake.wait(min(wait, default=None))
            self._wake.clear()
            failed = False
            if self._ended:
                return
            try:
                if due is None and self._knows and self._interval is not None:
                    due = time.monotonic() + self._interval
                if due is not None and time.monotonic() >= due:
                    due, self._knows = None, False
                    self._part.tell_at = 0
                    self._part.flush()
                elif self._part.older or self._part.fresh_bytes >= self._kick_bytes:
                    self._write_back.frames_came(self._part, *self._part.check_some(self._kick_bytes))
            except ScanClosedError:
                return
            except Exception as error:
                failed = True
                what = "what came since the last flush may not survive a power cut"
                log.error("scan %s: %s: %s", self._part.path, what, error)
                if self._interval is not None:  # tried again, also where no more frames come
                    self._knows, due = True, time.monotonic() + max(self._interval, _AGAIN_S)
                self._failed(error if isinstance(error, LysStorageError) else LysStorageError(repr(error)))

    def let_go(self) -> None:
        """After stop(): wait for what still uses the scan file, which keeps its lock. It takes none of the scan's locks."""
        self._write_back.join()

    def stop(self, *, wait: bool = True) -> None:
        """End the thread and wait for it. Holding no lock that it could want."""
        self._ended = True
        self._wake.set()
        self._write_back.stop()
        if wait and threading.current_thread() is not self._thread:
            self._thread.join()
