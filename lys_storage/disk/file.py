"""An open file: write, read, sync, map, lock, preallocate. Every failure is a StorageOSError that names the operation and
the path.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import mmap
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import NameTakenError, StorageOSError, os_error
from .forks import register_for_forks
from .lock import Lock, LockFile, probe_lock, share_scan_file
from .systems import SYSTEM, Identity, Place

log = logging.getLogger("lys_storage")

Buffer = bytes | bytearray | memoryview
Frame = Any
"""A C-contiguous np.ndarray, of a dtype that the buffer protocol supports."""

WRITE_BYTES = 1 << 20  # of one write, at most, and so of one folio of the page cache: see decision 17
_READ_LIMIT = 1 << 30  # the limit of one call is 2 GiB minus a page
_MANY_BUFFERS = 1024  # IOV_MAX
_LOOK_S = 0.5
ZEROS_BYTES = 1 << 17
_ZEROS = memoryview(bytes(ZEROS_BYTES))
_PREADV = SYSTEM.preadv


def preadv_is_native() -> bool:
    """Whether preadv is the system's own: a test or a model of the disk may have replaced it."""
    return SYSTEM.preadv == _PREADV


class File:
    """An open file, read and written at offsets. Owns its descriptor; close() twice is harmless.

    It is closed in a forked child, which therefore neither writes nor keeps the lock of a dead writer. A file that is opened
    by open_for_reading() stays open.
    """

    def __init__(self, path: Path, flags: int, *, stays_open_in_forks: bool = False) -> None:
        self.path = path
        self._folder_fd = -1
        self.lock_file = LockFile(id(self))
        try:
            self.fd = SYSTEM.open_file(path, flags)
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
            done = SYSTEM.pwrite(self.fd, data, offset) if size <= WRITE_BYTES else 0
            if done == size:
                return
            view = data.cast("B") if isinstance(data, memoryview) else memoryview(data)
            while done < size:
                done += SYSTEM.pwrite(self.fd, view[done : done + WRITE_BYTES], offset + done)
        except OSError as error:
            raise os_error("write", self.path, error) from error

    def write_frame(self, frame: Frame, offset: int, size: int) -> None:
        """Write a frame of `size` bytes at `offset`, in as few steps as possible."""
        with contextlib.suppress(OSError):  # write_at tries again, and reports the error
            if size <= WRITE_BYTES and SYSTEM.pwrite(self.fd, frame, offset) == size:
                return
        self.write_at(frame.data, offset)

    def write_between_zeros(self, frame: Frame, offset: int, size: int, before: int, after: int) -> None:
        """Write a frame, with zeros before and after it (at most ZEROS_BYTES in all); if that fails, the frame alone.

        The kernel caches what one call writes in large folios: small frames that are written there later cost it less.
        """
        buffers = [_ZEROS[:before], frame, _ZEROS[:after]]
        with contextlib.suppress(OSError):  # write_frame reports the error, if the frame has it too
            if SYSTEM.pwritev(self.fd, buffers, offset - before) == before + size + after:
                return
        self.write_frame(frame, offset, size)

    def write_frames(self, frames: list[Frame], offset: int, size: int) -> None:
        """Write frames of `size` bytes each, contiguously from `offset`."""
        step = max(1, min(_MANY_BUFFERS, WRITE_BYTES // size))
        for k in range(0, len(frames), step):
            some, at = frames[k : k + step], offset + k * size
            try:
                if len(some) > 1 and SYSTEM.pwritev(self.fd, some, at) == size * len(some):
                    continue
            except OSError:
                pass
            for j, frame in enumerate(some):
                self.write_at(frame.data, at + j * size)

    def read_into(self, buffer: bytearray | memoryview, offset: int) -> int:
        """Fill `buffer` from `offset`; the number of bytes read, which is smaller than its length only at the end of file."""
        view, done = memoryview(buffer), 0
        try:
            while done < len(view):
                n = SYSTEM.preadv(self.fd, [view[done : done + _READ_LIMIT]], offset + done)
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
            SYSTEM.set_size(self.fd, size)
        except OSError as error:
            raise os_error(f"set the size to {size:,} bytes", self.path, error) from error

    def preallocate(self, offset: int, size: int, *, beyond_end: bool = False) -> bool:
        """Preallocate `size` bytes from `offset`. False if the file system cannot.

        `beyond_end`: keep the size of the file. Raises DiskFullError if there is not enough space.
        """
        try:
            return SYSTEM.preallocate(self.fd, offset, size, beyond_end=beyond_end)
        except OSError as error:
            raise os_error(f"preallocate {size:,} bytes", self.path, error) from error

    def keeps_mapped_stores(self) -> bool:
        """Whether a store through a memory map into preallocated space never fails, which would kill the process."""
        return SYSTEM.keeps_mapped_stores(self.fd)

    def identity(self) -> Identity | None:
        """Unique within this boot: a copy, a restored file, and the file after a new mount differ. None if it is unknown:
        network shares, FAT, Linux before 6.8."""
        return SYSTEM.identify(self.fd)

    @property
    def is_unlinked(self) -> bool:
        """Whether the file has no name any more. False if the system does not tell."""
        return SYSTEM.is_unlinked(self.fd)

    def punch_hole(self, offset: int, size: int) -> bool:
        """Free the space of a range, which then reads as zeros. False if the file system cannot."""
        try:
            return SYSTEM.punch_hole(self.fd, offset, size)
        except OSError as error:
            raise os_error("punch a hole", self.path, error) from error

    def sync(self) -> None:
        """Make what was written survive a power cut."""
        try:
            if self.fd < 0:
                raise OSError(errno.EBADF, "the file is closed in this process")
            SYSTEM.sync(self.fd)
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
            if probe_lock(self.path) is Lock.BUSY:
                break  # a writer holds it
            pause.wait(0.005)
        return lock

    def place(self) -> Place:
        """Of two open files, equal if and only if they are the same one."""
        return SYSTEM.place(self.fd)

    def is_at(self, path: Path) -> bool:
        """Whether `path` refers to this file now. Raises OSError if there is no file."""
        return SYSTEM.place_of(path) == self.place()

    def owns_path(self) -> bool:
        """Whether the path still refers to this file."""
        try:
            return self.is_at(self.path)
        except OSError:
            return False

    def reopen(self) -> BinaryIO:
        """This file, opened again for reading, with a position of its own."""
        try:
            file = os.fdopen(SYSTEM.open_again(self.fd, self.path), "rb")
        except OSError as error:
            raise os_error("open again", self.path, error) from error
        if SYSTEM.place(file.fileno()) != SYSTEM.place(self.fd):
            file.close()
            raise StorageOSError(errno.ENOENT, "the path now refers to another file", os.fspath(self.path))
        return file

    def hold_folder(self) -> None:
        """Keep the file's folder open, to find the file after the folder was renamed or a link to it was changed."""
        try:
            self._folder_fd = SYSTEM.open_folder(self.path.parent)
        except PermissionError:
            log.debug("no permission to read %s: a rename of this folder cannot be followed", self.path.parent)
        except OSError as error:
            raise os_error("open the folder", self.path.parent, error) from error

    def _folder_now(self) -> Path | None:
        """The current path of the folder that is kept open; None if there is none, or it was removed."""
        return SYSTEM.path_of(self._folder_fd) if self._folder_fd >= 0 else None

    @contextlib.contextmanager
    def closed_for_replacement(self, *, is_scan_file: bool = False) -> Iterator[None]:
        """Another file is about to be renamed to this one's path: close it meanwhile, if an open file keeps its name.

        After an exception it is open again. The lock file stays locked.
        """
        if not SYSTEM.open_files_keep_their_names:
            yield
            return
        before = self.place()
        try:
            self._close()
            yield
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                if (
                    self.fd < 0 and SYSTEM.place_of(self.path) == before
                ):  # else it was replaced before the exception came
                    self.fd = SYSTEM.open_file(self.path, os.O_RDWR)
                    if is_scan_file:
                        self.share_lock()
            raise

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
            mine = SYSTEM.place(self.fd)
            with os.scandir(self._folder_now() or self.path.parent) as entries:
                named = [Path(entry.path) for entry in entries if entry.name.endswith(suffix)]
            return next((path for path in named if SYSTEM.place_of(path) == mine), None)
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
