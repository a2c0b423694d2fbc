"""Reading by the names of the dimensions, and lazy arrays: what `StoredWave` and `StoredWaves` have in common.

Never imports dask or xarray before they are used.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np

from ..array_like import ArrayLike
from ..errors import CoordinateError, MissingExtraError, install_command
from ..format import Axes, axes_in_words, dimension_names, find_coordinate, find_range
from .source import Source


class LabelledArray(ArrayLike):
    """An array whose dimensions have names, units and coordinates."""

    note: dict[Any, Any]

    @property
    @abstractmethod
    def axis_names(self) -> list[str | None]: ...

    @property
    @abstractmethod
    def units(self) -> list[str | None]: ...

    @property
    @abstractmethod
    def stored_axes(self) -> Axes: ...

    @property
    @abstractmethod
    def grid_ndim(self) -> int:
        """How many of the first dimensions are the grid. The others are a frame."""

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """The first dimensions of `shape`, which form the grid. Of a file that does not tell it: all but the last two."""
        return self.shape[: self.grid_ndim]

    @property
    @abstractmethod
    def is_complete(self) -> bool: ...

    @property
    @abstractmethod
    def written(self) -> np.ndarray[Any, np.dtype[np.bool_]]: ...

    @abstractmethod
    def read(self, index: Any = ..., *more: Any) -> np.ndarray[Any, Any]: ...

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _source(self) -> Source:
        """What a lazy array reads. It does not need this object any more."""

    @abstractmethod
    def _load(self, advice: str) -> np.ndarray[Any, Any]:
        """A new array of the whole. Raises NotEnoughMemoryError, which ends with `advice`."""

    @abstractmethod
    def _frame_chunks(self) -> tuple[int, ...]:
        """The shape of a chunk for `chunks="frame"`."""

    @property
    def dims(self) -> tuple[str, ...]:
        """The names of the dimensions, for `isel`, `sel` and `to_xarray`: `axis_0`, `axis_1`, ... for those without one."""
        return dimension_names(self.axis_names, len(self.shape))

    def isel(self, indexers: Mapping[Any, Any] | None = None, /, **more: Any) -> np.ndarray[Any, Any]:
        """Read by position: `wave.isel(y=3, x=slice(0, 10))`. Other dimensions are read as a whole.

        `indexers`: the same as a dict, for names that are not identifiers. Each value is an int or a slice, as in `read`. The
        result is as that of `read`: a copy of `dtype`. It has no labels, because the package does not depend on a class of
        labelled arrays; `to_xarray` returns one. Raises CoordinateError (a KeyError) for a name that is not in `dims`, and
        what `read` raises.
        """
        index: list[Any] = [slice(None)] * self.ndim
        for k, entry in self._by_dimension(indexers, more):
            index[k] = entry
        return self.read(tuple(index))

    def sel(
        self,
        indexers: Mapping[Any, Any] | None = None,
        /,
        *,
        method: str | None = None,
        tolerance: Any = None,
        **more: Any,
    ) -> np.ndarray[Any, Any]:
        """Read by coordinate: `wave.sel(y=1.5, x=slice(0, 3))`. Other dimensions are read as a whole.

        A single value takes the position with exactly this coordinate, and with `method="nearest"` the nearest one, which is
        at most `tolerance` away. A slice takes the coordinates between its ends, both included, in the order of the axis:
        slice(3, 0) if the coordinates descend. Its step is a number of positions. A time can be given as text. On an axis that
        neither ascends nor descends only single, exact coordinates are taken.

        These are the rules of xarray. Two of its silent results are errors here: a slice against the direction of the axis,
        and a coordinate that the axis has twice. `indexers` and the result are as for `isel`. Raises CoordinateError (a
        KeyError) for a name or a coordinate that does not exist, with the nearest coordinates; and what `read` raises.
        """
        if method not in (None, "nearest"):
            raise CoordinateError(f'method is {method!r}, expected None (exact) or "nearest"')
        if tolerance is not None and method is None:
            raise CoordinateError('tolerance is used with method="nearest" only')
        axes = self.stored_axes + [None] * self.ndim
        index: list[Any] = [slice(None)] * self.ndim
        for k, label in self._by_dimension(indexers, more):
            name, n = self.dims[k], self.shape[k]
            if isinstance(label, slice):
                index[k] = find_range(name, axes[k], n, label)
            else:
                index[k] = find_coordinate(name, axes[k], n, label, method, tolerance)
        return self.read(tuple(index))

    def to_dask(self, chunks: Any = "frame") -> Any:
        """A `dask.array.Array` of the same shape and dtype, which reads a chunk when it is computed.

        `chunks`: "frame" is one frame of the grid, or adjacent ones merged up to 64 MiB; else what `dask.array.from_array`
        takes. A file without a grid is cut as if its last two dimensions were a frame.

        The array holds the path and what identifies the file, not the data: a worker on a shared file system opens the file
        itself, once, and it can be used after `close()`. It opens the data only, so that no object of the file is unpickled.
        Its computation raises BadFileError if the file was replaced or changed since it was opened here. A worker decompresses
        a compressed array as a whole. Raises MissingExtraError (an ImportError) without dask, ScanClosedError after `close()`.
        """
        from .dask_array import as_dask_array  # imported here: few need it

        return as_dask_array(
            self._source(), self._frame_chunks() if isinstance(chunks, str) and chunks == "frame" else chunks
        )

    def to_xarray(self, chunks: Any = None) -> Any:
        """An `xarray.DataArray` named `data`, with the same dtype, which reads what is used of it.

        `chunks`: None reads by indexing, and needs no dask; a computation reads the whole array into memory. Else the array
        is that of `to_dask(chunks)`. The dimensions are `dims`. A dimension with an axis or a unit has a coordinate, with the
        unit as its attribute `units`; an axis that does not fit its dimension is left out. The note is in `attrs`. If frames are
        missing, the array has a coordinate `written` along the grid: `array.where(array.written)` has NaN for these frames.

        The array holds the path: what `to_dask` says of workers, closed waves and replaced files is true of it, too. Raises
        MissingExtraError (an ImportError) without xarray, ScanClosedError after `close()`.
        """
        source = self._source()
        try:
            from .data_array import as_data_array  # imported here: few need it
        except ImportError as error:
            raise MissingExtraError(f"a DataArray needs xarray ({error}): {install_command('xarray')}") from None
        return as_data_array(self, source, chunks)

    def to_lys(self) -> Any:
        """A `lys.Wave` in memory: its data, axes and note are those of `lys.Wave(path)`, with the same dtypes.

        Objects of the file are unpickled only if it was opened with `allow_pickle`; `lys.Wave(path)` always does so. Imports
        lys, which makes a QApplication. Raises NotEnoughMemoryError (a MemoryError) if the array does not fit into memory,
        MissingExtraError (an ImportError) without lys, BindingError (an ImportError) if lys cannot be used in this process,
        and what `read` raises.
        """
        from ..interop import as_lys_wave  # imported here: few need it

        return as_lys_wave(self, self._load)

    def to_lys_dask(self, chunks: Any = "frame") -> Any:
        """A `lys.DaskWave` with the same axes and note as that of `to_lys`, which reads a chunk when it is computed.

        `chunks`, and what is said of workers, closed waves and replaced files: as for `to_dask`. lys would read the whole array
        into memory where it calls `persist`, as `lys.multicut` does, and would cut it into other chunks: of this array
        `persist` reads nothing, and `rechunk("auto")` keeps the chunks. What a filter of lys makes of it is an array like
        any other. Raises what `to_lys` raises, except NotEnoughMemoryError.
        """
        from ..interop import as_lys_dask_wave  # imported here: few need it

        return as_lys_dask_wave(self, self.to_dask(chunks))

    def _by_dimension(self, indexers: Mapping[Hashable, Any] | None, more: Mapping[str, Any]) -> list[tuple[int, Any]]:
        """(number of the dimension, value) for each name. Raises CoordinateError."""
        if indexers is not None and not isinstance(indexers, Mapping):
            raise CoordinateError(f"{indexers!r} names no dimension: pass dimension=value, or a dict of them")
        found, dims = [], self.dims
        for name, value in [*(indexers or {}).items(), *more.items()]:
            if name not in dims:
                raise CoordinateError(f"there is no dimension {name!r}; the dimensions are {', '.join(dims) or 'none'}")
            found.append((dims.index(str(name)), value))
        return found

    def _axes_in_short(self) -> list[str]:
        """A line for each axis that has more than index coordinates, for `repr`."""
        known = self.stored_axes + [None] * (self.ndim - len(self.stored_axes))
        plain = axes_in_words([None] * self.ndim, self.shape, [None] * self.ndim)
        lines = []
        for k, words in enumerate(axes_in_words(known, self.shape, self.units)):
            if words and (words != plain[k] or self.axis_names[k] is not None):
                lines.append(f"{self.dims[k]}: {words}")
        return lines
