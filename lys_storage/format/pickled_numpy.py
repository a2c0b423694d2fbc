"""The numpy objects that a pickle describes: dtypes, arrays and scalars, built from their parts.

Never passes the arguments in a pickle to numpy's own constructors: those could take pointers from the file. Each
description is kept unchanged. After the whole pickle was read, it is checked, and the object is built from it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..errors import BadFileError, UnsafeFileError
from .stand_in import StandIn

NDARRAY = object()
"""Stands for the class numpy.ndarray, which a pickle passes to `_reconstruct`."""
_MAX_DIMENSIONS = 32
_MAX_EMPTY = 1 << 20
"""The largest dimension of an array without bytes: its elements take memory when they are listed."""


class PickledDtype:
    """A dtype as a pickle describes it: a code such as "f8", and the state that numpy sets afterwards."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        self._code, self._state = code, None

    def set_state(self, state: Any) -> None:
        self._state = state

    def build(self) -> np.dtype[Any]:
        code, state = self._code, self._state
        if isinstance(code, StandIn):
            raise UnsafeFileError(f"a numpy dtype of {code.name}")
        if not isinstance(code, str) or not (state is None or (isinstance(state, tuple) and len(state) >= 8)):
            raise BadFileError("a pickled dtype has an invalid description")
        dtype: np.dtype[Any] = np.dtype(code)
        if state is None:
            return dtype
        order, subarray, names, fields, size = state[1:6]
        if subarray is not None:
            base, shape = subarray
            return np.dtype((_build_dtype(base), tuple(_check_dimensions(shape))))
        if names is not None:
            return _build_structured(names, fields, size)
        if dtype.kind in "Mm" and len(state) > 8:
            unit, number = state[8][1][:2]
            unit = unit.decode() if isinstance(unit, bytes) else unit
            dtype = np.dtype(f"{dtype.kind}8" if unit == "generic" else f"{dtype.kind}8[{int(number)}{unit}]")
        elif dtype.kind in "SUV" and isinstance(size, int) and size > 0:
            dtype = np.dtype(f"{dtype.kind}{size // 4 if dtype.kind == 'U' else size}")
        return dtype.newbyteorder(order) if order in ("<", ">") else dtype


class PickledArray:
    """An array as a pickle describes it: shape, dtype, order, and its bytes or the list of its objects."""

    def __init__(self, state: Any = None) -> None:
        self._state = state

    def set_state(self, state: Any) -> None:
        self._state = state

    def build(self, resolve: Callable[[Any], Any]) -> np.ndarray[Any, Any]:
        """The array. `resolve` turns each object of an object array into what it describes."""
        state = self._state
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise BadFileError("a pickled array has an invalid description")
        shape, described, fortran, content = state[-4:]
        dims, dtype = _check_dimensions(shape), _build_dtype(described)
        order = "F" if fortran else "C"
        if dtype.hasobject:
            if dtype != np.dtype(object) or not isinstance(content, list) or len(content) != prod(dims):
                raise BadFileError("the length of a pickled object array does not match its shape")
            flat = np.empty(len(content), object)
            for k, item in enumerate(content):
                flat[k] = resolve(item)
            return flat.reshape(dims, order=order)  # type: ignore[call-overload,no-any-return,unused-ignore]
        content = _as_bytes(content)
        if not isinstance(content, bytes | bytearray) or len(content) != prod(dims) * dtype.itemsize:
            raise BadFileError("the length of a pickled array does not match its shape")
        if not content and max(dims, default=0) > _MAX_EMPTY:
            raise BadFileError(f"a pickled array of shape {tuple(dims)} is too large for elements of zero bytes")
        if not content:
            return np.empty(dims, dtype)
        return checked_elements(np.frombuffer(bytes(content), dtype)).reshape(dims, order=order).copy()  # type: ignore[call-overload,no-any-return,unused-ignore]


def checked_elements(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`array`. Raises BadFileError if it has invalid characters or times without a unit: numpy cannot print those."""
    if array.dtype.names is not None:
        for name in array.dtype.names:
            checked_elements(array[name])
    elif array.dtype.kind == "U" and array.size and array.dtype.itemsize:
        letters = np.ascontiguousarray(array).reshape(-1).view(np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if letters.max() > sys.maxunicode:
            raise BadFileError("an array of text has invalid Unicode characters")
    elif array.dtype.kind == "M" and np.datetime_data(array.dtype)[0] == "generic" and not np.isnat(array).all():
        raise BadFileError("an array has times without a unit")
    return array


def _build_structured(names: Any, fields: Any, size: Any) -> np.dtype[Any]:
    parts = [fields[name] for name in names]
    formats = [_build_dtype(part[0]) for part in parts]
    if any(f.hasobject for f in formats):
        raise BadFileError("a pickled dtype has objects in its fields")
    layout = {"names": list(names), "formats": formats, "offsets": [int(part[1]) for part in parts]}
    return np.dtype({**layout, "itemsize": int(size)})  # type: ignore[call-overload,no-any-return,unused-ignore]


def _build_dtype(described: Any) -> np.dtype[Any]:
    if not isinstance(described, PickledDtype):
        raise BadFileError("a pickled array has no dtype")
    return described.build()


def _as_bytes(content: Any) -> Any:
    """`content`; as bytes if it is text: Python 2 pickled bytes as text."""
    return content.encode("latin1") if isinstance(content, str) else content


def _check_dimensions(shape: Any) -> list[int]:
    dims = list(shape) if isinstance(shape, tuple | list) else [shape]
    if len(dims) > _MAX_DIMENSIONS or any(type(n) is not int or not 0 <= n < 1 << 62 for n in dims):
        raise BadFileError("a pickled array has an invalid shape")
    return dims


def _reconstruct(kind: Any, shape: Any, code: Any) -> PickledArray:
    """In place of numpy._core.multiarray._reconstruct, which makes an empty array. Its state is set next."""
    if kind is not NDARRAY:
        raise UnsafeFileError("a pickle has an array of a class other than numpy.ndarray")
    return PickledArray()


def _scalar(described: Any, content: Any) -> Any:
    """In place of numpy._core.multiarray.scalar."""
    dtype, content = _build_dtype(described), _as_bytes(content)
    if dtype.hasobject or not isinstance(content, bytes) or len(content) != dtype.itemsize:
        raise BadFileError("the length of a pickled number does not match its dtype")
    return checked_elements(np.frombuffer(content, dtype))[0] if content else np.zeros((), dtype)[()]


def _frombuffer(content: Any, described: Any, shape: Any, order: Any) -> PickledArray:
    """In place of numpy._core.numeric._frombuffer."""
    if not isinstance(content, bytes | bytearray):
        raise BadFileError("the content of a pickled array is not bytes")
    return PickledArray((shape, described, order == "F", bytes(content)))


_MULTIARRAY = {"_reconstruct": _reconstruct, "scalar": _scalar}
_NUMERIC = {"_frombuffer": _frombuffer}
NUMPY_NAMES: dict[str, dict[str, Any]] = {
    "numpy": {"ndarray": NDARRAY, "dtype": PickledDtype},
    "numpy.core.multiarray": _MULTIARRAY,
    "numpy._core.multiarray": _MULTIARRAY,
    "numpy.core.numeric": _NUMERIC,
    "numpy._core.numeric": _NUMERIC,
}
"""The replacement for each allowed name of numpy, by module (numpy 1 and 2)."""
