"""The read-only memory map that `Scan.array` gives."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ..disk import File, register_for_forks
from ..errors import ScanClosedError
from ..store import ScanStore


class ArrayMap:
    """Has its own lock, so that a reader does not wait for an export, which holds the lifecycle lock."""

    def __init__(self, store: ScanStore) -> None:
        self._store = store
        self._lock = threading.Lock()  # guards the next three
        self._map: np.memmap[Any, Any] | None = None
        self._of: File | None = None  # the file that is mapped
        self._ended = False
        register_for_forks(self)

    def after_fork_in_child(self) -> None:
        """Replace the lock: a thread of the parent may hold it."""
        self._lock = threading.Lock()

    @property
    def is_made(self) -> bool:
        return self._map is not None

    def get(self) -> np.memmap[Any, Any]:
        with self._lock:
            if self._ended:
                raise ScanClosedError(
                    f"scan {self._store.path} is over; read it with open_wave, or continue it with resume"
                )
            of, d = self._store.file, self._store.description
            if self._map is None or self._of is not of:  # the latter: an interrupt may have prevented drop()
                with of.reopen() as file:  # not by name, which may lead to another file now
                    self._map, self._of = np.memmap(file, d.dtype, "r", d.array_offset, d.shape), of
            return self._map

    def drop(self) -> None:
        """The scan has another file now. The space of the old one is freed with its last map."""
        with self._lock:
            self._map = None

    def end(self) -> None:
        """The scan is over: make no more maps."""
        with self._lock:
            self._map, self._ended = None, True
