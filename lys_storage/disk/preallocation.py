"""Preallocates the space of a scan: at once for up to 40 ms, the rest in a background thread.

Never writes to the file. If the file system cannot preallocate, a full disk makes a write fail instead.
"""

from __future__ import annotations

import logging
import threading
import time

from ..callbacks import ErrorHandler, notify_error
from ..errors import LysStorageError
from .file import File

log = logging.getLogger("lys_storage")
_STEP = 1 << 28  # no frame can be written while the file system allocates one step
_AT_ONCE_S = 0.04


class Preallocation:
    """Reserves the first `end` bytes of `file`, and `tail_reserve` bytes past its end for the tail.

    Raises DiskFullError if the space runs out at once. Calls `on_error` if it runs out later, in the background.
    """

    def __init__(self, file: File, end: int, tail_reserve: int, on_error: ErrorHandler) -> None:
        self._file, self._end, self._tail_reserve, self._on_error = file, end, tail_reserve, on_error
        self._stopped = False
        self._position = 0  # bytes before it are reserved
        self._thread: threading.Thread | None = None
        self._finished = (
            threading.Event()
        )  # set before `on_error` is called, which may wait for a lock of stop()'s caller
        self._reserve(_AT_ONCE_S)
        if self._position < end or self._tail_reserve:
            self._thread = threading.Thread(target=self._run, name="lys_storage preallocation", daemon=True)
            self._thread.start()

    def _reserve(self, seconds: float) -> None:
        """Reserve more, step by step, until all is reserved, it is stopped, or `seconds` have passed."""
        begin = time.monotonic()
        while self._position < self._end and not self._stopped and time.monotonic() - begin < seconds:
            size = min(_STEP, self._end - self._position)
            if not self._file.preallocate(self._position, size):
                self._position, self._tail_reserve = self._end, 0  # not supported: a full disk fails a write instead
                return
            self._position += size
        if self._position >= self._end and self._tail_reserve and not self._stopped:
            self._file.preallocate(self._end, self._tail_reserve, beyond_end=True)
            self._tail_reserve = 0

    def _run(self) -> None:
        try:
            self._reserve(float("inf"))
        except LysStorageError as error:
            self._finished.set()
            log.error("%s", error)
            notify_error(self._on_error, error)
        finally:
            self._finished.set()

    def stop(self) -> None:
        """Reserve no more, and wait for the step under way. Does not wait for a call of `on_error`."""
        self._stopped = True
        if self._thread is not None and self._thread is not threading.current_thread():
            self._finished.wait()
