"""The exception family. Every error says which thing, what was seen, what was expected, and what to do next."""

from __future__ import annotations

import errno
import os


class LysStorageError(Exception):
    """Root of every error that lys_storage raises on purpose."""


class StorageOSError(LysStorageError, OSError):
    """An operating system call on a file failed; `errno` and `filename` are set."""


class DiskFullError(StorageOSError):
    """There is not enough space (ENOSPC, EDQUOT)."""


class NameTakenError(LysStorageError, FileExistsError):
    """A file or a scan in progress of that name exists already."""


class ScanClosedError(LysStorageError, RuntimeError):
    """The scan accepts no more frames: it is closed, suspended, or being finalized."""


class NothingReservedError(LysStorageError, RuntimeError):
    """A frame was received while no scan was reserved."""


class ScanInUseError(LysStorageError, RuntimeError):
    """A running process is writing this scan."""


class FrameShapeError(LysStorageError, ValueError):
    """A frame does not have the shape that its index requires."""


class FrameTypeError(LysStorageError, TypeError):
    """A frame cannot be cast to the scan's dtype: the cast is not `same_kind`, a value would change, or elements are masked."""


class FrameIndexError(LysStorageError, IndexError):
    """An index is out of range, selects part of a frame, or is of an unsupported type."""


class MissingFrameError(LysStorageError, LookupError):
    """An operator or `np.asarray` needs a frame that is missing. `read` returns the fill value instead."""


class ScanShapeError(LysStorageError, ValueError):
    """A shape, dtype, fill value, grid, note or option is invalid."""


class AxisLengthError(LysStorageError, ValueError):
    """An axis has the wrong length or cannot be stored unchanged; there are too many axes; or a name or unit is invalid."""


class BadFileError(LysStorageError, ValueError):
    """A file is damaged, truncated, or of an unknown kind or version."""


class UnsafeFileError(BadFileError):
    """A pickle in a file names an object that is not on the allow-list; loading it could run code."""


class ConversionError(LysStorageError, ValueError):
    """A file format cannot hold this array, or files cannot be linked. Nothing is wrong with the files."""


class CoordinateError(LysStorageError, KeyError):
    """A dimension of that name, or a coordinate of that value, does not exist."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # KeyError shows the repr of its message


class FollowTimeoutError(LysStorageError, TimeoutError):
    """No frame of a followed scan has arrived for `timeout_s` seconds."""


class NotEnoughMemoryError(LysStorageError, MemoryError):
    """An array in a compressed file is larger than the memory. An array that is not compressed needs no memory."""


class BindingError(LysStorageError, ImportError):
    """Qt cannot be used in this process; the message says why and what to do."""


class MissingExtraError(LysStorageError, ImportError):
    """A package that a function needs is not installed; the message has the command that installs it."""


def install_command(extra: str) -> str:
    """The command that installs an optional part of lys_storage: "qt", "plot", "dask", "hdf5", ..."""
    return f'pip install "lys_storage[{extra}]"'  # these quotes work in each shell


_NOT_ALLOWED = "this user may not do that: change the owner or the mode, or choose another folder"
_HINTS = {
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EROFS: "mount it writable, or choose another folder",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space of this user",
    errno.EFBIG: "no file can be that large on this disk, or in this process (ulimit -f): choose a disk with another file "
    "system, for example exFAT, or write less",
}
"""What to do next, where the caller of os_error does not know better."""


def os_error(operation: str, path: str | os.PathLike[str], reason: OSError, hint: str = "") -> StorageOSError:
    """`reason` as a StorageOSError that names the operation and the file; errno and filename are kept."""
    full = reason.errno in (errno.ENOSPC, errno.EDQUOT)
    kind = DiskFullError if full else StorageOSError
    text = f"{operation}: {reason.strerror or reason}"
    hint = hint or _HINTS.get(reason.errno or 0, "")
    if hint:
        text += f"; {hint}"
    return kind(reason.errno, text, os.fspath(path))
