"""Windows, from Windows 7. Sources: the pages of Microsoft about CreateFileW, WriteFile, LockFileEx, MoveFileExW,
SetFileInformationByHandle, RegCreateKeyExW and the naming of files.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import winreg
from collections.abc import Sequence
from ctypes import wintypes
from pathlib import Path

assert sys.platform == "win32"

from . import windows_calls as calls
from . import windows_files as files
from .interface import Buffer, Identity, Place, System

_BACKUP_SEMANTICS, _OPEN_REPARSE_POINT = 0x02000000, 0x00200000
_ALLOCATION_INFO, _END_OF_FILE_INFO = 5, 6
_LOCK_FAILS_AT_ONCE, _LOCK_EXCLUSIVE = 1, 2
_LOCK_AT = 1 << 62  # locks are mandatory on Windows: a byte that is never read
_MOST_BYTES = 1 << 30  # of one call
_ALLOCATES = {"NTFS", "exFAT", "FAT32", "FAT"}
_FAT_LARGEST_FILE = (1 << 32) - 1
_NOT_SUPPORTED = {1, 50, 87, 120}  # invalid function, not supported, invalid parameter, call not implemented
_DELETE_PENDING = 0xC0000056 - (1 << 32)
_DEVICES = {
    *("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"),
    *(f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789\u00b9\u00b2\u00b3"),
}
_NOT_IN_NAMES = '<>:"/\\|?*'
_BOOT_KEY = r"Software\lys_storage.boot"
_VOLATILE, _KEY_READ = 1, 0x20019


class Windows(System):
    open_files_keep_their_names = True
    name_unit = "characters"
    no_link = 1 << 30
    closed_pipe = frozenset({errno.EPIPE, errno.EINVAL})

    def open_file(self, path: str | os.PathLike[str], flags: int) -> int:
        text = files.checked(path)
        access = files.GENERIC_READ | (files.GENERIC_WRITE if flags & os.O_RDWR else 0)
        how = files.OPEN_EXISTING
        if flags & os.O_CREAT:
            how = files.CREATE_NEW if flags & os.O_EXCL else files.OPEN_ALWAYS
        if flags & self.no_link and not flags & os.O_CREAT:
            attributes = calls.get_attributes(text)
            if attributes != files.NO_ATTRIBUTES and attributes & files.REPARSE_POINT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), text)
        handle = files.opened(text, access, how)
        if handle is None:
            code, status = ctypes.get_last_error(), calls.ntdll.RtlGetLastNtStatus()
            if code not in files.HELD or (code == files.ACCESS_DENIED and status != _DELETE_PENDING):
                raise files.error(text)
            handle = files.patiently(lambda: files.opened(text, access, how), text)
        return files.descriptor(handle, flags)

    def open_again(self, fd: int, path: Path) -> int:
        handle = calls.reopen_file(files.handle(fd), files.GENERIC_READ, files.SHARE_ALL, 0)
        if handle.value in (None, calls.INVALID_HANDLE):
            return self.open_file(path, os.O_RDONLY)
        return files.descriptor(handle, os.O_RDONLY)

    def pwrite(self, fd: int, data: Buffer, offset: int, /) -> int:
        address, size, _kept = files.address(data, writable=False)
        done = wintypes.DWORD()
        size = min(size, _MOST_BYTES)
        where = ctypes.byref(calls.Overlapped(offset))
        if not calls.write_file(files.handle(fd), address, size, ctypes.byref(done), where):
            raise files.error()
        return done.value

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int, /) -> int:
        done = 0
        for data in buffers:
            size = memoryview(data).nbytes
            written = self.pwrite(fd, data, offset + done) if size else 0
            done += written
            if written != size:
                break
        return done

    def preadv(self, fd: int, buffers: Sequence[Buffer], offset: int, /) -> int:
        total = 0
        for buffer in buffers:
            address, size, _kept = files.address(buffer, writable=True)
            done = wintypes.DWORD()
            where = ctypes.byref(calls.Overlapped(offset + total))
            if not calls.read_file(files.handle(fd), address, min(size, _MOST_BYTES), ctypes.byref(done), where):
                if ctypes.get_last_error() == files.HANDLE_EOF:
                    break
                raise files.error()
            total += done.value
            if done.value != size:
                break
        return total

    def set_size(self, fd: int, size: int) -> None:
        """By FileEndOfFileInfo: NTFS allocates the space, and writes no zeros. _chsize_s of the C library writes them."""
        files.set_information_of(fd, _END_OF_FILE_INFO, size)

    def preallocate(self, fd: int, offset: int, size: int, *, beyond_end: bool) -> bool:
        """NTFS, exFAT and FAT allocate the space of a file with its size; beyond its end FileAllocationInfo does it."""
        if files.is_compressed_or_sparse(fd) or files.file_system(fd) not in _ALLOCATES or not files.is_local(fd):
            return False
        end, needed = os.fstat(fd).st_size, offset + size
        if not beyond_end:
            self.set_size(fd, max(end, needed))
        else:
            try:
                files.set_information_of(fd, _ALLOCATION_INFO, max(end, needed))
            except OSError as error:
                if error.winerror in _NOT_SUPPORTED:
                    return False
                raise
        return True

    def sync(self, fd: int) -> None:
        if not calls.flush_buffers(files.handle(fd)):
            raise files.error()

    def try_lock(self, fd: int, *, shared: bool) -> bool | None:
        how = _LOCK_FAILS_AT_ONCE | (0 if shared else _LOCK_EXCLUSIVE)
        self.unlock(fd)  # a second lock of one handle is a conflict here, and a change of the lock elsewhere
        if calls.lock_file(files.handle(fd), how, 0, 1, 0, ctypes.byref(calls.Overlapped(_LOCK_AT))):
            return True
        code = ctypes.get_last_error()
        if code in (files.LOCK_VIOLATION, files.IO_PENDING):
            return False
        if code in _NOT_SUPPORTED:
            return None
        raise files.error()

    def unlock(self, fd: int) -> None:
        calls.unlock_file(files.handle(fd), 0, 1, 0, ctypes.byref(calls.Overlapped(_LOCK_AT)))

    def place(self, fd: int) -> Place:
        return files.place_of_handle(files.handle(fd))

    def place_of(self, path: str | os.PathLike[str], *, follow: bool = True) -> Place:
        """From an open handle, which needs no right to read: os.stat opens the file without sharing it on some systems."""
        text = files.checked(path)
        how = _BACKUP_SEMANTICS | (0 if follow else _OPEN_REPARSE_POINT)
        handle = files.opened(text, 0, flags=how)
        if handle is None:
            raise files.error(text)
        try:
            return files.place_of_handle(handle)
        finally:
            handle.close()

    def is_unlinked(self, fd: int) -> bool:
        return files.is_unlinked(fd)

    def identify(self, fd: int) -> Identity | None:
        """Volume and file reference number, on NTFS of an internal disk. Others can be removed and come back in the same boot.

        The number includes one that changes each time the entry is used for another file: a birth time is not needed.
        """
        if files.file_system(fd) != "NTFS" or not files.is_internal(fd):
            return None
        volume, number = files.place_of_handle(files.handle(fd))
        return volume, 0, number, 0, 0

    def keeps_mapped_stores(self, fd: int) -> bool:
        """NTFS of an internal disk, if the file is neither compressed nor sparse: its clusters are allocated, and stay."""
        is_plain = files.file_system(fd) == "NTFS" and not files.is_compressed_or_sparse(fd)
        return is_plain and files.is_internal(fd)

    def rename_new(self, old: Path, new: Path) -> bool:
        source, target = files.checked(old), files.checked(new)
        if (
            calls.get_attributes(target) != files.NO_ATTRIBUTES
        ):  # a link of the same file would count as renamed already
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), source, None, target)
        files.rename(source, target, replace=False)
        return True

    def link(self, old: Path, new: Path) -> None:
        os.link(old, new)

    def replace(self, old: Path, new: Path) -> None:
        files.rename(files.checked(old), files.checked(new), replace=True)

    def check_replaceable(self, path: Path) -> None:
        """A file with the read-only attribute, or open in a program that does not share its deletion, is not replaced."""
        text = files.checked(path)
        attributes = calls.get_attributes(text)
        if attributes != files.NO_ATTRIBUTES and attributes & files.READONLY:
            raise OSError(errno.EACCES, "it has the read-only attribute", text)
        if attributes != files.NO_ATTRIBUTES:
            files.patiently(lambda: files.opened(text, files.DELETE), text).close()

    def remove(self, path: Path) -> None:
        text = files.checked(path)
        files.patiently(lambda: calls.delete_file(text) or None, text)

    def sync_folder(self, folder: Path) -> None:
        """MOVEFILE_WRITE_THROUGH has done it for a rename, and FlushFileBuffers of a file includes its name on NTFS."""

    def free_space(self, folder: Path) -> int:
        return shutil.disk_usage(folder).free

    def largest_file(self, folder: Path) -> int | None:
        handle = files.opened(files.checked(folder), 0, flags=_BACKUP_SEMANTICS)
        if handle is None:
            return None
        try:
            return _FAT_LARGEST_FILE if files.file_system_of_handle(handle) in ("FAT32", "FAT") else None
        finally:
            handle.close()

    def name_limits(self, folder: Path) -> tuple[int, int]:
        allowed = getattr(
            calls.ntdll, "RtlAreLongPathsEnabled", None
        )  # a setting of the machine, since Windows 10 1607
        return files.MAX_NAME, (files.MAX_LONG_PATH if allowed is not None and allowed() & 0xFF else files.MAX_PATH) - 1

    def name_length(self, name: str) -> int:
        return len(name.encode("utf-16-le", "surrogatepass")) // 2

    def why_refused(self, name: str) -> str | None:
        bad = next((each for each in name if each in _NOT_IN_NAMES or ord(each) < 32), None)
        if bad == ":":
            return "':' names a stream of another file on Windows, which no program lists"
        if bad is not None:
            return f"Windows has no names with {bad!r}"
        if name != name.rstrip(". "):
            return "Windows removes a dot or a blank at the end of a name"
        device = name.split(".")[0].rstrip(" ").upper()
        return f"{device} is a device on Windows" if device in _DEVICES else None

    def read_boot_id(self) -> str:
        """When a volatile key of the registry was made: it is in memory only, and gone after a restart.

        It also is after the user has logged off, or has used "fast startup". The states of frames are not trusted then, which
        costs only time.
        """
        key = ctypes.c_void_p()
        user = ctypes.c_void_p(winreg.HKEY_CURRENT_USER)
        if calls.create_key(user, _BOOT_KEY, 0, None, _VOLATILE, _KEY_READ, None, ctypes.byref(key), None):
            return ""
        try:
            ticks = winreg.QueryInfoKey(key.value)[2] if key.value else 0
        except OSError:
            return ""
        finally:
            winreg.CloseKey(key.value or 0)
        return f"windows-{ticks}" if ticks else ""

    def available_memory(self) -> int | None:
        """ullAvailPhys of GlobalMemoryStatusEx: free pages, and those of the standby list, which is the page cache."""
        status = ctypes.create_string_buffer((64).to_bytes(4, "little"), 64)
        if not calls.memory_status(status):
            return None
        return int.from_bytes(status.raw[16:24], "little")
