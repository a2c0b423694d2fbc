"""Axes, note and the description of an acquisition: to and from bytes, exactly as `lys.Wave.export` stores them.

lys stores `axes` as an object array (2-d where all axes have one length, as numpy makes of them), `note` as a 0-d object
array, and a flag named `allow_pickle`; object arrays are pickles. They are read here by an unpickler that knows plain
data only: what a file says is never run.
"""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from ._errors import AxisLengthError, BadFileError, UnsafeFileError
from ._layout import decode_npy_header
from ._plain import load_plain

log = logging.getLogger("lys_storage")


def encode_npy(array: np.ndarray[Any, Any]) -> bytes:
    """A whole .npy; object arrays are pickled."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def index_axis(n: int) -> np.ndarray[Any, Any]:
    """The coordinates of a dimension that has no axis, as lys makes them: 0.0, 1.0, ... n - 1."""
    return np.arange(n).astype(float)


def check_axes(axes: Iterable[Any] | None, shape: tuple[int, ...]) -> list[np.ndarray[Any, Any]]:
    """One array for each dimension; None (and what is missing at the end) becomes index coordinates.

    Raises AxisLengthError where an axis has not the length of its dimension, which lys would pad or cut silently.
    """
    given = list(axes) if axes is not None else []
    if len(given) > len(shape):
        raise AxisLengthError(f"{len(given)} axes for the {len(shape)} dimensions of shape {shape}")
    result = []
    for k, n in enumerate(shape):
        axis = np.array(given[k]) if k < len(given) else np.array(None)
        if axis.ndim == 0 and axis[()] is None:
            axis = index_axis(n)
        elif axis.ndim == 0:
            raise AxisLengthError(f"axis {k} is the single value {axis}, dimension {k} of shape {shape} has {n} points")
        elif len(axis) != n:
            raise AxisLengthError(f"axis {k} has {len(axis)} points, dimension {k} of shape {shape} has {n}")
        result.append(axis)
    return result


def check_axes_leniently(axes: Any, shape: tuple[int, ...]) -> tuple[list[np.ndarray[Any, Any]], list[str]]:
    """As check_axes, but an axis that does not fit becomes index coordinates; and what was wrong, in words."""
    faults = []
    try:
        given = list(axes) if axes is not None else []
    except TypeError as error:
        given, faults = [], [f"axes: {error}"]
    if len(given) > len(shape):
        faults.append(f"{len(given)} axes for the {len(shape)} dimensions of shape {shape}")
    fitting: list[Any] = []
    for k, axis in enumerate(given[: len(shape)]):
        try:
            fitting.append(check_axes([*[None] * k, axis], shape)[k])
        except (ValueError, TypeError) as error:
            faults.append(f"{error}; saved with index coordinates")
            fitting.append(None)
    return check_axes(fitting, shape), faults


def encode_axes(axes: Sequence[np.ndarray[Any, Any]]) -> bytes:
    try:
        array = np.array(list(axes), dtype=object)
    except ValueError:  # axes of several dimensions that numpy cannot stack
        array = np.empty(len(axes), dtype=object)
        array[:] = list(axes)
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
            return plain
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


def decode_axes(data: bytes, trust: bool = False) -> list[np.ndarray[Any, Any]]:
    """The axes as `lys.Wave` would have them after loading: each of the dtype of its first element."""
    result = []
    array = _decode(data, "axes.npy", trust)
    for axis in array if array.ndim else ():
        if axis is None or np.ndim(axis) == 0 or len(axis) == 0:
            result.append(np.array(axis))
        else:
            result.append(np.array(axis, dtype=type(axis[0])))
    return result


def decode_note(data: bytes, trust: bool = False) -> dict[Any, Any]:
    array = _decode(data, "note.npy", trust)
    note = array[()] if array.ndim == 0 else None
    if not isinstance(note, dict):
        raise BadFileError(f"note.npy holds a {type(note).__name__}, expected a dict")
    return note
