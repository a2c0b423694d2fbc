"""Claiming a scan's space: at once where that is quick, the rest in the background while frames come already."""

from __future__ import annotations

import logging
import threading
import time

from ..callbacks import ErrorHandler, notify_error
from ..errors import LysStorageError
from .file import File

log = logging.getLogger("lys_storage")
_STEP = 1 << 28  # while one is claimed no frame can be written
_AT_ONCE_S = 0.04


class Preallocation:
    """The claim of the first `end` bytes of `file`, and of `room` bytes behind its end for what is appended when it is saved.

    Raises DiskFullError at once, or tells `failed` later.
    """

    def __init__(self, file: File, end: int, room: int, failed: ErrorHandler) -> None:
        self._file, self._end, self._room, self._failed = file, end, room, failed
        self._stopped = False
        self._at = 0
        self._thread: threading.Thread | None = None
        self._claimed = threading.Event()  # as far as it goes; whoever is told that it failed may be told still
        self._go_on(_AT_ONCE_S)
        if self._at < end or self._room:
            self._thread = threading.Thread(target=self._run, name="lys_storage claim", daemon=True)
            self._thread.start()

    def _go_on(self, seconds: float) -> None:
        begin = time.monotonic()
        while self._at < self._end and not self._stopped and time.monotonic() - begin < seconds:
            size = min(_STEP, self._end - self._at)
            if not self._file.preallocate(self._at, size):
                self._at, self._room = self._end, 0  # it claims nothing here: a write that fails raises all the same
                return
            self._at += size
        if self._at >= self._end and self._room and not self._stopped:
            self._file.preallocate(self._end, self._room, beyond_end=True)
            self._room = 0

    def _run(self) -> None:
        try:
            self._go_on(float("inf"))
        except LysStorageError as error:
            self._claimed.set()
            log.error("%s", error)
            notify_error(self._failed, error)
        finally:
            self._claimed.set()

    def stop(self) -> None:
        """Claim no more, and wait for the claim under way."""
        self._stopped = True
        if self._thread is not None and self._thread is not threading.current_thread():
            self._claimed.wait()
