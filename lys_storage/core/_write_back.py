"""Writing to the disk while frames still come: a sync finds little left to do, and the kernel never has to hold a writer back.

It promises nothing, and is done where it costs nothing: not in the first moment, since a burst is over sooner than it is on
the disk; nor where frames come far apart, since the kernel makes one piece of neighbours if it is left alone.
"""

from __future__ import annotations

import logging
import threading

from . import _fs
from ._frames import Span, join
from ._part import Part

log = logging.getLogger("lys_storage")

AFTER_S = 0.2
"""Nothing is written back sooner after the first frames."""

_APART = 2
"""Frames that are spread over more than so many times their own bytes come far apart."""

_WHOLE = 1 << 21
"""Bytes; up to a multiple of it: the kernel keeps a file in pieces of up to that, and the last one is still being written."""

_PIECE = 1 << 22


class WriteBack:
    """A thread that has the kernel write what is said to be written; begun when that is needed first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _file and _bytes
        self._file: _fs.File | None = None
        self._bytes: Span = (0, 0)
        self._waiting: tuple[Span, int] = ((0, 0), 0)  # of frames, and the bytes of them that came
        self._wake, self._end = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def frames_came(self, part: Part, span: Span, came: int) -> None:
        """The frames of `span`, of which `came` bytes are new, have come and are hardly written again soon.

        Not those that have no checksum yet: were the kernel to lose one, nobody would know it from its bytes.
        """
        span, came = self._waiting = (join(self._waiting[0], span), self._waiting[1] + came)
        if part.older:  # some before these
            return
        self._waiting = ((0, 0), 0)
        unchecked = part.fresh[0] if part.fresh[0] < part.fresh[1] else span[1]
        first, stop = (part.array_offset + number * part.frame_bytes for number in (span[0], min(span[1], unchecked)))
        if not _fs.WRITES_BACK or came * _APART < stop - first or self._end.is_set():
            return
        with self._lock:
            self._file, self._bytes = part.file, join(self._bytes, (first, stop))
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="lys_storage write-back", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no more threads
                log.debug("%s: no write-back: %s", part.path, error)
                self._end.set()
                self._file = None
                return
            self._thread = thread
        self._wake.set()

    def _run(self) -> None:
        self._end.wait(AFTER_S)
        while not self._end.is_set():
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                file, (first, stop) = self._file, self._bytes
                self._file, self._bytes = None, (0, 0)
            if file is None:
                continue
            first, stop = first // _WHOLE * _WHOLE, stop // _WHOLE * _WHOLE
            for at in range(first, stop, _PIECE):
                if self._end.is_set():
                    return
                file.begin_write_back(at, min(_PIECE, stop - at))

    def stop(self) -> None:
        """End the thread. A call that is under way is not waited for."""
        self._end.set()
        self._wake.set()

    def join(self) -> None:
        """After stop(): wait until the thread has ended."""
        if self._thread is not None:
            self._thread.join()
