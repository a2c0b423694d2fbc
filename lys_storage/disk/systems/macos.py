"""macOS. Written after Apple's manual pages (fcntl, renamex_np, sysctl, statfs); no test has run on it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import sys
from pathlib import Path

assert sys.platform == "darwin"

from .interface import NO_SUCH_CALL, Identity
from .posix import Posix, libc_call, succeeds

_F_PREALLOCATE, _F_PUNCHHOLE = 42, 99
_ALLOCATE_ALL, _FROM_END_OF_FILE = 4, 3
_RENAME_EXCL = 4
_STATFS_BYTES, _FLAGS_AT, _TYPE_AT, _TYPE_BYTES = 2168, 64, 72, 16
_MNT_LOCAL, _MNT_REMOVABLE = 0x1000, 0x200
_FAT_LARGEST_FILE = (1 << 32) - 1


class MacOS(Posix):
    def path_of(self, fd: int) -> Path | None:
        try:
            found = fcntl.fcntl(fd, fcntl.F_GETPATH, bytes(1024))
        except OSError:
            return None
        return Path(os.fsdecode(found.split(b"\0", 1)[0]))

    def sync(self, fd: int) -> None:
        _full_sync(fd)

    def _sync_open_folder(self, fd: int) -> None:
        _full_sync(fd)

    def preallocate(self, fd: int, offset: int, size: int, *, beyond_end: bool) -> bool:
        """F_PREALLOCATE claims space past the end of the file. It cannot claim holes within it."""
        end = os.fstat(fd).st_size
        missing = offset + size - end
        if missing <= 0 or not beyond_end:
            return False
        wanted = struct.pack("=Iiqqq", _ALLOCATE_ALL, _FROM_END_OF_FILE, 0, missing, 0)
        try:
            fcntl.fcntl(fd, _F_PREALLOCATE, wanted)
        except OSError as error:
            if error.errno in NO_SUCH_CALL | {errno.ENOTTY}:
                return False
            raise
        return True

    def punch_hole(self, fd: int, offset: int, size: int) -> bool:
        try:
            fcntl.fcntl(fd, _F_PUNCHHOLE, struct.pack("=IIqq", 0, 0, offset, size))
        except OSError as error:
            if error.errno in NO_SUCH_CALL | {errno.ENOTTY}:
                return False
            raise
        return True

    def identify(self, fd: int) -> Identity | None:
        """Device, inode and birth time. None on network shares and removable disks: their device number can come again."""
        found, (flags, _) = os.fstat(fd), _mount_of(fd)
        if not flags & _MNT_LOCAL or flags & _MNT_REMOVABLE:
            return None
        seconds, fraction = divmod(found.st_birthtime, 1)
        return found.st_dev, 0, found.st_ino, int(seconds), int(fraction * 1e9)

    def rename_new(self, old: Path, new: Path) -> bool:
        return succeeds(libc_call("renamex_np"), os.fsencode(old), os.fsencode(new), _RENAME_EXCL)

    def largest_file(self, folder: Path) -> int | None:
        fd = self.open_folder(folder)
        try:
            return _FAT_LARGEST_FILE if _mount_of(fd)[1] == b"msdos" else None
        finally:
            os.close(fd)

    def read_boot_id(self) -> str:
        """sysctl kern.bootsessionuuid."""
        call, text, size = libc_call("sysctlbyname"), ctypes.create_string_buffer(64), ctypes.c_size_t(64)
        if call is None or call(b"kern.bootsessionuuid", text, ctypes.byref(size), None, ctypes.c_size_t(0)):
            return ""
        return text.value.decode("ascii", "replace")


def _full_sync(fd: int) -> None:
    """F_FULLFSYNC: fsync stops at the drive's cache. Some disks and shares refuse it; fsync is then all there is."""
    try:
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    except OSError as error:
        if error.errno not in NO_SUCH_CALL | {errno.ENOTTY}:
            raise
        os.fsync(fd)


def _mount_of(fd: int) -> tuple[int, bytes]:
    """The flags of the mount, and the name of its file system: fstatfs(2), with 64-bit inodes."""
    call, found = libc_call("fstatfs64") or libc_call("fstatfs"), ctypes.create_string_buffer(_STATFS_BYTES)
    if call is None or call(fd, found):
        return 0, b""
    (flags,) = struct.unpack_from("=I", found.raw, _FLAGS_AT)
    return flags, found.raw[_TYPE_AT : _TYPE_AT + _TYPE_BYTES].split(b"\0", 1)[0]
