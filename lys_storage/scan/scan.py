"""One acquisition in progress, as scripts see it: frames by index, axes and note, and the export at the end."""

from __future__ import annotations

import logging
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np

from ..callbacks import Progress, log_error
from ..disk import Preallocation, give_back, read_selection, remove_file, sync_folder
from ..errors import LysStorageError, ScanClosedError, ScanShapeError
from ..export import FinalizeReport, finalize
from ..format import (
    MAX_FRAMES,
    Axes,
    Grid,
    check_axes,
    check_dtype,
    decode_axes,
    decode_note,
    encode_axes,
    encode_note,
    layout_of,
    tail_reserve,
    with_coordinates,
)
from ..journal import WRITTEN
from ..store import ScanStore
from .relayout import change_dtype, refine
from .writer import FrameWriter

log = logging.getLogger("lys_storage")
_FORKED = "open in another process, from which this one was forked"
_BITS_STEP = 1 << 13
"""Bytes of a bit a frame that are looked at together."""
_TERMINAL_STATES = ("saved", "suspended", "discarded", _FORKED)


class Scan(FrameWriter):
    """A scan that is being written. Made by `create` or `resume`; frames may be written from several threads.

    `path` is the final name; until it is published the scan is at `part_path`. A frame whose write has returned survives
    the death of the process; one older than `flush_interval_s` survives a power cut.
    """

    _live: ClassVar[weakref.WeakSet[Scan]] = weakref.WeakSet()

    def __init__(
        self,
        part: ScanStore,
        *,
        flush_interval_s: float | None = 1.0,
        failed: Callable[[LysStorageError], None] | None = None,
        claim: Preallocation | None = None,
        grid_is_known: bool = True,
    ) -> None:
        super().__init__(part, flush_interval_s, failed or log_error, grid_is_known=grid_is_known)
        self._axes: Axes | None = None
        self._note: dict[Any, Any] | None = None
        self._map: np.memmap[Any, Any] | None = None
        self._claim = claim
        self.made_here = False  # whether its axes and note are this process's own; of a file, nothing is run
        self.trim = False  # whether close() cuts it to the part of the grid that has frames
        self.report: FinalizeReport | None = None
        Scan._live.add(self)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._part.description.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._part.form.dtype

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The final name; after close() where the export really is."""
        if self.report is not None:
            return self.report.path
        return self.part_path.with_name(self._part.description.final)

    @property
    def part_path(self) -> Path:
        return self._part.path

    @property
    def number(self) -> int | None:
        return self._part.description.number

    @property
    def fill(self) -> Any:
        """The value of frames that never came, as a numpy scalar."""
        return np.frombuffer(self._part.description.fill, self.dtype)[0]

    @property
    def grid_shape(self) -> tuple[int, ...]:
        return self._part.grid.grid_shape

    @property
    def frame_shape(self) -> tuple[int, ...]:
        return self._part.grid.frame_shape

    @property
    def frames_expected(self) -> int:
        return self._part.frames

    @property
    def frames_written(self) -> int:
        return self._part.frames_written

    @property
    def complete(self) -> bool:
        """Whether every frame has been written."""
        part = self._part
        return part.frames_written == part.frames

    @property
    def published(self) -> bool:
        """Whether it has its final name already; what a close() that failed then has left to do is not much."""
        return self._part.published is not None

    @property
    def closed(self) -> bool:
        return self._state != "open"

    @property
    def written(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which frames have arrived: bool of shape `grid_shape`, as of now."""
        self._refuse_if_gone()
        return (self._part.journal.mark_array >= WRITTEN).reshape(self.grid_shape)

    def missing(self) -> Iterator[tuple[int, ...]]:
        """The grid indices of the frames that have not arrived, as of now, in C order.

        Frames that arrive while they are gone through change nothing; nor does the end of the scan.
        """
        with self._changing:
            self._refuse_if_gone()
            return _indices(self._part.missing_bits(self.frames_expected), self._part.grid)

    @property
    def array(self) -> np.memmap[Any, Any]:
        """The scan as a read-only map of `shape` and `dtype`; zeros where nothing has come yet, `written` tells."""
        with self._changing:
            if self._map is None:
                self._refuse_if_gone()
                d = self._part.description
                self._map = np.memmap(self.part_path, self.dtype, "r", d.array_offset, self.shape)
            return self._map

    def read(self, *index: Any) -> np.ndarray[Any, Any]:
        """What `index` names, read from the file: trouble of the disk is an exception here, and a signal in a map."""
        self._refuse_if_gone()
        d = self._part.description
        return read_selection(self._part.file, d.array_offset, d.shape, d.dtype, index)

    def __repr__(self) -> str:
        return (
            f"<Scan {self.path} {self.shape} {self.dtype}: {self.frames_written} of {self.frames_expected} frames, "
            f"{self._state}>"
        )

    # -- axes and note --------------------------------------------------------------------------------------------

    @property
    def axes(self) -> list[np.ndarray[Any, Any]]:
        """One coordinate array for each dimension. Set it as a whole; None entries become index coordinates."""
        with self._changing:
            if self._axes is None:
                self._refuse_if_gone()
                self._axes = decode_axes(self._part.journal.read_metadata()[0], trust=self.made_here)
            return with_coordinates(self._axes, self.shape)

    @axes.setter
    def axes(self, axes: Iterable[Any] | None) -> None:
        checked = check_axes(axes, self.shape)
        with self._changing:
            self._refuse_if_gone()
            self._part.journal.write_metadata(encode_axes(checked, self.shape), self._part.journal.read_metadata()[1])
            self._axes = checked

    @property
    def note(self) -> dict[Any, Any]:
        """The note of the wave. Set it as a whole, or change it in place: what is in it at close() counts."""
        with self._changing:
            if self._note is None:
                self._refuse_if_gone()
                self._note = decode_note(self._part.journal.read_metadata()[1], trust=self.made_here)
            return self._note

    @note.setter
    def note(self, note: Mapping[Any, Any]) -> None:
        with self._changing:
            self._refuse_if_gone()
            self._note = note if isinstance(note, dict) else dict(note)
            self._store_note()

    def _store_note(self) -> None:
        axes, stored = self._part.journal.read_metadata()
        note = encode_note(self._note or {})
        if note != stored:
            self._part.journal.write_metadata(axes, note)

    def __setitem__(self, index: Any, frame: Any) -> None:
        self.write(index, frame)

    def flush(self) -> None:
        """Make every frame written so far survive a power cut."""
        self._refuse_if_gone()
        self._part.flush()

    # -- laid out anew --------------------------------------------------------------------------------------------

    def _refine(self, depth: int) -> None:
        """Make `depth` dimensions the grid: the first index says how many, a longer one later needs a finer grid."""
        with self._changing:
            self._refuse_unless_open()
            if self._grid_is_known and depth <= self._part.grid.ndim:
                return
            grid = Grid(self.shape, depth)
            if grid.frames > MAX_FRAMES:
                raise ScanShapeError(f"an index of {depth} dimensions makes {grid.frames:,} frames: write larger ones")
            if depth != self._part.grid.ndim:
                refine(self._part, depth)
            self._grid_is_known = True
            self._settle_form()

    def change_dtype(self, dtype: Any, fill: Any = None) -> None:
        """Lay the scan out anew for `dtype`. Only while nothing has been written: ScanShapeError otherwise."""
        with self._changing:
            self._refuse_unless_open()
            self._end_claim()
            change_dtype(self._part, check_dtype(dtype), fill)
            self._dtype_is_free, self._map = False, None
            self._settle_form()
            self.claim_space()

    # -- space ----------------------------------------------------------------------------------------------------

    def claim_space(self) -> None:
        """Have the filesystem set the scan's space aside: at once as far as some 40 ms go, the rest behind the writer."""
        d = self._part.description
        self._claim = Preallocation(self._part.file, layout_of(d).array_end, tail_reserve(d.frames), self._failed)

    def _end_claim(self) -> None:
        if self._claim is not None:
            self._claim.stop()

    # -- the end --------------------------------------------------------------------------------------------------

    def _refuse_unless_open(self) -> None:
        if self._state != "open":
            raise ScanClosedError(f"scan {self.path} is {self._state}")

    def _refuse_if_gone(self) -> None:
        if self._state in _TERMINAL_STATES:
            raise ScanClosedError(f"scan {self.path} is {self._state}; open_wave or resume reads it")

    def _is_forked(self) -> None:
        """In a forked child, which neither writes nor finalizes. A thread that it does not have may hold the lock."""
        self._changing = threading.RLock()
        if self._state not in _TERMINAL_STATES:
            self._state = _FORKED

    def seal(self) -> None:
        """Refuse further frames and wait for those in flight. What is left to do is close()."""
        self._refuse_if_gone()
        self._part.refuse("it is being saved")
        with self._changing:
            if self._state == "open":
                self._state = "sealed"

    def _end_threads(self) -> None:
        if self._follower is not None:
            self._follower.stop()
        self._end_claim()

    def close(self, progress: Progress | None = None, *, trim: bool = False, recovering: bool = False) -> Path:
        """Export the scan, with the fill value where frames never came, and return where it is. Twice is harmless.

        `trim` cuts it to the part of its grid that has frames; `recovering` replaces nothing. Where this fails the scan
        stays in progress on disk, and close() can be called again.
        """
        if self.report is not None:
            return self.report.path
        self.seal()
        self._end_threads()
        with self._changing:
            if self.report is None:
                self._refuse_if_gone()
                if self._note is not None and self._part.published is None:
                    self._store_note()
                self.report = finalize(self._part, progress, trim=trim or self.trim, recovering=recovering)
                self._state = "saved"
                self._let_go()
        return self.report.path

    def suspend(self) -> None:
        """Stop writing, and keep the scan in progress on disk, for `resume` or `recover`. Twice is harmless."""
        if self._state in _TERMINAL_STATES and self._state != _FORKED:
            return
        self.seal()
        self._end_threads()
        with self._changing:
            if self._state in _TERMINAL_STATES:
                return
            try:
                if self._part.published is None:
                    if self._note is not None:
                        self._store_note()
                    self._part.flush()
                else:
                    sync_folder(self._part.published.parent)  # close() could not, else it would be saved
            finally:
                self._state = "suspended"
                self._let_go()

    def discard(self) -> None:
        """Give up a scan of which nothing has arrived: its files go, and its name is free again.

        Raises ScanClosedError where it has frames.
        """
        self.seal()
        self._end_threads()
        with self._changing:
            if self.frames_written or self._state != "sealed":
                raise ScanClosedError(f"scan {self.part_path} has {self.frames_written} frames, and is not discarded")
            self._state = "discarded"
            if self._part.file.is_at_path():
                remove_file(self.part_path)
            self._part.remove_companions()
            if self.number is not None:
                give_back(self.part_path.parent, self._part.description.stem, self.number)
            self._let_go()

    def _let_go(self) -> None:
        self._map = None
        if self._follower is not None:
            self._follower.let_go()
        self._part.close()

    def __del__(self) -> None:
        if getattr(self, "_state", "saved") in _TERMINAL_STATES:
            return
        if self._follower is not None:
            self._follower.stop(wait=False)
        warnings.warn(
            f"{self!r} was dropped: it is kept in progress at {self.part_path}", ResourceWarning, stacklevel=2
        )

    def __enter__(self) -> Scan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._state == "suspended":
            return
        if error is None:
            self.close()
            return
        try:
            self.suspend()
        except LysStorageError as second:
            error.add_note(f"And the last flush failed: {second}")
        if self.report is None:
            error.add_note(
                f"The scan is kept in progress: {self.part_path} ({self.frames_written} of {self.frames_expected} frames). "
                f"lys_storage.resume({os.fspath(self.path)!r}) goes on with it; "
                f'"lys-storage recover {self.part_path.parent}" exports it.'
            )


def _indices(bits: bytes, grid: Grid) -> Iterator[tuple[int, ...]]:
    for at in range(0, len(bits), _BITS_STEP):
        part = np.unpackbits(np.frombuffer(bits, np.uint8, min(_BITS_STEP, len(bits) - at), at))
        for frame in np.flatnonzero(part).tolist():
            yield grid.index_of(8 * at + frame)


def _after_fork_in_child() -> None:
    for scan in list(Scan._live):
        scan._is_forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
