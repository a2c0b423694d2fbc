"""The page cache of the modelled disk: write-backs can fail, and a page that the disk does not have must not be dropped."""

from __future__ import annotations

import errno
import os

from lys_storage import StorageOSError
from lys_storage.disk import File
from tools.durability.model.recorder import Recorder


class ModelPageCache:
    """As lys_storage.disk.PageCache. Like an open file of its own, it reports each failure of a file once."""

    drops = True

    def __init__(self, file: File, record: Recorder) -> None:
        self.of, self._record = file, record
        self._seen = record.failures(file.fd)

    def begin_write_back(self, offset: int, size: int) -> None:
        """It promises nothing, so nothing is recorded."""

    def write_back(self, offset: int, size: int) -> None:
        self._record.write_back(self.of.fd)
        seen, self._seen = self._seen, self._record.failures(self.of.fd)
        if seen != self._seen:
            raise StorageOSError(errno.EIO, "write back: the modelled disk failed", os.fspath(self.of.path))

    def drop(self, offset: int, size: int) -> None:
        self._record.drop(self.of.fd, offset, size)

    def close(self) -> None:
        """Nothing is open."""
