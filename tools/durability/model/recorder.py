"""Records every change that lys_storage makes to a real folder, as events that the modelled disk replays.

It replaces methods of SYSTEM, by which lys_storage changes files, and restores them at the end. It makes no choices:
`model.disk` chooses the state after a cut, and `model.sync_errors` the syncs that fail.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from lys_storage.disk import file as file_module
from lys_storage.disk import lock as lock_module
from lys_storage.disk.systems import SYSTEM
from tools.durability.files import read_files
from tools.durability.model.disk import PAGE, SECTOR, Disk, Event
from tools.durability.model.sync_errors import SyncErrors

CALLS = (
    *("open_file", "open_folder", "pwrite", "pwritev", "preadv", "set_size", "preallocate", "punch_hole", "sync"),
    *("rename_new", "link", "replace", "remove", "sync_folder"),
)
"""The methods of SYSTEM that are replaced, by those of Recorder with an underscore before the name."""


class _Proxy:
    """A module with some functions replaced."""

    def __init__(self, module: Any, **others: Any) -> None:
        self._module = module
        self.__dict__.update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _Map(mmap.mmap):
    """A map that notes the pages of stores by index: a store of the same bytes makes a page dirty too.

    A store through numpy is noticed only if it changes bytes.
    """

    touched: set[int]

    def __setitem__(self, at: Any, value: Any) -> None:
        super().__setitem__(at, value)
        where = range(len(self))[at] if isinstance(at, slice) else range(at, at + 1)
        self.touched.update(range(where.start // PAGE, -(-where.stop // PAGE)))


class Recorder:
    """Records the changes below `root` while it is entered. `hook()` runs before each operation."""

    def __init__(self, root: Path, errors: SyncErrors | None = None) -> None:
        self.root, self.errors = root, errors
        self.events: list[Event] = [("disk", read_files(root))]
        self.disk = Disk()
        self.disk.apply(self.events[0])
        self.hook: Callable[[], None] | None = None
        self._lock = threading.RLock()  # guards events, disk, and the attributes below
        self._of_fd: dict[int, int | str] = {}
        self._mapped: dict[int, int] = {}  # inode: a duplicated descriptor
        self._touched: dict[int, set[int]] = {}  # inode: pages that were changed through a map
        self._undo: list[tuple[Any, str, Any]] = []
        self._failures: dict[int | str, int] = {}  # inode: how many write-backs and syncs of it have failed
        self._unreported: set[int | str] = set()  # inodes whose next sync reports a write-back that has failed

    def __enter__(self) -> Recorder:
        for name in CALLS:
            self._put(SYSTEM, name, getattr(self, f"_{name}"))
        for module in (file_module, lock_module):
            self._put(module, "os", _Proxy(os, close=self._close))
        self._put(file_module, "mmap", _Proxy(file_module.mmap, mmap=self._mmap))
        self._put(os, "mkdir", self._mkdir)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.mark("end of the record")
        for owner, name, real in reversed(self._undo):
            setattr(owner, name, real)
        self._undo.clear()
        for fd in self._mapped.values():
            os.close(fd)
        self._mapped.clear()

    def _put(self, owner: Any, name: str, other: Any) -> None:
        self._undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, other)

    def _real(self, name: str) -> Any:
        return next(real for _, known, real in self._undo if known == name)

    def mark(self, *words: Any) -> None:
        """Insert a fact for the ledger at this place of the record."""
        with self._lock:
            self._stores()
            self._add(("mark", *words))

    def foreign(self, name: str, content: bytes) -> None:
        """Another program creates a file, and syncs it."""
        with self._lock:
            (self.root / name).write_bytes(content)
            self._add(("foreign", name, content))

    # -- the page cache: see model.page_cache ------------------------------------------------------------------------

    def failures(self, fd: int) -> int:
        return self._failures.get(self._of_fd.get(fd, ""), 0)

    def write_back(self, fd: int) -> None:
        """Some write-backs fail, as some syncs do. The next sync of the file reports it, too."""
        with self._change():
            of = self._of_fd[fd]
            error = None if self.errors is None else self.errors.draw(None, folder=False)
            if error is not None:
                self._add(("sync failed", of, error[1]))
                self._failures[of] = self._failures.get(of, 0) + 1
                self._unreported.add(of)

    def drop(self, fd: int, offset: int, size: int) -> None:
        with self._change():
            of = self._of_fd[fd]
            assert isinstance(of, int)
            lost = self.disk.inodes[of].lost & set(range(offset // PAGE, -(-(offset + size) // PAGE)))
            assert not lost, f"pages {sorted(lost)} are dropped, which the disk does not have"

    def _add(self, event: Event) -> None:
        self.events.append(event)
        self.disk.apply(event)

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """The context of each operation. It first records the stores through maps so far."""
        if self.hook is not None:
            self.hook()
        with self._lock:
            self._stores()
            yield

    def _stores(self) -> None:
        for inode, fd in self._mapped.items():
            known, now = self.disk.inodes[inode].now, os.pread(fd, len(self.disk.inodes[inode].now), 0)
            again = self._touched[inode] & self.disk.inodes[inode].lost
            self._touched[inode].clear()
            if now == known and not again:
                continue
            changed = [
                (at, now[at : at + SECTOR])
                for at in range(0, len(now), SECTOR)
                if now[at : at + SECTOR] != known[at : at + SECTOR] or at // PAGE in again
            ]
            self._add(("stores", inode, changed))

    def _name(self, path: Any) -> str | None:
        with contextlib.suppress(ValueError):
            return Path(os.path.abspath(path)).relative_to(self.root).as_posix()
        return None

    # -- the calls -----------------------------------------------------------------------------------------------------

    def _open_file(self, path: Any, flags: int) -> int:
        with self._change():
            fd: int = self._real("open_file")(path, flags)
            name = self._name(path)
            if name is None:
                return fd
            if flags & os.O_CREAT:
                assert flags & os.O_EXCL, f"{path}: the model does not support O_CREAT without O_EXCL"
                self._add(("create", name, len(self.disk.inodes)))
            self._of_fd[fd] = self.disk.now[name]
            return fd

    def _open_folder(self, folder: Any) -> int:
        with self._change():
            fd: int = self._real("open_folder")(folder)
            return fd

    def _close(self, fd: int) -> None:
        with self._change():
            self._of_fd.pop(fd, None)
            os.close(fd)

    def _pwrite(self, fd: int, data: Any, offset: int) -> int:
        with self._change():
            done: int = self._real("pwrite")(fd, data, offset)
            self._add(("write", self._of_fd[fd], offset, bytes(memoryview(data).cast("B")[:done])))
            return done

    def _pwritev(self, fd: int, buffers: Any, offset: int) -> int:
        return self._pwrite(fd, b"".join(buffers), offset)

    def _preadv(self, fd: int, buffers: Any, offset: int) -> int:
        with self._change():
            done: int = self._real("preadv")(fd, buffers, offset)
            return done

    def _set_size(self, fd: int, size: int) -> None:
        with self._change():
            self._real("set_size")(fd, size)
            self._add(("size", self._of_fd[fd], size))

    def _preallocate(self, fd: int, offset: int, size: int, *, beyond_end: bool) -> bool:
        with self._change():
            done: bool = self._real("preallocate")(fd, offset, size, beyond_end=beyond_end)
            if done and not beyond_end:  # else no readable byte changes
                self._add(("grow", self._of_fd[fd], offset, size))
            return done

    def _punch_hole(self, fd: int, offset: int, size: int) -> bool:
        with self._change():
            done: bool = self._real("punch_hole")(fd, offset, size)
            if done:
                self._add(("punch", self._of_fd[fd], offset, size))
            return done

    def _sync(self, fd: int) -> None:
        with self._change():
            of, error = self._of_fd[fd], None
            if self.errors is not None:
                names = [name for name, it in self.disk.now.items() if it == of]
                error = self.errors.draw(names[0] if names else None, folder=False)
            if self.errors is not None and of in self._unreported and error is None:
                self._unreported.discard(of)
                self._add(("sync", of))
                self.errors.count += 1
                raise OSError(errno.EIO, "a write-back has failed before")
            if error is not None:
                self._unreported.discard(of)
                self._failures[of] = self._failures.get(of, 0) + 1
                self._add(("sync failed", of, error[1]))
                raise OSError(error[0], os.strerror(error[0]))
            self._add(("sync", of))

    def _sync_folder(self, folder: Path) -> None:
        with self._change():
            folder.stat()  # raises if it is not there
            of = self._name(folder)
            error = None if self.errors is None else self.errors.draw(of, folder=True)
            if error is not None:
                self._add(("sync folder failed", of))
                raise OSError(error[0], os.strerror(error[0]))
            self._add(("sync folder", of))

    def _replace(self, old: Any, new: Any) -> None:
        with self._change():
            self._real("replace")(old, new)
            self._add(("rename", self._name(old), self._name(new)))

    def _rename_new(self, old: Any, new: Any) -> bool:
        with self._change():
            done: bool = self._real("rename_new")(old, new)
            if done:
                self._add(("rename", self._name(old), self._name(new)))
            return done

    def _link(self, old: Any, new: Any) -> None:
        with self._change():
            self._real("link")(old, new)
            self._add(("link", self._name(old), self._name(new)))

    def _remove(self, path: Any) -> None:
        with self._change():
            self._real("remove")(path)
            self._add(("unlink", self._name(path)))

    def _mkdir(self, path: Any, *args: Any, **options: Any) -> None:
        name = self._name(path)
        if name is None:
            self._real("mkdir")(path, *args, **options)
            return
        with self._change():
            self._real("mkdir")(path, *args, **options)
            self._add(("mkdir", name))

    def _mmap(self, fd: int, size: int, *, access: int) -> Any:
        with self._change():
            inode = self._of_fd[fd]
            if access != file_module.mmap.ACCESS_WRITE or not isinstance(inode, int):
                return self._real("mmap").mmap(fd, size, access=access)
            if inode not in self._mapped:
                self._mapped[inode] = os.dup(fd)
            mapped = _Map(fd, size, access=access)
            mapped.touched = self._touched.setdefault(inode, set())
            return mapped


@contextlib.contextmanager
def without_syncs() -> Iterator[None]:
    """Skip syncs of the real disk: they have no effect on the model."""
    real = SYSTEM.sync, SYSTEM.sync_folder
    SYSTEM.sync = SYSTEM.sync_folder = lambda what: None  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        SYSTEM.sync, SYSTEM.sync_folder = real  # type: ignore[method-assign]
