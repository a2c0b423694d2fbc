"""The next free number of a name, and claiming it so that no other process can.

What decides is the file system: an exclusive create of `<name>_N.npz.part`, then a look for `<name>_N.npz`. A file lock
around it only orders the processes; where it cannot be had, claims go on without it. What a folder holds is remembered
between calls, so that a number costs the same in a folder of 100,000 exports as in an empty one.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import filelock

from ..errors import NameTakenError, StorageOSError
from ..format import journal_path, numbered_name, numbered_names, part_path
from .file import File
from .folder import remove_file
from .forks import call_in_forked_child

log = logging.getLogger("lys_storage")
LOCK_NAME = ".lys_storage.lock"
LOCK_WAIT_S = 2.0
_LOOK_S = 0.5
_SCAN_SHARE = 20  # a directory scan at most each 20 times its own duration
_CLOCK_GRAIN_S = 2.0  # some shares tell a folder's time of change by 2 s only
_COLLISIONS = 16


class _NumberCache:
    """What is known of one name in one folder: `used[n]` is 1 where number n is taken. Only a hint: names are looked up."""

    def __init__(self, folder: Path, stem: str) -> None:
        self.folder, self.stem = folder, stem
        self.pattern = numbered_names(stem)
        self.used = bytearray()
        self.due = 0.0
        self.seen: int | None = None
        self.hidden = False

    def refresh(self, *, force: bool = False) -> None:
        """Scan the directory where it changed since the last scan, and the last scan is not too fresh for its cost."""
        begin = time.monotonic()
        if begin < self.due and not force:
            return
        try:
            changed: int | None = os.stat(self.folder).st_mtime_ns
        except OSError:
            changed = None
        if changed is not None and changed == self.seen and not force:
            return
        numbers = []
        if changed is not None:
            with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as entries:
                numbers = [int(m[1]) for m in map(self.pattern.match, (e.name for e in entries)) if m]
        self.used = bytearray(len(numbers) + 64)
        for n in numbers:
            if n < len(self.used):
                self.used[n] = 1
        settled = changed is not None and time.time() - changed / 1e9 > _CLOCK_GRAIN_S
        self.seen = changed if settled else None
        end = time.monotonic()
        self.due = end + _SCAN_SHARE * (end - begin)

    def mark(self, number: int) -> None:
        if number >= len(self.used):
            self.used.extend(bytes(number + 1024 - len(self.used)))
        self.used[number] = 1

    def forget(self, number: int) -> None:
        if number < len(self.used):
            self.used[number] = 0

    def first_free(self) -> int:
        """The smallest number of which neither the export nor a scan in progress is there now."""
        self.refresh()
        collisions = 0
        while True:
            number = self.used.find(0)
            if number < 0:
                number = len(self.used)
            final = self.folder / numbered_name(self.stem, number)
            if not os.path.lexists(final) and not os.path.lexists(part_path(final)):
                return number
            self.mark(number)
            collisions += 1
            if collisions % _COLLISIONS == 0:
                self.refresh(force=True)


_known: dict[tuple[str, str], _NumberCache] = {}
_known_lock = threading.Lock()  # guards _known and what is in it


def _after_fork_in_child() -> None:
    global _known_lock  # a thread that is not in the child may have held it, in the middle of a change
    _known_lock = threading.Lock()
    _known.clear()


call_in_forked_child(_after_fork_in_child)


def _taken(folder: Path, stem: str) -> _NumberCache:
    key = (os.path.abspath(folder), stem)
    if key not in _known:
        while len(_known) >= 64:
            _known.pop(next(iter(_known)))
        _known[key] = _NumberCache(Path(key[0]), stem)
    return _known[key]


def free_number(folder: Path, stem: str) -> int:
    """The smallest N >= 0 for which neither `<stem>_N.npz` nor a scan in progress of that name exists. Changes nothing."""
    with _known_lock:
        return _taken(folder, stem).first_free()


def give_back(folder: Path, stem: str, number: int) -> None:
    """A number that was claimed is free again: its scan has left no trace."""
    with _known_lock:
        _taken(folder, stem).forget(number)


@contextlib.contextmanager
def _ordered(folder: Path) -> Iterator[None]:
    """Take turns with other processes, for 2 s at most; without a lock file where none can be made."""
    lock = filelock.FileLock(folder / LOCK_NAME, timeout=LOCK_WAIT_S, mode=0o666)
    try:
        lock.acquire()
    except (filelock.Timeout, OSError, NotImplementedError) as error:
        log.info("no turn in %s (%s): going on by exclusive create alone", folder, error)
        yield
        return
    try:
        yield
    finally:
        lock.release()


def claim_path(final: Path, *, unique: bool = False) -> File:
    """The new, locked scan file of `final`. Raises NameTakenError where the name, or a scan in progress of it, exists.

    `unique` puts an id into its name instead, so that it meets neither an older one nor a final file, which stays.
    """
    part = part_path(final, uuid.uuid4().hex[:8] if unique else "")
    try:
        file = File.create(part)
    except NameTakenError as error:
        hint = f'a scan in progress is there: "lys-storage recover {part.parent}" exports it'
        raise NameTakenError(error.errno, hint, os.fspath(part)) from error
    try:
        is_ours = _lock_soon(file)
        if not file.owns_path():
            raise NameTakenError(17, "another process has just taken it", os.fspath(part))
        if not is_ours:
            raise StorageOSError(errno.EACCES, "lock: the system gives no lock on a new file", os.fspath(part))
        if not unique and (os.path.lexists(final) or os.path.lexists(journal_path(part))):
            remove_file(part)
            raise NameTakenError(17, "exists already; it is not replaced", os.fspath(final))
    except NameTakenError:
        file.close()
        raise
    except BaseException:
        remove_file(part)  # or its name would be taken for ever
        file.close()
        raise
    return file


def _lock_soon(file: File) -> bool:
    """Whoever looks whether a writer lives holds the lock of a new file for a moment."""
    deadline, pause = time.monotonic() + _LOOK_S, threading.Event()
    while not (locked := file.try_lock()) and file.owns_path() and time.monotonic() < deadline:
        pause.wait(0.01)
    return locked


def claim_number(folder: Path, stem: str) -> tuple[int, File]:
    """The smallest free number, and the new, locked scan file under it, which makes it taken for everybody."""
    with _ordered(folder):
        while True:
            with _known_lock:
                number = _taken(folder, stem).first_free()
            try:
                file = claim_path(folder / numbered_name(stem, number))
            except NameTakenError:
                file = None
            with _known_lock:
                _taken(folder, stem).mark(number)
            if file is not None:
                return number, file
