"""Takes over an interrupted scan: locks it, reconciles its frames, and continues it."""

from __future__ import annotations

import errno
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..callbacks import ErrorHandler, Progress
from ..disk import File, Lock, absolute, remove_file, sync_folder, user_path
from ..errors import (
    BadFileError,
    LysStorageError,
    NameTakenError,
    ScanInUseError,
    ScanShapeError,
    StorageOSError,
)
from ..format import (
    decode_npy_header,
    is_scan_file,
    journal_path,
    layout_of,
    quoted,
    recover_command,
    replacement_path,
    scan_heads,
)
from ..journal import JOURNAL_VERSION, Journal
from ..scan import Scan, check_options
from ..store import ScanStore
from .find import find_scan_file
from .recognition import ensure_is_scan, exports_beside, opened_scan_id, scan_id_of
from .reconcile import is_of_another_scan, reconcile_frames

log = logging.getLogger("lys_storage")


def open_store(
    path: Path,
    *,
    verify: bool = False,
    keep_doubtful: bool = False,
    force: bool = False,
    on_progress: Progress | None = None,
) -> ScanStore:
    """Take over an interrupted scan: lock it, and reconcile its frames as reconcile_frames does.

    Raises ScanInUseError if a living process writes it, BadFileError if it is damaged, StorageOSError if there is none or,
    without `force`, if the file system has no locks: then it is unknown whether a process writes it.
    """
    part = find_scan_file(absolute(path))
    _ensure_is_there(path, part)
    ensure_is_scan(part)
    file = File.open(part, writable=True)
    try:
        file.hold_folder()
        lock_or_raise(file, force)
        if not file.owns_path():
            raise ScanInUseError(f"scan {part} was just finished by another process")
        final = export_of(part)
        if final is not None:
            hint = (
                f"is a second name of the finished {final.name}: open_wave reads that, and "
                f"{recover_command(part.parent)} removes this name"
            )
            raise NameTakenError(errno.EEXIST, hint, str(part))
        return _reconciled(file, verify, keep_doubtful, force, on_progress)
    except BaseException:
        try:
            file.close()
        finally:
            file.close()  # again: a second interrupt may have prevented the first, and the lock would stay
        raise


def lock_or_raise(file: File, force: bool) -> None:
    """Take the writer's lock. `force`: continue if the file system has no locks. Raises as open_store."""
    lock = file.lock_to_take_over()
    if lock is Lock.BUSY:
        raise ScanInUseError(f"scan {file.path} is being written by a living process: wait until it ends, or stop it")
    if lock is Lock.UNSUPPORTED and not force:
        raise StorageOSError(errno.ENOLCK, no_locks(file.path), os.fspath(file.path))


def no_locks(part: Path) -> str:
    """The message for a scan on a file system without locks."""
    return (
        f"the file system has no locks, so it is unknown whether {writer_of(part)} still writes this scan; make sure "
        "that it has ended, then use force=True (--force)"
    )


def writer_of(part: Path) -> str:
    """The process that the journal of `part` names as its writer, in words."""
    try:
        journal = Journal.open(journal_path(part), writable=False)
    except LysStorageError:
        return "the process that began it"
    try:
        writer = journal.writer
        return "the process that began it" if writer is None else f"process {writer[1]} on host {writer[0]}"
    finally:
        journal.close()


def _ensure_is_there(path: Path, part: Path) -> None:
    """Raise StorageOSError, with what to do, if there is no scan file `part`."""
    if os.path.lexists(part):
        return
    if journal_path(part).exists():
        text = f"this scan file is missing, but its journal is here: move the scan file back to {part.parent}"
    elif path.is_file() and not is_scan_file(path.name):
        text = f"is not there, and {path.name} does not open as an export of lys_storage: lys-storage info tells why"
        if opened_scan_id(path) is not None:
            text = f"is not there: the scan is finished; open_wave reads {path.name}, and create begins another one"
    else:
        text = f"no scan in progress has this name; lys-storage ls {quoted(part.parent)} lists the scans"
    raise StorageOSError(errno.ENOENT, text, os.fspath(part))


def _reconciled(file: File, verify: bool, keep_doubtful: bool, force: bool, on_progress: Progress | None) -> ScanStore:
    last_write = datetime.fromtimestamp(os.fstat(file.fd).st_mtime, UTC)  # before anything is written here
    journal = Journal.open(journal_path(file.path), writable=True)
    try:
        check_sound(file, journal)  # first: a damaged scan must not be changed
        _ensure_may_be_written(file, journal, force)
        if journal.version < JOURNAL_VERSION:
            journal = _in_todays_version(journal)
        _write_form(file, journal)
        trusted = not verify and journal.vouches_for(file) and _syncs(file, journal)
        reconcile_frames(file, journal, trust_states=trusted, keep_doubtful=keep_doubtful, on_progress=on_progress)
        file.set_size(
            max(file.size, layout_of(journal.description).array_end)
        )  # not before: what was cut off is missing
        journal.durable_frames = journal.states.count_written()
        journal.sign(file)  # states and checksums are durable: after the death of a process they can be trusted
        for stale in (file.path, journal.path):
            remove_file(replacement_path(stale))  # a replacement that was not completed when the process died
        store = ScanStore(file, journal)
        store.last_write = last_write
        return store
    except BaseException:
        journal.close()
        raise


def _ensure_may_be_written(file: File, journal: Journal, force: bool) -> None:
    """Raise BadFileError if the scan file holds what must not be overwritten: an export, or another scan."""
    if os.fstat(file.fd).st_nlink > 1 and opened_scan_id(file.path) == journal.description.scan_id:
        raise BadFileError(
            f"scan {file.path} is a hard link to a finished export, as backup programs make: replace the link by a copy of the "
            "file, and try again"
        )
    if not force and not journal.wrote_to(file) and is_of_another_scan(file, journal):
        raise BadFileError(
            f"scan {file.path}: no frame matches its checksum in {journal.path.name}: the journal belongs to another scan, or "
            "the file was changed; nothing was changed now; force=True (--force) makes all these frames missing"
        )


def _syncs(file: File, journal: Journal) -> bool:
    """Sync the scan file. False if the kernel reports that an earlier write failed, which it does only once."""
    try:
        file.sync()
    except StorageOSError as error:
        log.warning("%s: %s; each frame is compared with its checksum", file.path, error)
        journal.file_sync_failed = True
        return False
    return True


def check_sound(file: File | None, journal: Journal) -> None:
    """Raise BadFileError if scan file and journal do not match, or no copy of axes and note is valid.

    `file`: None if a process is writing it, and may be about to replace it.
    """
    description = journal.description
    if layout_of(description).array_offset != description.array_offset:
        raise BadFileError(
            f"journal {journal.path} is damaged: its array begins at {description.array_offset}, which does not fit its shape; "
            "put a copy of the journal there"
        )
    journal.read_metadata()
    if file is not None:
        _check_form(file, journal)


def _check_form(file: File, journal: Journal) -> None:
    """Raise BadFileError if the name, the dtype or the shape of the scan file is not that of its journal: to fill the file
    would destroy another scan.

    A smaller shape is valid: an interrupted trim leaves it. A damaged header is valid: it will be written again.
    """
    description = journal.description
    if description.replace and not file.path.name.startswith(f"{description.final}."):
        raise BadFileError(
            f"journal {journal.path} is of {description.final}, and {file.path.name} is not: put the journal of this scan there"
        )
    if not journal.states.any_data():
        return  # its dtype may have been about to change
    if file.size == 0:
        raise BadFileError(
            f"scan {file.path} is empty, but its journal has frames: it was truncated or replaced; put the right file there"
        )
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
            f"scan {file.path} has an array of {dtype} {shape}, its journal expects {description.dtype} {description.shape}: "
            "one of the two files belongs to another scan"
        )


def _write_form(file: File, journal: Journal) -> None:
    """Write the head of a scan in progress, if the file has another one.

    A process that changes the dtype can die after the journal was replaced, and before the scan file was. One that finalizes a
    scan, cut to the frames that it has, can die after it wrote the head of the export: the frames that are to come would be
    written over what that head leads to.
    """
    description = journal.description
    layout = layout_of(description)
    heads = scan_heads(description, layout)
    if any(file.read_at(len(head), at) != head for at, head in heads):
        for at, head in heads:
            file.write_at(head, at)


def _in_todays_version(journal: Journal) -> Journal:
    """Replace a journal of an older version by one of the present version. Its states are not trusted."""

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
    incomplete: str = "fill",
    casting: str = "same_value",
    force: bool = False,
    on_progress: Progress | None = None,
    on_error: ErrorHandler | None = None,
    burst_bytes: int | None = None,
    cached_bytes: int | None = None,
) -> Scan:
    """Continue an interrupted scan in its own file. `missing()` gives the indices of its missing frames.

    `path`: the final name that was given to create, or the scan file (.npz.part). `shape`, `dtype`: what the scan is expected
    to have; ScanShapeError if it has another. `on_progress(done, total)`: bytes compared with their checksums, if the scan
    may have lost frames. `flush_interval_s`, `incomplete`, `casting`, `on_error`, `burst_bytes`, `cached_bytes`: as in
    create.

    Raises ScanInUseError if a living process writes the scan, BadFileError if it is damaged, StorageOSError if there is none.
    On a file system without locks it is unknown whether a living process writes it: StorageOSError, unless `force` is True,
    which states that none does.
    """
    options: dict[str, Any] = {
        "flush_interval_s": flush_interval_s,
        "incomplete": incomplete,
        "casting": casting,
        "on_progress": on_progress,
        "on_error": on_error,
        "burst_bytes": burst_bytes,
        "cached_bytes": cached_bytes,
    }
    return resume_scan(user_path(path), shape=shape, dtype=dtype, force=force, **options)


def resume_scan(
    path: Path,
    *,
    shape: Any = None,
    dtype: Any = None,
    force: bool = False,
    on_progress: Progress | None = None,
    verify: bool = False,
    keep_doubtful: bool = False,
    is_over: bool = False,
    **options: Any,
) -> Scan:
    """As resume. `is_over`: no more frames will be written; `verify`, `keep_doubtful`: as in recover."""
    checked = check_options(**options)
    store = open_store(path, verify=verify, keep_doubtful=keep_doubtful, force=force, on_progress=on_progress)
    try:
        if not is_over:
            store.last_write = None
        d = store.description
        wanted = (d.shape if shape is None else tuple(shape), d.dtype if dtype is None else np.dtype(dtype))
        if wanted != (d.shape, d.dtype):
            raise ScanShapeError(
                f"scan {store.path} has {d.dtype} {d.shape}, expected {wanted[1]} {wanted[0]}; pass its own, or none"
            )
        grid_is_known = d.grid_ndim > 0 or store.frames_written > 0  # else the first index sets it
        return Scan(store, grid_is_known=grid_is_known, **checked)
    except BaseException:
        try:
            store.close()
        finally:
            store.close()
        raise


def export_of(path: Path) -> Path | None:
    """The export that is the same file as `path`: a crash came between the link of its final name and the unlink. Else None.

    Such a file must not be written to: a file with a final name is always valid. A link of an unfinished scan file is no
    export: an export opens, and has the `scan_id` of the journal.
    """
    if path.stat().st_nlink < 2:
        return None
    links = [name for name in exports_beside(path) if os.path.samefile(name, path)]
    if not links:
        return None
    found = opened_scan_id(links[0])  # they are one file
    if found is None or (journal_path(path).exists() and scan_id_of(path) != found):
        return None
    return links[0]
