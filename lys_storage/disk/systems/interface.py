"""What this package needs of an operating system, and what each call promises. A module for each system provides it.

A call that fails raises OSError with `errno`; disk/file.py and disk/folder.py say which file and what to do next. What a
system lacks is what the base class does.
"""

from __future__ import annotations

import errno
import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

Buffer = Any
"""An object with the buffer protocol, C-contiguous."""
Identity = tuple[int, int, int, int, int]
"""Of a file: mount, subvolume, inode, seconds and nanoseconds of its birth time."""
NO_SUCH_CALL = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
"""The file system, or the system, lacks a call."""
HELD_BY_OTHERS = {errno.EACCES, errno.EPERM, errno.EBUSY}
"""A name cannot be removed now: on Windows another program has the file open."""
Place = tuple[int, int]
"""Of a file: its device or volume, and its number there."""


class System(ABC):
    """Every call of this package goes through the one instance of it: tests and models of the disk replace its methods."""

    open_files_keep_their_names: ClassVar[bool] = False
    """Whether the name of a removed file stays, and no file can be renamed to it, until each process has closed it."""
    sync_includes_maps: ClassVar[bool] = False
    """Whether sync() also makes stores through memory maps durable. If not, the map has to be flushed before."""
    writes_back: ClassVar[bool] = False
    """Whether write_back() and drop_pages() exist."""
    has_direct_io: ClassVar[bool] = False
    """Whether open_direct() exists."""
    name_unit: ClassVar[str] = "bytes"
    """Of name_limits() and name_length(), for people."""
    no_link: ClassVar[int] = 0
    """A flag of open_file()."""
    closed_pipe: ClassVar[frozenset[int]] = frozenset({errno.EPIPE})
    """errno of a write to a pipe that nobody reads any more."""

    # -- an open file ---------------------------------------------------------------------------------------------

    @abstractmethod
    def open_file(self, path: str | os.PathLike[str], flags: int) -> int:
        """A descriptor. `flags`: os.O_RDONLY, O_RDWR, O_CREAT, O_EXCL, and `no_link`, which refuses a symbolic link.

        The file can be renamed and removed while it is open, by any process. A child process does not inherit it. A pipe is
        opened without waiting.
        """

    def open_again(self, fd: int, path: Path) -> int:
        """A second descriptor of the same file, for reading, with a position of its own; by the path where needed."""
        return self.open_file(path, os.O_RDONLY)

    def open_folder(self, folder: Path) -> int:
        """A descriptor by which path_of() finds the folder after it was renamed; -1 if the system has none."""
        return -1

    def path_of(self, fd: int) -> Path | None:
        """The current path of an open folder. None if the system does not report it, or the folder was removed."""
        return None

    def open_direct(self, fd: int) -> int:
        """A second descriptor, which bypasses the page cache: buffers, offsets and sizes are multiples of a page."""
        raise _missing()

    @abstractmethod
    def pwrite(self, fd: int, data: Buffer, offset: int, /) -> int:
        """Write at an offset; how many bytes were written. Several threads can write at different offsets."""

    @abstractmethod
    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int, /) -> int:
        """Write buffers one after the other, in one call where the system has one; how many bytes were written."""

    @abstractmethod
    def preadv(self, fd: int, buffers: Sequence[Buffer], offset: int, /) -> int:
        """Read into writable buffers; how many bytes were read: 0 at the end of the file."""

    @abstractmethod
    def set_size(self, fd: int, size: int) -> None:
        """Grow or shrink the file. New bytes read as zeros; none of them is written."""

    def preallocate(self, fd: int, offset: int, size: int, *, beyond_end: bool) -> bool:
        """Claim space, so that a write there cannot fail for want of it. False if that is not possible here.

        `beyond_end`: the file keeps its size. Otherwise it grows, if the range ends beyond its end.
        """
        return False

    def punch_hole(self, fd: int, offset: int, size: int) -> bool:
        """Free the space of a range, which then reads as zeros. False if that is not possible here."""
        return False

    @abstractmethod
    def sync(self, fd: int) -> None:
        """Make the file's bytes and size survive a power cut, as far as the disk tells the truth."""

    def write_back(self, fd: int, offset: int, size: int, *, wait: bool) -> None:
        """Start to write dirty pages to the disk; with `wait`, also wait for them. Raises if a write-back has failed."""
        raise _missing()

    def drop_pages(self, fd: int, offset: int, size: int) -> None:
        """Drop the clean pages that are wholly in a range from the page cache."""
        raise _missing()

    @abstractmethod
    def try_lock(self, fd: int, *, shared: bool) -> bool | None:
        """Lock a file, until it is closed or the process ends. False if another process, or another descriptor, holds it.

        None: the file system has no locks. The lock does not wait, and does not hinder reading and writing.
        """

    @abstractmethod
    def unlock(self, fd: int) -> None:
        """Release the lock of this descriptor."""

    # -- which file it is -----------------------------------------------------------------------------------------

    @abstractmethod
    def place(self, fd: int) -> Place:
        """Of two open files, equal if and only if they are the same one."""

    @abstractmethod
    def place_of(self, path: str | os.PathLike[str], *, follow: bool = True) -> Place:
        """place() of the file that has this path now."""

    @abstractmethod
    def is_unlinked(self, fd: int) -> bool:
        """Whether the open file has no name any more. False if the system does not tell."""

    def identify(self, fd: int) -> Identity | None:
        """The identity of a file, which is unique within this boot; None if it is unknown. See disk/filesystem.py."""
        return None

    def keeps_mapped_stores(self, fd: int) -> bool:
        """Whether a store through a map, into space that is claimed, never fails. See disk/filesystem.py."""
        return False

    def pays_to_drop_pages(self, fd: int) -> bool:
        """Whether it pays on this file system to wait for write-back, and to drop the pages then."""
        return False

    def allocated_bytes(self, found: os.stat_result) -> int | None:
        """The space that a file takes on the disk; None if the system does not tell."""
        return None

    def release_pages(self, mapped: mmap.mmap) -> None:
        """Lower the resident size of this process by the pages of a map, which stay in the page cache."""
        return None

    # -- names ----------------------------------------------------------------------------------------------------

    def rename_new(self, old: Path, new: Path) -> bool:
        """Rename in one step. Raises FileExistsError if `new` exists: it is never replaced. False if there is no such call."""
        return False

    @abstractmethod
    def link(self, old: Path, new: Path) -> None:
        """Give a file another name. Raises FileExistsError if `new` exists."""

    @abstractmethod
    def replace(self, old: Path, new: Path) -> None:
        """Rename in one step, which replaces a file `new`."""

    def check_replaceable(self, path: Path) -> None:
        """Raise OSError if a file exists at `path` that replace() could not replace now."""
        return None

    @abstractmethod
    def remove(self, path: Path) -> None:
        """Remove the name of a file."""

    @abstractmethod
    def sync_folder(self, folder: Path) -> None:
        """Make the names in a folder survive a power cut, as far as the file system can."""

    @abstractmethod
    def free_space(self, folder: Path) -> int:
        """Bytes that this user can still write."""

    def largest_file(self, folder: Path) -> int | None:
        """The size in bytes that no file of this file system can exceed; None if it is large, or unknown."""
        return None

    @abstractmethod
    def name_limits(self, folder: Path) -> tuple[int, int]:
        """The longest name, and the longest path, in the units of name_length()."""

    @abstractmethod
    def name_length(self, name: str) -> int:
        """In the units of the system's limits."""

    def why_refused(self, name: str) -> str | None:
        """Why no ordinary file can have this name; None if one can."""
        return None

    # -- the machine ----------------------------------------------------------------------------------------------

    def read_boot_id(self) -> str:
        """Another text after each start of the machine. Empty if there is none."""
        return ""

    def available_memory(self) -> int | None:
        """Bytes that this process can use without displacing what others need. None if the system does not tell."""
        return None


def _missing() -> OSError:
    return OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
