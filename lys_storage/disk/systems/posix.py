"""What all POSIX systems have. Linux and macOS add to it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import mmap
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

assert sys.platform != "win32"

from .interface import NO_SUCH_CALL, Buffer, Place, System

_BUSY = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}


@functools.cache
def libc_call(name: str) -> Any:
    """A function of the C library; None if it has none of this name."""
    try:
        return getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError, TypeError):
        return None


def last_error() -> OSError:
    """The error of the last call by libc_call()."""
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))


def succeeds(call: Any, *arguments: object) -> bool:
    """Call a function of the C library, which returns 0. False if it is None, or the file system does not support it."""
    if call is None:
        return False
    if call(*arguments) == 0:
        return True
    error = last_error()
    if error.errno in NO_SUCH_CALL:
        return False
    raise error


def _pwritev(fd: int, buffers: Sequence[Buffer], offset: int, /) -> int:
    """For macOS before 11."""
    return os.pwrite(fd, b"".join(buffers), offset)


def _preadv(fd: int, buffers: Sequence[Buffer], offset: int, /) -> int:
    """For macOS before 11. Fills the first buffer only, as a short read does."""
    view = memoryview(buffers[0]).cast("B")
    data = os.pread(fd, len(view), offset)
    view[: len(data)] = data
    return len(data)


class Posix(System):
    """A POSIX system of which nothing else is known."""

    no_link = os.O_NOFOLLOW

    def open_file(self, path: str | os.PathLike[str], flags: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)

    def open_folder(self, folder: Path) -> int:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    pwrite = staticmethod(os.pwrite)
    pwritev = staticmethod(getattr(os, "pwritev", _pwritev))
    preadv = staticmethod(getattr(os, "preadv", _preadv))

    def set_size(self, fd: int, size: int) -> None:
        os.truncate(fd, size)

    def sync(self, fd: int) -> None:
        os.fsync(fd)

    def try_lock(self, fd: int, *, shared: bool) -> bool | None:
        """flock(2), not a POSIX lock, which closing any other descriptor of the file would release."""
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            if error.errno in NO_SUCH_CALL | {errno.ENOLCK}:
                return None
            raise
        return True

    def unlock(self, fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)

    def place(self, fd: int) -> Place:
        found = os.fstat(fd)
        return found.st_dev, found.st_ino

    def place_of(self, path: str | os.PathLike[str], *, follow: bool = True) -> Place:
        found = os.stat(path, follow_symlinks=follow)
        return found.st_dev, found.st_ino

    def is_unlinked(self, fd: int) -> bool:
        return os.fstat(fd).st_nlink == 0

    def allocated_bytes(self, found: os.stat_result) -> int | None:
        return found.st_blocks * 512

    def release_pages(self, mapped: mmap.mmap) -> None:
        mapped.madvise(mmap.MADV_DONTNEED)

    def link(self, old: Path, new: Path) -> None:
        os.link(old, new)

    def replace(self, old: Path, new: Path) -> None:
        os.replace(old, new)

    def remove(self, path: Path) -> None:
        os.unlink(path)

    def sync_folder(self, folder: Path) -> None:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._sync_open_folder(fd)
        except OSError as error:
            if error.errno not in NO_SUCH_CALL:  # some network shares have no fsync of folders
                raise
        finally:
            os.close(fd)

    def _sync_open_folder(self, fd: int) -> None:
        os.fsync(fd)

    def free_space(self, folder: Path) -> int:
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize

    def name_limits(self, folder: Path) -> tuple[int, int]:
        return _limit(folder, "PC_NAME_MAX", 255), _limit(folder, "PC_PATH_MAX", 4096) - 1

    def name_length(self, name: str) -> int:
        return len(os.fsencode(name))


def _limit(folder: Path, name: str, default: int) -> int:
    try:
        return os.pathconf(folder, name)
    except (OSError, ValueError):
        return default
