"""`Follower` for Qt: the frames of a scan that another process writes, as signals."""

from __future__ import annotations

import functools
import os
import weakref
from typing import Any

import numpy as np

from .. import live
from ..live import Indices
from .binding import QtCore, Signal, is_deleted


class Follower(QtCore.QObject):
    """Emits a signal for each frame of a scan in progress, as `lys_storage.follow` tells them.

    The thread of the follower emits: a slot of a QObject runs in the thread of that object, and a plain function in the thread
    of this one. `latestOnly`: a poll emits its newest frame only; use it for pictures. If Qt deletes the follower, or nothing
    refers to it any more, it ends.

    Raises as `lys_storage.follow`. Its options are `wait`, `latestOnly` and `pollInterval` (seconds).
    """

    #: (tuple) the index of a frame that has arrived, or was rewritten.
    frame = Signal(tuple)
    #: (str) the state, once at the beginning, and whenever it changes: "waiting", "running", "interrupted", "unknown",
    #: "finished", "removed", or "failed": `error` then tells why, and no more signals come.
    stateChanged = Signal(str)

    def __init__(
        self,
        path: str | os.PathLike[str],
        parent: QtCore.QObject | None = None,
        *,
        wait: bool = False,
        latestOnly: bool = False,
        pollInterval: float = 0.05,
    ) -> None:
        super().__init__(parent)
        self._follower = follower = live.Follower(path, wait=wait, latest_only=latestOnly, poll_interval_s=pollInterval)
        weakref.finalize(self, follower.end)  # takes no lock: it can run in a garbage collection in any thread
        self.destroyed.connect(follower.end)
        self._is_started = False

    def start(self) -> None:
        """Begin to emit, with the frames that are there. Connect the slots before. A second call does nothing."""
        if not self._is_started:
            self._is_started = True
            me = weakref.ref(self)
            for connect, name in (
                (self._follower.state_changed.connect, "stateChanged"),
                (self._follower.changed.connect, "frame"),
            ):
                connect(
                    functools.partial(_emit, me, self._follower, name)
                )  # no slots of Qt: the thread of the follower calls them

    @property
    def state(self) -> str:
        """See lys_storage.Follower.state."""
        return self._follower.state

    @property
    def error(self) -> Exception | None:
        """What has ended the follower, or None."""
        return self._follower.error

    @property
    def newest(self) -> tuple[int, ...] | None:
        """The index of the newest frame; None before the first one."""
        return self._follower.newest

    @property
    def written(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """The frames that are written: an array of bool of the shape of the grid."""
        return self._follower.written

    @property
    def data(self) -> live.FollowedArray:
        """The array as it is: `data[index]` and `data.read(index)`."""
        return self._follower.data

    def read(self, index: Any) -> np.ndarray[Any, Any]:
        """A copy of a frame. See lys_storage.Follower.read."""
        return self._follower.read(index)

    def since(self, n: int) -> Indices:
        """See lys_storage.Follower.since."""
        return self._follower.since(n)

    def close(self) -> None:
        """End the follower, and close the files. Signals that are already queued still come."""
        self._follower.close()


def _emit(emitter: weakref.ref[Follower], follower: live.Follower, signal: str, value: Any) -> None:
    """Emit `signal`. The follower ends if Qt has deleted the emitter."""
    alive = emitter()
    if alive is None:
        follower.end()
        return
    try:
        getattr(alive, signal).emit(value)
    except RuntimeError:
        if not is_deleted(alive):
            raise
        follower.end()
