"""Handles, names and errors of files on Windows, for the module `windows`."""

from __future__ import annotations

import ctypes
import errno
import msvcrt
import os
import struct
import sys
import time
from collections.abc import Callable
from ctypes import wintypes
from typing import Any, TypeVar

import numpy as np

assert sys.platform == "win32"

from . import windows_calls as calls
from .interface import Buffer, Place
from .windows_holders import holders_of

_T = TypeVar("_T")
AnyHandle = int | calls.Handle
GENERIC_READ, GENERIC_WRITE = 0x80000000, 0x40000000
SHARE_ALL = 1 | 2 | 4  # read, write, delete: otherwise nobody can rename or remove a file that is open
CREATE_NEW, OPEN_EXISTING, OPEN_ALWAYS = 1, 3, 4
REPLACE_EXISTING, WRITE_THROUGH = 1, 8
DELETE, RENAME_INFO_EX, POSIX_SEMANTICS = 0x10000, 22, 2
NO_ATTRIBUTES, NORMAL = 0xFFFFFFFF, 0x80
READONLY, FOLDER, REPARSE_POINT, COMPRESSED, SPARSE = 1, 0x10, 0x400, 0x800, 0x200
HANDLE_EOF, LOCK_VIOLATION, IO_PENDING, HANDLE_DISK_FULL = 38, 33, 997, 39
ACCESS_DENIED, SHARING_VIOLATION, USER_MAPPED_FILE = 5, 32, 1224
HELD = {ACCESS_DENIED, SHARING_VIOLATION, LOCK_VIOLATION, USER_MAPPED_FILE}
_DRIVE_REMOVABLE, _DRIVE_FIXED = 2, 3
_QUERY_PROPERTY, _STANDARD_INFO = 0x2D1400, 1
_INTERNAL_BUSES = {1, 2, 3, 8, 10, 11, 14, 16, 17, 19}
"""STORAGE_BUS_TYPE: SCSI, ATAPI, ATA, RAID, SAS, SATA, virtual, Storage Spaces, NVMe, UFS."""
PATIENCE_S = 2.0
"""A virus scanner, an indexer, or a program that synchronizes folders opens a new file for moments."""
MAX_PATH, MAX_LONG_PATH, MAX_NAME = 260, 32767, 255


def error(path: str | None = None, code: int | None = None, holders: str = "") -> OSError:
    """The error of the last call of kernel32, or `code`. Raise it at once: a variable of it would keep the frames alive."""
    error = ctypes.WinError(ctypes.get_last_error() if code is None else code)
    if error.winerror == HANDLE_DISK_FULL:
        error.errno = errno.ENOSPC
    if holders:
        error.strerror = f"{error.strerror}; it is open in {holders}"
    if path is not None:
        error.filename = path
    return error


def checked(path: str | os.PathLike[str]) -> str:
    """`path` as the functions of Windows take it: they would stop at a NUL, and use another file."""
    text = os.fspath(path)
    if "\0" in text:
        raise ValueError("embedded null character in path")
    return text


def opened(path: str, access: int, how: int = OPEN_EXISTING, flags: int = NORMAL) -> calls.Handle | None:
    """A handle of a file; None if that fails."""
    handle: calls.Handle = calls.create_file(path, access, SHARE_ALL, None, how, flags, None)
    return None if handle.value == calls.INVALID_HANDLE else handle


def held_for_a_moment(code: int, path: str) -> bool:
    """Whether a call can succeed soon. A folder, and a file with the read-only attribute, refuse access for good."""
    if code not in HELD:
        return False
    attributes = calls.get_attributes(path)
    return code != ACCESS_DENIED or attributes == NO_ATTRIBUTES or not attributes & (READONLY | FOLDER)


def patiently(call: Callable[[], _T | None], *paths: str) -> _T:
    """The result of `call`, which is None after a failure. Try again for 2 s while another process holds a file."""
    deadline, pause = time.monotonic() + PATIENCE_S, 0.001
    while (result := call()) is None:
        code = ctypes.get_last_error()
        if not any(held_for_a_moment(code, path) for path in paths):
            raise error(paths[0], code)
        if time.monotonic() > deadline:
            raise error(paths[0], code, holders_of(paths))
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
    return result


def rename(old: str, new: str, *, replace: bool) -> None:
    how = WRITE_THROUGH | (REPLACE_EXISTING if replace else 0)

    def renamed() -> bool | None:
        if posix_rename(old, new, replace=replace):
            return True
        return calls.move_file(old, new, how) or None

    patiently(renamed, old, *([new] if replace else []))


def posix_rename(old: str, new: str, *, replace: bool) -> bool:
    """FILE_RENAME_INFO with POSIX semantics: also replaces a file that is open, if all share its deletion. NTFS, since 2016."""
    handle = opened(old, DELETE | GENERIC_WRITE)
    if handle is None:
        return False
    name = new.encode("utf-16-le", "surrogatepass")
    info = struct.pack("=I4xQI", POSIX_SEMANTICS | (1 if replace else 0), 0, len(name)) + name + b"\0\0"
    try:
        if not calls.set_information(handle, RENAME_INFO_EX, info, len(info)):
            return False  # not supported, or refused: MoveFileExW says why
        if not calls.flush_buffers(handle):
            raise error(new)
        return True
    finally:
        handle.close()


def handle(fd: int) -> int:
    return msvcrt.get_osfhandle(fd)  # raises OSError (EBADF) for a closed one


def descriptor(handle: calls.Handle, flags: int) -> int:
    """A descriptor, which owns the handle from now on."""
    value, handle.value = handle.value, None
    try:
        return msvcrt.open_osfhandle(value or 0, (flags & os.O_RDWR) | os.O_BINARY | os.O_NOINHERIT)
    except BaseException:
        calls.close_handle(value)
        raise


def address(data: Buffer, *, writable: bool) -> tuple[int, int, Any]:
    """Where a buffer is, its bytes, and what has to exist meanwhile."""
    array = np.frombuffer(data, np.uint8) if memoryview(data).nbytes else np.empty(0, np.uint8)
    if writable and not array.flags.writeable:
        raise BufferError("the buffer is read-only")
    return array.ctypes.data, array.nbytes, array


def set_information_of(fd: int, kind: int, size: int) -> None:
    if not calls.set_information(handle(fd), kind, ctypes.byref(ctypes.c_int64(size)), 8):
        raise error()


def information(fd: int) -> calls.FileInformation:
    return information_of_handle(handle(fd))


def information_of_handle(handle: AnyHandle) -> calls.FileInformation:
    found = calls.FileInformation()
    if not calls.get_information(handle, ctypes.byref(found)):
        raise error()
    return found


def place_of_handle(handle: AnyHandle) -> Place:
    found = information_of_handle(handle)
    volume = found.volume or serial_of(volume_path(handle))  # Wine gives 0 after a rename
    return volume, found.index_high << 32 | found.index_low


def volume_path(handle: AnyHandle) -> str:
    r"""`\\?\C:\`, or a folder where a volume is mounted; empty if it is unknown."""
    path, volume = ctypes.create_unicode_buffer(MAX_LONG_PATH), ctypes.create_unicode_buffer(MAX_LONG_PATH)
    if not 0 < calls.final_path(handle, path, MAX_LONG_PATH, 0) < MAX_LONG_PATH:
        return ""
    return volume.value if calls.volume_of_path(path.value, volume, MAX_LONG_PATH) else ""


def serial_of(volume: str) -> int:
    serial = wintypes.DWORD()
    return serial.value if calls.volume_information(volume, None, 0, ctypes.byref(serial), None, None, None, 0) else 0


def file_system(fd: int) -> str:
    return file_system_of_handle(handle(fd))


def file_system_of_handle(handle: AnyHandle) -> str:
    """ "NTFS", "ReFS", "exFAT", "FAT32", ...; empty if it is unknown."""
    name = ctypes.create_unicode_buffer(64)
    return name.value if calls.volume_of_handle(handle, None, 0, None, None, None, name, 64) else ""


def is_compressed_or_sparse(fd: int) -> bool:
    return bool(information(fd).attributes & (COMPRESSED | SPARSE))


def is_unlinked(fd: int) -> bool:
    """FILE_STANDARD_INFO: no name is left, or the last one goes when the file is closed."""
    info = ctypes.create_string_buffer(24)
    if not calls.get_information_ex(handle(fd), _STANDARD_INFO, info, len(info)):
        return False
    _, _, links, is_pending = struct.unpack_from("=qqI?", info.raw)
    return links == 0 or bool(is_pending)


def is_local(fd: int) -> bool:
    """Whether the file is on a disk of this machine, also on one that can be removed."""
    return calls.drive_type(volume_path(handle(fd))) in (_DRIVE_FIXED, _DRIVE_REMOVABLE)


def is_internal(fd: int) -> bool:
    """Whether the file is on a disk that is not removed while the machine runs: one that is neither on USB nor FireWire, ...

    Known for drives that have a letter. STORAGE_DEVICE_DESCRIPTOR of IOCTL_STORAGE_QUERY_PROPERTY, which needs no right.
    """
    volume = volume_path(handle(fd))
    if calls.drive_type(volume) != _DRIVE_FIXED:
        return False
    letter = volume.removeprefix("\\\\?\\")
    if len(letter) != 3 or letter[1:] != ":\\":
        return False
    device = opened(f"\\\\.\\{letter[:2]}", 0)
    if device is None:
        return False
    try:
        query, found, done = bytes(12), ctypes.create_string_buffer(1024), wintypes.DWORD()
        if not calls.device_io_control(
            device, _QUERY_PROPERTY, query, len(query), found, len(found), ctypes.byref(done), None
        ):
            return False
    finally:
        device.close()
    is_removable, bus = struct.unpack_from("=?", found.raw, 10)[0], struct.unpack_from("=I", found.raw, 28)[0]
    return done.value >= 32 and not is_removable and bus in _INTERNAL_BUSES
