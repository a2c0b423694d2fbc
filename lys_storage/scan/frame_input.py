"""Checks shape, dtype and values of a frame, and gives its bytes in slabs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import FrameShapeError, FrameTypeError, ScanShapeError
from ..format import first_changed, has_same_fields, is_masked, quick_check
from ..journal import Chunk

NUMBERS = (bool, int, float, complex, np.generic)
"""What can fill many frames."""
SLAB_BYTES = 1 << 20
"""The memory for the cast, or the copy, of a frame at a time."""
_MOST_OF_ELEMENT = 1 << 22
"""Bytes: the journal holds the fill value, which is one element."""
_CASTS = {"b": "biuf", "i": "biuf", "u": "biuf", "f": "biuf", "c": "biufc"}


def default_fill(dtype: np.dtype[Any]) -> Any:
    """NaN for floating and complex dtypes, zero (all bytes) for the others."""
    return dtype.type(np.nan) if dtype.kind in "fc" else np.zeros((), dtype)[()]


def check_fill(fill: Any, dtype: np.dtype[Any]) -> bytes:
    """One element of `dtype` with the value `fill` (None: the default), as bytes.

    Raises ScanShapeError if the dtype cannot hold the value.
    """
    if dtype.itemsize > _MOST_OF_ELEMENT:
        raise ScanShapeError(
            f"an element of the dtype has {dtype.itemsize:,} bytes, at most {_MOST_OF_ELEMENT:,} are possible: "
            "give the scan more dimensions"
        )
    if fill is None:
        return np.array(default_fill(dtype), dtype).tobytes()
    try:
        if is_masked(fill):
            raise ValueError("it is masked")
        with np.errstate(all="ignore"):
            element = _held(fill, dtype)
        if element.ndim:
            raise ValueError("it is not one element")
        return element.tobytes()
    except Exception as error:  # numpy raises RuntimeError for a time in a short text, and __array__ can raise anything
        raise ScanShapeError(f"fill value {fill!r} cannot be held by dtype {dtype}: {error}") from error


def _held(value: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """`value` as an array of `dtype`. Raises ValueError if that changes the value."""
    if dtype.names is not None and isinstance(value, tuple):
        if len(value) != len(dtype.names):
            raise ValueError(f"it has {len(value)} parts, the dtype has {len(dtype.names)} fields")
        element = np.zeros((), dtype)
        for name, part in zip(dtype.names, value, strict=True):
            element[name] = _held(part, dtype[name].base)
        return element
    given = np.array(float(value) if isinstance(value, int) and dtype.kind in "fc" else value)
    is_cut = given.dtype.kind == "m" and dtype.kind in "SU"  # numpy 1 writes past the end of a text
    if is_cut or given.dtype.kind not in _CASTS.get(dtype.kind, "MmSUVO"):
        raise ValueError(f"it is of dtype {given.dtype}")
    kept = given.astype(dtype)
    if given.dtype.kind == "O":
        same = bool(kept == given)
    else:
        same = has_same_fields(given.dtype, dtype) and first_changed(given, kept) is None
    if not same:
        raise ValueError(f"it would become {kept}")
    return kept


def as_array(frame: Any) -> np.ndarray[Any, Any]:
    """`frame` as an array of its own dtype. Raises FrameTypeError or FrameShapeError if it cannot be one."""
    if type(frame) is np.ndarray:
        return frame
    try:
        given = frame if isinstance(frame, list | tuple) else np.asanyarray(frame)
        if not is_masked(given):
            return np.asarray(given)
    except ValueError as error:
        raise FrameShapeError(f"a frame given as {type(frame).__name__} cannot be an array: {error}") from None
    except Exception as error:  # whatever the frame's own __array__ raises
        raise FrameTypeError(f"a frame given as {type(frame).__name__} cannot be an array: {error!r}") from error
    raise FrameTypeError(
        "a frame has masked elements, and a file has no mask: store frame.filled(value), and the mask as another scan"
    )


def as_frame(frame: Any, dtype: np.dtype[Any], index: Any) -> np.ndarray[Any, Any]:
    """`frame` as an array that can be cast to `dtype` by `same_kind`. Does not copy an array.

    Lists and Python numbers have no dtype of their own: they are accepted if `dtype` can hold their values. So is a numpy
    scalar: numpy 1 makes an int64 of `scan[i] + 1`.
    Raises FrameTypeError.
    """
    array = as_array(frame)
    if array.dtype == dtype:
        return array
    has_dtype = isinstance(frame, np.ndarray | np.generic)
    if (has_dtype or dtype.kind not in "iu") and _is_same_kind(array.dtype, dtype):
        return array
    if not isinstance(frame, np.ndarray) and array.dtype.kind in _CASTS.get(dtype.kind, "") and dtype.kind != "b":
        return with_same_values(array, dtype, index)
    if array.dtype.hasobject:
        raise FrameTypeError(
            f"frame at index {index!r} holds Python objects, expected numbers: convert it to an array of dtype {dtype}"
        )
    raise FrameTypeError(
        f"frame at index {index!r} has dtype {array.dtype}, expected {dtype} or a dtype that casts to it by 'same_kind': "
        f"convert the frame, or create the scan with dtype={_spelled(array.dtype)}"
    )


def _spelled(dtype: np.dtype[Any]) -> str:
    """`dtype` as an argument of create."""
    if dtype.names is not None:
        return str(dtype)
    return repr(dtype.name if dtype.kind in "biufc" else dtype.str)


@lru_cache(64)
def _is_same_kind(given: np.dtype[Any], stored: np.dtype[Any]) -> bool:
    return np.can_cast(given, stored, "same_kind")


def with_same_values(array: np.ndarray[Any, Any], dtype: np.dtype[Any], index: Any) -> np.ndarray[Any, Any]:
    """The frame `array`, cast to `dtype` if it is small. Raises FrameTypeError if `dtype` would change a value.

    A large one is checked in slabs, and returned as it is. `index`: for the message.
    """
    fits = quick_check(array.dtype, dtype)
    if fits is None or not array.size:
        return array
    if array.nbytes <= SLAB_BYTES:
        cast = _cast(array, dtype, index)
        if not fits(array, cast):
            _check_values(array, 0, array, cast, index)
        return cast
    seen = 0
    for slab in _slabs(array):
        cast = _cast(slab, dtype, index)
        if not fits(slab, cast):
            _check_values(array, seen, slab, cast, index)
        seen += slab.size
    return array


def _check_values(array: np.ndarray[Any, Any], seen: int, slab: Any, cast: Any, index: Any) -> None:
    """`slab`: the part of `array` after its first `seen` elements."""
    if not has_same_fields(array.dtype, cast.dtype):
        raise FrameTypeError(
            f"frame at index {index!r} has the fields {array.dtype.names}, the scan {cast.dtype.names}: numpy would assign "
            "them by their order; give them the same names"
        )
    changed = first_changed(slab, cast)
    if changed is not None:
        place = tuple(map(int, np.unravel_index(seen + changed, array.shape)))
        raise FrameTypeError(
            f"frame at index {index!r}: its value {array[place]!s} at {place} cannot be stored as {cast.dtype}, it would become "
            f"{cast.reshape(-1)[changed]!s}; convert the frame, create the scan with dtype={_spelled(array.dtype)}, or pass "
            "casting='unsafe'"
        )


def _cast(slab: np.ndarray[Any, Any], dtype: np.dtype[Any], index: Any) -> np.ndarray[Any, Any]:
    try:
        return slab.astype(dtype, order="C")
    except (
        RuntimeWarning,
        FloatingPointError,
    ):  # warnings are errors: an overflow, which the check of the values finds
        with np.errstate(all="ignore"):
            return slab.astype(dtype, order="C")
    except (TypeError, ValueError, OverflowError) as error:
        raise FrameTypeError(
            f"frame at index {index!r} of dtype {slab.dtype} cannot be cast to {dtype}: {error}; convert it"
        ) from error


def check_frame_shape(array: np.ndarray[Any, Any], index: Any, expected: tuple[int, ...]) -> None:
    if array.shape != expected:
        raise FrameShapeError(f"frame at index {index!r} has shape {array.shape}, expected {expected}")


def chunks(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> Iterator[Chunk]:
    """The bytes of `array` as `dtype` in C order: one piece without a copy if it is stored so already, else slabs."""
    if array.dtype == dtype and array.flags.c_contiguous:
        yield 0, array.reshape(-1).view(np.uint8).data
        return
    at = 0
    for slab in _slabs(array):
        piece = np.ascontiguousarray(slab, dtype=dtype)
        yield at, piece.reshape(-1).view(np.uint8).data
        at += piece.nbytes


def _slabs(array: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    """Views of `array`, in C order, of about SLAB_BYTES each."""
    if array.ndim == 0 or array.nbytes <= SLAB_BYTES:
        yield array
        return
    row = array.nbytes // len(array)
    if row > SLAB_BYTES:
        for inner in array:
            yield from _slabs(inner)
        return
    step = max(1, SLAB_BYTES // row)
    for at in range(0, len(array), step):
        yield array[at : at + step]
