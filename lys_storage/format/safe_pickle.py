"""Pickles of plain data, read without running what they say.

First the restricted unpickler reads the pickle: it refuses every name that is not on its list, or has a StandIn for it,
and has descriptions in place of numpy's objects. Then the objects are built from the descriptions. Never runs code from
a file, and never builds more values than its size can have meant.
"""

from __future__ import annotations

import collections
import io
from collections.abc import Callable
from types import FunctionType
from typing import Any

from ..errors import BadFileError, UnsafeFileError
from .pickled_numpy import NDARRAY, PickledArray, PickledDtype
from .restricted_unpickler import RestrictedUnpickler, name_of
from .stand_in import StandIn

_MAX_DEPTH = 200
_MIN_LIMIT, _LIMIT_PER_BYTE = 1 << 20, 16
"""How many values a pickle may hold: a million, and 16 more for each of its bytes."""
_CALLABLES = (FunctionType, type)
"""What only makes the objects of a pickle, and is no value of its own."""
_CONTAINERS = (PickledArray, PickledDtype, list, tuple, set, frozenset, dict, collections.OrderedDict)
_UNFINISHED = object()
"""Stands for a container whose values are being resolved: one that is met again holds itself."""


class _Resolver:
    """Replaces each description in a value by the object that it describes. Shared values stay shared.

    Counts values as if none were shared, and refuses more than `limit` of them: a few lists that hold each other many
    times would fill the memory as soon as somebody copies or prints them.

    `refuse(error)`: called for what is no plain data; where it returns, a text is in its place.
    """

    def __init__(self, limit: int, refuse: Callable[[UnsafeFileError], None]) -> None:
        self._limit, self._refuse = limit, refuse
        self._built: dict[int, Any] = {}
        self._sizes: dict[int, int] = {}  # of each value in _built, the number of values in it
        self._depth = 0
        self._size = 0

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        if value is NDARRAY or kind in _CALLABLES:
            self._refuse(UnsafeFileError("a pickle holds what only makes its arrays"))
            value, kind = StandIn(name_of(value)), StandIn
        if kind is StandIn:
            self._size += 1
            value = value.text()
        elif kind not in _CONTAINERS:
            self._size += 1
        elif id(value) in self._built:
            self._size += self._sizes[id(value)]
            built = self._built[id(value)]
            if built is _UNFINISHED:
                raise BadFileError("a pickle is nested too deeply, or holds itself")
            value = built
        else:
            value = self._build(value, kind)
        if self._size > self._limit:
            raise BadFileError("a pickle holds a few things so many times that they would fill the memory")
        return value

    def _build(self, value: Any, kind: type) -> Any:
        self._built[id(value)], self._sizes[id(value)] = _UNFINISHED, 0
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise BadFileError("a pickle is nested too deeply, or holds itself")
        before = self._size
        self._size += 1
        built: Any
        if kind in (PickledArray, PickledDtype):
            try:
                built = value.build(self) if kind is PickledArray else value.build()
            except UnsafeFileError as error:
                self._refuse(error)
                built = f"<{error}>"
        elif kind in (dict, collections.OrderedDict):
            built = kind((self(key), self(item)) for key, item in value.items())
        else:
            built = kind(map(self, value))
        self._depth -= 1
        self._built[id(value)], self._sizes[id(value)] = built, self._size - before
        return built


def load_plain(data: bytes, refused: list[UnsafeFileError] | None = None) -> Any:
    """What the pickle `data` holds, where that is plain data and numpy arrays of it.

    Raises UnsafeFileError where it names anything else, and BadFileError, or any error of the unpickler, where it is damaged.
    `refused`: the first UnsafeFileError is added to it instead of being raised, and texts are in the place of what is no
    plain data.
    """
    unpickler = RestrictedUnpickler(io.BytesIO(data), refused)
    return _Resolver(_MIN_LIMIT + _LIMIT_PER_BYTE * len(data), unpickler.refuse)(unpickler.load())
