"""A disk that forgets what was not synced: lys_storage runs on a real folder, and every change it makes is recorded.

At any point of the record the power can be cut: each unsynced write (and each change through a map, as seen at every
recorded operation) is then kept, dropped, or torn at 512-byte sectors, each sector being in one of the states that it
has had since the last sync; sizes, and names (creates, renames, removes not followed by a sync of their folder), are
kept or dropped too. Neither a sync of a file makes its name durable, nor one of the folder the file.

A sync can be made to fail, as Linux does it: the error is raised once, and of the pages that were dirty some are lost.
They read as if they had been written, but they are clean: a later sync that succeeds does not write them, and after a
cut they are what they were before (or torn), until something in them is written, or stored through a map, again.

`Recorder` writes the record, `SyncErrors` says which syncs in it fail, `Disk` replays it and chooses, `Book` says what
had been promised by then.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from lys_storage.disk import file as file_module
from lys_storage.disk import syscalls as syscalls_module

SECTOR = 512
PAGE = 4096
Event = tuple[Any, ...]
Files = dict[str, bytes | str | None]
"""What is in a folder, by path with "/". None is a folder; text is another name for the file of that name."""


# -- the record ---------------------------------------------------------------------------------------------------------


class _Proxy:
    """A module of which some functions are others."""

    def __init__(self, module: Any, **others: Any) -> None:
        self._module = module
        self.__dict__.update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class SyncErrors:
    """Which syncs fail: in some runs none, in others a share of all, or of those of one kind of file; never for ever."""

    KINDS = ("scan file", "journal", "redo file", "folder")
    MOST = 12

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._kinds = rng.choice([self.KINDS, self.KINDS, *((kind,) for kind in self.KINDS)])
        self._share = rng.choice([0.1, 0.3] if self._kinds == self.KINDS else [0.2, 0.5])
        if rng.random() < 0.2:
            self._share = 0.0
        self.count = 0

    def draw(self, name: str | None, *, folder: bool) -> tuple[int, int] | None:
        """The error that the sync of `name` ends with, and a seed for what it does to the disk; None for none."""
        kind = "folder" if folder else "scan file"
        for suffix, its_kind in ((".journal", "journal"), (".journal.new", "journal"), (".redo", "redo file")):
            if name is not None and name.endswith(suffix):
                kind = its_kind
        if kind not in self._kinds or self.count >= self.MOST or self._rng.random() >= self._share:
            return None
        self.count += 1
        return self._rng.choice([errno.EIO, errno.EIO, errno.ENOSPC]), self._rng.getrandbits(32)


class _Map(mmap.mmap):
    """A map that tells where it is stored to by index: also what was there already makes a page dirty.

    What numpy stores is seen by the change that it makes, and only by that.
    """

    touched: set[int]

    def __setitem__(self, at: Any, value: Any) -> None:
        super().__setitem__(at, value)
        where = range(len(self))[at] if isinstance(at, slice) else range(at, at + 1)
        self.touched.update(range(where.start // PAGE, -(-where.stop // PAGE)))


class Recorder:
    """Records every change that lys_storage makes below `root` while it is entered; `hook()` runs before each."""

    def __init__(self, root: Path, errors: SyncErrors | None = None) -> None:
        self.root, self.errors = root, errors
        self.events: list[Event] = [("disk", read_files(root))]
        self.disk = Disk()
        self.disk.apply(self.events[0])
        self.hook: Callable[[], None] | None = None
        self._lock = threading.RLock()  # guards events, disk and what follows
        self._of_fd: dict[int, int | str] = {}
        self._mapped: dict[int, int] = {}  # inode: a descriptor of ours
        self._touched: dict[int, set[int]] = {}  # inode: pages that were stored to through a map
        self._undo: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Recorder:
        functions = (
            "open",
            "pwrite",
            "pwritev",
            "preadv",
            "truncate",
            "fdatasync",
            "fsync",
            "replace",
            "rename",
            "link",
            "unlink",
        )
        ours = {name: getattr(self, f"_{name}") for name in (*functions, "close")}
        self._put(file_module, "os", _Proxy(os, **ours))
        self._put(file_module, "mmap", _Proxy(file_module.mmap, mmap=self._mmap))
        self._put(syscalls_module, "fallocate", self._fallocate)
        self._put(syscalls_module, "rename_noreplace", self._rename_noreplace)
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
        """A line of the book, at this place of the record."""
        with self._lock:
            self._stores()
            self._add(("mark", *words))

    def foreign(self, name: str, content: bytes) -> None:
        """Another program makes a file, durably."""
        with self._lock:
            (self.root / name).write_bytes(content)
            self._add(("foreign", name, content))

    def _add(self, event: Event) -> None:
        self.events.append(event)
        self.disk.apply(event)

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """Around each operation: what has been stored through maps up to here comes before it."""
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

    # -- the operations, by the names that file_module calls them ---------------------------------------------------------------

    def _open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        with self._change():
            fd, name = os.open(path, flags, mode), self._name(path)
            if name is None:
                return fd
            if flags & os.O_DIRECTORY:
                self._of_fd[fd] = name
                return fd
            if flags & os.O_CREAT:
                assert flags & os.O_EXCL, f"{path} is opened in a way that this model does not know"
                self._add(("create", name, len(self.disk.inodes)))
            self._of_fd[fd] = self.disk.now[name]
            return fd

    def _close(self, fd: int) -> None:
        with self._change():
            self._of_fd.pop(fd, None)
            os.close(fd)

    def _pwrite(self, fd: int, data: Any, offset: int) -> int:
        with self._change():
            done = os.pwrite(fd, data, offset)
            self._add(("write", self._of_fd[fd], offset, bytes(memoryview(data).cast("B")[:done])))
            return done

    def _pwritev(self, fd: int, buffers: Any, offset: int) -> int:
        return self._pwrite(fd, b"".join(buffers), offset)

    def _preadv(self, fd: int, buffers: Any, offset: int) -> int:
        with self._change():
            return os.preadv(fd, buffers, offset)

    def _truncate(self, fd: int, size: int) -> None:
        with self._change():
            os.truncate(fd, size)
            self._add(("size", self._of_fd[fd], size))

    def _fallocate(self, fd: int, mode: int, offset: int, size: int) -> bool:
        with self._change():
            done: bool = self._real("_fallocate")(fd, mode, offset, size)
            if done and mode != file_module._KEEP_SIZE:  # which changes nothing that can be read
                self._add(("punch" if mode else "grow", self._of_fd[fd], offset, size))
            return done

    def _fdatasync(self, fd: int) -> None:
        with self._change():
            of = self._of_fd[fd]
            is_folder, error = isinstance(of, str), None
            if self.errors is not None:
                names = [of] if isinstance(of, str) else [name for name, it in self.disk.now.items() if it == of]
                error = self.errors.draw(names[0] if names else None, folder=is_folder)
            if error is not None:
                self._add(("sync folder failed", of) if is_folder else ("sync failed", of, error[1]))
                raise OSError(error[0], os.strerror(error[0]))
            self._add(("sync folder" if is_folder else "sync", of))

    _fsync = _fdatasync

    def _replace(self, old: Any, new: Any) -> None:
        with self._change():
            os.replace(old, new)
            self._add(("rename", self._name(old), self._name(new)))

    _rename = _replace

    def _rename_noreplace(self, old: Any, new: Any) -> bool:
        with self._change():
            done: bool = self._real("_rename_noreplace")(old, new)
            if done:
                self._add(("rename", self._name(old), self._name(new)))
            return done

    def _link(self, old: Any, new: Any) -> None:
        with self._change():
            os.link(old, new)
            self._add(("link", self._name(old), self._name(new)))

    def _unlink(self, path: Any) -> None:
        with self._change():
            os.unlink(path)
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
    """Where nothing is recorded, waiting for the real disk is for nothing."""
    real = file_module.os
    quick = _Proxy(os, fdatasync=lambda fd: None, fsync=lambda fd: None)
    file_module.os = quick  # type: ignore[attr-defined]
    try:
        yield
    finally:
        file_module.os = real  # type: ignore[attr-defined]


# -- the disk -----------------------------------------------------------------------------------------------------------


@dataclass
class _Change:
    """One unsynced operation on a file: what its sectors are after it, or that the file ends at `cut`, and its size."""

    sectors: list[tuple[int, bytes]]
    size: int
    cut: int | None = None

    def apply(self, content: bytearray, sectors: list[tuple[int, bytes]], *, sized: bool) -> None:
        if self.cut is not None and sized:
            del content[self.cut :]
        if sized and len(content) < self.size:
            content.extend(bytes(self.size - len(content)))
        for at, data in sectors:
            room = len(content) - at
            if room > 0:  # what lies behind the end of the file was never reached
                content[at : at + SECTOR] = data.ljust(SECTOR, b"\0")[:room]


class _Inode:
    """`now`: as processes read it. `lost`: pages that no sync writes, since one that failed has taken them for written."""

    def __init__(self, content: bytes = b"") -> None:
        self.durable = content
        self.now = bytearray(content)
        self.pending: list[_Change] = []
        self.lost: set[int] = set()

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if len(self.now) < end:
            self.now.extend(bytes(end - len(self.now)))
        self.now[offset:end] = data
        self._changed(range(offset // SECTOR * SECTOR, end, SECTOR))

    def _changed(self, sectors: Iterable[int], cut: int | None = None) -> None:
        """A page is dirty as a whole: one that was lost is to be written again."""
        pages = self.lost and self.lost & {at // PAGE for at in sectors}
        if pages:
            self.lost -= pages
            others = (at for page in pages for at in range(page * PAGE, (page + 1) * PAGE, SECTOR))
            sectors = sorted({*sectors, *(at for at in others if at < len(self.now))})
        changed = [(at, bytes(self.now[at : at + SECTOR])) for at in sectors]
        self.pending.append(_Change(changed, len(self.now), cut))

    def store(self, sectors: list[tuple[int, bytes]]) -> None:
        for at, data in sectors:
            self.now[at : at + len(data)] = data
        self._changed([at for at, _ in sectors])

    def set_size(self, size: int) -> None:
        cut = size if size < len(self.now) else None
        del self.now[size:]
        self.now.extend(bytes(size - len(self.now)))
        self.lost = {page for page in self.lost if page * PAGE < size}
        ends_in_lost = cut is not None and size % PAGE and size // PAGE in self.lost
        self._changed([size // PAGE * PAGE] if ends_in_lost else [], cut)  # made zeros behind the end: dirty

    def sync(self) -> None:
        self.durable, self.pending = self._written(self.lost), []

    def _written(self, but: set[int]) -> bytes:
        """The content with every change written, but for those pages."""
        if not but:
            return bytes(self.now)
        content, before = bytearray(self.now), bytearray(self.durable)
        for change in self.pending:
            change.apply(before, [], sized=True)
        for page in but:
            content[page * PAGE : (page + 1) * PAGE] = before[page * PAGE : (page + 1) * PAGE]
        return bytes(content)

    def fail(self, seed: int) -> None:
        """A sync that fails: some of the dirty pages are lost; the others are written, or are still dirty."""
        rng = random.Random(seed)
        dirty = sorted({at // PAGE for change in self.pending for at, _ in change.sectors if at < len(self.now)})
        share = rng.choice([0.1, 0.5, 1])
        lost = {page for page in dirty if rng.random() < share} or set(dirty[:1])
        kept, torn, share = [], [], rng.choice([0, 0, 0.3, 0.7])  # of their sectors, which are written all the same
        for change in self.pending:
            kept.append(_Change([s for s in change.sectors if s[0] // PAGE not in lost], change.size, change.cut))
            torn.append([s for s in change.sectors if s[0] // PAGE in lost and rng.random() < share])
        if rng.random() < 0.5:
            content, self.pending, self.lost = bytearray(self._written(self.lost | lost)), [], self.lost | lost
        else:
            content, self.pending, self.lost = bytearray(self.durable), kept, self.lost | lost
        for change, sectors in zip(kept, torn, strict=True):
            change.apply(content, sectors, sized=False)
        self.durable = bytes(content)

    def choose(self, rng: random.Random) -> bytes:
        """The content after a cut."""
        content, how = bytearray(self.durable), rng.choice(["kept", "dropped", "first", "each", "each", "torn", "torn"])
        if how == "kept":
            return self._written(self.lost)
        stop = rng.randint(0, len(self.pending)) if how == "first" else len(self.pending)
        for change in self.pending[:stop]:
            what = "kept" if how == "first" else rng.choice(["kept", "dropped"] if how == "each" else ["torn"])
            if how == "dropped" or what == "dropped":
                continue
            sectors = change.sectors if what == "kept" else [s for s in change.sectors if rng.random() < 0.5]
            change.apply(content, sectors, sized=what == "kept" or rng.random() < 0.7)
        return bytes(content)


class Disk:
    """What a record has done to a disk so far. `now`: the names as processes see them, each with its inode or None."""

    def __init__(self) -> None:
        self.inodes: list[_Inode] = []
        self.now: dict[str, int | None] = {}
        self._durable: dict[str, int | None] = {}
        self._pending: list[Event] = []  # changes of names, in order

    def apply(self, event: Event) -> None:
        what, *rest = event
        match what:
            case "disk":
                self._start(rest[0])
            case "write":
                self.inodes[rest[0]].write(rest[1], rest[2])
            case "stores":
                self.inodes[rest[0]].store(rest[1])
            case "size":
                self.inodes[rest[0]].set_size(rest[1])
            case "grow":
                inode = self.inodes[rest[0]]
                inode.set_size(max(len(inode.now), rest[1] + rest[2]))
            case "punch":
                inode = self.inodes[rest[0]]
                inode.write(rest[1], bytes(max(0, min(rest[2], len(inode.now) - rest[1]))))
            case "sync":
                self.inodes[rest[0]].sync()
            case "sync failed":
                self.inodes[rest[0]].fail(rest[1])
            case "create":
                assert rest[1] == len(self.inodes)
                self.inodes.append(_Inode())
                self._rename(("set", rest[0], rest[1]))
            case "mkdir":
                self._rename(("set", rest[0], None))
            case "link":
                self._rename(("set", rest[1], self.now[rest[0]]))
            case "rename":
                self._rename(("move", rest[0], rest[1], self.now[rest[0]]))
            case "unlink":
                self._rename(("remove", rest[0], self.now[rest[0]]))
            case "sync folder":
                mine = [change for change in self._pending if _folder(change[1]) == rest[0]]
                for change in mine:
                    _apply_name(self._durable, change)
                    self._pending.remove(change)
            case "foreign":
                self.now[rest[0]] = self._durable[rest[0]] = len(self.inodes)
                self.inodes.append(_Inode(rest[1]))
            case "mark" | "sync folder failed":  # names are not lost by it: the next sync takes them along
                pass
            case _:
                raise AssertionError(f"unknown event {what}")

    def _start(self, files: Files) -> None:
        self.inodes, self.now, self._pending = [], {}, []
        for name, content in files.items():
            self.now[name] = self.now[content] if isinstance(content, str) else None
            if isinstance(content, bytes):
                self.now[name] = len(self.inodes)
                self.inodes.append(_Inode(content))
        self._durable = dict(self.now)

    def _rename(self, change: Event) -> None:
        _apply_name(self.now, change)
        self._pending.append(change)

    def choose(self, rng: random.Random, *, any_names: bool = False) -> Files:
        """What is left after a cut. `any_names`: changes of names survive in any order, not in theirs."""
        names, how = dict(self._durable), rng.choice(["all", "none", "first", "any" if any_names else "first"])
        stop = {"all": len(self._pending), "none": 0}.get(how, rng.randint(0, len(self._pending)))
        for k, change in enumerate(self._pending):
            if (rng.random() < 0.5) if how == "any" else k < stop:
                _apply_name(names, change)
        first: dict[int, str] = {}
        left: Files = {}
        for name, inode in sorted(names.items()):
            folder = _folder(name)
            if folder != "." and folder not in names:
                continue
            if inode is None:
                left[name] = None
            elif inode in first:
                left[name] = first[inode]
            else:
                left[name], first[inode] = self.inodes[inode].choose(rng), name
        return left


def _folder(name: str) -> str:
    return os.path.dirname(name) or "."


def _apply_name(names: dict[str, int | None], change: Event) -> None:
    what, name = change[:2]
    if what == "set":
        names[name] = change[2]
    elif what == "move":
        if name in names and names[name] == change[3]:
            del names[name]
        names[change[2]] = change[3]
    elif name in names and names[name] == change[2]:
        del names[name]


def read_files(root: Path) -> Files:
    """Everything below `root`, but for the hidden lock files."""
    files: Files = {}
    first: dict[int, str] = {}
    for path in sorted(path for path in root.rglob("*") if not path.name.startswith(".")):
        name, inode = path.relative_to(root).as_posix(), path.stat().st_ino
        if path.is_dir():
            files[name] = None
        else:
            files[name] = first[inode] if inode in first else path.read_bytes()
            first.setdefault(inode, name)
    return files


def write_files(root: Path, files: Files) -> None:
    root.mkdir()
    for name, content in files.items():
        path = root / name
        if content is None:
            path.mkdir()
        elif isinstance(content, str):
            path.hardlink_to(root / content)
        else:
            path.write_bytes(content)


# -- what had been promised ---------------------------------------------------------------------------------------------


@dataclass
class Book:
    """What the marks in a record say, up to a point: which versions of each cell were begun, acknowledged, promised."""

    begun: dict[int, list[int]] = field(default_factory=dict)
    acked: dict[int, int] = field(default_factory=dict)
    promised: dict[int, int] = field(default_factory=dict)
    notes_begun: list[int] = field(default_factory=lambda: [0])
    note_acked: int = 0
    note_promised: int = 0
    flushed: bool = False
    saved: str | None = None
    _at_flush: dict[int, int] = field(default_factory=dict)
    _note_at_flush: int = 0

    def apply(self, event: Event) -> None:
        if event[0] != "mark":
            return
        what, *rest = event[1:]
        match what:
            case "begun":
                for cell in rest[1]:
                    self.begun.setdefault(cell, []).append(rest[0])
            case "written":
                for cell in rest[1]:
                    self.acked[cell] = rest[0]
            case "note begun":
                self.notes_begun.append(rest[0])
            case "note":
                self.note_acked = rest[0]
            case "flush begun":
                self._at_flush, self._note_at_flush = dict(self.acked), self.note_acked
            case "flushed":
                self.promised |= self._at_flush
                self.note_promised, self.flushed = max(self.note_promised, self._note_at_flush), True
            case "saved":
                self.saved = rest[0]
            case "found":  # by resume, after a cut: {cell: version}, and the note
                self.acked, self.promised = dict(rest[0]), dict(rest[0])
                self.note_acked = self.note_promised = rest[1]

    def allowed(self, cell: int) -> set[int]:
        """The versions that the cell may hold after a cut."""
        return {version for version in self.begun.get(cell, []) if version >= self.promised.get(cell, 0)}
