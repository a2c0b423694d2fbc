"""An open file: write, read, sync, map, lock, preallocate. Every failure is a StorageOSError that names the operation and
the path. Windows and macOS lack some system calls: this module has the replacements.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import mmap
import os
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import NameTakenError, StorageOSError, os_error
from . import filesystem, syscalls
from .filesystem import Identity
from .forks import register_for_forks
from .lock import Lock, LockFile, probe_lock, share_scan_file

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("lys_storage")

Buffer = bytes | bytearray | memoryview
Frame = Any
"""A C-contiguous np.ndarray, of a dtype that the buffer protocol supports."""

WRITE_BYTES = 1 << 20  # of one write, at most, and so of one folio of the page cache: see decision 17
_READ_LIMIT = 1 << 30  # the limit of one call is 2 GiB minus a page
_HAS_PWRITE = hasattr(os, "pwrite")  # Windows has none
_MANY_BUFFERS = 1024  # IOV_MAX
_LOOK_S = 0.5
ZEROS_BYTES = 1 << 17
_ZEROS = memoryview(bytes(ZEROS_BYTES))
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_PREADV = getattr(os, "preadv", None)


def preadv_is_native() -> bool:
    """Whether os.preadv is the system's own: a test or a model of the disk may have replaced it."""
    return _PREADV is not None and os.preadv is _PREADV


class File:
    """An open file, read and written at offsets. Owns its descriptor; close() twice is harmless.

    It is closed in a forked child, which therefore neither writes nor keeps the lock of a dead writer. A file that is opened
    by open_for_reading() stays open.
    """

    def __init__(self, path: Path, flags: int, *, stays_open_in_forks: bool = False) -> None:
        self.path = path
        self._folder_fd = -1
        self.lock_file = LockFile(id(self))
        self._seek_lock = threading.Lock()  # guards the file position on systems without pwrite
        mode = flags | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            self.fd = os.open(path, mode | getattr(os, "O_NONBLOCK", 0), 0o666)  # opening a pipe would block
        except FileExistsError as error:
            raise NameTakenError(error.errno, "exists already", os.fspath(path)) from error
        except OSError as error:
            raise os_error("open", path, error) from error
        if not stays_open_in_forks:
            register_for_forks(self)
        if not stat.S_ISREG(os.fstat(self.fd).st_mode):
            self.close()
            raise StorageOSError(errno.EINVAL, "is not a regular file", os.fspath(path))

    @classmethod
    def create(cls, path: Path) -> File:
        """A new file, made by an exclusive create. Raises NameTakenError if the path exists."""
        return cls(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    @classmethod
    def open(cls, path: Path, *, writable: bool) -> File:
        return cls(path, os.O_RDWR if writable else os.O_RDONLY)

    @classmethod
    def open_for_reading(cls, path: Path) -> File:
        """A file that is neither written nor locked. A forked child can read it."""
        return cls(path, os.O_RDONLY, stays_open_in_forks=True)

    @property
    def size(self) -> int:
        try:
            return os.fstat(self.fd).st_size
        except OSError as error:
            raise os_error("stat", self.path, error) from error

    def write_at(self, data: Buffer, offset: int) -> None:
        """Write all of `data`, a contiguous buffer of any format, at `offset`."""
        try:
            size = data.nbytes if isinstance(data, memoryview) else len(data)
            if _HAS_PWRITE and size <= WRITE_BYTES:
                done = os.pwrite(self.fd, data, offset)
                if done == size:
                    return
            else:
                done = 0
            view = data.cast("B") if isinstance(data, memoryview) else memoryview(data)
            while done < size:
                piece = view[done : done + WRITE_BYTES]
                if _HAS_PWRITE:
                    done += os.pwrite(self.fd, piece, offset + done)
                else:
                    with self._seek_lock:
                        os.lseek(self.fd, offset + done, os.SEEK_SET)
                        done += os.write(self.fd, piece)
        except OSError as error:
            raise os_error("write", self.path, error) from error

    def write_frame(self, frame: Frame, offset: int, size: int) -> None:
        """Write a frame of `size` bytes at `offset`, in as few steps as possible."""
        with contextlib.suppress(OSError, AttributeError):  # write_at tries again, and reports the error
            if size <= WRITE_BYTES and os.pwrite(self.fd, frame, offset) == size:
                return
        self.write_at(frame.data, offset)

    def write_between_zeros(self, frame: Frame, offset: int, size: int, before: int, after: int) -> None:
        """Write a frame, with zeros before and after it (at most ZEROS_BYTES in all); if that fails, the frame alone.

        The kernel caches what one call writes in large folios: small frames that are written there later cost it less.
        """
        with contextlib.suppress(OSError, AttributeError):  # write_frame reports the error, if the frame has it too
            if os.pwritev(self.fd, [_ZEROS[:before], frame, _ZEROS[:after]], offset - before) == before + size + after:
                return
        self.write_frame(frame, offset, size)

    def write_frames(self, frames: list[Frame], offset: int, size: int) -> None:
        """Write frames of `size` bytes each, contiguously from `offset`."""
        step = max(1, min(_MANY_BUFFERS, WRITE_BYTES // size))
        for k in range(0, len(frames), step):
            some, at = frames[k : k + step], offset + k * size
            try:
                if len(some) > 1 and os.pwritev(self.fd, some, at) == size * len(some):
                    continue
            except (OSError, AttributeError):
                pass
            for j, frame in enumerate(some):
                self.write_at(frame.data, at + j * size)

    def read_into(self, buffer: bytearray | memoryview, offset: int) -> int:
        """Fill `buffer` from `offset`; the number of bytes read, which is smaller than its length only at the end of file."""
        view, done = memoryview(buffer), 0
        try:
            while done < len(view):
                if hasattr(os, "preadv"):
                    n = os.preadv(self.fd, [view[done : done + _READ_LIMIT]], offset + done)
                else:
                    with self._seek_lock:
                        os.lseek(self.fd, offset + done, os.SEEK_SET)
                        chunk = os.read(self.fd, min(len(view) - done, 1 << 20))
                    n = len(chunk)
                    view[done : done + n] = chunk
                if n == 0:
                    break
                done += n
        except OSError as error:
            raise os_error("read", self.path, error) from error
        return done

    def read_at(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes from `offset`; never allocates more than the file holds."""
        buffer = bytearray(max(0, min(size, self.size - offset)))
        return bytes(buffer[: self.read_into(buffer, offset)])

    def set_size(self, size: int) -> None:
        try:
            os.truncate(self.fd, size)
        except OSError as error:
            raise os_error("set the size", self.path, error) from error

    def preallocate(self, offset: int, size: int, *, beyond_end: bool = False) -> bool:
        """Preallocate `size` bytes from `offset`. False if the file system cannot.

        `beyond_end`: keep the size of the file. Raises DiskFullError if there is not enough space.
        """
        try:
            return syscalls.fallocate(self.fd, _KEEP_SIZE if beyond_end else 0, offset, size)
        except OSError as error:
            raise os_error(f"preallocate {size:,} bytes", self.path, error) from error

    def keeps_mapped_stores(self) -> bool:
        """See filesystem.keeps_mapped_stores."""
        return filesystem.keeps_mapped_stores(self.fd)

    def identity(self) -> Identity | None:
        """See filesystem.identify."""
        return filesystem.identify(self.fd)

    def punch_hole(self, offset: int, size: int) -> bool:
        """Free the space of a range, which then reads as zeros. False if the file system cannot."""
        try:
            return syscalls.fallocate(self.fd, _PUNCH_HOLE | _KEEP_SIZE, offset, size)
        except OSError as error:
            raise os_error("punch a hole", self.path, error) from error

    def sync(self) -> None:
        """Make what was written survive a power cut (macOS: F_FULLFSYNC, its fsync stops at the drive's cache)."""
        try:
            if self.fd < 0:
                raise OSError(errno.EBADF, "the file is closed in this process")
            if sys.platform == "darwin" and fcntl is not None:
                fcntl.fcntl(self.fd, fcntl.F_FULLFSYNC)
            elif hasattr(os, "fdatasync"):
                os.fdatasync(self.fd)
            else:
                os.fsync(self.fd)
        except OSError as error:
            raise os_error("sync", self.path, error) from error

    def map(self, size: int, *, writable: bool) -> mmap.mmap:
        try:
            return mmap.mmap(self.fd, size, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            reason = error if isinstance(error, OSError) else OSError(errno.EINVAL, str(error))
            raise os_error("map", self.path, reason) from error

    def try_lock(self, *, shared: bool = False) -> Lock:
        """Take the writer's exclusive lock, or with `shared` that of a process that inspects the file; close() releases it."""
        return self.lock_file.take(self.path, self.fd, shared=shared)

    def share_lock(self) -> None:
        """Take the shared lock that a writer has of its scan file, before this file replaces that of a scan."""
        share_scan_file(self.fd, self.path)

    def take_lock_of(self, other: File) -> None:
        """This file has replaced `other`, and from now on holds its lock."""
        self.lock_file = other.lock_file
        self.lock_file.owner = id(self)  # last: until here `other` closes it

    def lock_to_take_over(self) -> Lock:
        """Take the writer's lock of a file that another process wrote. BUSY if a running process writes it.

        A process that inspects the file holds a shared lock for a moment: this waits for it.
        """
        deadline, pause = time.monotonic() + _LOOK_S, threading.Event()
        while (lock := self.try_lock()) is Lock.BUSY and time.monotonic() < deadline:
            if fcntl is not None and probe_lock(self.path) is Lock.BUSY:
                break  # a writer holds it. Windows has no shared locks, so there it waits in any case
            pause.wait(0.005)
        return lock

    def close_for_rename(self) -> None:
        """Close the file on Windows, which cannot rename an open file. It stays locked."""
        if os.name == "nt":
            self._close()

    def owns_path(self) -> bool:
        """Whether the path still refers to this file."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.fd))
        except OSError:
            return False

    def reopen(self) -> BinaryIO:
        """This file, opened again for reading, with a position of its own."""
        own = Path(f"/proc/self/fd/{self.fd}")  # Linux
        try:
            file = (own if own.exists() else self.path).open("rb")
        except OSError as error:
            raise os_error("open again", self.path, error) from error
        if not os.path.samestat(os.fstat(file.fileno()), os.fstat(self.fd)):
            file.close()
            raise StorageOSError(errno.ENOENT, "the path now refers to another file", os.fspath(self.path))
        return file

    def hold_folder(self) -> None:
        """Keep the file's folder open, to find the file after the folder was renamed or a link to it was changed."""
        if hasattr(os, "O_DIRECTORY"):
            try:
                self._folder_fd = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except PermissionError:
                log.debug("no permission to read %s: a rename of this folder cannot be followed", self.path.parent)
            except OSError as error:
                raise os_error("open the folder", self.path.parent, error) from error

    def _folder_now(self) -> Path | None:
        """The current path of the folder that is kept open; None if there is none, or it was removed."""
        return syscalls.path_of(self._folder_fd) if self._folder_fd >= 0 else None

    def follow_folder(self) -> bool:
        """Whether `path` refers to this file. If not, `path` is first changed to the current path of its folder."""
        if self.owns_path():
            return True
        folder = self._folder_now()
        if folder is None:
            return False
        before, self.path = self.path, folder / self.path.name
        if not self.owns_path():
            self.path = before
            return False
        self.lock_file.moved_to(self.path)
        log.warning("%s is now %s: its folder was renamed, or a link to its folder was changed", before, self.path)
        return True

    def other_name(self, suffix: str) -> Path | None:
        """Another name of this file in its folder, which ends with `suffix`; None if there is none."""
        try:
            mine = os.fstat(self.fd)
            with os.scandir(self._folder_now() or self.path.parent) as entries:
                named = (entry for entry in entries if entry.name.endswith(suffix))
                return next((Path(each.path) for each in named if os.path.samestat(each.stat(), mine)), None)
        except OSError:
            return None

    def ensure_owns_path(self) -> None:
        """Raise StorageOSError if no path refers to this file: an operation by path would change another file."""
        if not self.follow_folder():
            other = self.other_name("")
            text = (
                f"{os.strerror(errno.ENOENT)}: it was removed, or its folder was moved, while it was written; "
                "put it back, and save it again"
            )
            if other is not None:
                text = f"it was renamed to {other.name} while it was written; rename it back, and save it again"
            raise StorageOSError(errno.ENOENT, text, os.fspath(self.path))

    def close(self) -> None:
        folder_fd, self._folder_fd = self._folder_fd, -1
        if folder_fd >= 0:
            os.close(folder_fd)
        try:
            if self.lock_file.owner == id(self):
                self.lock_file.close()
        finally:
            self._close()

    def _close(self) -> None:
        fd, self.fd = self.fd, -1  # last: after an interrupt before this, another close() continues
        if fd >= 0:
            os.close(fd)

    def after_fork_in_child(self) -> None:
        self.lock_file.is_new = False  # it is the parent's
        self.close()

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            self.close()
