"""Writes a file past the page cache, after a write-back has failed, and compares it with what the disk holds then.

It is not enough to write into the page cache again. After a write-back into preallocated space has failed, ext4 does not mark
the space as used any more: the pages are written to the disk, fsync succeeds, and the file still reads as zeros once the pages
have been dropped (seen on Linux 6.18; tests/faults/failing_disk.py). A direct write drops the pages, also mapped ones.

The kernel drops whole folios, and pages beside the written ones may hold the only copy of other frames. So whole aligned
FOLIO_BYTES are written.
"""

from __future__ import annotations

import errno
import mmap
import os

from ..errors import os_error
from ..format import PAGE
from .file import Buffer, File
from .systems import NO_SUCH_CALL, SYSTEM

FOLIO_BYTES = 1 << 21
"""The kernel caches a file in folios of up to this size, aligned."""
_PWRITE, _PREADV = SYSTEM.pwrite, SYSTEM.preadv


class DirectWriter:
    """Writes folios of a file, and reads them back. Use it in a `with` block."""

    def __init__(self, file: File) -> None:
        self._file, self._fd = file, -1

    def __enter__(self) -> DirectWriter:
        is_native = SYSTEM.pwrite == _PWRITE and SYSTEM.preadv == _PREADV  # not those of a model of the disk
        if SYSTEM.has_direct_io and is_native:
            try:
                self._fd = SYSTEM.open_direct(self._file.fd)
            except OSError:
                self._fd = -1  # no direct I/O, or no /proc
        return self

    def __exit__(self, *error: object) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def write(self, data: Buffer, offset: int) -> None:
        """Write `data`, the bytes of the file from `offset`: whole aligned folios, the last one up to the end of the file.

        They are written into the page cache, and then to the disk, if there is direct I/O. No other thread may write to these
        folios meanwhile, or change the size of the file. Raises StorageOSError if the disk refuses them, or returns other bytes:
        the page cache holds `data`.
        """
        self._file.write_at(data, offset)
        if self._fd < 0:
            return
        try:
            self._write_direct(data, offset)
        except OSError as error:
            self._file.write_at(data, offset)  # the kernel may have dropped the folios
            if len(data) % PAGE:
                self._file.set_size(offset + len(data))
            if error.errno not in NO_SUCH_CALL:
                raise os_error("write again", self._file.path, error) from error
            self.__exit__()  # the file system opens files for direct I/O, and refuses it then

    def _write_direct(self, data: Buffer, offset: int) -> None:
        """A part of a page at the end of the file is written as a page, and cut off again."""
        size = -(-len(data) // PAGE) * PAGE
        with mmap.mmap(-1, size) as wanted, mmap.mmap(-1, size) as found:  # aligned, as O_DIRECT needs it
            wanted[: len(data)] = data
            try:
                done = SYSTEM.pwrite(self._fd, wanted, offset)
            except OSError:  # the first one can report the write-back that has failed
                done = SYSTEM.pwrite(self._fd, wanted, offset)
            if done != size:
                raise OSError(errno.EIO, "a short write")
            if SYSTEM.preadv(self._fd, [found], offset) != size or found[:] != wanted[:]:
                raise OSError(errno.EIO, "the disk holds other bytes than were written")
        if size != len(data):
            self._file.set_size(offset + len(data))
