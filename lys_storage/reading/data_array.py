"""An xarray of a wave. Only this module of the package imports xarray, and it is imported when it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from xarray.backends import BackendArray
from xarray.core import indexing

from ..format import Axes, with_coordinates
from .source import Source

if TYPE_CHECKING:
    from .labelled import LabelledArray

VARIABLE = "data"
"""The name of the array; data_ if a dimension has this name, since xarray takes that for its coordinate."""


class LazyArray(BackendArray):  # type: ignore[misc, unused-ignore]  # mypy does not see xarray
    """`source` as xarray reads it: ints, slices and 1-d arrays of positions, one for each dimension."""

    def __init__(self, source: Source) -> None:
        self.source, self.shape, self.dtype = source, source.shape, source.dtype

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, index: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        """Positions are read one by one: what is between them stays on the disk."""
        for k, entry in enumerate(index):
            if isinstance(entry, np.ndarray):
                before, after = index[:k], index[k + 1 :]
                axis = sum(not isinstance(e, int | np.integer) for e in before)
                if not len(entry):
                    return self._read((*before, slice(0, 0), *after))
                return np.stack([self._read((*before, int(at), *after)) for at in entry], axis)
        return self.source[index]


def as_data_array(wave: LabelledArray, source: Source, chunks: Any) -> Any:
    """See LabelledArray.to_xarray. `source`: what is read, if `chunks` is None."""
    data: Any = indexing.LazilyIndexedArray(LazyArray(source)) if chunks is None else wave.to_dask(chunks)
    preferred = dict(zip(wave.dims, wave._frame_chunks(), strict=True))
    # preferred_chunks: what chunks={} of xarray takes. A Dataset: the constructor of a DataArray could read the data.
    variable = xarray.Variable(wave.dims, data, _attributes(wave), {"preferred_chunks": preferred})
    coordinates = _coordinates(wave.dims, wave.stored_axes, wave.units, wave.shape)
    if not wave.is_complete:
        written = wave.written
        coordinates[_free_name("written", wave.dims)] = xarray.Variable(wave.dims[: written.ndim], written)
    name = _free_name(VARIABLE, wave.dims)
    array = xarray.Dataset({name: variable}, coordinates)[name]
    array.set_close(source.release)
    return array


def _free_name(name: str, taken: Sequence[str]) -> str:
    return _free_name(f"{name}_", taken) if name in taken else name


def _attributes(wave: LabelledArray) -> dict[str, Any]:
    return {str(key): value for key, value in wave.note.items()}


def _coordinates(
    dims: Sequence[str], axes: Axes, units: Sequence[str | None], shape: tuple[int, ...]
) -> dict[str, Any]:
    """A coordinate for each dimension with an axis or a unit. An axis that does not fit its dimension is left out."""
    result = {}
    for k, (dim, n, unit) in enumerate(zip(dims, shape, units, strict=True)):
        axis = axes[k] if k < len(axes) else None
        if axis is None and unit is None:
            continue
        (points,) = with_coordinates([axis], (n,))
        if points.shape == (n,):
            attributes = {} if unit is None else {"units": unit}
            result[dim] = xarray.Variable((dim,), _for_an_index(points), attributes)
    return result


def _for_an_index(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`points` in a dtype of which pandas makes an index: native byte order, no float16."""
    wider = np.dtype("f4") if points.dtype == np.float16 else points.dtype
    return points.astype(wider.newbyteorder("="), copy=False)
