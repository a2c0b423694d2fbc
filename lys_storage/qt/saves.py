"""The running acquisition of a storage and its saves. It emits no signals: the storage does so for the results.

It holds no reference to the storage, so that it can save the running scan after the storage has been deleted.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .acquisition import Acquisition, SaveResult
from .save_thread import Job, SaveThread
from .slots import log_safely

log = logging.getLogger("lys_storage")


class Saves:
    """Hands finished acquisitions to `save_thread`, and keeps those that could not be saved for retry()."""

    def __init__(self, save_thread: SaveThread) -> None:
        self._save_thread = save_thread
        self._lock = threading.Lock()  # guards changes of running and _saving
        self.running: Acquisition | None = None
        self.closed = False  # no more acquisitions begin
        self._abandoned = False  # the storage is gone, and takes no more results
        self._saving: list[Acquisition] = []
        self._ended: deque[SaveResult] = deque()  # the save thread appends, the storage's thread pops
        self._unsaved: list[SaveResult] = []  # used in the storage's thread only

    @property
    def active(self) -> bool:
        """Whether an acquisition is running or being saved."""
        self._drop_results_if_abandoned()
        with self._lock:
            return self.running is not None or bool(self._saving)

    @property
    def paths(self) -> list[str]:
        """The files that are being saved."""
        self._drop_results_if_abandoned()
        with self._lock:
            return [acquisition.path for acquisition in self._saving]

    def begin(self, acquisition: Acquisition) -> None:
        """Make `acquisition` the running one."""
        with self._lock:
            self.running = acquisition

    def finish(
        self, acquisition: Acquisition, axes: Any, *, keep_empty: bool, submit: Callable[[Job], None] | None = None
    ) -> bool:
        """Seal `acquisition` and submit its save; True for the one caller that did so. In any thread.

        Without `keep_empty`, a scan that has no frames and was not stopped is discarded. `submit`: None for the save thread's.
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
            job = self._job(acquisition, axes, functools.partial(acquisition.save, axes))
            (submit or self._save_thread.submit)(job)
        else:
            try:
                acquisition.discard()
            except Exception as error:  # empty files stay behind, which does not affect the next scan
                acquisition.faults.report_error(error)
        return True

    def take_results(self) -> Iterator[SaveResult]:
        """The saves that have ended since the last call. Each is active until the iterator has reached it."""
        while self._ended:
            try:
                result = self._ended.popleft()
            except IndexError:  # the storage is gone, and another thread takes them, too
                return
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
            save = functools.partial(result.acquisition.save_again, result.part_path, result.axes)
            self._save_thread.submit(self._job(result.acquisition, result.axes, save))
        return len(again)

    def finish_soon(self, acquisitions: Iterable[Acquisition], *, detector_is_gone: bool = True) -> None:
        """Have what has come of `acquisitions` saved, by the save thread: a garbage collection may have led here.

        It takes no lock that a thread may hold in which a garbage collection comes. The totals of their faults are reported,
        unless frames may still come.
        """
        if self._save_thread.is_of_parent_process or self.closed:
            return

        def job() -> None:
            for acquisition in acquisitions:
                self.finish(acquisition, acquisition.known_axes, keep_empty=False, submit=lambda save: save())
                if detector_is_gone:
                    acquisition.faults.report_totals()

        self._save_thread.submit(job)

    def abandon(self, *_: Any) -> None:
        """The storage is gone, or the interpreter exits: save what has come of the running scan, and end the thread.

        A slot of `destroyed`, which raises nothing.
        """
        if self._save_thread.is_of_parent_process or self._abandoned:
            return
        self._abandoned = True
        try:
            if (running := self.running) is not None:
                self.finish_soon([running], detector_is_gone=False)
            self.closed = True
            self._save_thread.end()
            if running is not None and not running.awaits_axes:
                log.warning(
                    "%s: the storage was deleted while the scan ran; the frames that have arrived are saved",
                    running.path,
                )
        except Exception as error:
            log_safely("a scan could not be saved after its storage was deleted", error)

    def _drop_results_if_abandoned(self) -> None:
        """The storage, which takes them otherwise, is gone."""
        if self._abandoned:
            for _ in self.take_results():
                pass

    def _job(self, acquisition: Acquisition, axes: Any, save: Callable[[], SaveResult]) -> Job:
        assert acquisition.scan is not None
        part_path = acquisition.scan.part_path

        def job() -> None:
            try:
                result = save()
            except BaseException as error:  # a save without a result would count as being saved for ever
                log_safely(f"{acquisition.path} could not be saved", error)
                result = SaveResult(acquisition, part_path, axes, None, repr(error))
            self._ended.append(result)

        return job
