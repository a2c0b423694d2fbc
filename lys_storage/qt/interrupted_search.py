"""The search for scans that a crash has left in the folder of a storage. It changes nothing on disk."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from ..recovery import find_interrupted
from .binding import QtCore
from .save_thread import Job


class InterruptedSearch(QtCore.QObject):
    """Searches a folder by a background job, once the event loop runs. All methods are called in the parent's thread."""

    def __init__(self, parent: QtCore.QObject, submit: Callable[[Job], None]) -> None:
        super().__init__(parent)
        self._submit = submit
        self._folder = Path()
        self._searched: Path | None = None
        self._found: deque[list[str]] = deque()
        self._closed = False
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._search)

    @property
    def pending(self) -> bool:
        """Whether a search waits for the event loop."""
        return bool(self._timer.isActive())

    def schedule(self, folder: Path) -> None:
        """Search `folder` when the event loop runs next, unless it was the last one searched."""
        self._folder = folder
        self._timer.start(0)

    def close(self) -> None:
        """Begin no more searches."""
        self._closed = True

    def take_found(self) -> Iterator[list[str]]:
        """The paths (.part) that each search has found since the last call; a search that found none gives nothing."""
        while self._found:
            yield self._found.popleft()

    def _search(self) -> None:
        folder, found = self._folder, self._found
        if self._closed or folder == self._searched:
            return
        self._searched = folder
        if folder.is_dir():
            self._submit(functools.partial(_find, folder, found))


def _find(folder: Path, found: deque[list[str]]) -> None:
    paths = find_interrupted(folder)
    if paths:
        found.append(paths)
