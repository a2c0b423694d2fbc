"""The search for scans that a crash has left in the folder of a storage. It changes nothing on disk."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from ..recovery import find_interrupted
from .save_thread import Job


class InterruptedSearch:
    """Searches a folder by a background job. All methods are called in the storage's thread."""

    def __init__(self, submit: Callable[[Job], None]) -> None:
        self._submit = submit
        self._folder = Path()
        self._searched: Path | None = None
        self._found: deque[list[str] | Exception] = deque()
        self._closed = False
        self.pending = False  # whether search() is to be called

    def schedule(self, folder: Path) -> bool:
        """Have search() search `folder`, unless it was the last one searched. False where search() is to be called already."""
        self._folder = folder
        was_pending, self.pending = self.pending, True
        return not was_pending

    def close(self) -> None:
        """Begin no more searches."""
        self._closed = True

    def take_found(self) -> Iterator[list[str] | Exception]:
        """What each search since the last call has found, the paths (.part), or its error; nothing where it found none."""
        while self._found:
            yield self._found.popleft()

    def search(self) -> None:
        """Begin the search that was scheduled."""
        self.pending = False
        folder, found = self._folder, self._found
        if self._closed or folder == self._searched:
            return
        self._searched = folder
        if os.path.isdir(folder):  # Path.is_dir raises where a name is too long, or may not be looked at
            self._submit(functools.partial(_find, folder, found))


def _find(folder: Path, found: deque[list[str] | Exception]) -> None:
    try:
        paths = find_interrupted(folder)
    except Exception as error:
        found.append(error)
        return
    if paths:
        found.append(paths)
