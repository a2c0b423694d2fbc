"""The signals of a storage, which are emitted as long as Qt has not deleted it."""

from __future__ import annotations

from typing import Any

from .binding import QtCore, Signal, is_deleted


class StorageSignals(QtCore.QObject):
    """The signals of a storage. They are emitted by `_emit`, in any thread."""

    #: (bool) whether a scan is reserved or being saved. False comes through the event loop, or in waitForSaved().
    savingStateChanged = Signal(bool)
    #: (dict) listeners add entries for the note of the wave. What the dict holds when the scan is saved is stored.
    tagRequest = Signal(dict)
    #: the next free number may have changed.
    numberChanged = Signal()
    #: (str) the path of an export that is complete and durable.
    saved = Signal(str)
    #: (str, str) path and message: something could not be stored or saved. Repeats are counted, and reported as totals.
    failed = Signal(str, str)
    #: (int, int) frames written and frames expected; at most about 20 times a second.
    frameWritten = Signal(int, int)
    #: (list) the paths (.part) of interrupted scans in the folder. A background search finds them.
    interruptedFound = Signal(list)

    #: `base` or `folder` has been set.
    _folderChanged = Signal()
    _stateIsStale = Signal()
    #: Queued, not a timer: before the application is made, Qt refuses timers with a warning.
    _atEventLoop = Signal()

    def _emit(self, signal: str, *args: Any) -> None:
        """Emit `signal`. It has no effect if Qt has deleted the storage, to which a detector may still refer."""
        try:
            getattr(self, signal).emit(*args)
        except RuntimeError:
            if not is_deleted(self):
                raise

    @property
    def _is_in_own_thread(self) -> bool:
        """Whether the caller runs in the thread of the storage; False where Qt has deleted it."""
        return not is_deleted(self) and bool(QtCore.QThread.currentThread() == self.thread())
