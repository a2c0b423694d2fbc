"""The functions of Windows that the module `windows` calls, by ctypes, and the structures that they take."""

from __future__ import annotations

import ctypes
import sys
from ctypes import wintypes
from typing import Any

assert sys.platform == "win32"

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_advapi32 = ctypes.WinDLL("advapi32")
ntdll = ctypes.WinDLL("ntdll")
INVALID_HANDLE = ctypes.c_void_p(-1).value


class Overlapped(ctypes.Structure):
    """Where a call reads, writes or locks."""

    _fields_ = (
        ("Internal", ctypes.c_void_p),
        ("InternalHigh", ctypes.c_void_p),
        ("Offset", wintypes.DWORD),
        ("OffsetHigh", wintypes.DWORD),
        ("hEvent", wintypes.HANDLE),
    )

    def __init__(self, offset: int) -> None:
        super().__init__(None, None, offset & 0xFFFFFFFF, offset >> 32, None)


class FileInformation(ctypes.Structure):
    """BY_HANDLE_FILE_INFORMATION."""

    _fields_ = (
        ("attributes", wintypes.DWORD),
        ("creation", wintypes.FILETIME),
        ("access", wintypes.FILETIME),
        ("write", wintypes.FILETIME),
        ("volume", wintypes.DWORD),
        ("size_high", wintypes.DWORD),
        ("size_low", wintypes.DWORD),
        ("links", wintypes.DWORD),
        ("index_high", wintypes.DWORD),
        ("index_low", wintypes.DWORD),
    )


class Handle(ctypes.c_void_p):
    """An open file. It is closed with the object: an interrupt right after the call that made it leaves none open."""

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        value, self.value = self.value, None
        if value not in (None, INVALID_HANDLE):
            close_handle(value)


def _declare(library: Any, name: str, result: Any, *arguments: Any) -> Any:
    call = getattr(library, name)
    call.restype, call.argtypes = result, arguments
    return call


_HANDLE, _DWORD, _BOOL = wintypes.HANDLE, wintypes.DWORD, wintypes.BOOL
_TEXT, _POINTER = wintypes.LPCWSTR, ctypes.c_void_p
_VOLUME_FIELDS = (_POINTER, _DWORD, _POINTER, _POINTER, _POINTER, _POINTER, _DWORD)
create_file = _declare(_kernel32, "CreateFileW", Handle, _TEXT, _DWORD, _DWORD, _POINTER, _DWORD, _DWORD, _HANDLE)
reopen_file = _declare(_kernel32, "ReOpenFile", Handle, _HANDLE, _DWORD, _DWORD, _DWORD)
close_handle = _declare(_kernel32, "CloseHandle", _BOOL, _HANDLE)
write_file = _declare(_kernel32, "WriteFile", _BOOL, _HANDLE, _POINTER, _DWORD, _POINTER, _POINTER)
read_file = _declare(_kernel32, "ReadFile", _BOOL, _HANDLE, _POINTER, _DWORD, _POINTER, _POINTER)
set_information = _declare(_kernel32, "SetFileInformationByHandle", _BOOL, _HANDLE, ctypes.c_int, _POINTER, _DWORD)
get_information = _declare(_kernel32, "GetFileInformationByHandle", _BOOL, _HANDLE, _POINTER)
flush_buffers = _declare(_kernel32, "FlushFileBuffers", _BOOL, _HANDLE)
lock_file = _declare(_kernel32, "LockFileEx", _BOOL, _HANDLE, _DWORD, _DWORD, _DWORD, _DWORD, _POINTER)
unlock_file = _declare(_kernel32, "UnlockFileEx", _BOOL, _HANDLE, _DWORD, _DWORD, _DWORD, _POINTER)
move_file = _declare(_kernel32, "MoveFileExW", _BOOL, _TEXT, _TEXT, _DWORD)
delete_file = _declare(_kernel32, "DeleteFileW", _BOOL, _TEXT)
get_attributes = _declare(_kernel32, "GetFileAttributesW", _DWORD, _TEXT)
volume_of_handle = _declare(_kernel32, "GetVolumeInformationByHandleW", _BOOL, _HANDLE, *_VOLUME_FIELDS)
volume_information = _declare(_kernel32, "GetVolumeInformationW", _BOOL, _TEXT, *_VOLUME_FIELDS)
volume_of_path = _declare(_kernel32, "GetVolumePathNameW", _BOOL, _TEXT, _POINTER, _DWORD)
final_path = _declare(_kernel32, "GetFinalPathNameByHandleW", _DWORD, _HANDLE, _POINTER, _DWORD, _DWORD)
drive_type = _declare(_kernel32, "GetDriveTypeW", wintypes.UINT, _TEXT)
memory_status = _declare(_kernel32, "GlobalMemoryStatusEx", _BOOL, _POINTER)
create_key = _declare(
    *(_advapi32, "RegCreateKeyExW", wintypes.LONG, _HANDLE, _TEXT, _DWORD, _POINTER, _DWORD, _DWORD),
    *(_POINTER, _POINTER, _POINTER),
)
get_information_ex = _declare(_kernel32, "GetFileInformationByHandleEx", _BOOL, _HANDLE, ctypes.c_int, _POINTER, _DWORD)
device_io_control = _declare(
    *(_kernel32, "DeviceIoControl", _BOOL, _HANDLE, _DWORD, _POINTER, _DWORD, _POINTER, _DWORD, _POINTER, _POINTER)
)
