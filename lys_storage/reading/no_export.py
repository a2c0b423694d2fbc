"""What a path leads to that is no export, in words that say what to do. Never opens a file."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from ..disk import File, user_path
from ..errors import BadFileError, StorageOSError, os_error
from ..format import EXPORT_SUFFIX, is_scan_file, is_sidecar, journal_path, recover_command, scan_file_name


def as_path(path: Any) -> Path:
    """Raises BadFileError where `path` is no path."""
    try:
        return user_path(path)
    except TypeError:
        raise BadFileError(f"{path!r} is no path: give the name of an export, such as 'run/data_0.npz'") from None


def open_export(path: Path) -> File:
    """Raises StorageOSError, which says what is there instead where it is known."""
    try:
        return File.open_for_reading(path)
    except ValueError as error:  # a NUL, or characters that the system cannot write
        text = f"no file can have this name: {error}; check the path"
        raise StorageOSError(errno.EINVAL, text, ascii(os.fspath(path))) from None
    except StorageOSError as error:
        if os.path.isdir(path):
            text = "is a folder, expected an export: name one of its files, which lys-storage ls lists"
            raise StorageOSError(errno.EISDIR, text, os.fspath(path)) from None
        if error.errno != errno.ENOENT:
            raise
        raise os_error("open", path, OSError(errno.ENOENT, os.strerror(errno.ENOENT)), _instead(path)) from None


def why_no_export(path: Path, size: int) -> str | None:
    """What the file at `path`, of `size` bytes, is by its name. None where that tells nothing."""
    if is_sidecar(path.name):
        scan = path.with_name(scan_file_name(path.name))
        return f"belongs to the scan in progress {scan.name}, and is no export; {_what_to_do(scan)}"
    if is_scan_file(path.name) and journal_path(path).exists():
        return f"is a scan in progress, and no export yet; {_what_to_do(path)}"
    if size == 0:
        beside = _instead(path)
        return "is empty: nothing has been written to it" + (f"; {beside}" if beside else "")
    return None


def _what_to_do(scan: Path) -> str:
    return (
        "while it is written, its Scan reads it; if it was interrupted, "
        f"{recover_command(scan.parent)} exports it, and lys_storage.resume continues it"
    )


def _instead(path: Path) -> str:
    """What is there beside `path`: its scan in progress, or an export that was named without its suffix."""
    try:
        names = sorted(found.name for found in path.parent.iterdir() if found.name.startswith(f"{path.name}."))
    except OSError:
        return ""
    for name in names:
        if is_scan_file(name):
            return f"{name}, a scan in progress, is there: {_what_to_do(path.with_name(name))}"
    return f"{path.name}{EXPORT_SUFFIX} is there" if path.name + EXPORT_SUFFIX in names else ""
