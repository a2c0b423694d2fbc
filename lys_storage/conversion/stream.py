"""The file that a library of a format writes to, as a stream. After an error it takes everything, and keeps nothing.

HDF5 cannot close a file that it cannot write: it tries again at the end of the process, and can then crash it. The error is
therefore kept, and raised after the library has closed the file, which is removed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ..disk import File

T = TypeVar("T")


class OutputStream(io.RawIOBase):
    """A new file at `path`, for one library. Its methods raise nothing, also after close(): HDF5 can call them later.

    `failure`: the first error, or the interrupt that came while a method ran; None if there was none.
    """

    def __init__(self, path: Path) -> None:
        self._file, self._at, self._size = File.create(path), 0, 0
        self.failure: BaseException | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count: int | None = self._attempt(lambda: self._file.read_into(view, self._at))
        self._at += count or 0
        return count or 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._attempt(lambda: self._file.write_at(view, self._at))
        self._at += len(view)
        self._size = max(self._size, self._at)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._size = self._at if size is None else size
        self._attempt(lambda: self._file.set_size(self._size))
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        self._file.close()

    def _attempt(self, deed: Callable[[], T]) -> T | None:
        if self.failure is None:
            try:
                return deed()
            except BaseException as error:  # also Ctrl-C: HDF5 crashes if its file raises while it closes
                self.failure = error
        return None

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
        stream.raise_failure()  # the cause of what the library raised
        raise
    stream.raise_failure()
