"""Taking over an interrupted scan: lock it, find out which of its frames are data, and go on with it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..callbacks import Progress
from ..disk import File, boot_id, remove_file, sync_folder
from ..errors import BadFileError, NameTakenError, ScanInUseError, ScanShapeError
from ..format import EXPORT_SUFFIX, decode_npy_header, journal_path, layout_of, replacement_path
from ..journal import Journal
from ..scan import Scan
from ..store import ScanStore
from .find import find_scan_file
from .reconcile import reconcile_frames


def open_store(path: Path, *, verify: bool = False, progress: Progress | None = None) -> ScanStore:
    """Take over an interrupted scan: lock it, and find out which of its frames are data.

    Raises ScanInUseError where a living process writes it, BadFileError where it is not sound.
    """
    part = find_scan_file(path)
    file = File.open(part, writable=True)
    try:
        if not file.try_lock():
            raise ScanInUseError(f"scan {part} is being written by a living process")
        if not file.owns_path():
            raise ScanInUseError(f"scan {part} has just been finished by another process")
        final = export_of(part)
        if final is not None:
            raise NameTakenError(
                17, f'is {final.name} already: "lys-storage recover" removes its other name', str(part)
            )
        return _reconciled(file, verify, progress)
    except BaseException:
        file.close()
        raise


def _reconciled(file: File, verify: bool, progress: Progress | None) -> ScanStore:
    journal = Journal.open(journal_path(file.path), writable=True)
    try:
        description = journal.description
        if layout_of(description).array_offset != description.array_offset:
            raise BadFileError(f"journal {journal.path}: array at {description.array_offset} does not fit its shape")
        journal.read_metadata()  # nothing is changed before it is known that there is an end to it
        _check_form(file, journal)
        boot = boot_id()
        same_boot = bool(boot) and description.boot_id == boot
        reconcile_frames(file, journal, trust_states=same_boot and not verify, progress=progress)
        if not same_boot:
            journal = _restamp_boot_id(journal, boot)
        for stale in (file.path, journal.path):
            remove_file(replacement_path(stale))  # on its way into the old one's place when the process died
        return ScanStore(file, journal)
    except BaseException:
        journal.close()
        raise


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


def _restamp_boot_id(journal: Journal, boot: str) -> Journal:
    """States and checksums are reconciled and durable: from now on the death of a process leaves them true."""

    def copy_states(new: Journal) -> None:
        new.states.copy_from(journal.states)
        new.epoch = journal.epoch

    new = journal.write_replacement(replace(journal.description, boot_id=boot), copy_states)
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
    progress: Progress | None = None,
) -> Scan:
    """Go on with an interrupted scan: the same file; `missing()` gives the indices of the frames that are not there.

    `path`: the final name it was made with, or its scan file. Where `shape` or `dtype` are given they have to be the scan's
    (ScanShapeError). Raises ScanInUseError where a living process writes it, BadFileError where it is not sound,
    StorageOSError where there is none.
    """
    return resume_scan(Path(path), shape=shape, dtype=dtype, flush_interval_s=flush_interval_s, progress=progress)


def resume_scan(
    path: Path,
    *,
    shape: Any = None,
    dtype: Any = None,
    flush_interval_s: float | None = 1.0,
    progress: Progress | None = None,
    partial: str = "fill",
) -> Scan:
    """As resume. `partial`: what close() makes of a scan that is not complete, as in create."""
    store = open_store(path, progress=progress)
    d = store.description
    wanted = (d.shape if shape is None else tuple(shape), d.dtype if dtype is None else np.dtype(dtype))
    if wanted != (d.shape, d.dtype):
        store.close()
        raise ScanShapeError(f"scan {store.path} is of {d.dtype} {d.shape}, not of {wanted[1]} {wanted[0]}")
    return Scan(store, flush_interval_s=flush_interval_s, partial=partial)


def export_of(path: Path) -> Path | None:
    """The export that the scan file is already: a crash came between the link of its final name and the unlink.

    It must not be written to any more: a file under a final name is never bad.
    """
    if path.stat().st_nlink < 2:
        return None
    return next((name for name in path.parent.glob(f"*{EXPORT_SUFFIX}") if os.path.samefile(name, path)), None)
