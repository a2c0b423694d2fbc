"""What is known of a followed scan, and reading of its frames."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FrameIndexError, LysStorageError, MissingFrameError, ScanClosedError
from ..format import Axes, Grid, shown_index
from ..reading import ScanInProgress, StoredWave
from .events import Index, Indices
from .followed_array import FollowedArray
from .tracker import Tracker

Array = np.ndarray[Any, Any]
Source = ScanInProgress | StoredWave


class FollowerView:
    """The part of `Follower` that only looks."""

    _tracker: Tracker
    _lock: threading.Lock
    _closing: threading.Event

    @property
    def path(self) -> Path:
        """The export, which need not be there yet. Before there is a scan: the path that was given."""
        source = self._tracker.source
        if isinstance(source, ScanInProgress):
            return source.path.with_name(source.description.final)
        return self._tracker.path if source is None else source.path

    @property
    def state(self) -> str:
        """ "waiting" (for a scan), "running", "interrupted" (no process writes it), "finished" or "removed", as the last poll
        found it. "unknown": running or interrupted, if the file system has no locks.
        """
        return self._tracker.state

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array. It can change: a trimmed export is shorter."""
        return self._source().shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the array. It can change before the first frame."""
        return self._source().dtype

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """The first dimensions of `shape`: the grid has one frame at each point. It can become finer."""
        return self._grid().grid_shape

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """The last dimensions of `shape`: those of one frame."""
        return self._grid().frame_shape

    @property
    def frames_expected(self) -> int:
        """The number of points of the grid."""
        return self._grid().frames

    @property
    def frames_written(self) -> int:
        """How many frames the last poll has seen."""
        return self._tracker.frames_written

    @property
    def written(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """The frames that the last poll has seen: an array of bool of shape `grid_shape`."""
        grid = self._grid()
        with self._lock:
            return self._tracker.flags().reshape((self._tracker.grid or grid).grid_shape)

    @property
    def newest(self) -> Index | None:
        """The index of the frame that was told last; None before the first one."""
        return self._tracker.log.newest

    @property
    def events(self) -> int:
        """How many events there were: a frame that was rewritten counts again."""
        return self._tracker.log.count

    def since(self, n: int) -> Indices:
        """The indices of the events from number `n`, which counts from 0: `since(0)` are all.

        Raises FrameIndexError if event `n` is forgotten: of events in no order the last 65,536 are known.
        """
        with self._lock:
            return self._tracker.log.after(max(0, n))

    @property
    def axis_names(self) -> list[str | None]:
        """The name of each dimension; None if it has none."""
        source = self._source()
        return list(source.names_and_units[0] if isinstance(source, ScanInProgress) else source.axis_names)

    @property
    def units(self) -> list[str | None]:
        """The unit of each dimension; None if it has none."""
        source = self._source()
        return list(source.names_and_units[1] if isinstance(source, ScanInProgress) else source.units)

    @property
    def stored_axes(self) -> Axes:
        """The present axes; None for a dimension with index coordinates."""
        source = self._source()
        return source.read_metadata()[0] if isinstance(source, ScanInProgress) else source.stored_axes

    @property
    def note(self) -> dict[Any, Any]:
        """The present note. A text such as `<decimal.Decimal('1')>` replaces an object that is not plain data."""
        source = self._source()
        return source.read_metadata()[1] if isinstance(source, ScanInProgress) else source.note

    # -- frames ---------------------------------------------------------------------------------------------------

    @property
    def data(self) -> FollowedArray:
        """The array as it is: `data[index]` and `data.read(index)`."""
        return FollowedArray(self)

    def read(self, index: Any) -> Array:
        """A copy of the frame at `index`, of `frame_shape` and `dtype`: its newest version, never a mixture of two.

        `index`: an int, or a tuple of ints, as it was told; an index that is shorter than the grid gives all frames below it.
        Raises MissingFrameError if a frame is missing, FrameIndexError if there is none at this index.
        """
        array: Array = self._with_source(lambda source: _read_frame(source, index, self._grid()))
        return array

    def _with_source(self, read: Callable[[Source], Array]) -> Array:
        """`read` of the present files. It is read again if they were replaced meanwhile."""
        while True:
            source = self._source()
            try:
                result = read(source)
                if not isinstance(source, ScanInProgress) or source.is_current():
                    return result
            except LysStorageError:
                if not isinstance(source, ScanInProgress) or source.is_current():
                    raise
                self._look(whole=True)
                if self._tracker.source is source:
                    raise
                continue
            self._look(whole=True)
            if self._tracker.source in (source, None):  # its files were removed: what was read is still right
                return result

    def _look(self, *, whole: bool) -> None:
        if self._closing.is_set():
            raise ScanClosedError(f"the follower of {self._tracker.path} is closed: call follow again")
        with self._lock:
            self._tracker.look(whole=whole)

    def _source(self) -> Source:
        source = self._tracker.source
        if source is None and not self._closing.is_set() and not self._tracker.is_over:
            self._look(whole=True)  # in a forked child the files were closed
            source = self._tracker.source
        if source is None:
            words = "is closed" if self._closing.is_set() else f'has the state "{self.state}"'
            raise ScanClosedError(f"the follower of {self._tracker.path} {words}: there is nothing to read")
        return source

    def _grid(self) -> Grid:
        if self._tracker.grid is None:
            self._source()
        assert self._tracker.grid is not None
        return self._tracker.grid


def _read_frame(source: Source, index: Any, grid: Grid) -> Array:
    entries = index if isinstance(index, tuple) else (index,)
    if isinstance(source, ScanInProgress):
        grid = source.grid
    lengths = grid.grid_shape[: len(entries)]
    above = Grid(lengths, len(lengths))
    shifted = tuple(
        e + n if isinstance(e, int | np.integer) and not isinstance(e, bool) and -n <= e < 0 else e
        for e, n in zip(entries, lengths, strict=False)
    )
    number = above.number(shifted) if len(entries) <= grid.ndim else None
    if number is None:
        raise FrameIndexError(
            f"there is no frame at index {shown_index(index)}: the grid is {grid.grid_shape}; data.read takes slices, and parts "
            "of frames"
        )
    if isinstance(source, StoredWave):
        if not source.is_complete and not source.written[tuple(shifted)].all():
            raise MissingFrameError(f"frame {shown_index(index)} is missing in {source.path}")
        return source.read(tuple(shifted))
    below = grid.frames // max(1, above.frames)
    frames, present = source.read_frames(number * below, (number + 1) * below)
    if not present.all():
        missing = grid.index_of(number * below + int((~present).argmax()))
        raise MissingFrameError(f"frame {missing} of {source.path} has not been written")
    return frames.reshape(source.description.shape[len(entries) :])
