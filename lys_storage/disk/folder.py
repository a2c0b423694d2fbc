"""Names in folders: make, remove, replace, sync, and the free space. Every failure is a StorageOSError that
names the operation and the path.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from ..errors import DiskFullError, StorageOSError, os_error
from .paths import absolute
from .systems import SYSTEM


def free_space(folder: Path) -> int | None:
    """Bytes that this user can still write in `folder`; None if the system does not report it."""
    try:
        return SYSTEM.free_space(folder)
    except OSError:
        return None


def ensure_free_space(folder: Path, size: int, path: Path) -> None:
    """Raise DiskFullError if `size` bytes are not free. A preallocation that fails would take all free space for a moment."""
    free = free_space(_existing(folder))  # the folder is made only if there is enough space
    if free is not None and free < size:
        text = f"not enough space: needs {size:,} bytes, {free:,} are free; free some, or choose another folder"
        raise DiskFullError(errno.ENOSPC, text, os.fspath(path))


def check_name_length(path: Path, longest: str, stem: str) -> None:
    """Raise StorageOSError if `longest` is too long: the longest file name that is needed while `path` is written.

    `stem`: the part of the name of `path` that the user chose.
    """
    most_of_name, most_of_path = SYSTEM.name_limits(_existing(path.parent))
    length = SYSTEM.name_length
    over = max(length(longest) - most_of_name, length(os.fspath(absolute(path.with_name(longest)))) - most_of_path)
    if over > 0:
        size, rest = length(path.name), path.name[len(stem) :]
        text = (
            f"the name is {size} {SYSTEM.name_unit} long, and can be {max(size - over, 0)} here "
            f"({max(length(stem) - over, 0)} before {rest!r}): files beside the scan need {length(longest) - size} more; "
            "choose a shorter one"
        )
        raise StorageOSError(errno.ENAMETOOLONG, text, os.fspath(path))


def _existing(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that exists."""
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def check_name(path: Path) -> None:
    """Raise StorageOSError if this system cannot have a file with the name of `path`, or takes it for something else."""
    why = SYSTEM.why_refused(path.name)
    if why is not None:
        raise StorageOSError(errno.EINVAL, f"{why}; choose another name", os.fspath(path))


def check_replaceable(path: Path) -> None:
    """Raise StorageOSError if there is a file that the system would not replace now."""
    try:
        SYSTEM.check_replaceable(path)
    except OSError as error:
        hint = "close the program that has it open, remove its read-only attribute, or choose another name"
        raise os_error("replace", path, error, hint) from error


def ensure_fits(path: Path, size: int) -> None:
    """Raise StorageOSError if no file on the file system of `path` can have `size` bytes."""
    try:
        most = SYSTEM.largest_file(_existing(path.parent))
    except OSError:
        return  # whoever makes the file says what is wrong
    if most is not None and size > most:
        text = (
            f"the scan needs a file of {size:,} bytes, and no file of this file system can have more than {most:,}: "
            "choose a folder on a disk with another file system, for example exFAT, or split the scan"
        )
        raise StorageOSError(errno.EFBIG, text, os.fspath(path))


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut, as far as the file system can."""
    try:
        SYSTEM.sync_folder(folder)
    except OSError as error:
        raise os_error("sync the folder", folder, error) from error


def make_folder(folder: Path) -> None:
    """Create `folder` and its missing parents; each new one is durable in its parent."""
    missing = []
    at = folder
    while not at.exists() and at != at.parent:
        missing.append(at)
        at = at.parent
    for new in reversed(missing):
        try:
            new.mkdir()
        except FileExistsError:
            pass  # another process made it meanwhile; is_dir() below checks that it is a folder
        except OSError as error:
            raise os_error("make the folder", new, error) from error
        try:
            sync_folder(new.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                new.rmdir()  # otherwise the next scan would find it, and never sync its name
            raise
    if not folder.is_dir():
        raise os_error("use as a folder", folder, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))


def remove_file(path: Path) -> None:
    """Remove a file, if it exists."""
    try:
        SYSTEM.remove(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise os_error("remove", path, error) from error


def replace_file(old: Path, new: Path) -> None:
    """Rename `old` to `new` in one step, which replaces an existing file."""
    try:
        SYSTEM.replace(old, new)
    except OSError as error:
        raise os_error(f"rename to {new.name}", old, error) from error
