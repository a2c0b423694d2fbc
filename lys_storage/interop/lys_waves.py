"""An export as a wave of lys: a `lys.Wave` in memory, or a `lys.DaskWave` that reads what is used of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MissingExtraError
from .lys_import import import_lys

if TYPE_CHECKING:
    from ..reading import LabelledArray

_ADVICE = "to_lys_dask() reads what is used of it"


def as_lys_wave(stored: LabelledArray, load: Callable[[str], np.ndarray[Any, Any]]) -> Any:
    """See StoredWave.to_lys. `load`: gives a new array of the whole, or an error that ends with its argument."""
    wave = import_lys().Wave()
    array = load(_ADVICE)
    wave._data = array  # setting `data` would make another copy
    if wave.data is not array:  # in another version of lys
        wave.data = array
    return _with_labels(wave, stored)


def as_lys_dask_wave(stored: LabelledArray, lazy: Any) -> Any:
    """See StoredWave.to_lys_dask. `lazy`: its dask array."""
    wave = import_lys().DaskWave(as_file_array(lazy), chunks="NoRechunk")
    return _with_labels(wave, stored)


def as_file_array(lazy: Any) -> Any:
    """`lazy` as a FileArray. Raises MissingExtraError if dask is set to arrays that lys does not know."""
    from .file_array import FileArray  # imported here: it needs dask

    if not isinstance(lazy, FileArray.__base__):
        raise MissingExtraError(
            "lys does not know the arrays that dask makes with its option array.query-planning: set it to False, or unset "
            "DASK_ARRAY__QUERY_PLANNING in the environment"
        )
    return FileArray(lazy.dask, lazy.name, lazy.chunks, meta=lazy._meta)


def _with_labels(wave: Any, stored: LabelledArray) -> Any:
    """`wave` with the axes and the note as lys sets them when it loads a file: no key of a note is taken for an argument."""
    wave.axes = [np.array(None) if axis is None else axis for axis in stored.stored_axes]
    wave.note = copy.deepcopy(stored.note)  # filters of lys change the lists in a note
    return wave
