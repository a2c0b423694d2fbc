"""Finds the next free number of a name, and claims it so that no other process can.

The file system decides: a number is claimed by an exclusive create of `<stem>_N.npz.part`, if `<stem>_N.npz` does not exist
after it. A file lock makes processes take turns, and is not needed for correctness. Names in a folder are cached, so that
a number costs the same in a folder of 100,000 exports as in an empty one. Never relies on the cache: the name of each
number is looked up before it is returned.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from ..errors import NameTakenError, StorageOSError
from ..format import journal_path, numbered_name, numbered_names, part_path, recover_command, redo_path
from .file import File
from .folder import remove_file
from .forks import call_in_forked_child
from .paths import absolute

log = logging.getLogger("lys_storage")
LOCK_NAME = ".lys_storage.lock"
LOCK_WAIT_S = 2.0
_LOCK_RETRY_S = 0.5
_SCAN_INTERVAL_RATIO = 20  # directory scans take at most a 20th of the time
_MTIME_RESOLUTION_S = 2.0  # of some network shares
_RESCAN_AFTER_COLLISIONS = 16


class _NumberCache:
    """The used numbers of one stem in one folder, as of the last directory scan: `used[n]` is 1 for a used number.

    It may be out of date: another process may have used or freed numbers since.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self.folder, self.stem = folder, stem
        self.pattern = numbered_names(stem)
        self.used = bytearray()
        self.next_scan_at = 0.0  # time.monotonic()
        self.scanned_mtime_ns: int | None = None  # of the folder; None: scan it again, whatever its mtime

    def refresh(self, *, force: bool = False) -> None:
        """Scan the directory if it has changed since the last scan, and a scan is due.

        `force`: scan it in any case. The next scan is due after 20 times the duration of this one.
        """
        begin = time.monotonic()
        if begin < self.next_scan_at and not force:
            return
        try:
            mtime_ns: int | None = os.stat(self.folder).st_mtime_ns
        except OSError:
            mtime_ns = None
        if mtime_ns is not None and mtime_ns == self.scanned_mtime_ns and not force:
            return
        numbers = []
        if mtime_ns is not None:
            with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
                numbers = [int(m[1]) for m in map(self.pattern.match, (e.name for e in entries)) if m]
        self.used = bytearray(len(numbers) + 64)
        for n in numbers:
            if n < len(self.used):
                self.used[n] = 1
        # A later change within the resolution of the mtime would not change the mtime, and would never be noticed.
        is_old = mtime_ns is not None and time.time() - mtime_ns / 1e9 > _MTIME_RESOLUTION_S
        self.scanned_mtime_ns = mtime_ns if is_old else None
        end = time.monotonic()
        self.next_scan_at = end + _SCAN_INTERVAL_RATIO * (end - begin)

    def mark_used(self, number: int) -> None:
        if number >= len(self.used):
            self.used.extend(bytes(number + 1024 - len(self.used)))
        self.used[number] = 1

    def mark_free(self, number: int) -> None:
        if number < len(self.used):
            self.used[number] = 0

    def first_free(self) -> int:
        """The smallest number for which neither an export nor a scan in progress exists now."""
        self.refresh()
        collisions = 0
        while True:
            number = self.used.find(0)
            if number < 0:
                number = len(self.used)
            final = self.folder / numbered_name(self.stem, number)
            if not os.path.lexists(final) and not os.path.lexists(part_path(final)):
                return number
            self.mark_used(number)
            collisions += 1
            if collisions % _RESCAN_AFTER_COLLISIONS == 0:
                self.refresh(force=True)


_known: dict[tuple[str, str], _NumberCache] = {}
_known_lock = threading.Lock()  # guards _known and what is in it


def _after_fork_in_child() -> None:
    global _known_lock  # a thread that does not exist in the child may have held it during a change
    _known_lock = threading.Lock()
    _known.clear()


call_in_forked_child(_after_fork_in_child)


def _cache_of(folder: Path, stem: str) -> _NumberCache:
    key = (str(absolute(folder)), stem)
    if key not in _known:
        while len(_known) >= 64:
            _known.pop(next(iter(_known)))
        _known[key] = _NumberCache(Path(key[0]), stem)
    return _known[key]


def free_number(folder: Path, stem: str) -> int:
    """The smallest N >= 0 for which neither `<stem>_N.npz` nor a scan in progress of that name exists. Changes no file."""
    with _known_lock:
        return _cache_of(folder, stem).first_free()


def give_back(folder: Path, stem: str, number: int) -> None:
    """Make a claimed number free again. The scan file must have been removed."""
    with _known_lock:
        _cache_of(folder, stem).mark_free(number)


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Take turns with other processes. Continues without a turn after 2 s, or if no lock file can be made."""
    lock = filelock.FileLock(folder / LOCK_NAME, timeout=LOCK_WAIT_S, mode=0o666)
    try:
        lock.acquire()
    except (filelock.Timeout, OSError, NotImplementedError) as error:
        log.info("no lock file in %s (%s): continuing with exclusive create only", folder, error)
        yield
        return
    try:
        yield
    finally:
        lock.release()


def claim_path(final: Path, *, unique: bool = False) -> File:
    """Create and lock the scan file of `final`. Raises NameTakenError if `final`, or a scan in progress of it, exists.

    `unique`: put an id into the name of the scan file. An export of that name, and other scans that will replace it, may
    then exist.
    """
    part = part_path(final, uuid.uuid4().hex[:8] if unique else "")
    try:
        file = File.create(part)
    except NameTakenError as error:
        hint = (
            f"a scan in progress has this name: lys_storage.resume continues it, {recover_command(part.parent)} "
            "exports it; or choose another name"
        )
        if _is_empty(part) and not os.path.lexists(journal_path(part)):
            hint = "an empty file is there: delete it, if nothing is about to write it; or choose another name"
        raise NameTakenError(error.errno, hint, os.fspath(part)) from None
    try:
        file.hold_folder()
        is_locked = _lock_new_file(file)
        if not file.owns_path():
            hint = "another process removed or replaced this new file: try again, or choose another name"
            raise NameTakenError(errno.EEXIST, hint, os.fspath(part))
        if not is_locked:
            hint = f"lock: another process held a lock on this new file for {_LOCK_RETRY_S} s; try again"
            raise StorageOSError(errno.EACCES, hint, os.fspath(part))
        if not unique and os.path.lexists(final):
            give_up_claim(file)
            hint = "exists already, and is not replaced: choose another name, or pass overwrite=True"
            raise NameTakenError(errno.EEXIST, hint, os.fspath(final))
        left = next((path for path in (journal_path(part), redo_path(part)) if os.path.lexists(path)), None)
        if not unique and left is not None:
            give_up_claim(file)
            hint = f"is left over from an earlier scan: {recover_command(part.parent)} reports what to do; or choose another name"
            raise NameTakenError(errno.EEXIST, hint, os.fspath(left))
    except NameTakenError:
        file.close()
        raise
    except BaseException:
        give_up_claim(file)  # otherwise its name would stay taken
        raise
    return file


def give_up_claim(file: File) -> None:
    """Remove and close the scan file of a claim, and its lock file."""
    try:
        remove_file(file.path)
        file.lock_file.remove()
    finally:
        file.close()


def _is_empty(path: Path) -> bool:
    try:
        return os.stat(path).st_size == 0
    except OSError:
        return False


def _lock_new_file(file: File) -> bool:
    """Lock a new file. Retries for 0.5 s: a process that checks whether the writer runs holds the lock for a moment."""
    deadline, pause = time.monotonic() + _LOCK_RETRY_S, threading.Event()
    while not (locked := file.try_lock()) and file.owns_path() and time.monotonic() < deadline:
        pause.wait(0.01)
    return bool(locked)


def claim_number(folder: Path, stem: str) -> tuple[int, File]:
    """Claim the smallest free number. Returns it and its scan file, which is new and locked."""
    file: File | None = None
    try:
        with _turn(folder):
            while file is None:
                with _known_lock:
                    number = _cache_of(folder, stem).first_free()
                with suppress(NameTakenError):
                    file = claim_path(folder / numbered_name(stem, number))
                with _known_lock:
                    _cache_of(folder, stem).mark_used(number)
        return number, file
    except BaseException:
        if file is not None:
            give_up_claim(file)
        raise
