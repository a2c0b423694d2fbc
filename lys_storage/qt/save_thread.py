"""The thread that saves scans, one after another. It depends neither on scans nor on the storage."""

from __future__ import annotations

import atexit
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, ClassVar

from ..disk import fork_generation
from .binding import QtCore, Signal, is_deleted
from .slots import log_safely

log = logging.getLogger("lys_storage")

Job = Callable[[], Any]
"""A job hands its result to its submitter itself; its return value is ignored."""


class SaveThread(QtCore.QThread):
    """Runs jobs in the order in which they were submitted, and emits `jobDone` after each. Jobs may come from any thread.

    It starts with the first job. Destroying a QThread that runs aborts the process: a started thread is referenced from
    here until it has ended, and the interpreter waits for it at exit.
    """

    jobDone = Signal()

    _started: ClassVar[set[SaveThread]] = set()

    def __init__(self) -> None:
        super().__init__()
        self._fork_generation = fork_generation()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.RLock()  # guards _outstanding and _ending
        self._changed = threading.Condition(self._lock)
        self._outstanding = 0
        self._ending = False
        self._substitute: threading.Thread | None = None  # runs the jobs if Qt has deleted this object
        self._ended = threading.Event()  # works without Qt, whose part of this object may be gone at exit

    def submit(self, job: Job) -> None:
        """Run `job` after those submitted before. After end() this starts the thread again, for this job only."""
        with self._lock:
            self._outstanding += 1
            restarts, self._ending = self._ending, False
        if restarts:
            self._wait()
            self._ended.clear()
            self._jobs = queue.SimpleQueue()  # in a thread that never ran, the old queue still holds end()'s None
        self._jobs.put(job)
        if is_deleted(self):  # PyQt5 deletes the objects in any order when the application object is deleted
            if self._substitute is None or not self._substitute.is_alive():
                self._substitute = threading.Thread(target=self.run, name="lys_storage save")
                self._substitute.start()
        elif not self.isRunning():
            for thread in list(SaveThread._started):
                if is_deleted(thread) or thread.isFinished():
                    SaveThread._started.discard(thread)
            SaveThread._started.add(self)
            self.start()
        if restarts:
            self.end()

    def run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except BaseException as error:  # an exception that leaves run() would abort the process
                log_safely("a job raised an error that it should have reported itself", error)
            with self._lock:
                self._outstanding -= 1
                self._changed.notify_all()
            try:
                self.jobDone.emit()
            except RuntimeError:
                if not is_deleted(self):
                    raise
            del job  # it refers to a scan, and the next job may not come for hours
        self._ended.set()

    def wait_idle(self, timeout_s: float | None) -> bool:
        """Wait until all jobs are done (None: without a limit); False at the timeout."""
        with self._lock:
            return self._changed.wait_for(lambda: self._outstanding == 0, timeout_s)

    def end(self) -> None:
        """Let the thread end after its last job; does not wait for it. Twice is harmless."""
        with self._lock:
            if self._ending:
                return
            self._ending = True
        self._jobs.put(None)

    def join(self) -> None:
        """Wait for the thread to end. Call end() first."""
        self._wait()
        SaveThread._started.discard(self)

    def _wait(self) -> None:
        if not is_deleted(self):
            self.wait()
        elif self._substitute is not None:
            self._substitute.join()

    @property
    def is_of_parent_process(self) -> bool:
        """Whether this is a forked child's copy of the object: the thread does not exist here, and nothing is saved."""
        return fork_generation() != self._fork_generation


@atexit.register
def _wait_for_all() -> None:
    for thread in list(SaveThread._started):
        if thread.is_of_parent_process:
            continue
        thread.end()
        thread._ended.wait()
        try:
            thread.join()
        except RuntimeError:
            log.debug("the Qt part of a save thread that has ended was already deleted")
