"""Names in folders: make, remove, replace, publish, sync, and the free space. Every failure is a StorageOSError that
names the operation and the path.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from ..errors import DiskFullError, NameTakenError, os_error
from . import syscalls
from .syscalls import NO_SUCH_CALL


def free_space(folder: Path) -> int | None:
    """Bytes that this user can still write in `folder`; None where the system does not say."""
    try:
        if hasattr(os, "statvfs"):
            stat = os.statvfs(folder)
            return stat.f_bavail * stat.f_frsize
        import shutil

        return shutil.disk_usage(folder).free
    except OSError:
        return None


def ensure_free_space(folder: Path, size: int, path: Path) -> None:
    """Raise DiskFullError where `size` bytes are not free: a claim that fails takes everybody's space for a moment."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent  # the folder is made only when there is space for what goes into it
    free = free_space(folder)
    if free is not None and free < size:
        text = f"not enough space: needs {size:,} bytes, {free:,} are free; free some, or choose another folder"
        raise DiskFullError(errno.ENOSPC, text, os.fspath(path))


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut. Windows does it by itself, and cannot be asked."""
    _fsync_folder(folder)


def _fsync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    try:
        fd = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in NO_SUCH_CALL:  # some network shares have no fsync of folders
                raise
        finally:
            os.close(fd)
    except OSError as error:
        raise os_error("sync the folder", folder, error) from error


def make_folder(folder: Path) -> None:
    """Create `folder` and its parents where missing; each new one is durable in its parent."""
    missing = []
    at = folder
    while not at.exists() and at != at.parent:
        missing.append(at)
        at = at.parent
    for new in reversed(missing):
        try:
            new.mkdir()
        except FileExistsError:
            pass  # somebody else made it meanwhile; whether it is a folder shows below
        except OSError as error:
            raise os_error("make the folder", new, error) from error
        try:
            sync_folder(new.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                new.rmdir()  # else the next scan finds it there, and never syncs its name
            raise
    if not folder.is_dir():
        raise os_error("use as a folder", folder, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))


def remove_file(path: Path) -> None:
    """Remove a file; that it is gone already is fine."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise os_error("remove", path, error) from error


def replace_file(old: Path, new: Path) -> None:
    """Rename `old` to `new` in one step; a file of that name is replaced."""
    try:
        os.replace(old, new)
    except OSError as error:
        raise os_error(f"rename to {new.name}", old, error) from error


def publish_new(old: Path, new: Path) -> None:
    """Rename `old` to `new` in one step; NameTakenError where `new` exists, which is never replaced."""
    try:
        if syscalls.rename_noreplace(old, new):
            return
        os.link(old, new)
    except FileExistsError as error:
        if not _same_file(old, new):  # else an earlier call has linked it, and could not remove the old name
            raise NameTakenError(errno.EEXIST, "exists already", os.fspath(new)) from error
    except OSError as error:
        raise os_error(f"publish as {new.name}", old, error) from error
    try:
        os.unlink(old)
    except OSError as error:
        if os.name != "nt":
            raise os_error("remove", old, error) from error

        # Windows keeps a name whose file is mapped by a reader; recovery removes it later.


def _same_file(a: Path, b: Path) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False
