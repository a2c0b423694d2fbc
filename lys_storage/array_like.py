"""The array protocol of `Scan` and `StoredWave`: `len`, iteration, `np.asarray`, the table in Jupyter, copies.

Each works as for a numpy array, or raises an error that says what to do. Never reads a frame itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any, NoReturn, SupportsIndex

import numpy as np

Facts = Mapping[str, Callable[[], Any]]
"""Rows of a table: the name of each, and a function that gives its value. A row with the value None is left out."""
_MOST_CHARACTERS, _MOST_KEYS = 300, 20


class ArrayLike(ABC):
    """`shape`, `dtype` and indexing, and the methods that follow from them. The truth value is True, also for length 0."""

    _whole = ""
    """The expression for the whole array, for messages."""
    _is_always_copied = False
    """Whether `_as_array` reads the file into new memory each time. numpy 2 then refuses `copy=False`."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]: ...

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]: ...

    @abstractmethod
    def __getitem__(self, index: Any) -> Any: ...

    @abstractmethod
    def _as_array(self) -> np.ndarray[Any, Any]:
        """The whole array, read-only, without a copy unless `_is_always_copied`."""

    @abstractmethod
    def _facts(self) -> Facts:
        """The rows of the table in Jupyter. Their functions neither read data nor wait."""

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The size of the array in bytes; the file has another size."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"a {type(self).__name__} of shape () has no length; read its element with [()]")
        return self.shape[0]

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        """`self[0]`, `self[1]`, ... along the first dimension."""
        return (self[k] for k in range(len(self)))

    def __contains__(self, value: object) -> NoReturn:
        raise TypeError(f"'in' would compare every element of the file; use (value == {self._whole}).any()")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False and self._is_always_copied:
            raise ValueError(
                f"a {type(self).__name__} is read into new memory each time, but copy is False: pass copy=None"
            )
        array = self._as_array()
        wanted = array.dtype if dtype is None else np.dtype(dtype)
        if copy or wanted != array.dtype:
            if copy is False:
                raise ValueError(
                    f"converting {array.dtype} to {wanted} needs a copy, but copy is False: pass copy=None"
                )
            return np.array(array, wanted)
        return array

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        raise TypeError(
            f"a {type(self).__name__} holds an open file, and cannot be copied or pickled: pass its path, or "
            f"np.array({self._whole})"
        )

    def _repr_html_(self) -> str:
        rows = ((name, _text(value)) for name, value in self._facts().items())
        cells = "".join(f"<tr><th>{_escaped(name)}</th><td>{_escaped(text)}</td></tr>" for name, text in rows if text)
        return f"<table><caption>{type(self).__name__}</caption>{cells}</table>"


def one_index(method: str, index: Any, more: tuple[Any, ...]) -> None:
    """Raise TypeError if an index of several dimensions was given as several arguments."""
    if more:
        given = ", ".join(map(repr, (index, *more)))
        raise TypeError(f"{method} takes one index, got {1 + len(more)} arguments: pass a tuple, {method}(({given}))")


def keys_in_words(note: Mapping[Any, Any]) -> str:
    """The keys of `note` as one text, for the table in Jupyter."""
    keys = [str(key) for key, _ in zip(note, range(_MOST_KEYS), strict=False)]
    more = len(note) - len(keys)
    return ", ".join(keys) + (f" and {more} more" if more else "")


def _text(value: Callable[[], Any]) -> str:
    try:
        found = value()
        text = "" if found is None else str(found)
    except Exception as error:  # the table must not raise: the scan may be closed, or the file removed
        text = f"not known: {type(error).__name__}"
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + " ..."


def _escaped(text: str) -> str:
    import html  # imported here: only notebooks need it

    return html.escape(text.encode("utf-8", "backslashreplace").decode())  # Jupyter sends UTF-8
