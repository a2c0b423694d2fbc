"""The space that a scan has the file system set aside."""

from __future__ import annotations

from ..callbacks import ErrorHandler
from ..disk import Preallocation
from ..format import layout_of, tail_reserve
from ..store import ScanStore


class ScanSpace:
    """Preallocates the scan file of a store, and again where its layout has changed. Holding the lifecycle lock."""

    def __init__(self, store: ScanStore, on_error: ErrorHandler) -> None:
        self._store, self._on_error = store, on_error
        self._preallocation: Preallocation | None = None

    def preallocate(self, metadata_bytes: int = 0) -> None:
        """At once as far as some 40 ms go, the rest in the background. Raises DiskFullError, or tells `on_error` later.

        `metadata_bytes`: of axes and note, which come behind the array at the end of the scan.
        """
        description = self._store.description
        end, reserve = layout_of(description).array_end, tail_reserve(description.frames) + metadata_bytes
        self._preallocation = Preallocation(self._store.file, end, reserve, self._on_error)

    def stop(self) -> None:
        """Preallocate no more, and wait for what is under way."""
        if self._preallocation is not None:
            self._preallocation.stop()
