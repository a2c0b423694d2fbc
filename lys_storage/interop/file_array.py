"""The dask array of a wave for lys, which stays in its file. Needs dask."""

from __future__ import annotations

from typing import Any

from dask.array.core import Array  # the class that lys knows; that of dask.array is another one if dask plans queries


class FileArray(Array):  # type: ignore[misc, unused-ignore]  # mypy does not see dask
    """A dask array that is read from a file: it is never held in memory, and keeps the chunks that are contiguous there.

    lys calls `persist` and `rechunk("auto")` on each array that `lys.multicut` gets. Both return a copy of this array, which
    shares the graph. What is computed from it is a dask array like any other.
    """

    __slots__ = ()

    def persist(self, **kwargs: Any) -> FileArray:
        return self.copy()

    def rechunk(self, chunks: Any = "auto", *args: Any, **kwargs: Any) -> Any:
        if isinstance(chunks, str) and chunks == "auto":
            return self.copy()
        return super().rechunk(chunks, *args, **kwargs)

    def copy(self) -> FileArray:
        return FileArray(self.dask, self.name, self.chunks, meta=self._meta)

    def __reduce__(self) -> Any:
        return FileArray, (self.dask, self.name, self.chunks, self.dtype, self._meta)
