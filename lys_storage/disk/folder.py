"""Names in folders: make, remove, replace, publish, sync, and the free space. Every failure is a StorageOSError that
names the operation and the path.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from ..errors import DiskFullError, NameTakenError, StorageOSError, os_error
from . import syscalls
from .syscalls import NO_SUCH_CALL


def free_space(folder: Path) -> int | None:
    """Bytes that this user can still write in `folder`; None if the system does not report it."""
    try:
        if hasattr(os, "statvfs"):
            stat = os.statvfs(folder)
            return stat.f_bavail * stat.f_frsize
        import shutil

        return shutil.disk_usage(folder).free
    except OSError:
        return None


def ensure_free_space(folder: Path, size: int, path: Path) -> None:
    """Raise DiskFullError if `size` bytes are not free. A preallocation that fails would take all free space for a moment."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent  # the folder is made only if there is enough space
    free = free_space(folder)
    if free is not None and free < size:
        text = f"not enough space: needs {size:,} bytes, {free:,} are free; free some, or choose another folder"
        raise DiskFullError(errno.ENOSPC, text, os.fspath(path))


def check_name_length(path: Path, longest: str, stem: str) -> None:
    """Raise StorageOSError if `longest` is too long: the longest file name that is needed while `path` is written.

    `stem`: the part of the name of `path` that the user chose.
    """
    at = path.parent
    while not os.path.exists(at) and at != at.parent:
        at = at.parent
    most_of_name, most_of_path = _limit(at, "PC_NAME_MAX", 255), _limit(at, "PC_PATH_MAX", 4096) - 1
    over = max(_length(longest) - most_of_name, _length(os.fspath(path.with_name(longest))) - most_of_path)
    if over > 0:
        size, rest = _length(path.name), path.name[len(stem) :]
        text = (
            f"the name is {size} bytes long, and can be {max(size - over, 0)} here ({max(_length(stem) - over, 0)} before "
            f"{rest!r}): files beside the scan need {_length(longest) - size} more; choose a shorter one"
        )
        raise StorageOSError(errno.ENAMETOOLONG, text, os.fspath(path))


def _limit(folder: Path, name: str, default: int) -> int:
    if not hasattr(os, "pathconf"):
        return default
    try:
        return os.pathconf(folder, name)
    except (OSError, ValueError):
        return default


def _length(name: str) -> int:
    """The length of a name in the units of the system's limits."""
    return len(name.encode("utf-16-le", "surrogatepass")) // 2 if os.name == "nt" else len(os.fsencode(name))


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut. Windows has no such call, and does it without one."""
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
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise os_error("remove", path, error) from error


def replace_file(old: Path, new: Path) -> None:
    """Rename `old` to `new` in one step, which replaces an existing file."""
    try:
        os.replace(old, new)
    except OSError as error:
        raise os_error(f"rename to {new.name}", old, error) from error


def publish_new(old: Path, new: Path) -> None:
    """Rename `old` to `new` in one step. Raises NameTakenError if `new` exists: it is never replaced."""
    try:
        if syscalls.rename_noreplace(old, new):
            return
        os.link(old, new)
    except FileExistsError as error:
        if not _same_file(old, new):  # the same: an earlier call linked it, and failed to remove the old name
            raise NameTakenError(errno.EEXIST, "exists already", os.fspath(new)) from error
    except OSError as error:
        raise os_error(f"publish as {new.name}", old, error) from error
    try:
        os.unlink(old)
    except OSError as error:
        if os.name != "nt":
            raise os_error("remove", old, error) from error

        # Windows cannot remove the name of a file that a reader maps; recovery removes it later.


def _same_file(a: Path, b: Path) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False
