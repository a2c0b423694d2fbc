"""The private parts of lys_storage that the experiments reach into, each behind a function.

Only this module, `model/recorder.py` and `storm/steps.py` (which replace system calls) import private modules.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import lys_storage
from lys_storage.core import _fs, _journal, _layout
from lys_storage.core._create import begin_scan
from lys_storage.core._part import Part

__all__ = [
    "abandon",
    "begin_scan",
    "booted_as",
    "drawn_kind_of_disk",
    "report_flushes",
    "scan_id",
    "set_boot_id",
    "take_checksums",
]


def set_boot_id(name: str) -> None:
    """From now on this process runs on a boot of that name."""
    _fs.boot_id = lambda: name


@contextlib.contextmanager
def booted_as(name: str) -> Iterator[None]:
    real = _fs.boot_id
    set_boot_id(name)
    try:
        yield
    finally:
        _fs.boot_id = real


def scan_id(scan: lys_storage.Scan) -> str:
    return scan._part.description.scan_id


def take_checksums(scan: lys_storage.Scan, frames: int | None = None) -> None:
    """What the checksum thread does: take the checksums of what is new, or of so many frames of it."""
    if frames is None:
        scan._part.check()
    elif frames:
        scan._part.check_some(frames * scan._part.frame_bytes)


def abandon(scan: lys_storage.Scan, below: Path) -> None:
    """Leave what SIGKILL leaves: nothing more is done to the files, and every file below `below` is closed."""
    scan._end_threads()
    part = scan._part
    part.journal.close()
    for file in list(_fs.File._open):
        if file.path.is_relative_to(below):
            file.close()
    part._closed, scan._state, scan._map = True, "suspended", None


def report_flushes(begins: Callable[[str], Callable[[], None]]) -> None:
    """From now on `begins(scan_id)` is called before each flush of this process, and what it returns after it."""
    real = Part.flush

    def flush(part: Part) -> None:
        ended = begins(part.description.scan_id)
        real(part)
        ended()

    Part.flush = flush  # type: ignore[method-assign,assignment]


@contextlib.contextmanager
def drawn_kind_of_disk(rng: random.Random) -> Iterator[None]:
    """Draw three properties that small scans do not have by themselves.

    Blocks of frames that share a checksum, or none; marks in a map, or written as on a copy-on-write filesystem; a
    member of zeros before the array, as large scans have it, or none.
    """
    before = _journal._MOST_IN_BLOCK, _fs.File.keeps_its_place, _layout._MAX_EXTRA
    in_block, by_map, padded = rng.choice([2, 4, 4096]), rng.random() < 0.7, rng.random() < 0.5
    _journal._MOST_IN_BLOCK = in_block
    if padded:
        _layout._MAX_EXTRA = 100
    _fs.File.keeps_its_place = lambda self: by_map  # type: ignore[method-assign]
    try:
        yield
    finally:
        _journal._MOST_IN_BLOCK, _fs.File.keeps_its_place, _layout._MAX_EXTRA = before  # type: ignore[method-assign]
