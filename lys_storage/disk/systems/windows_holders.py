"""Which programs have a file open, as the Restart Manager of Windows tells it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from ctypes import wintypes

assert sys.platform == "win32"

_KEY_CHARACTERS, _NAME_CHARACTERS, _SERVICE_CHARACTERS, _MOST = 33, 256, 64, 10


class _ProcessInfo(ctypes.Structure):
    """RM_PROCESS_INFO."""

    _fields_ = (
        ("process_id", wintypes.DWORD),
        ("started", wintypes.FILETIME),
        ("name", wintypes.WCHAR * _NAME_CHARACTERS),
        ("service", wintypes.WCHAR * _SERVICE_CHARACTERS),
        ("kind", ctypes.c_int),
        ("status", wintypes.ULONG),
        ("session", wintypes.DWORD),
        ("restartable", wintypes.BOOL),
    )


def holders_of(paths: Sequence[str]) -> str:
    """ "program (process 12), other (process 34)"; empty if the system does not tell."""
    try:
        manager = ctypes.WinDLL("rstrtmgr")
        session, key = wintypes.DWORD(), ctypes.create_unicode_buffer(_KEY_CHARACTERS)
        if manager.RmStartSession(ctypes.byref(session), 0, key):
            return ""
        try:
            names = (wintypes.LPCWSTR * len(paths))(*paths)
            if manager.RmRegisterResources(session, len(paths), names, 0, None, 0, None):
                return ""
            needed, count, reason = wintypes.UINT(), wintypes.UINT(_MOST), wintypes.DWORD()
            found = (_ProcessInfo * _MOST)()
            if manager.RmGetList(session, ctypes.byref(needed), ctypes.byref(count), found, ctypes.byref(reason)):
                return ""
            return ", ".join(f"{one.name} (process {one.process_id})" for one in found[: count.value])
        finally:
            manager.RmEndSession(session)
    except (OSError, AttributeError):
        return ""  # no Restart Manager
