"""The file system of an open file: its type and what that implies, and the identity of the file."""

from __future__ import annotations

import ctypes
import os
import struct
import sys

from ..errors import os_error
from . import syscalls

_BTRFS = 0x9123683E
_KEEPS_MAPPED_STORES = {0xEF53, 0x01021994}  # ext2 to ext4, tmpfs
_LOCAL = {
    *_KEEPS_MAPPED_STORES,
    *(0x58465342, _BTRFS, 0x2FC12FC1, 0xCA451A4E),  # XFS, btrfs, ZFS, bcachefs
    *(0xF2F52010, 0x3434, 0x794C7630),  # F2FS, NILFS, overlayfs
}
"""f_type of statfs(2). Written data are in this kernel's page cache, or on this machine's disk."""
_DROPS_PAGES = {0xEF53, 0x58465342}  # ext2 to ext4, XFS
_AT_EMPTY_PATH = 0x1000
_INO, _BTIME, _MNT_ID_UNIQUE, _SUBVOL = 0x100, 0x800, 0x4000, 0x8000
_WANTED = _INO | _BTIME | _MNT_ID_UNIQUE
_STATX_BYTES = 256
Identity = tuple[int, int, int, int, int]
"""Of a file: mount, subvolume, inode, seconds and nanoseconds of its birth time."""


def _kind(fd: int) -> int | None:
    """f_type of statfs(2); None if the system does not report it."""
    call, found = syscalls.libc_call("fstatfs"), ctypes.create_string_buffer(256)
    if sys.platform != "linux" or call is None or call(fd, found):
        return None
    return int.from_bytes(found.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)


def keeps_mapped_stores(fd: int) -> bool:
    """Whether a store through a memory map into preallocated space never raises SIGBUS. Known for ext4 and tmpfs.

    A copy-on-write file system needs new space for each write-back: on a full disk the next store raises SIGBUS. XFS does so
    after it has shut down because of a disk error. ext4 accepts the store, even after it has shut down or become read-only.
    """
    if sys.platform == "linux":
        return _kind(fd) in _KEEPS_MAPPED_STORES
    return sys.platform != "darwin"  # APFS


def drops_pages(fd: int) -> bool:
    """Whether to wait for the write-back of pages, and to drop them then: see store/write_behind.

    On ext4 and XFS it is faster, on btrfs slower. Network shares and FUSE were not measured. Decision 17 has the figures.
    """
    return _kind(fd) in _DROPS_PAGES


def identify(fd: int) -> Identity | None:
    """The identity of a file, unique within this boot. A copy, a restored file, and the file after a new mount differ.

    statx(2): the mount's unique id, the subvolume, the inode and its birth time. None if one of them is unknown: Linux
    before 6.8, other systems, network shares, FAT.
    """
    kind, call = _kind(fd), syscalls.libc_call("statx")
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


def version(fd: int, path: str | os.PathLike[str]) -> tuple[int, int]:
    """Size and time of the last change (ns) of an open file: they differ after a process has written to it."""
    try:
        found = os.fstat(fd)
    except OSError as error:
        raise os_error("stat", path, error) from error
    return found.st_size, found.st_mtime_ns
