"""Taking over an interrupted scan: lock it, find out which of its frames are data, and go on with it."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..callbacks import Progress
from ..disk import File, remove_file, sync_folder
from ..errors import BadFileError, NameTakenError, ScanInUseError, ScanShapeError, StorageOSError
from ..format import EXPORT_SUFFIX, decode_npy_header, journal_path, layout_of, replacement_path
from ..journal import JOURNAL_VERSION, Journal
from ..scan import Scan, check_options
from ..store import ScanStore
from .find import find_scan_file
from .reconcile import reconcile_frames

log = logging.getLogger("lys_storage")


def open_store(
    path: Path, *, verify: bool = False, keep_doubtful: bool = False, progress: Progress | None = None
) -> ScanStore:
    """Take over an interrupted scan: lock it, and find out which of its frames are data. See reconcile_frames.

    Raises ScanInUseError where a living process writes it, BadFileError where it is not sound.
    """
    part = find_scan_file(Path(os.path.abspath(path)))
    file = File.open(part, writable=True)
    try:
        file.hold_folder()
        if not file.try_lock():
            raise ScanInUseError(f"scan {part} is being written by a living process")
        if not file.owns_path():
            raise ScanInUseError(f"scan {part} has just been finished by another process")
        final = export_of(part)
        if final is not None:
            raise NameTakenError(
                17, f'is {final.name} already: "lys-storage recover" removes its other name', str(part)
            )
        return _reconciled(file, verify, keep_doubtful, progress)
    except BaseException:
        try:
            file.close()
        finally:
            file.close()  # again: the lock must not stay where a second interrupt came before it
        raise


def _reconciled(file: File, verify: bool, keep_doubtful: bool, progress: Progress | None) -> ScanStore:
    last_write = datetime.fromtimestamp(os.fstat(file.fd).st_mtime, UTC)  # before anything is written here
    journal = Journal.open(journal_path(file.path), writable=True)
    try:
        description = journal.description
        if layout_of(description).array_offset != description.array_offset:
            raise BadFileError(f"journal {journal.path}: array at {description.array_offset} does not fit its shape")
        journal.read_metadata()  # nothing is changed before it is known that there is an end to it
        _check_form(file, journal)
        if journal.version < JOURNAL_VERSION:
            journal = _in_todays_version(journal)
        trusted = not verify and journal.vouches_for(file) and _syncs(file, journal)
        reconcile_frames(file, journal, trust_states=trusted, keep_doubtful=keep_doubtful, progress=progress)
        journal.sign(file)  # states and checksums are durable: from now on the death of a process leaves them true
        for stale in (file.path, journal.path):
            remove_file(replacement_path(stale))  # on its way into the old one's place when the process died
        store = ScanStore(file, journal)
        store.last_write = last_write
        return store
    except BaseException:
        journal.close()
        raise


def _syncs(file: File, journal: Journal) -> bool:
    """Whether what was written before has no error of the disk to it: a sync would tell, once."""
    try:
        file.sync()
    except StorageOSError as error:
        log.warning("%s: %s; every frame is compared with its checksum", file.path, error)
        journal.file_sync_failed = True
        return False
    return True


def _check_form(file: File, journal: Journal) -> None:
    """Raise BadFileError where the scan file is another's, as far as its form tells: filling it up would destroy that one.

    A header of a part of the shape was left by an export that was to be cut; a damaged one is written again.
    """
    description = journal.description
    if description.replace and not file.path.name.startswith(f"{description.final}."):
        raise BadFileError(f"journal {journal.path} is that of {description.final}, which it would replace")
    if not journal.states.any_data():
        return  # also one whose dtype was about to change
    layout = layout_of(description)
    try:
        shape, dtype, _, _ = decode_npy_header(
            file.read_at(len(layout.npy_header), layout.array_offset - len(layout.npy_header))
        )
    except BadFileError:
        return
    fits = len(shape) == len(description.shape) and all(a <= b for a, b in zip(shape, description.shape, strict=True))
    if dtype != description.dtype or not fits:
        raise BadFileError(
            f"scan {file.path} has an array of {dtype} {shape}; its journal describes {description.dtype} {description.shape}"
        )


def _in_todays_version(journal: Journal) -> Journal:
    """A journal of an older version, as one of today's, in its place. Nothing vouches for its states."""

    def copy_states(new: Journal) -> None:
        new.states.copy_from(journal.states)
        new.epoch, new.file_sync_failed = journal.epoch, journal.file_sync_failed

    new = journal.write_replacement(journal.description, copy_states, None)
    new.replace(journal)
    sync_folder(new.path.parent)
    journal.close()
    return new


def resume(
    path: str | os.PathLike[str],
    *,
    shape: Any = None,
    dtype: Any = None,
    flush_interval_s: float | None = 1.0,
    casting: str = "same_value",
    progress: Progress | None = None,
) -> Scan:
    """Go on with an interrupted scan: the same file; `missing()` gives the indices of the frames that are not there.

    `path`: the final name it was made with, or its scan file. Where `shape` or `dtype` are given they have to be the scan's
    (ScanShapeError). `flush_interval_s`, `casting`: as in create. Raises ScanInUseError where a living process writes it,
    BadFileError where it is not sound, StorageOSError where there is none.
    """
    options: dict[str, Any] = {"flush_interval_s": flush_interval_s, "casting": casting, "progress": progress}
    return resume_scan(Path(path), shape=shape, dtype=dtype, **options)


def resume_scan(
    path: Path,
    *,
    shape: Any = None,
    dtype: Any = None,
    flush_interval_s: float | None = 1.0,
    progress: Progress | None = None,
    partial: str = "fill",
    verify: bool = False,
    keep_doubtful: bool = False,
    is_over: bool = False,
    casting: str = "same_value",
) -> Scan:
    """As resume. `partial`: what close() makes of a scan that is not complete, as in create; `is_over`: no more frames will
    come; the others: as in recover."""
    interval_s = check_options(flush_interval_s, partial, casting)
    store = open_store(path, verify=verify, keep_doubtful=keep_doubtful, progress=progress)
    try:
        if not is_over:
            store.last_write = None
        d = store.description
        wanted = (d.shape if shape is None else tuple(shape), d.dtype if dtype is None else np.dtype(dtype))
        if wanted != (d.shape, d.dtype):
            raise ScanShapeError(f"scan {store.path} is of {d.dtype} {d.shape}, not of {wanted[1]} {wanted[0]}")
        grid_is_known = d.grid_ndim > 0 or store.frames_written > 0  # else the first index tells it
        return Scan(store, flush_interval_s=interval_s, grid_is_known=grid_is_known, partial=partial, casting=casting)
    except BaseException:
        try:
            store.close()
        finally:
            store.close()
        raise


def export_of(path: Path) -> Path | None:
    """The export that the scan file is already: a crash came between the link of its final name and the unlink.

    It must not be written to any more: a file under a final name is never bad.
    """
    if path.stat().st_nlink < 2:
        return None
    return next((name for name in path.parent.glob(f"*{EXPORT_SUFFIX}") if os.path.samefile(name, path)), None)
