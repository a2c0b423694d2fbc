"""A frame on its way in: its shape and dtype are checked at the door, its bytes go out in slabs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import FrameShapeError, FrameTypeError, ScanShapeError
from ..journal import Chunk

SLAB_BYTES = 1 << 20
"""What a cast, or a frame that is not contiguous, takes of memory at a time."""
_CASTS = {"b": "biuf", "i": "biuf", "u": "biuf", "f": "biuf", "c": "biufc"}


def default_fill(dtype: np.dtype[Any]) -> Any:
    """NaN for floating and complex dtypes, zero (all bytes) for the others."""
    return dtype.type(np.nan) if dtype.kind in "fc" else np.zeros((), dtype)[()]


def check_fill(fill: Any, dtype: np.dtype[Any]) -> bytes:
    """One element of `dtype` with the value `fill` (None: the default), as bytes.

    Raises ScanShapeError where the dtype cannot hold the value.
    """
    if fill is None:
        return np.array(default_fill(dtype), dtype).tobytes()
    refusal = f"fill value {fill!r} cannot be held by dtype {dtype}"
    try:
        with np.errstate(all="ignore"):
            value = np.array(fill, dtype if dtype.names is not None or isinstance(fill, int) else None)
            if value.ndim:
                raise ScanShapeError(f"fill value {fill!r} is not one element")
            if value.dtype.kind not in _CASTS.get(dtype.kind, value.dtype.kind):
                raise ScanShapeError(refusal)
            element = value.astype(dtype)
            if dtype.kind in "fc":  # rounding is fine, overflow is not
                held = bool(np.isfinite(value)) == bool(np.isfinite(element))
            else:
                held = bool(element == value) or bool(element != element and value != value)
            if not held or (isinstance(fill, int) and dtype.kind in "biu" and int(element) != fill):
                raise ScanShapeError(refusal)
    except ScanShapeError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise ScanShapeError(f"{refusal}: {error}") from error
    return element.tobytes()


def as_array(frame: Any) -> np.ndarray[Any, Any]:
    """`frame` as an array of the dtype that it has; raises FrameTypeError or FrameShapeError where it is none."""
    if type(frame) is np.ndarray:
        return frame
    try:
        return np.asarray(frame)
    except ValueError as error:
        raise FrameShapeError(f"a frame given as {type(frame).__name__} is no array: {error}") from error
    except Exception as error:  # whatever the frame's own __array__ raises
        raise FrameTypeError(f"a frame given as {type(frame).__name__} is no array: {error!r}") from error


def as_frame(frame: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """`frame` as an array that can be cast to `dtype` by `same_kind`. Copies nothing that is an array already.

    Lists and Python numbers have no dtype of their own: they pass where `dtype` holds their values.
    Raises FrameTypeError.
    """
    array = as_array(frame)
    has_dtype = isinstance(frame, np.ndarray | np.generic)
    if array.dtype == dtype or (np.can_cast(array.dtype, dtype, "same_kind") and (has_dtype or dtype.kind not in "iu")):
        return array
    if not has_dtype and array.dtype.kind in _CASTS.get(dtype.kind, "") and dtype.kind != "b":
        with np.errstate(all="ignore"):
            cast = array.astype(dtype)
        if np.array_equal(cast, array):
            return cast
    raise FrameTypeError(
        f"a frame of dtype {array.dtype} cannot be stored as {dtype} without loss beyond same_kind casting; "
        f"convert it, or make the scan with dtype={array.dtype.name!r}"
    )


def check_frame_shape(array: np.ndarray[Any, Any], index: Any, expected: tuple[int, ...]) -> None:
    if array.shape != expected:
        raise FrameShapeError(f"frame at index {index!r} has shape {array.shape}, the index leaves over {expected}")


def chunks(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> Iterator[Chunk]:
    """The bytes of `array` as `dtype` in C order: one piece without a copy where it lies so already, else slabs."""
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
