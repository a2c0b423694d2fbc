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

KICK_BYTES = 16 << 20
"""Checksums are taken each time so many bytes have come, so that little is left to do at the end."""


_AGAIN_S = 1.0


class Follower:
    """Checks at each KICK_BYTES and flushes every `flush_interval_s` (None: not before the end) while frames come."""

    def __init__(self, part: Part, flush_interval_s: float | None, failed: Callable[[LysStorageError], None]) -> None:
        self._part, self._interval, self._failed = part, flush_interval_s, failed
        self._wake = threading.Event()
        self._ended = False
        self._write_back = WriteBack()
        self.knows = False  # that frames have come since the last flush
        self._thread = threading.Thread(target=self._run, name="lys_storage follower", daemon=True)
        self._thread.start()

    def frames_came(self, unchecked_bytes: int) -> None:
        """To be called by the writer after frames; costs it next to nothing. May be left out while `knows` and few came."""
        if not self.knows:
            self.knows = True
            self._wake.set()
        elif unchecked_bytes >= KICK_BYTES and not self._wake.is_set():
            self._wake.set()

    def _run(self) -> None:
        due: float | None = None
        while True:
            self._wake.wait(None if due is None else max(0.0, due - time.monotonic()))
            self._wake.clear()
            if self._ended:
                return
            try:
                if due is None and self.knows and self._interval is not None:
                    due = time.monotonic() + self._interval
                if due is not None and time.monotonic() >= due:
                    due, self.knows = None, False
                    self._part.flush()
                elif self._part.fresh_bytes >= KICK_BYTES:
                    span, came = self._part.fresh, self._part.fresh_bytes
                    self._part.check(leave_loose=True)
                    self._write_back.frames_came(self._part, span, came)
            except ScanClosedError:
                return
            except Exception as error:
                what = "what came since the last flush may not survive a power cut"
                log.error("scan %s: %s: %s", self._part.path, what, error)
                if self._interval is not None:  # tried again, also where no more frames come
                    self.knows, due = True, time.monotonic() + max(self._interval, _AGAIN_S)
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
