"""What a preview reads: an export, or a scan in progress, through one interface.

Never changes a file, maps none, and takes no lock for longer than a moment: a scan that is being written is not disturbed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..disk import read_elements
from ..errors import BadFileError, LysStorageError
from ..format import INFO_FORMAT, Axes, Grid, Labels, check_info, is_scan_file, journal_path
from ..journal import TABLE_STEP
from ..reading import (
    ScanInProgress,
    StoredWave,
    is_compressed,
    is_fortran,
    iterate_stored,
    missing_frames,
    open_wave,
    read_stored,
)
from ..recovery import FINALIZED, INTERRUPTED, RUNNING, find_named, scan_state
from .values import Array, Flags, Numbers

_MOST_CANDIDATES = 1000


class PreviewError(LysStorageError, ValueError):
    """There is no picture of this file, or not the one that was asked for. Nothing is wrong with the file."""


class Source(ABC):
    """An array of frames. `grid`: its points; each has one frame. `state`: as `lys-storage ls` calls it.

    `is_streamed`: its elements can be read only in the order of the file; `is_fortran`: that order is Fortran's.
    `is_trusted`: if False, only frames that match their checksum are readable.
    """

    path: Path
    state = FINALIZED
    grid: Grid
    dtype: np.dtype[Any]
    axes: Axes
    names: Labels
    units: Labels
    note: dict[Any, Any]
    frames_written: int
    is_streamed = False
    is_fortran = False
    is_trusted = True
    checksum_bytes = 0
    """How many bytes are read to prove one frame, if `is_trusted` is False."""

    @property
    def frame_bytes(self) -> int:
        return self.grid.frame_elements * self.dtype.itemsize

    @abstractmethod
    def flags(self, frames: Numbers) -> Flags:
        """Of each of `frames` (numbers, ascending): whether it is there at present."""

    @abstractmethod
    def read(self, first: int, count: int) -> Array:
        """`count` elements from number `first`, in C order. Not for a source that is streamed."""

    @abstractmethod
    def stream(self) -> Iterator[tuple[int, Array]]:
        """(number of the first element, elements) of consecutive pieces, in the order of the file."""

    @abstractmethod
    def close(self) -> None: ...

    def readable(self, frames: Numbers) -> Flags:
        """Of each of `frames` (numbers, ascending): whether it can be read at present."""
        result = self.flags(frames)
        if not self.is_trusted:
            chosen = np.flatnonzero(result)
            result[chosen] = self.proves(frames[chosen])
        return result

    def proves(self, frames: Numbers) -> Flags:
        """Of each of `frames`: whether its bytes match its checksum."""
        return np.ones(len(frames), bool)

    def last_readable(self, stop: int | None = None) -> int | None:
        """The last frame, in C order, that can be read, of the first `stop` frames or of all. None if there is none."""
        tried = 0
        end = self.grid.frames if stop is None else stop
        for at in reversed(range(0, end, TABLE_STEP)):
            frames = np.arange(at, min(at + TABLE_STEP, end))
            for frame in reversed(frames[self.flags(frames)].tolist()):
                if self.is_trusted or self.proves(np.array([frame]))[0]:
                    return int(frame)
                tried += 1
                if tried >= _MOST_CANDIDATES:
                    return None
        return None


class ExportSource(Source):
    """An export. `grid_ndim`: for files that do not tell it; without it, the last two dimensions are a frame."""

    def __init__(self, wave: StoredWave, grid_ndim: int | None) -> None:
        self._wave, self.path, self.dtype = wave, wave.path, wave.dtype
        self._is_known = wave.info.get("format") == INFO_FORMAT
        if self._is_known:
            for fault in check_info(wave.shape, wave.info):
                raise BadFileError(f"{wave.path}: {fault}; lys-storage verify checks the file")
            ndim = len(wave.info["grid_shape"])
            _ensure_same_grid(grid_ndim, ndim, wave.path)
        else:
            ndim = max(0, len(wave.shape) - 2) if grid_ndim is None else grid_ndim
            if ndim > len(wave.shape):
                raise PreviewError(f"{wave.path} has {len(wave.shape)} dimensions: its grid cannot have {ndim}")
        self.grid = Grid(wave.shape, ndim)
        self.axes, self.note = wave.stored_axes, wave.note
        self.names, self.units = tuple(wave.axis_names), tuple(wave.units)
        self.frames_written = wave.info["frames_written"] if self._is_known else self.grid.frames
        self._missing = missing_frames(wave, self.grid.frames if self._is_known else 0)
        self.is_fortran = is_fortran(wave)
        self.is_streamed = is_compressed(wave) or self.is_fortran

    def flags(self, frames: Numbers) -> Flags:
        return ~self._missing.among(frames)

    def read(self, first: int, count: int) -> Array:
        return read_stored(self._wave, first, count)

    def stream(self) -> Iterator[tuple[int, Array]]:
        return iterate_stored(self._wave)

    def close(self) -> None:
        self._wave.close()


class ScanSource(Source):
    """A scan in progress: its scan file, and its journal."""

    def __init__(self, path: Path, grid_ndim: int | None) -> None:
        self.path, self.state = path, scan_state(path)
        self._scan = scan = ScanInProgress(path)
        try:
            _ensure_same_grid(grid_ndim, scan.grid.ndim, path)
            self.grid, self.dtype = scan.grid, scan.dtype
            self.names, self.units = scan.names_and_units
            self.axes, self.note, _ = scan.read_metadata()
            self.is_trusted = scan.is_trusted()
            self.checksum_bytes = scan.journal.block_bytes
            self.frames_written = scan.count_readable()
        except BaseException:
            self.close()
            raise

    def flags(self, frames: Numbers) -> Flags:
        return self._scan.flags(frames)

    def proves(self, frames: Numbers) -> Flags:
        return self._scan.journal.matches(self._scan.file, frames)

    def read(self, first: int, count: int) -> Array:
        return read_elements(self._scan.file, self._scan.description.array_offset, self.dtype, first, count)

    def stream(self) -> Iterator[tuple[int, Array]]:
        raise NotImplementedError("a scan file is never compressed, and always in C order")

    def close(self) -> None:
        self._scan.close()


def open_source(path: Path, grid_ndim: int | None = None) -> Source:
    """Open the export or the scan in progress at `path`, which may also be the final name of a scan in progress.

    `grid_ndim`: how many dimensions the grid has, if the file does not tell. Raises as open_wave and Journal.open, and
    PreviewError if the file has no frames.
    """
    found = find_named(path)
    if found is not None and is_scan_file(found.path.name) and journal_path(found.path).exists():
        source: Source = ScanSource(found.path, grid_ndim)
    else:
        wave = open_wave(path)
        try:
            source = ExportSource(wave, grid_ndim)
        except BaseException:
            wave.close()
            raise
    if source.grid.frames * source.grid.frame_elements == 0:
        source.close()
        raise PreviewError(f"{path} holds no elements: its shape is {source.grid.shape}")
    return source


def _ensure_same_grid(asked: int | None, ndim: int, path: Path) -> None:
    if asked is not None and asked != ndim:
        raise PreviewError(f"{path} has a grid of {ndim} dimensions, not {asked}: leave --grid-ndim out")


def described(source: Source) -> str:
    """How many of how many frames are there, and what the file is: for the title of the picture."""
    written, expected = source.frames_written, source.grid.frames
    frames = f"{expected:,} frame{'s'[: expected > 1]}"
    count = f"{written:,} of {frames} written"
    if source.state == FINALIZED:
        return count if written != expected else frames
    words = {RUNNING: "scan in progress", INTERRUPTED: "interrupted scan"}
    return f"{words.get(source.state, 'unfinished scan')}: {count}"


def index_of(source: Source, index: Sequence[int]) -> int:
    """The number of the frame at `index`; negative entries count from the end. Raises PreviewError if there is none."""
    grid = source.grid
    if len(index) != grid.ndim:
        raise PreviewError(
            f"frame {index_text(index)} has {len(index)} entries, the grid of {source.path} has {grid.ndim} dimensions: "
            f"{grid.grid_shape}"
        )
    number = grid.number(tuple(i + n if i < 0 else i for i, n in zip(index, grid.grid_shape, strict=True)))
    if number is None:
        raise PreviewError(f"frame {index_text(index)} is out of range: the grid of {source.path} is {grid.grid_shape}")
    return number


def index_text(index: Sequence[int]) -> str:
    """As the option --frame takes it: "3,5"."""
    return ",".join(map(str, index))
