"""What a lazy array reads: the array of an export, or of several, by path. It can be pickled, and needs no open wave.

A source opens a file at the first read, and only its array: nothing of the file is unpickled.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..format import select
from .array_file import ArrayFile
from .forward import as_slice

_MOST_OPEN = 32
"""Files that a StackSource keeps open. A process has at most 1024 descriptors on most systems."""


class Source(Protocol):
    """An array that is read by `source[index]`, of ints, slices and Ellipsis. It always returns an array, also of shape ()."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def ndim(self) -> int: ...

    def __getitem__(self, index: Any) -> np.ndarray[Any, Any]: ...

    def release(self) -> None:
        """Close what is open. The next read opens it again."""


class ExportSource:
    """The array of the export at `path`.

    Raises BadFileError at a read if the file does not have the `identity` (see array_file.identity_of) when it is opened, or
    if a process has written to it since. Two threads that read first at the same time can open it twice; one of the two is
    closed. There is no lock: a forked child could inherit it held.
    """

    def __init__(self, path: str | Path, identity: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path, self.identity, self.shape, self.dtype = Path(path), identity, shape, dtype
        self._opened: ArrayFile | None = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray[Any, Any]:
        array = self._opened
        if array is None:
            array = self._opened = ArrayFile.open(self.path, self.identity)
        result = array.read(index)
        array.ensure_unchanged()  # after the read: what was written meanwhile is found
        return result

    def release(self) -> None:
        """Drop the open file, which is closed when no thread reads it any more."""
        self._opened = None

    def __reduce__(self) -> Any:
        return ExportSource, (os.fspath(self.path), self.identity, self.shape, self.dtype)

    def __dask_tokenize__(self) -> Any:
        return type(self).__name__, os.fspath(self.path), self.identity


class StackSource:
    """Arrays of one shape and dtype, one after the other along a new first dimension. At most 32 files are open at a time."""

    def __init__(self, parts: tuple[ExportSource, ...]) -> None:
        self.parts = parts
        self.shape, self.dtype = (len(parts), *parts[0].shape), parts[0].dtype
        self._recent: deque[int] = deque()

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray[Any, Any]:
        selection = select(index, self.shape, "masks and lists are taken by to_dask() and to_xarray()")
        first, *rest = selection.entries or (range(len(self.parts)),)
        inner = tuple(e if isinstance(e, int) else as_slice(e) for e in rest)
        if isinstance(first, int):
            return self._part(first)[inner]
        result = np.empty(selection.shape, self.dtype)
        for at, k in enumerate(first):
            result[at] = self._part(k)[inner]
        return result

    def _part(self, k: int) -> ExportSource:
        """Part `k`. The file that was opened the longest ago is released: a thread that still reads it keeps it open."""
        if k not in self._recent:
            self._recent.append(k)
            if len(self._recent) > _MOST_OPEN:
                with suppress(IndexError):  # another thread has released all
                    self.parts[self._recent.popleft()].release()
        return self.parts[k]

    def release(self) -> None:
        """Close all files."""
        for part in self.parts:
            part.release()
        self._recent.clear()

    def __reduce__(self) -> Any:
        return StackSource, (self.parts,)

    def __dask_tokenize__(self) -> Any:
        return type(self).__name__, [part.__dask_tokenize__() for part in self.parts]
