"""The read-only map of a running scan that is handed out, kept as long as its file is the scan's."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..store import ScanStore


class ArrayMap:
    """Holding the lifecycle lock."""

    def __init__(self, store: ScanStore) -> None:
        self._store = store
        self._map: np.memmap[Any, Any] | None = None

    @property
    def is_made(self) -> bool:
        return self._map is not None

    def get(self) -> np.memmap[Any, Any]:
        if self._map is None:
            d = self._store.description
            self._map = np.memmap(self._store.path, d.dtype, "r", d.array_offset, d.shape)
        return self._map

    def drop(self) -> None:
        """The file is another one now, or the scan is over. A replaced file takes its space until its last map is gone."""
        self._map = None
