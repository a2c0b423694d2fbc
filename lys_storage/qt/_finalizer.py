"""The QThread that turns scans into exports, one after another. It knows nothing of the storage that feeds it."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from ._binding import QtCore, Signal

log = logging.getLogger("lys_storage")

Job = Callable[[], Any]


class Finalizer(QtCore.QThread):
    """Runs jobs in the order they came; what they return is in `results` when `jobDone` is emitted.

    A QThread that is destroyed while it runs aborts the process: a started one is kept here until it has ended, and the
    interpreter does not exit before.
    """

    jobDone = Signal()

    _kept: ClassVar[set[Finalizer]] = set()

    def __init__(self) -> None:
        super().__init__()
        self.results: deque[Any] = deque()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._changed = threading.Condition()  # guards _outstanding and _ending
        self._outstanding = 0
        self._ending = False
        self._over = threading.Event()  # known without Qt, whose own part may be gone when the interpreter exits

    def submit(self, job: Job) -> None:
        with self._changed:
            self._outstanding += 1
            again, self._ending = self._ending, False
        if again:  # a retry after close(): the thread has ended, or is about to
            self.wait()
            self._over.clear()
            self._jobs = queue.SimpleQueue()  # one that has never run has its end still before it
        self._jobs.put(job)
        if not self.isRunning():
            for ended in [f for f in Finalizer._kept if f.isFinished()]:
                Finalizer._kept.discard(ended)
            Finalizer._kept.add(self)
            self.start()
        if again:
            self.end()

    def run(self) -> None:
        while (job := self._jobs.get()) is not None:
            result = None
            try:
                result = job()
            except BaseException:  # an exception that leaves run() would abort the process
                log.exception("a save ended in an error that it should have told itself")
            self.results.append(result)
            with self._changed:
                self._outstanding -= 1
                self._changed.notify_all()
            self.jobDone.emit()
            del job, result
        self._over.set()

    def wait_idle(self, timeout_s: float | None) -> bool:
        """Wait until every job is done; False where that took longer."""
        with self._changed:
            return self._changed.wait_for(lambda: self._outstanding == 0, timeout_s)

    def end(self) -> None:
        """Let the thread end after its last job; without waiting for it."""
        with self._changed:
            if self._ending:
                return
            self._ending = True
        self._jobs.put(None)

    def join(self) -> None:
        """Wait for the thread, after end()."""
        if self.isRunning():
            self.wait()
        Finalizer._kept.discard(self)


_PROCESS = os.getpid()


@atexit.register
def _wait_for_all() -> None:
    if os.getpid() != _PROCESS:
        return  # a forked child has not the threads that it would wait for
    for finalizer in list(Finalizer._kept):
        finalizer.end()
        finalizer._over.wait()
        try:
            finalizer.join()
        except RuntimeError:
            log.debug("the Qt part of a finalizer that has ended was gone already")
