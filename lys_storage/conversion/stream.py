"""The file that a library of a format writes to, as a stream. After an error it takes everything, and keeps nothing.

HDF5 cannot close a file that it cannot write: it tries again at the end of the process, and can then crash it. The error is
therefore kept, and raised after the library has closed the file, which is removed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ..disk import File
from ..errors import LysStorageError

T = TypeVar("T")


class OutputStream(io.RawIOBase):
    """A new file at `path`. `failure`: the first error of a write, or None."""

    def __init__(self, path: Path) -> None:
        self._file, self._at = File.create(path), 0
        self.failure: LysStorageError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.read_into(memoryview(buffer).cast("B"), self._at)
        self._at += count
        return count

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._attempt(lambda: self._file.write_at(view, self._at))
        self._at += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        size = self._at if size is None else size
        self._attempt(lambda: self._file.set_size(size))
        return size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._file.size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._file.close()

    def _attempt(self, deed: Any) -> None:
        if self.failure is None:
            try:
                deed()
            except LysStorageError as error:
                self.failure = error

    def raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    def until_failure(self, items: Iterable[T]) -> Iterator[T]:
        """`items`, until a write fails: that is raised."""
        for item in items:
            self.raise_failure()
            yield item


@contextmanager
def output_stream(path: Path) -> Iterator[OutputStream]:
    """A new file for a library, which closes it before the end of the block. An error of a write is raised at the end."""
    stream = OutputStream(path)
    try:
        try:
            yield stream
        finally:
            stream.close()
    except Exception:
        stream.raise_failure()
        raise
    stream.raise_failure()
