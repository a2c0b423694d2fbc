"""The errors of a path that is not an export, or of a damaged one: what was found there, and what to do.

Never changes a file.
"""

from __future__ import annotations

import errno
import lzma
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..disk import File, user_path
from ..errors import BadFileError, LysStorageError, StorageOSError, UnsafeFileError, os_error
from ..format import EXPORT_SUFFIX, is_scan_file, is_sidecar, journal_path, recover_command, scan_file_name
from .stream import open_stream

BAD_FILE_ERRORS = (
    *(zipfile.BadZipFile, ValueError, EOFError, KeyError, IndexError, TypeError, RuntimeError, RecursionError),
    *(MemoryError, OverflowError, SyntaxError, struct.error, zlib.error, lzma.LZMAError, tokenize.TokenError),
)
"""What zipfile, numpy and their decoders raise for a damaged file."""
_EXPECTED = "expected an export: a .npz with an array 'data'"
_RESTORE = "if it was an export, restore a copy; lys-storage verify lists all files with errors"
_OTHER_FORMATS = (
    (b"\x93NUMPY", "a .npy file", "numpy.load"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "h5py"),
    *((magic, "a TIFF file", "tifffile") for magic in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
)
"""The first bytes of a file, what it is then, and what reads it."""
_LOCAL_HEADER = b"PK\3\4"


class NotAnExportError(BadFileError):
    """The file is not an export, but it is not damaged either. `naming_the_file` turns it into a BadFileError."""


def as_path(path: Any) -> Path:
    """`path` as a Path. Raises BadFileError if it is not a path."""
    try:
        return user_path(path)
    except TypeError:
        raise BadFileError(f"{path!r} is not a path: give the name of an export, such as 'run/data_0.npz'") from None


def open_export(path: Path) -> File:
    """Open the file at `path` for reading. Raises StorageOSError, which names a similar file if there is one."""
    try:
        return File.open_for_reading(path)
    except ValueError as error:  # a NUL, or characters that the system cannot write
        text = f"this cannot be the name of a file: {error}; check the path"
        raise StorageOSError(errno.EINVAL, text, ascii(os.fspath(path))) from None
    except StorageOSError as error:
        if os.path.isdir(path):
            text = "is a folder, expected an export: name one of its files, which lys-storage ls lists"
            raise StorageOSError(errno.EISDIR, text, os.fspath(path)) from None
        if error.errno in (errno.EACCES, errno.EPERM):
            hint = "this user may not read the file: change its owner or its mode"
            raise os_error("open", path, OSError(error.errno, os.strerror(error.errno)), hint) from None
        if error.errno != errno.ENOENT:
            raise
        raise os_error("open", path, OSError(errno.ENOENT, os.strerror(errno.ENOENT)), _instead(path)) from None


@contextmanager
def naming_the_file(path: Path, file: File | None = None) -> Iterator[None]:
    """Raise an error of zipfile, numpy or this package as BadFileError or StorageOSError that names `path`.

    `file`: the open file, to tell what it is if it is not an export.
    """
    try:
        yield
    except UnsafeFileError as error:
        raise UnsafeFileError(f"{path}: {error}") from error.__cause__
    except NotAnExportError as error:
        raise BadFileError(f"{path}: {error}") from error.__cause__
    except BadFileError as error:
        raise BadFileError(f"{path}: {error}; {_RESTORE}") from error.__cause__
    except BAD_FILE_ERRORS as error:
        if isinstance(error, LysStorageError):
            raise
        known = _why_no_export(path, file) if file is not None else None
        if known:
            raise BadFileError(f"{path} {known}") from None
        raise BadFileError(
            f"{path} cannot be read as an export: {type(error).__name__}: {error}; {_RESTORE}"
        ) from error
    except StorageOSError:
        raise
    except OSError as error:
        if error.errno == errno.EINVAL:  # a seek to a negative offset
            text = f"cannot be read as an export: an offset in the archive lies outside the file; {_RESTORE}"
            raise BadFileError(f"{path} {text}") from error
        raise os_error("read", path, error) from error


def describe_members(names: list[str]) -> str:
    """The members `names` of a ZIP archive without an array 'data', and what reads them."""
    arrays = [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    listed = ", ".join(map(repr, (arrays if len(arrays) == len(names) else names)[:5])) or "nothing"
    advice = "numpy.load reads its arrays" if arrays else "check the name: lys-storage ls lists exports"
    return f"is not an export: it has no array 'data'. It holds {listed}{more}; {advice}"


def _why_no_export(path: Path, file: File) -> str | None:
    """What `file` at `path` is, by its name and its first bytes. None if it begins or ends as a ZIP archive."""
    if is_sidecar(path.name):
        scan = path.with_name(scan_file_name(path.name))
        return f"belongs to the scan in progress {scan.name}, and is not an export; {_what_to_do(scan)}"
    if is_scan_file(path.name) and journal_path(path).exists():
        return f"is a scan in progress, and not an export yet; {_what_to_do(path)}"
    if file.size == 0:
        return f"is empty, {_EXPECTED}; {_instead(path) or 'check the name, or restore a copy'}"
    head = file.read_at(8, 0)
    with open_stream(file) as stream:
        if head.startswith(_LOCAL_HEADER) or _ends_as_zip(stream):
            return None
    for magic, what, reader in _OTHER_FORMATS:
        if head.startswith(magic):
            return f"is {what}, {_EXPECTED}; {reader} reads it"
    return f"is not a ZIP archive, {_EXPECTED}; check the name (lys-storage ls lists exports), or restore a copy"


def _ends_as_zip(stream: Any) -> bool:
    try:
        return zipfile.is_zipfile(stream)
    except zipfile.BadZipFile:  # it has the end of an archive on several disks
        return True


def _what_to_do(scan: Path) -> str:
    return (
        f"open_wave({scan.name!r}) and lys_storage.follow read its frames, also while it is written; if it was "
        f"interrupted, {recover_command(scan.parent)} exports it, and lys_storage.resume continues it"
    )


def _instead(path: Path) -> str:
    """A hint at a file beside `path`: its scan in progress, or the export if its suffix was left out. Else \"\"."""
    try:
        names = sorted(found.name for found in path.parent.iterdir() if found.name.startswith(f"{path.name}."))
    except OSError:
        return ""
    for name in names:
        if is_scan_file(name):
            return f"its scan in progress {name} exists: {_what_to_do(path.with_name(name))}"
    return f"did you mean {path.name}{EXPORT_SUFFIX}?" if path.name + EXPORT_SUFFIX in names else ""
