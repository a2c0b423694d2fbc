"""The exception family. Every error says which thing, what was seen, what was expected, and what to do next."""

from __future__ import annotations

import errno
import os


class LysStorageError(Exception):
    """Root of every error that lys_storage raises on purpose."""


class StorageOSError(LysStorageError, OSError):
    """The operating system refused an operation on a file of ours; `errno` and `filename` are set."""


class DiskFullError(StorageOSError):
    """There is not enough space for what was asked (ENOSPC, EDQUOT)."""


class NameTakenError(LysStorageError, FileExistsError):
    """A file or a scan in progress of that name exists already."""


class ScanClosedError(LysStorageError, RuntimeError):
    """The scan takes no more frames: it has been closed, suspended, or is being finalized."""


class NothingReservedError(LysStorageError, RuntimeError):
    """A frame came while no scan was reserved."""


class ScanInUseError(LysStorageError, RuntimeError):
    """A living process is writing this scan."""


class FrameShapeError(LysStorageError, ValueError):
    """A frame's shape is not what its index leaves over."""


class FrameTypeError(LysStorageError, TypeError):
    """A frame cannot be stored as what it is: its dtype needs more than `same_kind`, a value would change, or it has a mask."""


class FrameIndexError(LysStorageError, IndexError):
    """An index is outside the grid, names a part of a frame, or is of a kind that names no frames."""


class MissingFrameError(LysStorageError, LookupError):
    """An operator, or `np.asarray`, needs a frame that has not come. `read` gives the fill value in its place."""


class ScanShapeError(LysStorageError, ValueError):
    """A shape, dtype, fill, grid, note or option that no scan can have."""


class AxisLengthError(LysStorageError, ValueError):
    """An axis has not the length of its dimension, or cannot be stored as what it is; or there are too many axes."""


class BadFileError(LysStorageError, ValueError):
    """A file is not what its name says: damaged, cut short, or of an unknown version."""


class UnsafeFileError(BadFileError):
    """A file's pickled part names something that is not plain data; reading it could run code."""


class BindingError(LysStorageError, ImportError):
    """Qt cannot be used in this process; the message says why and what to do."""


def install_command(extra: str) -> str:
    """The command that installs an optional part of lys_storage: "qt", "lys", "plot" or "lab"."""
    return f'pip install "lys_storage[{extra}]"'  # these quotes work in each shell


def os_error(operation: str, path: str | os.PathLike[str], reason: OSError, hint: str = "") -> StorageOSError:
    """`reason` as an error of the family that names the operation and the file, with errno and filename kept."""
    full = reason.errno in (errno.ENOSPC, errno.EDQUOT)
    kind = DiskFullError if full else StorageOSError
    text = f"{operation}: {reason.strerror or reason}"
    if hint:
        text += f"; {hint}"
    return kind(reason.errno, text, os.fspath(path))
