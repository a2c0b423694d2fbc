"""A scan in progress as it is looked at: what it is, what of it has come, and its frames as of an array. Never writes."""

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
    """The part of `Scan` that changes nothing.

    Operators and `np.asarray` are for frames that have come, and raise MissingFrameError for others: `scan[i]`, iteration.
    `read` gives the fill value there. `np.asarray` of a scan that is complete is its map.
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
        """The final name; after close() where the export really is."""
        if self.report is not None:
            return self.report.path
        return self.part_path.with_name(self._store.description.final)

    @property
    def part_path(self) -> Path:
        return self._store.path

    @property
    def number(self) -> int | None:
        return self._store.description.number

    @property
    def axis_names(self) -> list[str | None]:
        """The name of each dimension, as given to create; None where it has none."""
        return list(self._store.description.axis_names) or [None] * len(self.shape)

    @property
    def units(self) -> list[str | None]:
        """The unit of each dimension, as given to create; None where it has none."""
        return list(self._store.description.units) or [None] * len(self.shape)

    @property
    def fill_value(self) -> Any:
        """The value of frames that never came, as a numpy scalar."""
        return np.frombuffer(self._store.description.fill, self.dtype)[0]

    @property
    def grid_shape(self) -> tuple[int, ...]:
        return self._store.grid.grid_shape

    @property
    def frame_shape(self) -> tuple[int, ...]:
        return self._store.grid.frame_shape

    @property
    def frames_expected(self) -> int:
        return self._store.frames

    @property
    def frames_written(self) -> int:
        return self._store.frames_written

    @property
    def complete(self) -> bool:
        """Whether every frame has been written."""
        return self._store.complete

    @property
    def published(self) -> bool:
        """Whether it has its final name already; what a close() that failed then has left to do is not much."""
        return self._store.published is not None

    @property
    def closed(self) -> bool:
        return not self._lifecycle.is_open

    @property
    def written(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which frames have arrived: bool of shape `grid_shape`, as of now."""
        self._raise_if_over()
        return (self._store.journal.states.array >= WRITTEN).reshape(self.grid_shape)

    def missing(self) -> Iterator[tuple[int, ...]]:
        """The grid indices of the frames that have not arrived, as of now, in C order.

        Frames that arrive while they are gone through change nothing; nor does the end of the scan.
        """
        with self._lifecycle.lock:
            self._raise_if_over()
            return missing_indices(self._store.journal.states.missing_bits(self.frames_expected), self._store.grid)

    @property
    def array(self) -> np.memmap[Any, Any]:
        """The scan as a read-only map of `shape` and `dtype`; zeros where nothing has come yet, `written` tells.

        It does not wait for an export that is under way in another thread.
        """
        if not self._map.is_made:
            self._raise_if_over()
        return self._map.get()

    def read(self, index: Any = ..., *more: Any) -> np.ndarray[Any, Any]:
        """A copy of what `index` names, read from the file; the fill value where no frame has come, as in the export.

        Always an array of the dtype of the scan, also of one element.

        `index`: ints, slices, Ellipsis, or a tuple of them, as `write` takes it, and also of parts of frames; in range, and
        without masks and lists (FrameIndexError). The default is the whole.
        Trouble of the disk is an exception here (StorageOSError), and a signal in a map.
        """
        one_index("scan.read", index, more)
        self._raise_if_over()
        return read_frames(self._store, index, fill=True)

    def __getitem__(self, index: Any) -> Any:
        """As `read`, of frames that have come: MissingFrameError where one has not. One element is a numpy scalar.

        So `scan[i] += x` is refused there: it would add to a value that nobody measured.
        """
        self._raise_if_over()
        return read_frames(self._store, index, fill=False)[()]

    def _as_array(self) -> np.ndarray[Any, Any]:
        self._raise_if_over()
        if not self.complete:
            raise MissingFrameError(
                f"scan {self.path} is not complete: {self.frames_written} of {self.frames_expected} frames have come. "
                "scan.read() gives the fill value for the others; scan.array is a map of the file, with zeros there"
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
        """None where the scan is over, or its lock is held: by its export, for instance."""
        if self._lifecycle.is_over or not self._lifecycle.lock.acquire(blocking=False):
            return None
        try:
            if what == "note":
                return keys_in_words(self._metadata.note())
            return axes_in_a_line(self._metadata.stored_axes(), self.shape, self.axis_names, self.units)
        finally:
            self._lifecycle.lock.release()

    def _raise_if_over(self) -> None:
        self._lifecycle.raise_if_over(self.path)
