"""The size and the preallocation of a scan file."""

from __future__ import annotations

from ..callbacks import ErrorHandler
from ..disk import File, Preallocation
from ..format import layout_of, tail_reserve
from ..store import ScanStore

_LARGEST_FILE_OF_FAT = (1 << 32) - 1


def set_size_of_scan(file: File, array_end: int, reserve: int) -> None:
    """Set the size of a new scan file. Raises StorageOSError if no file can be that large, also where ensure_fits could not
    know it: FAT32 through FUSE, or behind a network share. The `reserve` for the tail is tried if only that is too large.
    """
    if array_end <= _LARGEST_FILE_OF_FAT < array_end + reserve:
        file.set_size(array_end + reserve)
    file.set_size(array_end)


class ScanSpace:
    """Preallocates the scan file of a store, and again after a change of its layout. Called with the lifecycle lock held."""

    def __init__(self, store: ScanStore, on_error: ErrorHandler) -> None:
        self._store, self._on_error = store, on_error
        self._preallocation: Preallocation | None = None

    def preallocate(self, metadata_bytes: int = 0) -> None:
        """Preallocate for some 40 ms, and the rest in the background. Raises DiskFullError, or passes it to `on_error` later.

        `metadata_bytes`: of axes and note, which the export holds after the array.
        """
        description = self._store.description
        end, reserve = layout_of(description).array_end, tail_reserve(description.frames, metadata_bytes)
        self._preallocation = Preallocation(self._store.file, end, reserve, self._on_error)

    def stop(self) -> None:
        """End the preallocation, and wait for a call that is running."""
        if self._preallocation is not None:
            self._preallocation.stop()
