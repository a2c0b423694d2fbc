"""The pages of a file in the kernel's page cache: they are written back, waited for, and dropped. Linux only.

The kernel reports a write-back error once for each open file. sync_file_range(2) with a wait would take it from the sync of
the same descriptor. This module therefore opens the file again: the sync of the writer's descriptor reports every error too.
"""

from __future__ import annotations

import os

from ..errors import os_error
from .file import File
from .systems import SYSTEM

WRITES_BACK = SYSTEM.writes_back
"""Whether the kernel can be asked to start write-back."""


class PageCache:
    """The cached pages of one file, through a descriptor of its own, which takes no lock.

    `drops`: whether it pays on this file system to wait for the write-back, and to drop the pages then.
    """

    def __init__(self, file: File) -> None:
        self.of, self.drops = file, SYSTEM.pays_to_drop_pages(file.fd)
        with file.reopen() as opened:
            self._fd = os.dup(opened.fileno())

    def begin_write_back(self, offset: int, size: int) -> None:
        """Start the write-back of a range. Raises StorageOSError if an earlier one has failed."""
        self._call(offset, size, wait=False)

    def write_back(self, offset: int, size: int) -> None:
        """Write a range back, and wait until all of it is on the disk, or in the disk's own cache.

        Raises StorageOSError if the write-back of any page of the file has failed since this was called last.
        """
        self._call(offset, size, wait=True)

    def _call(self, offset: int, size: int, *, wait: bool) -> None:
        try:
            SYSTEM.write_back(self._fd, offset, size, wait=wait)
        except OSError as error:
            raise os_error("write back", self.of.path, error) from error

    def drop(self, offset: int, size: int) -> None:
        """Drop the clean pages that are wholly in a range. Pages that are dirty, or mapped by a reader, stay."""
        try:
            SYSTEM.drop_pages(self._fd, offset, size)
        except OSError as error:
            raise os_error("drop from the page cache", self.of.path, error) from error

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self.close()


def open_page_cache(file: File) -> PageCache | None:
    """The cached pages of `file`; None if this system has no calls for them."""
    if not WRITES_BACK:
        return None
    try:
        return PageCache(file)
    except OSError:
        return None  # for example too many open files: the kernel decides what stays
