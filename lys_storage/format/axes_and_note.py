"""Axes, note and the description of an acquisition: to and from bytes, exactly as `lys.Wave.export` stores them.

lys stores `axes` as an object array (2-d where all axes have one length, as numpy makes of them), `note` as a 0-d object
array, and a flag named `allow_pickle`; object arrays are pickles. They are read here by an unpickler that knows plain
data only: what a file says is never run.
"""

from __future__ import annotations

import datetime
import io
import logging
import pickle
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from ..errors import AxisLengthError, BadFileError, UnsafeFileError
from .npy import decode_npy_header
from .pickled_numpy import checked_elements
from .safe_pickle import load_plain

log = logging.getLogger("lys_storage")
Axes = list[np.ndarray[Any, Any] | None]
"""One for each dimension; None stands for index coordinates."""
_TABLE_POINTS = 1 << 16
_PYTHON_DTYPES = {"f": "f8", "i": "i8", "u": "i8", "c": "c16"}
"""What numpy makes of Python's numbers; unsigned ones beyond int64 aside."""


def encode_npy(array: np.ndarray[Any, Any]) -> bytes:
    """A whole .npy; object arrays are pickled."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def index_axis(n: int) -> np.ndarray[Any, Any]:
    """The coordinates of a dimension that has no axis, as lys makes them: 0.0, 1.0, ... n - 1."""
    return np.arange(n).astype(float)


def check_axes(axes: Iterable[Any] | None, shape: tuple[int, ...]) -> Axes:
    """One array for each dimension, or None (also for what is missing at the end): index coordinates.

    Raises AxisLengthError where an axis has not the length of its dimension, which lys would pad or cut silently.
    """
    given = list(axes) if axes is not None else []
    if len(given) > len(shape):
        raise AxisLengthError(f"{len(given)} axes for the {len(shape)} dimensions of shape {shape}")
    result: Axes = []
    for k, n in enumerate(shape):
        axis = np.array(given[k]) if k < len(given) else np.array(None)
        if axis.ndim == 0 and axis[()] is not None:
            raise AxisLengthError(f"axis {k} is the single value {axis}, dimension {k} of shape {shape} has {n} points")
        if axis.ndim and len(axis) != n:
            raise AxisLengthError(f"axis {k} has {len(axis)} points, dimension {k} of shape {shape} has {n}")
        result.append(axis if axis.ndim else None)
    return result


def check_axes_leniently(axes: Any, shape: tuple[int, ...]) -> tuple[Axes, list[str]]:
    """As check_axes, but an axis that does not fit becomes index coordinates; and what was wrong, in words."""
    faults = []
    try:
        given = list(axes) if axes is not None else []
    except TypeError as error:
        given, faults = [], [f"axes: {error}"]
    if len(given) > len(shape):
        faults.append(f"{len(given)} axes for the {len(shape)} dimensions of shape {shape}")
    fitting: Axes = []
    for k, axis in enumerate(given[: len(shape)]):
        try:
            fitting.append(check_axes([*[None] * k, axis], shape)[k])
        except (ValueError, TypeError) as error:
            faults.append(f"{error}; saved with index coordinates")
            fitting.append(None)
    return check_axes(fitting, shape), faults


def with_coordinates(axes: Sequence[np.ndarray[Any, Any] | None], shape: tuple[int, ...]) -> list[np.ndarray[Any, Any]]:
    """The axes with index coordinates where there are none."""
    known = list(axes) + [None] * (len(shape) - len(axes))
    return [index_axis(n) if axis is None else axis for axis, n in zip(known, shape, strict=False)]


def encode_axes(axes: Axes, shape: tuple[int, ...]) -> bytes:
    """axes.npy such that lys.Wave has the same axes, and dtypes, as from its own export of them.

    numpy makes a table of Python numbers of axes of one length, 100 bytes a point. Where there are many points, the
    arrays are stored as they are, in the dtypes that this would have given them, and None where lys makes index
    coordinates by itself: memory does not go with the length of a dimension.
    """
    if sum(shape) <= _TABLE_POINTS:
        full = with_coordinates(axes, shape)
        try:
            return encode_npy(np.array(full, dtype=object))
        except ValueError:  # axes of several dimensions that numpy cannot stack
            axes = list(full)
    stacked = len({axis.shape if axis is not None else (n,) for axis, n in zip(axes, shape, strict=True)}) == 1
    array = np.empty(len(axes), dtype=object)
    for k, axis in enumerate(axes):
        python_dtype = None if axis is None else _PYTHON_DTYPES.get(axis.dtype.kind)
        array[k] = axis.astype(python_dtype) if stacked and axis is not None and python_dtype else axis
    return encode_npy(array)


def plain_note(note: Mapping[Any, Any]) -> dict[Any, Any]:
    """A copy of the note in which what cannot be pickled is replaced by its repr, with a logged warning."""
    plain = dict(note)
    if _picklable(plain):
        return plain
    result = {}
    for key, value in plain.items():
        if not _picklable(value):
            log.warning("note %r cannot be pickled: its repr is stored instead", key)
            value = _repr(value)
        result[key if _picklable(key) else _repr(key)] = value
    return result


def encode_note(note: Mapping[Any, Any]) -> bytes:
    """The note as bytes; see plain_note for what cannot be pickled."""
    return encode_npy(np.array(plain_note(note), dtype=object))


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__} without a repr: {error}>"


def _picklable(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True


ALLOW_PICKLE_NPY = encode_npy(np.array(False))
"""The member that lys writes by a quirk of its call of numpy.savez_compressed."""


def _decode(data: bytes, what: str, trust: bool) -> np.ndarray[Any, Any]:
    shape, dtype, _, start = decode_npy_header(data[: 1 << 20])
    try:
        if not dtype.hasobject:
            if len(data) - start != prod(shape) * dtype.itemsize:
                raise BadFileError(f"{what} has {len(data) - start} bytes, its shape {shape} needs another number")
            plain: np.ndarray[Any, Any] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
            return checked_elements(plain)
        array = pickle.loads(data[start:]) if trust else load_plain(data[start:])
        if not isinstance(array, np.ndarray):
            raise BadFileError(f"{what} holds a {type(array).__name__}, expected an array")
        result: np.ndarray[Any, Any] = array.reshape(shape)
        return result
    except UnsafeFileError as error:
        raise UnsafeFileError(f"{what}: {error}") from error
    except BadFileError:
        raise
    except Exception as error:  # a rotten pickle can raise anything
        raise BadFileError(f"{what} cannot be read: {type(error).__name__}: {error}") from error


_COORDINATES = (bool, int, float, complex, str, bytes, type(None), datetime.datetime, datetime.date, datetime.timedelta)


def _is_plain_axis(axis: Any, size: int) -> bool:
    """Whether numpy can be given `axis` without making more of it than a file of `size` bytes can have meant."""
    if isinstance(axis, (*_COORDINATES, np.generic)) or (isinstance(axis, np.ndarray) and not axis.dtype.hasobject):
        return True
    if not isinstance(axis, np.ndarray | list | tuple):
        return False
    points = axis.ravel() if isinstance(axis, np.ndarray) else axis
    if any(type(point) not in _COORDINATES and not isinstance(point, np.generic) for point in points):
        return False
    longest = max((len(point) for point in points if isinstance(point, str | bytes)), default=0)
    return longest * len(points) <= 16 * size + (1 << 20)


def decode_axes(data: bytes, trust: bool = False) -> Axes:
    """The axes as `lys.Wave` would have them after loading, each of the dtype of its first element; None: index coordinates."""
    result: Axes = []
    array = _decode(data, "axes.npy", trust)
    for axis in array[:64] if array.ndim else ():
        if not trust and not _is_plain_axis(axis, len(data)):
            raise BadFileError("axes.npy has an axis that is no list of coordinates")
        if axis is None or np.ndim(axis) == 0:
            result.append(None)
        else:
            result.append(np.array(axis, dtype=type(axis[0])) if len(axis) else np.array(axis))
    return result


def decode_note(data: bytes, trust: bool = False) -> dict[Any, Any]:
    array = _decode(data, "note.npy", trust)
    note = array[()] if array.ndim == 0 else None
    if not isinstance(note, dict):
        raise BadFileError(f"note.npy holds a {type(note).__name__}, expected a dict")
    return note
