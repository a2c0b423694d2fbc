"""Opens several exports as one array: `open_waves` and `StoredWaves`.

Never holds an array of a file in memory, and never keeps more than some of the files open.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from ..array_like import Facts, keys_in_words, one_index
from ..disk import AnyPath
from ..errors import ScanClosedError, ScanShapeError
from ..format import Axes, axes_in_a_line, check_axes, check_axis_names, frame_chunks, grid_ndim_of, with_coordinates
from .array_file import allocate
from .labelled import LabelledArray
from .missing import Flags
from .source import ExportSource, StackSource
from .wave import StoredWave, open_wave


@dataclass(frozen=True)
class _Labels:
    """What the files have in common. `axes` and the rest have an entry for each dimension of a file, later of the stack."""

    axes: Axes
    axis_names: list[str | None]
    units: list[str | None]
    note: dict[Any, Any]
    grid_ndim: int
    is_fortran: bool

    @classmethod
    def of(cls, wave: StoredWave) -> _Labels:
        axes = wave.stored_axes + [None] * (wave.ndim - len(wave.stored_axes))
        grid_ndim = grid_ndim_of(wave.info, wave.shape)
        return cls(axes, wave.axis_names, wave.units, dict(wave.note), grid_ndim, wave._stored.order == "F")

    def common(self, other: _Labels) -> _Labels:
        """What is the same in `other`."""
        return replace(
            self,
            axes=[one if _is_same(one, two) else None for one, two in zip(self.axes, other.axes, strict=True)],
            axis_names=[a if a == b else None for a, b in zip(self.axis_names, other.axis_names, strict=True)],
            units=[a if a == b else None for a, b in zip(self.units, other.units, strict=True)],
            grid_ndim=min(self.grid_ndim, other.grid_ndim),
            note={key: a for key, a in self.note.items() if key in other.note and _is_same(a, other.note[key])},
        )


def _is_same(one: Any, two: Any) -> bool:
    """By their pickles: NaN is the same as NaN, and 1 is not the same as 1.0."""
    return pickle.dumps(one) == pickle.dumps(two)


class StoredWaves(LabelledArray):
    """Exports of one shape and dtype, as one array with a new first dimension, opened by `open_waves`.

    `waves[k]` reads the array of the k-th file. `np.asarray(waves)` reads all of them into memory. At most 32 files are open
    at a time; a file that is opened again must be the same one, or a read raises BadFileError.

    Attributes:
        paths: The files, as absolute paths.
        note: The entries that are the same in the notes of all files.
    """

    _whole = "waves.read()"
    _is_always_copied = True

    def __init__(self, source: StackSource, labels: _Labels, incomplete: Mapping[int, Flags]) -> None:
        """`incomplete`: `written` of each file with missing frames, by its position."""
        self._stack, self._labels, self._incomplete = source, labels, incomplete
        self.note: dict[Any, Any] = dict(labels.note)
        self.paths: list[Path] = [part.path for part in source.parts]
        self._is_closed = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self._stack.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._stack.dtype

    @property
    def axis_names(self) -> list[str | None]:
        """The name of each dimension; None if it has none, or if the files have different ones."""
        return list(self._labels.axis_names)

    @property
    def units(self) -> list[str | None]:
        """The unit of each dimension; None if it has none, or if the files have different ones."""
        return list(self._labels.units)

    @property
    def stored_axes(self) -> Axes:
        """The axes; None for a dimension with index coordinates, or with axes that differ between the files."""
        return list(self._labels.axes)

    @property
    def axes(self) -> list[np.ndarray[Any, Any]]:
        """One array of coordinates for each dimension. Index coordinates are 0, 1, 2, ..."""
        return with_coordinates(self._labels.axes, self.shape)

    @property
    def is_complete(self) -> bool:
        """Whether each frame of each file was written, as far as the files tell."""
        return not self._incomplete

    @property
    def grid_ndim(self) -> int:
        return 1 + self._labels.grid_ndim

    @property
    def written(self) -> Flags:
        """The frames that were written, as StoredWave.written, with the first dimension of this array.

        If the grids have different numbers of dimensions, the smallest number counts. Raises ScanClosedError after `close()`.
        """
        self._source()
        grid = self.grid_shape
        result = np.ones(grid, bool)
        for k, written in self._incomplete.items():
            result[k] = written.reshape(*grid[1:], -1).all(axis=-1)
        return result

    def read(self, index: Any = ..., *more: Any) -> np.ndarray[Any, Any]:
        """A copy of the part that `index` selects, as StoredWave.read. The first entry of `index` chooses the files.

        Raises NotEnoughMemoryError if a file is compressed and its array does not fit into memory.
        """
        one_index("waves.read", index, more)
        return self._source()[index]

    def __getitem__(self, index: Any) -> Any:
        """As `read`, but one element is a numpy scalar."""
        return self.read(index)[()]

    def _as_array(self) -> np.ndarray[Any, Any]:
        array = self._load("read a part of it by waves[index], or use waves.to_dask()")
        array.flags.writeable = False
        return array

    def _load(self, advice: str) -> np.ndarray[Any, Any]:
        source = self._source()
        array = allocate(f"the array of {len(self.paths)} files,", self.shape, self.dtype, "C", advice)
        for k in range(len(self.paths)):
            array[k] = source[k]
        return array

    def _source(self) -> StackSource:
        if self._is_closed:
            raise ScanClosedError(f"the {len(self.paths)} waves are closed; open them again with open_waves")
        return self._stack

    def _frame_chunks(self) -> tuple[int, ...]:
        if self._labels.is_fortran:
            return 1, *frame_chunks(self.shape[1:], self.dtype.itemsize, self._labels.grid_ndim, True)
        return frame_chunks(self.shape, self.dtype.itemsize, self.grid_ndim)

    def close(self) -> None:
        """Close the files. A second call does nothing."""
        self._is_closed = True
        self._stack.release()

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """A pickle or a copy holds the paths and the labels: see StoredWave. Each file is checked when it is read."""
        return StoredWaves, (self._source(), self._labels, self._incomplete)

    def __repr__(self) -> str:
        lines = [f"<StoredWaves {self.paths[0]} ... {self.shape} {self.dtype}", *self._axes_in_short()]
        return "\n  ".join(lines) + ">"

    def _facts(self) -> Facts:
        return {
            "files": lambda: f"{len(self.paths)}, from {self.paths[0]} to {self.paths[-1]}",
            "shape": lambda: self.shape,
            "dtype": lambda: self.dtype,
            "state": lambda: "closed" if self._is_closed else "open, read-only",
            "axes": lambda: axes_in_a_line(self.stored_axes, self.shape, self.axis_names, self.units),
            "note": lambda: keys_in_words(self.note),
        }


def open_waves(paths: Iterable[AnyPath], *, axis_name: str | None = None, axis: Any = None) -> StoredWaves:
    """Open several exports as one array, `waves[k]` being the array of the k-th. This does not read their arrays.

    Args:
        paths: The names of the exports, in the order of the array: `sorted(folder.glob("data_*.npz"))`, for example.
        axis_name, axis: The name and the coordinates of the first dimension; by default it has none.

    An axis, a name, a unit or an entry of the note that is not the same in all files is left out. Memory: about 1 kB for each
    file, a byte for each frame of those with missing frames, and the axes of one file.

    Raises ScanShapeError (a ValueError) if there is no file, if a file has another shape or dtype than the first one, with
    its name, or if numpy has no dimension more; AxisLengthError if `axis` does not have one coordinate for each file, or the
    files have an axis of the name `axis_name`; and what `open_wave` raises.
    """
    if isinstance(paths, str | bytes | os.PathLike):
        raise ScanShapeError(f"paths is {os.fspath(paths)!r}, expected several: pass a list, or use open_wave")
    parts: list[ExportSource] = []
    labels: _Labels | None = None
    incomplete: dict[int, Flags] = {}
    for path in paths:
        with open_wave(path) as wave:
            part, found = wave._source(), _Labels.of(wave)
            if not wave.is_complete:
                incomplete[len(parts)] = wave.written
        if parts and (part.shape, part.dtype) != (parts[0].shape, parts[0].dtype):
            raise ScanShapeError(
                f"{part.path} has the shape {part.shape} of {part.dtype}, expected {parts[0].shape} of {parts[0].dtype} as "
                f"{parts[0].path}: leave it out, or open it alone"
            )
        parts.append(part)
        labels = found if labels is None else labels.common(found)
    if labels is None:
        raise ScanShapeError("paths has no file: check the pattern or the folder")
    try:
        np.empty((0,) * (1 + parts[0].ndim))
    except ValueError:
        raise ScanShapeError(
            f"{parts[0].path} has {parts[0].ndim} dimensions, and numpy has no more: open it alone"
        ) from None
    (coordinates,) = check_axes([axis], (len(parts),))
    names = check_axis_names([axis_name, *labels.axis_names], 1 + len(labels.axis_names))
    stacked = replace(labels, axes=[coordinates, *labels.axes], axis_names=list(names), units=[None, *labels.units])
    return StoredWaves(StackSource(tuple(parts)), stacked, incomplete)
