"""A `File` as a stream, for zipfile and numpy. It has its own position, and shares the descriptor."""

from __future__ import annotations

import errno
import io
import os
from typing import Any

from ..disk import File


class FileStream(io.RawIOBase):
    """Reads `file`. Closing it leaves `file` open."""

    def __init__(self, file: File) -> None:
        self._file, self._at = file, 0
        self.name = os.fspath(file.path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.read_into(memoryview(buffer).cast("B"), self._at)
        self._at += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        at = offset + (0, self._at, self._file.size)[whence]
        if at < 0:
            raise OSError(errno.EINVAL, "negative offset in the file")
        self._at = at
        return at

    def tell(self) -> int:
        return self._at

    def fileno(self) -> int:
        if self._file.fd < 0:  # mmap would map anonymous memory for -1
            raise OSError(errno.EBADF, "the file is closed in this process")
        return self._file.fd


def open_stream(file: File) -> io.BufferedReader:
    return io.BufferedReader(FileStream(file))
