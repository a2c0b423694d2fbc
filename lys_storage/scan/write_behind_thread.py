"""The thread that writes frames back and drops their pages: see store/write_behind. And the limit for the writer.

Nothing is written back right after the first frames of a scan that is not larger than a burst: it would delay the writer, and a
short burst ends before it is on the disk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ..disk import ZEROS_BYTES, available_memory
from ..errors import StorageOSError
from ..store import ScanStore

log = logging.getLogger("lys_storage")

CACHED_BYTES = 64 << 20
BURST_BYTES = 1 << 30
AFTER_S = 0.2
"""The wait after the first frames before write-back begins, if the scan is not larger than a burst."""
_LEAST_BURST_BYTES = 96 << 20
"""In little memory: with less the writer waits for each sync, during which nothing else is written back."""
_SHARE_OF_MEMORY = 8
_MOST_OF_MEMORY = 3 / 8
"""Of the available memory, for the burst."""
_SMALL = 32 << 20
"""Bytes. For a smaller scan there is nothing to gain."""
_PREPARED_UP_TO = 1 << 14
"""Bytes of a frame. Larger ones do not gain from TableState.prepare_frames."""
_LOOK_AGAIN_S = 1.0
"""An interrupt can prevent a notification."""
_GIVE_UP_S = 5.0
"""The writer goes on if the disk has written nothing for so long."""


def default_burst_bytes(available: int | None = None) -> int:
    """How many bytes a writer may be ahead of the disk. `available`: the available memory, if it is known."""
    if available is None:
        available = available_memory()
    least = min(_LEAST_BURST_BYTES, int(_MOST_OF_MEMORY * available))
    return min(BURST_BYTES, max(available // _SHARE_OF_MEMORY, least))


class WriteBehindThread:
    """`burst_bytes` and `cached_bytes`: as in create. `on_failure()` is called in the thread after a write-back has failed."""

    def __init__(
        self, store: ScanStore, burst_bytes: int | None, cached_bytes: int | None, on_failure: Callable[[], None]
    ) -> None:
        self._store, self._behind, self._on_failure = store, store.write_behind, on_failure
        size = store.frames * store.table.frame_bytes
        available = available_memory() if size >= _SMALL else 0
        self._burst = default_burst_bytes(available) if burst_bytes is None else burst_bytes
        self._cached = min(CACHED_BYTES, available // _SHARE_OF_MEMORY) if cached_bytes is None else cached_bytes
        self._ended = self._has_given_up = False
        self._begin_s = time.monotonic() + (AFTER_S if size <= self._burst else 0.0)
        self._thread: threading.Thread | None = None
        self._is_wanted = size >= _SMALL

    def start(self) -> None:
        """Apart from the constructor: after an interrupt in here stop() ends a thread that runs already."""
        table = self._store.table
        if not self._is_wanted or not self._behind.use(self._cached):
            return
        if self._behind.drops and table.frame_bytes <= _PREPARED_UP_TO:
            table.prepare_frames = ZEROS_BYTES // table.frame_bytes
        thread = threading.Thread(target=self._run, name="lys_storage write-behind", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            log.warning(
                "scan %s: the write-behind thread did not start (%s): the kernel writes back", self._store.path, error
            )
            self._behind.end()
            return
        self._thread = thread

    def _run(self) -> None:
        try:
            while not self._ended:
                self._work()
        finally:
            self._behind.end()

    def _work(self) -> None:
        behind = self._behind
        while not self._ended:
            now = time.monotonic()
            try:
                if now >= self._begin_s and behind.work():
                    continue
            except StorageOSError as error:
                log.warning("%s; its frames are written again", error)
                self._on_failure()
            with behind.lock:
                if now < self._begin_s:
                    behind.changed.wait(self._begin_s - now)
                elif not self._ended and not behind.has_work:
                    behind.changed.wait(_LOOK_AGAIN_S)

    @property
    def _outstanding_bytes(self) -> int:
        """Bytes that were written and are not known to be on the disk."""
        table = self._store.table
        unchecked = sum(stop - first for first, stop in table.dirty_backlog) * table.frame_bytes
        return self._behind.pending_bytes + table.dirty_bytes + unchecked

    def throttle(self) -> None:
        """Called by the writer after frames: wait while more than a burst is not on the disk."""
        if self._thread is None or self._outstanding_bytes <= self._burst:
            return
        try:
            self._wait_for_the_disk()
        finally:
            self._behind.is_awaited = False

    def _wait_for_the_disk(self) -> None:
        behind = self._behind
        least, deadline = self._outstanding_bytes, time.monotonic() + (0.0 if self._has_given_up else _GIVE_UP_S)
        while not self._ended and (left := self._outstanding_bytes) > self._burst:
            if left < least:
                least, deadline, self._has_given_up = left, time.monotonic() + _GIVE_UP_S, False
            if time.monotonic() > deadline:
                self._has_given_up = True
                return
            behind.is_awaited = True  # each time: another writer may have set it to False
            with behind.lock:
                behind.changed.notify_all()
                behind.changed.wait(0.05)

    @property
    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """End the thread, without waiting for it: it takes none of the scan's locks, and its descriptor keeps no lock.

        An interrupt after a call of acquire() would leave the lock taken for ever, and so would one in the `with` statement of a
        Condition, which is Python code. The `with` statement of the lock itself cannot be interrupted there.
        """
        self._ended = True
        with self._behind.lock:
            self._behind.changed.notify_all()
