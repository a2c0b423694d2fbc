"""The running acquisition of a storage and its saves. Knows no signals: the storage emits them for what is returned here.

It holds no reference to the storage, so that it can save what the storage leaves when that is dropped.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from .acquisition import Acquisition, SaveResult
from .save_thread import SaveThread


class Saves:
    """Hands finished acquisitions to `save_thread`, and keeps those that could not be saved for retry()."""

    def __init__(self, save_thread: SaveThread) -> None:
        self._save_thread = save_thread
        self._lock = threading.Lock()  # guards changes of running and _saving
        self.running: Acquisition | None = None
        self._saving: list[Acquisition] = []
        self._ended: deque[SaveResult] = deque()  # the save thread appends, the storage's thread pops
        self._unsaved: list[SaveResult] = []  # used in the storage's thread only

    @property
    def active(self) -> bool:
        """Whether an acquisition is running or being saved."""
        with self._lock:
            return self.running is not None or bool(self._saving)

    @property
    def paths(self) -> list[str]:
        """The files that are being saved."""
        with self._lock:
            return [acquisition.path for acquisition in self._saving]

    def begin(self, acquisition: Acquisition) -> None:
        """Make `acquisition` the running one."""
        with self._lock:
            self.running = acquisition

    def finish(self, acquisition: Acquisition, axes: Any, *, keep_empty: bool) -> bool:
        """Seal `acquisition` and submit its save; True for the one caller that did so. In any thread.

        Without `keep_empty`, a scan that has no frames and was not stopped is discarded.
        """
        if acquisition.scan is None or not acquisition.claim_finish():
            return False
        acquisition.seal()
        keep = keep_empty or acquisition.is_worth_saving
        with self._lock:
            if keep:
                self._saving.append(acquisition)
            if self.running is acquisition:
                self.running = None
        if keep:
            self._submit(functools.partial(acquisition.save, axes))
        else:
            acquisition.discard()
        return True

    def take_results(self) -> Iterator[SaveResult]:
        """The saves that have ended since the last call. Each is active until the iterator has reached it."""
        while self._ended:
            result = self._ended.popleft()
            with self._lock:
                self._saving.remove(result.acquisition)
            if result.report is None:
                self._unsaved.append(result)
            yield result

    def retry(self) -> int:
        """Save again what could not be saved; the number of scans."""
        again, self._unsaved = self._unsaved, []
        for result in again:
            with self._lock:
                self._saving.append(result.acquisition)
            self._submit(functools.partial(result.acquisition.save_again, result.part_path, result.axes))
        return len(again)

    def abandon(self) -> None:
        """The storage is gone, or the interpreter exits: save what has come of the running scan, and end the thread."""
        if self._save_thread.is_of_parent_process:
            return
        if self.running is not None:
            self.finish(self.running, None, keep_empty=False)
        self._save_thread.end()

    def _submit(self, save: Callable[[], SaveResult]) -> None:
        self._save_thread.submit(lambda: self._ended.append(save()))
