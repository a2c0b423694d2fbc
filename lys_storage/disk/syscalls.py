"""System calls that Python's `os` lacks, by ctypes, and what differs between operating systems."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
from pathlib import Path
from typing import Any

NO_SUCH_CALL = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
_RENAME_NOREPLACE = 1
_AT_FDCWD = -100


@functools.cache
def libc_call(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError, TypeError):
        return None


def fallocate(fd: int, mode: int, offset: int, size: int) -> bool:
    """fallocate(2); False if it is not supported: glibc's posix_fallocate would then write every block."""
    call = libc_call("fallocate") if sys.platform == "linux" else None
    if call is None:
        return False
    while call(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(size)):
        code = ctypes.get_errno()
        if code in NO_SUCH_CALL:
            return False
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return True


def rename_noreplace(old: Path, new: Path) -> bool:
    """Rename in one call that never replaces. False if the system has none: use a link and an unlink."""
    if os.name == "nt":
        os.rename(old, new)  # fails if the name exists
        return True
    if sys.platform == "linux":
        call = libc_call("renameat2")
        arguments: tuple[Any, ...] = (_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), _RENAME_NOREPLACE)
    else:
        call = libc_call("renamex_np")
        arguments = (os.fsencode(old), os.fsencode(new), 4)
    if call is None:
        return False
    if call(*arguments) == 0:
        return True
    code = ctypes.get_errno()
    if code in NO_SUCH_CALL:
        return False
    raise OSError(code, os.strerror(code))


def path_of(fd: int) -> Path | None:
    """The current path of an open folder, also after it was renamed. None if the system does not report it."""
    try:
        if sys.platform == "linux":
            return Path(os.readlink(f"/proc/self/fd/{fd}"))
        if sys.platform == "darwin":
            import fcntl

            found = fcntl.fcntl(fd, fcntl.F_GETPATH, bytes(1024))
            return Path(os.fsdecode(found.split(b"\0", 1)[0]))
    except OSError:
        pass  # no /proc, or the folder was removed: its path is unknown
    return None


def boot_id() -> str:
    """The id of this boot of the machine; empty if the system has none (then every byte is verified by its checksum)."""
    return read_boot_id()


def read_boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
