"""Access to the private parts of lys_storage that the experiments need, each behind a function.

`model/recorder.py`, `storm/steps.py` and `interrupts/calls.py` replace functions of lys_storage themselves.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lys_storage
from lys_storage.disk import File, boot_id, forks
from lys_storage.disk.systems import SYSTEM
from lys_storage.format import PAGE
from lys_storage.format import archive as archive_module
from lys_storage.journal import layout as layout_module
from lys_storage.journal.writer_record import WriterRecord
from lys_storage.scan import begin_scan
from lys_storage.store import ScanStore
from lys_storage.store import write_behind as write_behind_module

__all__ = [
    "abandon",
    "begin_scan",
    "booted_as",
    "copies_are_trusted",
    "drawn_kind_of_disk",
    "files_are_the_writers_own",
    "pages_are_dropped",
    "replace_everywhere",
    "report_flushes",
    "scan_id",
    "set_boot_id",
    "take_checksums",
    "write_behind",
]


def replace_everywhere(function: Callable[..., Any], other: Callable[..., Any]) -> None:
    """Replace `function` by `other` in every module of lys_storage that has imported it."""
    for name, module in list(sys.modules.items()):
        if name == "lys_storage" or name.startswith("lys_storage."):
            for attribute, value in list(vars(module).items()):
                if value is function:
                    setattr(module, attribute, other)


def set_boot_id(name: str) -> None:
    """Set the boot id that lys_storage reads in this process."""
    SYSTEM.read_boot_id = lambda: name  # type: ignore[method-assign]


@contextlib.contextmanager
def booted_as(name: str) -> Iterator[None]:
    real = SYSTEM.read_boot_id
    set_boot_id(name)
    try:
        yield
    finally:
        SYSTEM.read_boot_id = real  # type: ignore[method-assign]


@contextlib.contextmanager
def copies_are_trusted() -> Iterator[None]:
    """Let lys_storage trust the states in a copy of a folder, as it trusts those of the original after a SIGKILL."""
    real = WriterRecord.vouches_for
    WriterRecord.vouches_for = lambda record, *files: record.boot_id == boot_id()  # type: ignore[method-assign]
    try:
        yield
    finally:
        WriterRecord.vouches_for = real  # type: ignore[method-assign]


@contextlib.contextmanager
def files_are_the_writers_own() -> Iterator[None]:
    """Let lys_storage take the files of a modelled disk for the writer's: inodes and birth times are not modelled."""
    real = WriterRecord.wrote_to
    WriterRecord.wrote_to = lambda record, scan_file: True  # type: ignore[method-assign]
    try:
        yield
    finally:
        WriterRecord.wrote_to = real  # type: ignore[method-assign]


def scan_id(scan: lys_storage.Scan) -> str:
    return scan._store.description.scan_id


def take_checksums(scan: lys_storage.Scan, frames: int | None = None) -> None:
    """Compute the checksums of all dirty frames, or of `frames` of them, as the checksum thread does."""
    if frames is None:
        scan._store.checksum_dirty()
    elif frames:
        scan._store.checksum_batch(frames * scan._store.table.frame_bytes)


@contextlib.contextmanager
def pages_are_dropped(open_cache: Callable[[File], Any]) -> Iterator[None]:
    """Let the write-behind of small scans write back and drop single pages, of the cache that `open_cache(file)` gives."""
    names = "open_page_cache", "FOLIO_BYTES", "_PIECE", "_AT_ONCE", "_CLEAN_SCATTERED", "_FRAGMENTS"
    before = {name: getattr(write_behind_module, name) for name in names}
    for name, value in zip(names, (open_cache, PAGE, PAGE, 2 * PAGE, 0, 0), strict=True):
        setattr(write_behind_module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(write_behind_module, name, value)


def write_behind(scan: lys_storage.Scan, prepare_frames: int) -> Callable[[], None]:
    """Use the write-behind of a scan; no page stays. Returns a function that does the work that there is."""
    behind, scan._store.table.prepare_frames = scan._store.write_behind, prepare_frames
    behind.use(0)

    def work() -> None:
        while behind.work():
            continue

    return work


def abandon(scan: lys_storage.Scan, below: Path) -> None:
    """Leave the scan as SIGKILL does: do nothing more to its files, and close every file below `below`."""
    scan._end_threads()
    store = scan._store
    store.journal.close()
    for file in [thing for thing in forks._objects if isinstance(thing, File)]:
        if file.path.is_relative_to(below):
            file.close()
    store._closed, scan._lifecycle.state = True, "suspended"
    scan._map.drop()


def report_flushes(begins: Callable[[str], Callable[[], None]]) -> None:
    """Call `begins(scan_id)` before each flush of this process, and the function that it returns after the flush."""
    real = ScanStore.flush

    def flush(part: ScanStore) -> None:
        ended = begins(part.description.scan_id)
        real(part)
        ended()

    ScanStore.flush = flush  # type: ignore[method-assign,assignment]


@contextlib.contextmanager
def drawn_kind_of_disk(rng: random.Random) -> Iterator[None]:
    """Draw three properties that small scans do not have by default.

    The number of frames that share a checksum; marks in a map, or written as on a copy-on-write filesystem; with or
    without a member of zeros before the array, as in large scans.
    """
    before = layout_module._MOST_IN_BLOCK, File.keeps_mapped_stores, archive_module._MAX_EXTRA
    in_block, by_map, padded = rng.choice([2, 4, 4096]), rng.random() < 0.7, rng.random() < 0.5
    layout_module._MOST_IN_BLOCK = in_block
    if padded:
        archive_module._MAX_EXTRA = 100
    File.keeps_mapped_stores = lambda self: by_map  # type: ignore[method-assign]
    try:
        yield
    finally:
        layout_module._MOST_IN_BLOCK, File.keeps_mapped_stores, archive_module._MAX_EXTRA = before  # type: ignore[method-assign]
