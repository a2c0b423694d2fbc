"""Reads pickles of plain data. Never runs code from a file.

First the restricted unpickler reads the pickle. It refuses each name that is not on its allow-list, or replaces it by a
StandIn. It replaces numpy's objects by descriptions. Then the objects are built from the descriptions. The number of
values is limited by the size of the pickle.
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
"""The types of the constructors on the allow-list, which are not values."""
_CONTAINERS = (PickledArray, PickledDtype, list, tuple, set, frozenset, dict, collections.OrderedDict)
_UNFINISHED = object()
"""Stands for a container whose values are being resolved. A container that is met in this state contains itself."""


class _Resolver:
    """Replaces each description in a value by the object that it describes. Shared values stay shared.

    Counts values as if none were shared, and refuses more than `limit`: a few lists that contain each other many times
    would fill the memory when they are copied or printed.

    `refuse(error)`: called for each object that is not plain data. If it returns, a text replaces the object.
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
            self._refuse(UnsafeFileError("a pickle has a constructor as a value"))
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
                raise BadFileError("a pickle is nested too deeply, or contains itself")
            value = built
        else:
            value = self._build(value, kind)
        if self._size > self._limit:
            raise BadFileError(f"a pickle has more than {self._limit:,} values: copying them could fill the memory")
        return value

    def _build(self, value: Any, kind: type) -> Any:
        self._built[id(value)], self._sizes[id(value)] = _UNFINISHED, 0
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise BadFileError("a pickle is nested too deeply, or contains itself")
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
    """The content of the pickle `data`: plain data and numpy arrays of it.

    Raises UnsafeFileError if it names anything else, and BadFileError, or any error of the unpickler, if it is damaged.
    `refused`: the first UnsafeFileError is added to it instead of being raised, and texts replace what is not plain data.
    """
    unpickler = RestrictedUnpickler(io.BytesIO(data), refused)
    return _Resolver(_MIN_LIMIT + _LIMIT_PER_BYTE * len(data), unpickler.refuse)(unpickler.load())
