"""The read-only map of a running scan that is handed out, kept as long as its file is the scan's."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ..disk import File, register_for_forks
from ..errors import ScanClosedError
from ..store import ScanStore


class ArrayMap:
    """It has a lock of its own: who looks at a scan does not wait for the export, which holds the lifecycle lock."""

    def __init__(self, store: ScanStore) -> None:
        self._store = store
        self._lock = threading.Lock()  # guards the next three
        self._map: np.memmap[Any, Any] | None = None
        self._of: File | None = None  # what is mapped
        self._ended = False
        register_for_forks(self)

    def after_fork_in_child(self) -> None:
        """A thread that the child does not have may hold the lock."""
        self._lock = threading.Lock()

    @property
    def is_made(self) -> bool:
        return self._map is not None

    def get(self) -> np.memmap[Any, Any]:
        with self._lock:
            if self._ended:
                raise ScanClosedError(f"scan {self._store.path} is over; open_wave or resume reads it")
            of, d = self._store.file, self._store.description
            if self._map is None or self._of is not of:  # an interrupt may have kept a change of the layout from drop()
                with of.reopen() as file:  # its name may lead to another one by now
                    self._map, self._of = np.memmap(file, d.dtype, "r", d.array_offset, d.shape), of
            return self._map

    def drop(self) -> None:
        """The file is another one now. A replaced file takes its space until its last map is gone."""
        with self._lock:
            self._map = None

    def end(self) -> None:
        """The scan is over: no map is made any more."""
        with self._lock:
            self._map, self._ended = None, True
