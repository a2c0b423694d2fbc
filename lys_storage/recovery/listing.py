"""Lists the exports and the scans in progress of a folder, each with its state.

Never changes a file, and never reads the data.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import LysStorageError, UnsafeFileError
from ..format import is_export, is_scan_file, journal_path
from ..journal import Journal
from ..reading import open_wave
from .find import Found, Kind, walk
from .recovery import inspect

FINALIZED, RUNNING, INTERRUPTED, DAMAGED = "finalized", "running", "interrupted", "damaged"


@dataclass(frozen=True)
class Entry:
    """One export or scan in progress.

    `size_bytes`: allocated on disk. `changed`: seconds since the epoch. `said`: what is wrong with it, or not known of it.
    """

    path: Path
    state: str
    shape: tuple[int, ...] | None
    dtype: str
    frames_written: int | None
    frames_expected: int | None
    size_bytes: int
    changed: float
    said: str = ""


def list_scans(folder: str | os.PathLike[str]) -> Iterator[Entry]:
    """Every export and scan in progress below `folder`, sorted by path.

    A scan is running where a process holds the lock of its scan file; clocks and process ids are not asked.
    """
    for found in _exports_and_scans(Path(folder)):
        path = found.path
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue  # a scan that has just been published, or was removed
        size = getattr(stat, "st_blocks", 0) * 512 or stat.st_size
        try:
            yield (_scan if found.kind is Kind.SCAN else _export)(path, size, stat.st_mtime)
        except LysStorageError as error:
            if path.exists():
                yield Entry(path, DAMAGED, None, "", None, None, size, stat.st_mtime, str(error))


def _exports_and_scans(root: Path) -> Iterator[Found]:
    """Those below `root`, or `root` itself where it is one."""
    if not root.is_file():
        yield from walk(root, kinds=(Kind.EXPORT, Kind.SCAN))
    elif is_export(root.name) or is_scan_file(root.name):
        yield Found(root, Kind.SCAN if is_scan_file(root.name) else Kind.EXPORT)


def _scan(path: Path, size: int, changed: float) -> Entry:
    found = inspect(path)
    journal = Journal.open(journal_path(path), writable=False)
    description = journal.description
    journal.close()
    state = RUNNING if found.running else INTERRUPTED
    counts = (found.frames_written, found.frames_expected)
    return Entry(path, state, description.shape, str(description.dtype), *counts, size, changed)


def _export(path: Path, size: int, changed: float) -> Entry:
    try:
        with open_wave(path) as wave:
            info = wave.info
            counts = (info.get("frames_written"), info.get("frames_expected"))
            said = str(wave.note_error or "")
            return Entry(path, FINALIZED, wave.shape, str(wave.dtype), *counts, size, changed, said)
    except UnsafeFileError as error:
        return Entry(path, FINALIZED, None, "", None, None, size, changed, str(error))
