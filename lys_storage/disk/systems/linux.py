"""Linux."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from pathlib import Path

assert sys.platform == "linux"

from . import linux_memory
from .interface import NO_SUCH_CALL, Identity
from .posix import Posix, last_error, libc_call, succeeds

_BTRFS, _EXT, _XFS, _TMPFS = 0x9123683E, 0xEF53, 0x58465342, 0x01021994  # f_type of statfs(2); ext2 to ext4
_VFAT, _EXFAT = 0x4D44, 0x2011BAB0
_LOCAL = {
    *(_EXT, _TMPFS, _XFS, _BTRFS),
    *(0x2FC12FC1, 0xCA451A4E),  # ZFS, bcachefs
    *(0xF2F52010, 0x3434, 0x794C7630),  # F2FS, NILFS, overlayfs
}
"""Written data are in this kernel's page cache, or on this machine's disk."""
_KEEPS_MAPPED_STORES = {_EXT, _TMPFS}
_DROPS_PAGES = {_EXT, _XFS}
_FAT_LARGEST_FILE = (1 << 32) - 1
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_WAIT_BEFORE, _WRITE, _WAIT_AFTER = 1, 2, 4
_RENAME_NOREPLACE = 1
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_INO, _BTIME, _MNT_ID_UNIQUE, _SUBVOL = 0x100, 0x800, 0x4000, 0x8000
_WANTED = _INO | _BTIME | _MNT_ID_UNIQUE
_STATX_BYTES = 256


class Linux(Posix):
    sync_includes_maps = True
    writes_back = libc_call("sync_file_range") is not None
    has_direct_io = True

    def open_again(self, fd: int, path: Path) -> int:
        own = Path(f"/proc/self/fd/{fd}")
        return self.open_file(own if own.exists() else path, os.O_RDONLY)

    def path_of(self, fd: int) -> Path | None:
        try:
            return Path(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            return None  # no /proc, or the folder was removed

    def open_direct(self, fd: int) -> int:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def preallocate(self, fd: int, offset: int, size: int, *, beyond_end: bool) -> bool:
        return _fallocate(fd, _KEEP_SIZE if beyond_end else 0, offset, size)

    def punch_hole(self, fd: int, offset: int, size: int) -> bool:
        return _fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, offset, size)

    def write_back(self, fd: int, offset: int, size: int, *, wait: bool) -> None:
        how = _WAIT_BEFORE | _WRITE | _WAIT_AFTER if wait else _WRITE
        if libc_call("sync_file_range")(fd, ctypes.c_int64(offset), ctypes.c_int64(size), how):
            raise last_error()

    def drop_pages(self, fd: int, offset: int, size: int) -> None:
        os.posix_fadvise(fd, offset, size, os.POSIX_FADV_DONTNEED)

    def identify(self, fd: int) -> Identity | None:
        """statx(2): the mount's unique id (Linux 6.8), the subvolume, the inode and its birth time. Of local file systems."""
        kind, call = _kind(fd), libc_call("statx")
        if kind not in _LOCAL or call is None:
            return None
        found = ctypes.create_string_buffer(_STATX_BYTES)
        if call(fd, b"", _AT_EMPTY_PATH, _WANTED | _SUBVOL, found):
            return None
        (mask,) = struct.unpack_from("=I", found.raw, 0)
        wanted = _WANTED | (_SUBVOL if kind == _BTRFS else 0)
        if mask & wanted != wanted:
            return None
        (inode,) = struct.unpack_from("=Q", found.raw, 32)
        seconds, nanoseconds = struct.unpack_from("=qI", found.raw, 80)
        (mount,) = struct.unpack_from("=Q", found.raw, 144)
        (subvolume,) = struct.unpack_from("=Q", found.raw, 160) if mask & _SUBVOL else (0,)
        return mount, subvolume, inode, seconds, nanoseconds

    def keeps_mapped_stores(self, fd: int) -> bool:
        """A copy-on-write file system needs new space for each write-back: on a full disk the next store raises SIGBUS. XFS
        does so after it has shut down because of a disk error. ext4 accepts the store, even after it has shut down."""
        return _kind(fd) in _KEEPS_MAPPED_STORES

    def pays_to_drop_pages(self, fd: int) -> bool:
        """On ext4 and XFS it is faster, on btrfs slower. Network shares and FUSE were not measured. See decision 17."""
        return _kind(fd) in _DROPS_PAGES and hasattr(os, "posix_fadvise")

    def rename_new(self, old: Path, new: Path) -> bool:
        names = (_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new))
        return succeeds(libc_call("renameat2"), *names, _RENAME_NOREPLACE)

    def largest_file(self, folder: Path) -> int | None:
        fd = self.open_folder(folder)
        try:
            return _FAT_LARGEST_FILE if _kind(fd) == _VFAT else None
        finally:
            os.close(fd)

    def read_boot_id(self) -> str:
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return ""

    def available_memory(self) -> int | None:
        return linux_memory.available_memory()


def _kind(fd: int) -> int | None:
    """f_type of statfs(2); None if the system does not report it."""
    call, found = libc_call("fstatfs"), ctypes.create_string_buffer(256)
    if call is None or call(fd, found):
        return None
    return int.from_bytes(found.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)


def _fallocate(fd: int, mode: int, offset: int, size: int) -> bool:
    """fallocate(2); False if it is not supported: glibc's posix_fallocate would then write every block."""
    call = libc_call("fallocate")
    if call is None:
        return False
    while call(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(size)):
        error = last_error()
        if error.errno in NO_SUCH_CALL:
            return False
        if not isinstance(error, InterruptedError):
            raise error
    return True
