"""`ScanView`: the properties of a scan in progress, and reading of its frames. Never writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..array_like import ArrayLike, Facts, keys_in_words, one_index
from ..errors import MissingFrameError
from ..export import FinalizeReport
from ..format import axes_in_a_line
from ..journal import WRITTEN
from ..store import ScanStore
from .array_map import ArrayMap
from .frame_reader import read_frames
from .lifecycle import Lifecycle
from .metadata import ScanMetadata
from .missing import missing_indices


class ScanView(ArrayLike):
    """The part of `Scan` that only reads.

    `scan[index]`, iteration and `np.asarray(scan)` need frames that have been written: they raise MissingFrameError if one
    is missing. `read` gives the fill value instead. `np.asarray(scan)` of a complete scan is `scan.array`.
    """

    _whole = "scan.array"
    _store: ScanStore
    _lifecycle: Lifecycle
    _metadata: ScanMetadata
    _map: ArrayMap
    report: FinalizeReport | None

    @property
    def shape(self) -> tuple[int, ...]:
        return self._store.description.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._store.layout.dtype

    @property
    def path(self) -> Path:
        """The name of the export. After close(): the path that it has."""
        if self.report is not None:
            return self.report.path
        return self.part_path.with_name(self._store.description.final)

    @property
    def part_path(self) -> Path:
        """The scan file, which holds the frames until the export has its name."""
        return self._store.path

    @property
    def number(self) -> int | None:
        """The number of a numbered scan; None for others."""
        return self._store.description.number

    @property
    def axis_names(self) -> list[str | None]:
        """The name of each dimension, as given to create; None if it has none."""
        return list(self._store.description.axis_names) or [None] * len(self.shape)

    @property
    def units(self) -> list[str | None]:
        """The unit of each dimension, as given to create; None if it has none."""
        return list(self._store.description.units) or [None] * len(self.shape)

    @property
    def fill_value(self) -> Any:
        """The value of missing frames in the export, as a numpy scalar of `dtype`."""
        return np.frombuffer(self._store.description.fill, self.dtype)[0]

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """The first dimensions of `shape`: the grid has one frame at each point."""
        return self._store.grid.grid_shape

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """The last dimensions of `shape`: those of one frame."""
        return self._store.grid.frame_shape

    @property
    def frames_expected(self) -> int:
        """The number of points of the grid."""
        return self._store.frames

    @property
    def frames_written(self) -> int:
        """The number of frames that have been written."""
        return self._store.frames_written

    @property
    def complete(self) -> bool:
        """Whether every frame has been written."""
        return self._store.complete

    @property
    def published(self) -> bool:
        """Whether the export has its final name. If close() raised after that, the next call only completes it."""
        return self._store.published is not None

    @property
    def closed(self) -> bool:
        """Whether the scan accepts no more frames: after seal, close, suspend or discard."""
        return not self._lifecycle.is_open

    @property
    def written(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """The frames that have been written at this moment: an array of bool of shape `grid_shape`."""
        self._raise_if_over()
        return (self._store.journal.states.array >= WRITTEN).reshape(self.grid_shape)

    def missing(self) -> Iterator[tuple[int, ...]]:
        """The grid indices of the frames that are missing at this moment, in C order.

        Neither later writes nor the end of the scan change what the iterator gives.
        """
        with self._lifecycle.lock:
            self._raise_if_over()
            return missing_indices(self._store.journal.states.missing_bits(self.frames_expected), self._store.grid)

    @property
    def array(self) -> np.memmap[Any, Any]:
        """A read-only np.memmap of `shape` and `dtype`. Bytes that were never written are zeros; see `written`.

        It does not wait for an export in another thread. A disk error during an access kills the process; `read` raises.
        """
        if not self._map.is_made:
            self._raise_if_over()
        return self._map.get()

    def read(self, index: Any = ..., *more: Any) -> np.ndarray[Any, Any]:
        """A copy of the part that `index` selects, as an array of `dtype`; 0-dimensional if that is one element.

        Missing frames hold the fill value, as in the export.

        `index`: ints, slices, Ellipsis, or a tuple of them; by default the whole array. It may select parts of frames.
        Raises FrameIndexError if it is out of range, or has a mask or a list; StorageOSError if the disk fails.
        """
        one_index("scan.read", index, more)
        self._raise_if_over()
        return read_frames(self._store, index, fill=True)

    def __getitem__(self, index: Any) -> Any:
        """As `read`, but one element is a numpy scalar. Raises MissingFrameError if a frame is missing.

        Therefore `scan[i] += x` does not add to a fill value.
        """
        self._raise_if_over()
        return read_frames(self._store, index, fill=False)[()]

    def _as_array(self) -> np.ndarray[Any, Any]:
        self._raise_if_over()
        if not self.complete:
            raise MissingFrameError(
                f"scan {self.path} is not complete: {self.frames_written} of {self.frames_expected} frames have been written. "
                "scan.read() gives the fill value for the missing ones; scan.array maps the file as it is"
            )
        return self.array

    def __repr__(self) -> str:
        return (
            f"<Scan {self.path} {self.shape} {self.dtype}: {self.frames_written} of {self.frames_expected} frames, "
            f"{self._lifecycle.state}>"
        )

    def _facts(self) -> Facts:
        return {
            "path": lambda: self.path,
            "shape": lambda: self.shape,
            "dtype": lambda: self.dtype,
            "frames": lambda: f"{self.frames_written} of {self.frames_expected} written",
            "state": lambda: self._lifecycle.state,
            "axes": lambda: self._of_metadata("axes"),
            "note": lambda: self._of_metadata("note"),
        }

    def _of_metadata(self, what: str) -> str | None:
        """None if the scan is over, or its lock is held, for example by an export."""
        if self._lifecycle.is_over:
            return None
        lock = self._lifecycle.lock
        try:
            if not lock.acquire(blocking=False):
                return None
            if what == "note":
                return keys_in_words(self._metadata.note())
            return axes_in_a_line(self._metadata.stored_axes(), self.shape, self.axis_names, self.units)
        finally:  # an interrupt may have come before the result of acquire() was seen
            try:
                lock.release()
            except RuntimeError:
                pass  # this thread does not hold it

    def _raise_if_over(self) -> None:
        self._lifecycle.raise_if_over(self.path)
