"""Writes pages past the page cache, after a write-back of them has failed, and compares them with what the disk holds then.

It is not enough to write them into the page cache again. After a write-back into preallocated space has failed, ext4 does not
mark the space as used any more: the pages are written to the disk, fsync succeeds, and the file still reads as zeros once the
pages have been dropped (seen on Linux 6.18; tests/faults/failing_disk.py). A direct write drops the pages, also mapped ones.
"""

from __future__ import annotations

import errno
import mmap
import os

from ..errors import os_error
from ..format import PAGE
from .file import Buffer, File
from .syscalls import NO_SUCH_CALL

_PWRITE, _PREADV = getattr(os, "pwrite", None), getattr(os, "preadv", None)


class DirectWriter:
    """Writes whole pages of a file, and reads them back. Use it in a `with` block.

    Where the system, or the file system, has no direct I/O, it does nothing.
    """

    def __init__(self, file: File) -> None:
        self._file, self._fd = file, -1

    def __enter__(self) -> DirectWriter:
        is_native = os.pwrite is _PWRITE and os.preadv is _PREADV  # not those of a model of the disk
        if hasattr(os, "O_DIRECT") and is_native:
            try:
                self._fd = os.open(f"/proc/self/fd/{self._file.fd}", os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
            except OSError:
                self._fd = -1  # no direct I/O, or no /proc
        return self

    def __exit__(self, *error: object) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def write(self, data: Buffer, offset: int) -> None:
        """Write the whole pages of `data`, the bytes of the file from `offset`, a multiple of the page size.

        No other thread may write to these pages meanwhile. Raises StorageOSError if the disk refuses them, or returns other
        bytes; the page cache then holds `data`.
        """
        size = len(data) // PAGE * PAGE
        if not size or self._fd < 0:
            return
        try:
            with mmap.mmap(-1, size) as wanted, mmap.mmap(-1, size) as found:  # aligned, as O_DIRECT needs it
                wanted[:] = data[:size]
                if os.pwrite(self._fd, wanted, offset) != size:
                    raise OSError(errno.EIO, "a short write")
                if os.preadv(self._fd, [found], offset) != size or found[:] != wanted[:]:
                    raise OSError(errno.EIO, "the disk holds other bytes than were written")
        except OSError as error:
            self._file.write_at(data, offset)
            if error.errno in NO_SUCH_CALL:  # the file system opens files for direct I/O, and refuses it then
                self.__exit__()
                return
            raise os_error("write again", self._file.path, error) from error
