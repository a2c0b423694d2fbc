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
import sys
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..errors import BadFileError, UnsafeFileError

_NDARRAY = object()
_MAX_DEPTH = 200
_MAX_KEY = 1000
_MANY = 1 << 20
_MAX_READ = 1 << 40


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
        if not content and max(dims, default=0) > _MANY:
            raise BadFileError("a pickled array has more elements of no size than can be counted")
        if not content:
            return np.empty(dims, dtype)
        return checked_elements(np.frombuffer(bytes(content), dtype)).reshape(dims, order=order).copy()  # type: ignore[call-overload,no-any-return,unused-ignore]


def checked_elements(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`array`; raises BadFileError where it has letters or times that do not exist, which numpy cannot even print."""
    if array.dtype.names is not None:
        for name in array.dtype.names:
            checked_elements(array[name])
    elif array.dtype.kind == "U" and array.size and array.dtype.itemsize:
        letters = np.ascontiguousarray(array).reshape(-1).view(np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if letters.max() > sys.maxunicode:
            raise BadFileError("an array of text has letters that do not exist")
    elif array.dtype.kind == "M" and np.datetime_data(array.dtype)[0] == "generic" and not np.isnat(array).all():
        raise BadFileError("an array has times without a unit")
    return array


def _lengths(shape: Any) -> list[int]:
    dims = list(shape) if isinstance(shape, tuple | list) else [shape]
    if len(dims) > 32 or any(type(n) is not int or not 0 <= n < 1 << 62 for n in dims):
        raise BadFileError("a pickled array has a shape that no array can have")
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
    return checked_elements(np.frombuffer(content, dtype))[0] if content else np.zeros((), dtype)[()]


def _frombuffer(content: Any, described: Any, shape: Any, order: Any) -> _Array:
    if not isinstance(content, bytes | bytearray):
        raise BadFileError("a pickled array is made of something else than bytes")
    return _Array((shape, described, order == "F", bytes(content)))


def _bytearray(content: Any = b"", encoding: Any = None) -> bytearray:
    """Of bytes, or of text that stands for bytes; never of a number, which would be its length."""
    if isinstance(content, str) and encoding == "latin-1":
        return bytearray(content, "latin-1")
    if not isinstance(content, bytes):
        raise UnsafeFileError("a pickle makes a bytearray of something else than bytes")
    return bytearray(content)


def _members(of: type) -> Callable[..., Any]:
    def make(items: Any = ()) -> Any:
        if type(items) not in (list, tuple, set, frozenset):
            raise UnsafeFileError(f"a pickle makes a {of.__name__} of a {type(items).__name__}")
        for item in items:
            _check_key(item)
        return of(items)

    return make


def _ordered(pairs: Any = ()) -> Any:
    if type(pairs) not in (list, tuple) or any(type(pair) not in (list, tuple) or len(pair) != 2 for pair in pairs):
        raise BadFileError("a pickled OrderedDict is not made of pairs")
    for key, _ in pairs:
        _check_key(key)
    return collections.OrderedDict(pairs)


_MULTIARRAY = {"_reconstruct": _reconstruct, "scalar": _scalar}
_NUMERIC = {"_frombuffer": _frombuffer}
_KNOWN: dict[str, dict[str, Any]] = {
    "builtins": {
        "set": _members(set),
        "frozenset": _members(frozenset),
        "complex": complex,
        "slice": slice,
        "range": range,
        "bytearray": _bytearray,
    },
    "collections": {"OrderedDict": _ordered},
    "datetime": {name: getattr(datetime, name) for name in ("datetime", "date", "time", "timedelta", "timezone")},
    "numpy": {"ndarray": _NDARRAY, "dtype": _Dtype},
    "numpy.core.multiarray": _MULTIARRAY,
    "numpy._core.multiarray": _MULTIARRAY,
    "numpy.core.numeric": _NUMERIC,
    "numpy._core.numeric": _NUMERIC,
}


def _check_key(key: Any) -> None:
    """Hashing goes through nested tuples by C's own recursion, and through each of them as often as it is held."""
    left, inside = [key], 0
    while left:
        kind = type(at := left.pop())
        if kind is tuple:
            left += at
            inside += 1 + len(at)
            if inside > _MAX_KEY:
                raise BadFileError("a pickled key is a tuple of tuples without end")


class _Unpickler(pickle._Unpickler):
    """Python's own, not the one in C: that one takes memory by numbers in the file, and hashes whatever it is given.

    Only lists, dicts and sets are filled, and only arrays and dtypes that are noted have a state set.
    """

    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def load(self) -> Any:
        try:
            return super().load()
        except KeyError as error:
            raise BadFileError(f"a pickle has an instruction {error} that plain data do not need") from error

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get(module, {})
        if name not in known:
            raise UnsafeFileError(f"a pickle names {module}.{name}, which is no plain data; trust=True reads it")
        return known[name]

    def _target(self, place: int, *kinds: type) -> Any:
        target = self.stack[place]
        if type(target) not in kinds:
            raise UnsafeFileError(f"a pickle fills or changes a {type(target).__name__}")
        return target

    def load_append(self) -> None:
        value = self.stack.pop()
        self._target(-1, list).append(value)

    def load_appends(self) -> None:
        items = self.pop_mark()
        self._target(-1, list).extend(items)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _check_key(key)
        self._target(-1, dict, collections.OrderedDict)[key] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        target = self._target(-1, dict, collections.OrderedDict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            _check_key(key)
            target[key] = value

    def load_dict(self) -> None:
        items = self.pop_mark()
        for key in items[::2]:
            _check_key(key)
        self.append(dict(zip(items[::2], items[1::2], strict=True)))

    def load_additems(self) -> None:
        items = self.pop_mark()
        for item in items:
            _check_key(item)
        self._target(-1, set).update(items)

    def load_frozenset(self) -> None:
        items = self.pop_mark()
        for item in items:
            _check_key(item)
        self.append(frozenset(items))

    def load_bytearray8(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        content = self.read(min(size, _MAX_READ))
        if len(content) != size:
            raise BadFileError("a pickled bytearray is not there")
        self.append(bytearray(content))

    def load_build(self) -> None:
        state = self.stack.pop()
        self._target(-1, _Array, _Dtype).__setstate__(state)

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        if type(arguments) is not tuple:
            raise BadFileError("a pickle calls with something else than a tuple")
        self.stack[-1] = function(*arguments)


_REFUSED = (
    *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.PERSID, pickle.BINPERSID),
    *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)
_OWN: dict[bytes, Any] = {
    pickle.APPEND: _Unpickler.load_append,
    pickle.APPENDS: _Unpickler.load_appends,
    pickle.SETITEM: _Unpickler.load_setitem,
    pickle.SETITEMS: _Unpickler.load_setitems,
    pickle.DICT: _Unpickler.load_dict,
    pickle.ADDITEMS: _Unpickler.load_additems,
    pickle.FROZENSET: _Unpickler.load_frozenset,
    pickle.BUILD: _Unpickler.load_build,
    pickle.REDUCE: _Unpickler.load_reduce,
    pickle.BYTEARRAY8: _Unpickler.load_bytearray8,
}
_DISPATCH: dict[int, Any] = dict(pickle._Unpickler.dispatch)


for _op in _REFUSED:
    del _DISPATCH[_op[0]]


_Unpickler.dispatch = {**_DISPATCH, **{op[0]: run for op, run in _OWN.items()}}


class _Resolver:
    """Makes every array and dtype that was noted; what is held in several places is made once, and is one again.

    `_sizes` counts what each would be taken apart: a few lists that hold each other many times are more than memory.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: dict[int, Any] = {}
        self._sizes: dict[int, int] = {}
        self._depth = 0
        self._size = 0

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        if value is _NDARRAY or kind in _FUNCTIONS:
            raise UnsafeFileError("a pickle holds what only makes its arrays")
        if kind not in _TAKEN_APART:
            self._size += 1
        elif id(value) in self._made:
            self._size += self._sizes[id(value)]
            made = self._made[id(value)]
            if made is _UNDER_WAY:
                raise BadFileError("a pickle is nested too deeply, or holds itself")
            value = made
        else:
            value = self._make(value, kind)
        if self._size > self._most:
            raise BadFileError("a pickle holds a few things so many times that they would fill the memory")
        return value

    def _make(self, value: Any, kind: type) -> Any:
        self._made[id(value)], self._sizes[id(value)] = _UNDER_WAY, 0
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise BadFileError("a pickle is nested too deeply, or holds itself")
        before = self._size
        self._size += 1
        made: Any
        if kind is _Array:
            made = value.make(self)
        elif kind is _Dtype:
            made = value.make()
        elif kind in (dict, collections.OrderedDict):
            made = kind((self(key), self(item)) for key, item in value.items())
        else:
            made = kind(map(self, value))
        self._depth -= 1
        self._made[id(value)], self._sizes[id(value)] = made, self._size - before
        return made


_UNDER_WAY = object()
_FUNCTIONS = (type(_scalar), type)
_TAKEN_APART = (_Array, _Dtype, list, tuple, set, frozenset, dict, collections.OrderedDict)


def load_plain(data: bytes) -> Any:
    """What a pickle holds, where that is plain data. Raises UnsafeFileError, BadFileError, or what unpickling raises."""
    return _Resolver(_MANY + 16 * len(data))(_Unpickler(io.BytesIO(data)).load())
