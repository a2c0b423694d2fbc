"""Axes and note: to and from bytes, exactly as `lys.Wave.export` stores them.

lys stores `axes` as an object array (2-d where all axes have one length: numpy stacks those), `note` as a 0-d object
array, and a flag named `allow_pickle`. Object arrays are pickles. An unpickler for plain data reads them. Never runs code
that a pickle names, except with `allow_pickle=True`.
"""

from __future__ import annotations

import datetime
import io
import pickle
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from math import prod
from typing import Any

import numpy as np

from ..errors import AxisLengthError, BadFileError, ScanShapeError, UnsafeFileError
from .npy import decode_npy_header
from .pickled_numpy import checked_elements
from .safe_pickle import load_plain
from .same_value import is_masked

Axes = list[np.ndarray[Any, Any] | None]
"""One for each dimension; None stands for index coordinates."""
_TABLE_POINTS = 1 << 16
_PYTHON_DTYPES = {"f": "f8", "i": "i8", "u": "i8", "c": "c16"}
"""The dtypes that numpy gives Python's numbers, by kind (except unsigned ones beyond int64)."""
_KINDS: dict[str, Any] = {
    "U": str,
    "S": bytes,
    "M": (np.datetime64, datetime.date),
    "m": (np.timedelta64, datetime.timedelta),
}
"""The types of points, by the kind of array that numpy makes of them. It would convert numbers among them to that kind."""


def encode_npy(array: np.ndarray[Any, Any]) -> bytes:
    """`array` as a complete .npy. An object array is pickled."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def index_axis(n: int) -> np.ndarray[Any, Any]:
    """The coordinates of a dimension that has no axis, as lys makes them: 0.0, 1.0, ... n - 1."""
    return np.arange(n).astype(float)


def check_axes(axes: Iterable[Any] | None, shape: tuple[int, ...]) -> Axes:
    """One array for each dimension. None, also for axes missing at the end, stands for index coordinates.

    Raises AxisLengthError if the length of an axis is not that of its dimension: lys would pad or cut it silently.
    """
    given = _listed(axes)
    if len(given) > len(shape):
        raise AxisLengthError(_too_many(given, shape))
    result: Axes = []
    for k, n in enumerate(shape):
        axis = _as_axis(given[k], k) if k < len(given) else np.array(None)
        if axis.ndim == 0 and axis[()] is not None:
            raise AxisLengthError(
                f"axis {k} is the single value {axis}, expected {n} points (dimension {k} of shape {shape})"
            )
        if axis.ndim and len(axis) != n:
            raise AxisLengthError(f"axis {k} has {len(axis)} points, expected {n} (dimension {k} of shape {shape})")
        if axis.ndim and not _is_read_again(axis):
            raise AxisLengthError(
                f"axis {k} of dtype {axis.dtype} cannot be stored unchanged: give numbers, text or times, all of one kind "
                "(NaN for no value)"
            )
        result.append(axis if axis.ndim else None)
    return result


def _too_many(given: list[Any], shape: tuple[int, ...]) -> str:
    return f"got {len(given)} axes, expected at most {len(shape)} (one for each dimension of shape {shape})"


def _listed(axes: Any) -> list[Any]:
    if axes is None:
        return []
    try:
        if not isinstance(axes, str | bytes):
            return list(axes)
    except TypeError:
        pass
    raise AxisLengthError(f"axes is {axes!r}, expected a list with one axis, or None, for each dimension")


def _as_axis(axis: Any, k: int) -> np.ndarray[Any, Any]:
    try:
        given = np.asanyarray(axis) if hasattr(type(axis), "__array__") else axis
        has_mask = is_masked(given)
        array = np.array(None if has_mask else given)
    except Exception as error:  # whatever the axis's own __array__ raises
        raise AxisLengthError(f"axis {k} cannot be converted to an array ({error}): give a list of numbers") from error
    if has_mask:
        raise AxisLengthError(
            f"axis {k} has masked points, which a file cannot store: give axis.filled(value), for example with NaN"
        )
    if not _is_of_one_kind(given, array.dtype.kind):
        raise AxisLengthError(
            f"axis {k} mixes kinds of points, which numpy would convert to {array.dtype}: give only numbers, only text or "
            "only times"
        )
    return array


def _is_of_one_kind(given: Any, kind: str) -> bool:
    """Whether each point of `given`, which numpy converts to an array of `kind`, is of that kind already, if it is in _KINDS."""
    if kind not in _KINDS or hasattr(given, "dtype"):
        return kind not in _KINDS or given.dtype.kind == kind
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        return all(_is_of_one_kind(point, kind) for point in given)
    return isinstance(given, _KINDS[kind])


def _is_read_again(axis: np.ndarray[Any, Any]) -> bool:
    """Whether decode_axes would return the values of `axis`."""
    if axis.ndim == 1 and axis.dtype.kind in "biufc":
        return True
    stored = np.empty(1, dtype=object)
    stored[0] = axis
    try:
        (read,) = decode_axes(encode_npy(stored))
    except Exception:  # pickling a point can raise anything
        return False
    if read is None or read.shape != axis.shape or (axis.dtype.kind not in (read.dtype.kind, "O") and axis.ndim == 1):
        return False
    same = read == axis
    return bool(np.all(same | ((read != read) & (axis != axis))))  # NaN, NaT


def check_axes_leniently(axes: Any, shape: tuple[int, ...]) -> tuple[Axes, list[str]]:
    """As check_axes, but index coordinates replace an axis that does not fit. Also returns a message for each fault."""
    faults = []
    try:
        given = _listed(axes)
    except AxisLengthError as error:
        given, faults = [], [str(error)]
    if len(given) > len(shape):
        faults.append(_too_many(given, shape))
    fitting: Axes = []
    for k, axis in enumerate(given[: len(shape)]):
        try:
            fitting.append(check_axes([*[None] * k, axis], shape)[k])
        except (ValueError, TypeError) as error:
            faults.append(f"{error}; saved with index coordinates")
            fitting.append(None)
    return check_axes(fitting, shape), faults


def axis_member(k: int) -> str:
    """The name of the member that holds axis `k` without a pickle."""
    return f"axis_{k}.npy"


def has_plain_member(axis: np.ndarray[Any, Any]) -> bool:
    """Whether a .npy without a pickle gives `axis` again."""
    return not axis.dtype.hasobject


def with_coordinates(axes: Sequence[np.ndarray[Any, Any] | None], shape: tuple[int, ...]) -> list[np.ndarray[Any, Any]]:
    """`axes`, with index coordinates for each None and for axes missing at the end."""
    known = list(axes) + [None] * (len(shape) - len(axes))
    return [index_axis(n) if axis is None else axis for axis, n in zip(known, shape, strict=False)]


def axes_in_words(axes: Axes, shape: tuple[int, ...], units: Sequence[str | None]) -> list[str]:
    """First and last point, unit and number of points of each axis; "" if these do not describe it."""
    words = []
    for axis, n, unit in zip_longest(axes, shape, units):
        of_unit = f" {unit}" if unit else ""
        if axis is None:
            words.append(f"0.0 ... {n - 1}.0{of_unit} ({n} points)" if n else "")
        else:
            ends = f"{_short(axis[0])} ... {_short(axis[-1])}{of_unit}" if axis.ndim == 1 and axis.size else ""
            words.append(f"{ends} ({axis.size} points)" if ends else "")
    return words


def _short(point: Any) -> str:
    """Floating numbers to 10 digits: 3.15, not 3.1500000000000004."""
    return str(float(f"{point:.10g}")) if isinstance(point, float | np.floating) else str(point)


def axes_in_a_line(axes: Axes, shape: tuple[int, ...], names: Sequence[str | None], units: Sequence[str | None]) -> str:
    words = axes_in_words(axes, shape, units)
    return "; ".join(f"{name}: {word}" if name else word for name, word in zip(names, words, strict=True))


def encode_axes(axes: Axes, shape: tuple[int, ...]) -> bytes:
    """axes.npy, from which lys.Wave loads the same axes, with the same dtypes, as from its own export of them.

    For axes of one length numpy stores Python numbers, which take 100 bytes a point. Axes of many points are stored as
    arrays instead, in the dtypes that lys would give those numbers. So are axes whose values Python numbers cannot hold: lys
    itself would convert times to integers. Index coordinates of many points are stored as None: no memory is allocated for
    them, and lys creates them when it loads the file.
    """
    stacked = len({axis.shape if axis is not None else (n,) for axis, n in zip(axes, shape, strict=True)}) == 1
    if sum(shape) <= _TABLE_POINTS:
        full = with_coordinates(axes, shape)
        try:
            if not stacked or all(map(_is_kept_as_python, full)):
                return encode_npy(np.array(full, dtype=object))
        except ValueError:  # numpy cannot stack axes of several dimensions
            pass
        axes = list(full)
    array = np.empty(len(axes), dtype=object)
    for k, axis in enumerate(axes):
        python_dtype = None if axis is None else _PYTHON_DTYPES.get(axis.dtype.kind)
        as_python = stacked and axis is not None and python_dtype and _is_kept_as_python(axis)
        array[k] = axis.astype(python_dtype) if as_python and axis is not None else axis
    return encode_npy(array)


def _is_kept_as_python(axis: np.ndarray[Any, Any]) -> bool:
    """Whether Python's numbers hold its values: they have no time unit and no fields, and lys reads integers as int64."""
    if axis.dtype.kind == "u":
        return axis.size == 0 or int(axis.max()) < 1 << 63
    return axis.dtype.kind not in "mMV" and axis.dtype.char not in "gG"


def check_note(note: Any) -> Mapping[Any, Any]:
    """`note`, {} for None. Raises ScanShapeError if it is not a mapping."""
    if note is None:
        return {}
    if not isinstance(note, Mapping):
        raise ScanShapeError(f"note is {note!r}, expected a dict: give {{'Notes': {note!r}}}, or None")
    return note


ALLOW_PICKLE_NPY = encode_npy(np.array(False))
"""The member allow_pickle.npy: lys passes the flag to numpy.savez_compressed, which stores it as an array."""


def _decode(
    data: bytes, what: str, allow_pickle: bool, refused: list[UnsafeFileError] | None = None
) -> np.ndarray[Any, Any]:
    shape, dtype, is_fortran, start = decode_npy_header(data[: 1 << 20])
    try:
        if not dtype.hasobject:
            if len(data) - start != prod(shape) * dtype.itemsize:
                expected = prod(shape) * dtype.itemsize
                raise BadFileError(f"{what} has {len(data) - start} bytes, expected {expected} for shape {shape}")
            if len(data) == start:
                return np.zeros(shape, dtype)
            plain = checked_elements(np.frombuffer(data, dtype, offset=start))
            return plain.reshape(shape, order="F" if is_fortran else "C").copy()  # type: ignore[call-overload,no-any-return,unused-ignore]
        array = pickle.loads(data[start:], encoding="latin1") if allow_pickle else load_plain(data[start:], refused)
        if not isinstance(array, np.ndarray):
            raise BadFileError(f"{what} holds a {type(array).__name__}, expected an array")
        result: np.ndarray[Any, Any] = array.reshape(shape)
        return result
    except UnsafeFileError as error:
        raise UnsafeFileError(f"{what}: {error}") from None
    except BadFileError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise BadFileError(f"{what} cannot be read: {type(error).__name__}: {error}") from error


_COORDINATES = (bool, int, float, complex, str, bytes, type(None), datetime.datetime, datetime.date, datetime.timedelta)


def _is_plain_axis(axis: Any, size: int) -> bool:
    """Whether `axis` is one list of coordinates, whose array is not too large for a file of `size` bytes."""
    if isinstance(axis, (*_COORDINATES, np.generic)) or (isinstance(axis, np.ndarray) and not axis.dtype.hasobject):
        return True
    if not isinstance(axis, np.ndarray | list | tuple):
        return False
    points = axis.ravel() if isinstance(axis, np.ndarray) else axis
    if any(type(point) not in _COORDINATES and not isinstance(point, np.generic) for point in points):
        return False
    longest = max((len(point) for point in points if isinstance(point, str | bytes)), default=0)
    return longest * len(points) <= 16 * size + (1 << 20)


def decode_axes(data: bytes, allow_pickle: bool = False) -> Axes:
    """The axes as `lys.Wave` loads them: each has the dtype of its first element. None stands for index coordinates.

    `allow_pickle`: unpickle whatever `data` holds, which can execute code from the file.
    """
    result: Axes = []
    array = _decode(data, "axes.npy", allow_pickle)
    for axis in array[:64] if array.ndim else ():
        if not allow_pickle and not _is_plain_axis(axis, len(data)):
            raise BadFileError("axes.npy has an axis that is not a list of coordinates")
        if axis is None or np.ndim(axis) == 0:
            result.append(None)
        else:
            result.append(np.array(axis, dtype=type(axis[0])) if len(axis) else np.array(axis))
    return result


def decode_axis(data: bytes, member: str) -> np.ndarray[Any, Any]:
    """The array of a member without a pickle. Raises BadFileError if it is damaged, or has a pickle."""
    if decode_npy_header(data[: 1 << 20])[1].hasobject:
        raise BadFileError(f"{member} holds Python objects, expected plain elements")
    return _decode(data, member, False)


def decode_note(data: bytes, allow_pickle: bool = False) -> dict[Any, Any]:
    """The note. `allow_pickle` as in decode_axes."""
    return _note_in(_decode(data, "note.npy", allow_pickle))


def decode_note_with_texts(data: bytes, allow_pickle: bool = False) -> tuple[dict[Any, Any], UnsafeFileError | None]:
    """The note, and the error for the first object in it that is not plain data, or None.

    A text such as `<pathlib.PosixPath('a')>` replaces each such object. Raises BadFileError if the note cannot be read.
    `allow_pickle` as in decode_axes.
    """
    refused: list[UnsafeFileError] = []
    array = _decode(data, "note.npy", allow_pickle, refused)
    return _note_in(array), UnsafeFileError(f"note.npy: {refused[0]}") if refused else None


def _note_in(array: np.ndarray[Any, Any]) -> dict[Any, Any]:
    note = array[()] if array.ndim == 0 else None
    if not isinstance(note, dict):
        raise BadFileError(f"note.npy holds a {type(note).__name__}, expected a dict")
    return note
