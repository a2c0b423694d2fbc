"""The lock of a scan file: a file of its own beside it, which the writer holds and removes.

The scan file itself is locked exclusively for a moment only. HDF5 locks each file that it opens: it could not read a scan that is
being written, and a reader of an interrupted scan would look like its writer. Earlier versions locked the scan file: such a lock
is respected.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from enum import Enum
from pathlib import Path

from ..errors import StorageOSError, os_error
from ..format import lock_path
from .folder import remove_file
from .systems import HELD_BY_OTHERS, SYSTEM

_NO_LINK = SYSTEM.no_link
_NEW_TRIES = 50


class Lock(Enum):
    """The result of an attempt to lock a file. False only if another process holds the lock.

    UNSUPPORTED: the file system has no locks. It is then unknown whether a process writes the file; for a new file,
    exclusive create decides.
    """

    TAKEN = "taken"
    BUSY = "busy"
    UNSUPPORTED = "not supported"

    def __bool__(self) -> bool:
        return self is not Lock.BUSY


class LockFile:
    """The lock file of a scan file. `owner`, an id, closes it: the `File` that took the lock, or the one that has replaced that.

    `is_new`: this process has made it, and does not keep it: to close it removes it.

    The lock is released when the descriptor is closed, or when the process ends. A writer also holds a shared lock of the scan
    file, as readers of HDF5 do: if its lock file is deleted, that one keeps others from taking the scan over. Therefore only a
    process that holds an exclusive lock of the scan file makes a lock file: until it is locked it looks like that of a free scan.
    """

    def __init__(self, owner: int = 0) -> None:
        self.owner = owner
        self.is_new = False
        self._fd = -1
        self._path = Path()
        self._is_exclusive = False
        self._is_unsupported = False

    def take(self, scan_file: Path, fd: int, *, shared: bool) -> Lock:
        """Take the lock of `scan_file`, whose descriptor is `fd`; -1 if it is gone. Makes the lock file if there is none."""
        lock = Lock.BUSY
        while self._fd >= 0 or self._make_or_open(scan_file, fd):
            lock = self._lock(shared=shared)
            if lock is not Lock.TAKEN or self._owns_path():
                break
            self._close()  # its holder has removed it: there is another one now, or none
            lock = Lock.BUSY
        self._is_exclusive = lock is Lock.TAKEN and not shared
        self._is_unsupported = lock is Lock.UNSUPPORTED
        if self._is_exclusive and not share_scan_file(fd, scan_file):
            lock = Lock.BUSY
        if lock is not Lock.TAKEN:
            self.close()
        if lock is not Lock.TAKEN or shared:
            _unlock(fd)
        return lock

    def _make_or_open(self, scan_file: Path, fd: int) -> bool:
        """False if there is no lock file, and another process has a lock of the scan file: an earlier version, or a writer whose
        lock file was deleted."""
        self._path = lock_path(scan_file)
        while True:
            for flags in (0, os.O_CREAT | os.O_EXCL):
                if flags and fd >= 0 and _try_lock(fd, scan_file, shared=False) is Lock.BUSY:
                    return False
                try:
                    self._fd = _open_lock(self._path, flags)
                except StorageOSError as error:
                    if error.errno != (errno.EEXIST if flags else errno.ENOENT):
                        raise
                else:
                    self.is_new = bool(flags)
                    return True

    def _lock(self, *, shared: bool) -> Lock:
        """Lock the file. Another process may have locked one that is new: it lets go, as it gets no lock of the scan file."""
        for _ in range(_NEW_TRIES if self.is_new else 1):
            lock = _try_lock(self._fd, self._path, shared=shared)
            if lock is not Lock.BUSY:
                break
            time.sleep(0.001)
        return lock

    def _owns_path(self) -> bool:
        try:
            return SYSTEM.place_of(self._path, follow=False) == SYSTEM.place(self._fd)
        except OSError:
            return False

    def moved_to(self, scan_file: Path) -> None:
        """The folder of the scan file has another path now."""
        self._path = lock_path(scan_file)

    def remove(self) -> None:
        """Remove the lock file, while the lock is held: nobody can mistake a removed file for one that is in use. Release it.

        Where an open file keeps its name, it is closed first. Another process may hold it then, and it stays. Without
        locks it is removed at once, or, if another process has made it, when this one is done with the scan.
        """
        is_own = self._is_unsupported or (self._fd >= 0 and self._owns_path())
        if SYSTEM.open_files_keep_their_names:
            self._close()
        if is_own:
            try:
                remove_file(self._path)
            except StorageOSError as error:
                if not SYSTEM.open_files_keep_their_names or error.errno not in HELD_BY_OTHERS:
                    raise
        self._close()

    def close(self) -> None:
        """Release the lock. In a forked child the parent keeps it."""
        try:
            if self._fd >= 0 and self.is_new and (self._is_exclusive or self._is_unsupported):
                self.remove()
        finally:
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def share_scan_file(fd: int, scan_file: Path) -> bool:
    """Take a shared lock of a scan file, for its writer. False if a process locks it exclusively, as earlier versions do."""
    return fd < 0 or _try_lock(fd, scan_file, shared=True) is not Lock.BUSY


def _unlock(fd: int) -> None:
    if fd >= 0:
        with contextlib.suppress(OSError):  # a file system without locks
            SYSTEM.unlock(fd)


def probe_lock(scan_file: Path) -> Lock:
    """BUSY if a process writes `scan_file`. Makes no file; the lock that is tried for this is released at once.

    Raises StorageOSError if the scan file, or its lock file, cannot be opened.
    """
    result = _probe(scan_file, os.O_RDONLY)
    path = lock_path(scan_file)
    if result is Lock.BUSY or not os.path.lexists(path):
        return result
    try:
        own = _probe(path, os.O_RDONLY | _NO_LINK)
    except StorageOSError as error:
        if error.errno != errno.ENOENT:
            raise
        return result  # its holder has just removed it
    return result if own is Lock.TAKEN else own


def _probe(path: Path, flags: int) -> Lock:
    fd = _open(path, flags)
    try:
        return _try_lock(fd, path, shared=True)
    finally:
        os.close(fd)


def _open_lock(path: Path, flags: int) -> int:
    """Open a lock file, or make it. One of another user may be read-only, which is enough for a lock."""
    try:
        return _open(path, os.O_RDWR | _NO_LINK | flags)
    except StorageOSError as error:
        if flags or error.errno != errno.EACCES:
            raise
    return _open(path, os.O_RDONLY | _NO_LINK)


def _open(path: Path, flags: int) -> int:
    try:
        fd = SYSTEM.open_file(path, flags)
    except OSError as error:
        raise os_error("open", path, error) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StorageOSError(errno.EINVAL, "is not a regular file", os.fspath(path))
    return fd


def _try_lock(fd: int, path: Path, *, shared: bool) -> Lock:
    try:
        done = SYSTEM.try_lock(fd, shared=shared)
    except OSError as error:
        raise os_error("lock", path, error) from error
    return Lock.UNSUPPORTED if done is None else Lock.TAKEN if done else Lock.BUSY
