"""An unpickler of plain data: what a file says is never run, and no object of numpy is made from its inner state.

Of numpy it knows arrays, dtypes and scalars. None of numpy's own constructors are handed to the pickle, which could have
them take pointers from the file: what it asks for is noted, checked, and made from its parts afterwards. Python's
containers, numbers, texts, and dates are as they are. Everything else is refused by its name.
"""

from __future__ import annotations

import collections
import datetime
import io
import pickle
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ._errors import BadFileError, UnsafeFileError

_NDARRAY = object()
_MAX_DEPTH = 200


class _Dtype:
    """A dtype that a pickle describes: its code, and the state that belongs to it."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        self._code, self._state = code, None

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def make(self) -> np.dtype[Any]:
        code, state = self._code, self._state
        if not isinstance(code, str) or not (state is None or (isinstance(state, tuple) and len(state) >= 8)):
            raise BadFileError("a pickled dtype is not described as numpy does")
        dtype: np.dtype[Any] = np.dtype(code)
        if state is None:
            return dtype
        order, subarray, names, fields, size = state[1:6]
        if subarray is not None:
            base, shape = subarray
            return np.dtype((_made(base), tuple(_lengths(shape))))
        if names is not None:
            parts = [fields[name] for name in names]
            formats = [_made(part[0]) for part in parts]
            if any(f.hasobject for f in formats):
                raise BadFileError("a pickled dtype has objects in its fields")
            layout = {"names": list(names), "formats": formats, "offsets": [int(part[1]) for part in parts]}
            return np.dtype({**layout, "itemsize": int(size)})  # type: ignore[call-overload,no-any-return,unused-ignore]
        if dtype.kind in "Mm" and len(state) > 8:
            unit, number = state[8][1][:2]
            unit = unit.decode() if isinstance(unit, bytes) else unit
            dtype = np.dtype(f"{dtype.kind}8" if unit == "generic" else f"{dtype.kind}8[{int(number)}{unit}]")
        elif dtype.kind in "SUV" and isinstance(size, int) and size > 0:
            dtype = np.dtype(f"{dtype.kind}{size // 4 if dtype.kind == 'U' else size}")
        return dtype.newbyteorder(order) if order in ("<", ">") else dtype


class _Array:
    """An array that a pickle describes, made from the bytes or the list that are in the file."""

    def __init__(self, state: Any = None) -> None:
        self._state = state

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def make(self, resolve: Callable[[Any], Any]) -> np.ndarray[Any, Any]:
        state = self._state
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise BadFileError("a pickled array is not described as numpy does")
        shape, described, fortran, content = state[-4:]
        dims, dtype = _lengths(shape), _made(described)
        order = "F" if fortran else "C"
        if dtype.hasobject:
            if dtype != np.dtype(object) or not isinstance(content, list) or len(content) != prod(dims):
                raise BadFileError("a pickled array of objects is not as long as its shape")
            flat = np.empty(len(content), object)
            for k, item in enumerate(content):
                flat[k] = resolve(item)
            return flat.reshape(dims, order=order)  # type: ignore[call-overload,no-any-return,unused-ignore]
        if not isinstance(content, bytes | bytearray) or len(content) != prod(dims) * dtype.itemsize:
            raise BadFileError("a pickled array is not as long as its shape")
        if not content:
            return np.empty(dims, dtype)
        return np.frombuffer(bytes(content), dtype).reshape(dims, order=order).copy()  # type: ignore[call-overload,no-any-return,unused-ignore]


def _lengths(shape: Any) -> list[int]:
    dims = list(shape) if isinstance(shape, tuple | list) else [shape]
    if any(type(n) is not int or n < 0 for n in dims) or len(dims) > 32:
        raise BadFileError(f"a pickled array of shape {shape!r}")
    return dims


def _made(described: Any) -> np.dtype[Any]:
    if not isinstance(described, _Dtype):
        raise BadFileError("a pickled array has no dtype")
    return described.make()


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    if kind is not _NDARRAY:
        raise UnsafeFileError("a pickle makes an array of another class than numpy's")
    return _Array()


def _scalar(described: Any, content: Any) -> Any:
    dtype = _made(described)
    if dtype.hasobject or not isinstance(content, bytes) or len(content) != dtype.itemsize:
        raise BadFileError("a pickled number is not as long as its dtype")
    return np.frombuffer(content, dtype)[0] if content else np.zeros((), dtype)[()]


def _frombuffer(content: Any, described: Any, shape: Any, order: Any) -> _Array:
    return _Array((shape, described, order == "F", bytes(content)))


def _bytearray(content: Any = b"", encoding: Any = None) -> bytearray:
    """Of bytes, or of text that stands for bytes; never of a number, which would be its length."""
    if isinstance(content, str) and encoding == "latin-1":
        return bytearray(content, "latin-1")
    if not isinstance(content, bytes):
        raise UnsafeFileError("a pickle makes a bytearray of something else than bytes")
    return bytearray(content)


_MULTIARRAY = {"_reconstruct": _reconstruct, "scalar": _scalar}
_NUMERIC = {"_frombuffer": _frombuffer}
_KNOWN: dict[str, dict[str, Any]] = {
    "builtins": {
        "set": set,
        "frozenset": frozenset,
        "complex": complex,
        "slice": slice,
        "range": range,
        "bytearray": _bytearray,
    },
    "collections": {"OrderedDict": collections.OrderedDict},
    "datetime": {name: getattr(datetime, name) for name in ("datetime", "date", "time", "timedelta", "timezone")},
    "numpy": {"ndarray": _NDARRAY, "dtype": _Dtype},
    "numpy.core.multiarray": _MULTIARRAY,
    "numpy._core.multiarray": _MULTIARRAY,
    "numpy.core.numeric": _NUMERIC,
    "numpy._core.numeric": _NUMERIC,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get(module, {})
        if name not in known:
            raise UnsafeFileError(f"a pickle names {module}.{name}, which is no plain data; trust=True reads it")
        return known[name]


def _resolve(value: Any, depth: int = 0) -> Any:
    """`value` with every array and dtype that was noted made."""
    if depth > _MAX_DEPTH:
        raise BadFileError("a pickle is nested too deeply, or holds itself")

    def inner(item: Any) -> Any:
        return _resolve(item, depth + 1)

    kind = type(value)
    if kind is _Array:
        return value.make(inner)
    if kind is _Dtype:
        return value.make()
    if kind in (list, tuple, set, frozenset):
        return kind(map(inner, value))
    if kind in (dict, collections.OrderedDict):
        return kind((inner(key), inner(item)) for key, item in value.items())
    if value is _NDARRAY:
        raise UnsafeFileError("a pickle holds numpy's array class itself")
    return value


def load_plain(data: bytes) -> Any:
    """What a pickle holds, where that is plain data. Raises UnsafeFileError, BadFileError, or what unpickling raises."""
    return _resolve(_Unpickler(io.BytesIO(data)).load())
