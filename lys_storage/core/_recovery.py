"""Scans that were interrupted: go on with them, or export what there is of them.

Taken over are only scans that no living process writes; `_settle` says which of their frames are data.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..callbacks import Progress
from ..disk import File, boot_id, remove_file, sync_folder
from ..errors import BadFileError, LysStorageError, NameTakenError, ScanInUseError, ScanShapeError
from ..format import (
    JOURNAL_SUFFIX,
    PART_SUFFIX,
    REDO_SUFFIX,
    decode_npy_header,
    journal_path,
    layout_of,
    part_path,
    redo_path,
)
from ..journal import WRITING, WRITTEN, Journal
from ..scan import Scan
from ..store import ScanStore
from ._settle import settle

log = logging.getLogger("lys_storage")
_STEP = 1 << 12


@dataclass(frozen=True)
class Recovered:
    """One scan in progress and what became of it: `path` is its export, or None; `said` tells it in words.

    `running`: a living process writes it. `settled`: there was nothing to export, and nothing is left of it.
    """

    part: Path
    path: Path | None
    frames_written: int
    frames_expected: int
    said: str
    running: bool = False
    settled: bool = False


def _find_part(path: Path) -> Path:
    """The scan file of `path`, which may be the final name, the scan file, or the journal."""
    if path.name.endswith(PART_SUFFIX + JOURNAL_SUFFIX):
        return path.with_name(path.name.removesuffix(JOURNAL_SUFFIX))
    if path.name.endswith(PART_SUFFIX):
        return path
    candidates = [part_path(path), *sorted(path.parent.glob(f"{glob.escape(path.name)}.*{PART_SUFFIX}"))]
    found = [c for c in candidates if c.exists()]
    if len(found) > 1:
        raise BadFileError(f"{path} has {len(found)} scans in progress: name one of {', '.join(c.name for c in found)}")
    return found[0] if found else candidates[0]


def open_part(path: Path, *, verify: bool = False, progress: Progress | None = None) -> ScanStore:
    """Take over an interrupted scan: lock it, and settle which of its frames are data.

    Raises ScanInUseError where a living process writes it, BadFileError where it is not sound.
    """
    part = _find_part(path)
    file = File.open(part, writable=True)
    try:
        if not file.try_lock():
            raise ScanInUseError(f"scan {part} is being written by a living process")
        if not file.is_at_path():
            raise ScanInUseError(f"scan {part} has just been finished by another process")
        final = _export_of(part)
        if final is not None:
            raise NameTakenError(
                17, f'is {final.name} already: "lys-storage recover" removes its other name', str(part)
            )
        return _settled(file, verify, progress)
    except BaseException:
        file.close()
        raise


def _settled(file: File, verify: bool, progress: Progress | None) -> ScanStore:
    journal = Journal.open(journal_path(file.path), writable=True)
    try:
        description = journal.description
        if layout_of(description).array_offset != description.array_offset:
            raise BadFileError(f"journal {journal.path}: array at {description.array_offset} does not fit its shape")
        journal.read_metadata()  # nothing is changed before it is known that there is an end to it
        _check_form(file, journal)
        boot = boot_id()
        same_boot = bool(boot) and description.boot_id == boot
        settle(file, journal, trust_marks=same_boot and not verify, progress=progress)
        if not same_boot:
            journal = _of_this_boot(journal, boot)
        for stale in (file.path, journal.path):
            remove_file(
                stale.with_name(stale.name + ".new")
            )  # on its way into the old one's place when the process died
        return ScanStore(file, journal)
    except BaseException:
        journal.close()
        raise


def _check_form(file: File, journal: Journal) -> None:
    """Raise BadFileError where the scan file is another's, as far as its form tells: filling it up would destroy that one.

    A header of a part of the shape was left by an export that was to be cut; a damaged one is written anew.
    """
    description, marks = journal.description, journal.mark_array
    if description.replace and not file.path.name.startswith(f"{description.final}."):
        raise BadFileError(f"journal {journal.path} is that of {description.final}, which it would replace")
    if not any((marks[at : at + _STEP] > WRITING).any() for at in range(0, len(marks), _STEP)):
        return  # also one that was to be laid out anew for another dtype
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


def _of_this_boot(journal: Journal, boot: str) -> Journal:
    """What the marks say is settled and durable: from now on a dead process leaves them true."""

    def carry(new: Journal) -> None:
        for at in range(0, journal.description.frames, _STEP):
            new.put_marks(at, journal.mark_array[at : at + _STEP])
            new.put_checksums(at, journal.checksums[at : at + _STEP])
        for at in range(0, journal.blocks, _STEP):
            new.put_block_checksums(at, journal.block_checksums[at : at + _STEP])
        new.epoch = journal.epoch

    new = journal.successor(replace(journal.description, boot_id=boot), carry)
    new.take_place(journal)
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
    part = open_part(Path(path), progress=progress)
    d = part.description
    wanted = (d.shape if shape is None else tuple(shape), d.dtype if dtype is None else np.dtype(dtype))
    if wanted != (d.shape, d.dtype):
        part.close()
        raise ScanShapeError(f"scan {part.path} is of {d.dtype} {d.shape}, not of {wanted[1]} {wanted[0]}")
    return Scan(part, flush_interval_s=flush_interval_s)


def interrupted(folder: Path) -> Iterator[Path]:
    """The scan files in `folder` (or the one that is named), and journals whose scan file is gone."""
    if not folder.is_dir():
        yield _find_part(folder)
        return
    found = set()
    for entry in folder.rglob(f"*{PART_SUFFIX}*"):
        name = entry.name
        for suffix in (JOURNAL_SUFFIX, REDO_SUFFIX):
            name = name.removesuffix(suffix)
        if name.endswith(PART_SUFFIX) and entry.is_file():
            found.add(entry.with_name(name))
    yield from sorted(found)


def find_interrupted(folder: Path) -> list[str]:
    """The scan files right in `folder` that no living process writes; reads, and changes nothing."""
    found = []
    for path in sorted(folder.glob(f"*{PART_SUFFIX}")):
        try:
            if not look_at(path).running:
                found.append(str(path))
        except LysStorageError as error:
            log.info("%s: %s", path, error)
    return found


def recover(
    folder: str | os.PathLike[str],
    dry_run: bool = False,
    *,
    verify: bool = False,
    trim: bool = False,
    progress: Progress | None = None,
    done: Callable[[Recovered], None] | None = None,
) -> list[Recovered]:
    """Export every interrupted scan below `folder` (or the one named), with the fill value where frames never came.

    `verify`: every frame is checked against its checksum, also after a mere crash. `trim`: each is cut to the part of
    its grid that has frames. Scans that a living process writes are left alone, and nothing is replaced: where a name is
    taken it becomes `<name>.recovered_N.npz`. What cannot be recovered stays as it is, and is told in `said`; nothing is
    raised for one scan's sake. It can be killed at any time, and run again.
    """
    results = []
    for path in interrupted(Path(folder)):
        result = _recover_one(path, dry_run, verify, trim, progress)
        results.append(result)
        if done is not None:
            done(result)
    return results


def _recover_one(path: Path, dry_run: bool, verify: bool, trim: bool, progress: Progress | None) -> Recovered:
    try:
        if not path.exists():
            return _clear_away(path, dry_run)
        if dry_run:
            return look_at(path)
        exported = _finish_publishing(path)
        if exported is not None:
            return exported
        empty = _remove_if_nothing_in_it(path)
        if empty is not None:
            return empty
        scan = Scan(open_part(path, verify=verify, progress=progress))
        written = scan.frames_written
        try:
            final = scan.close(progress, trim=trim, recovering=True)
        except BaseException:
            scan.suspend()
            raise
        expected = scan.report.frames_expected if scan.report else 0
        said = f"exported with {written} of {expected} frames"
        if scan.report and scan.report.renumbered:
            said += f"; its own name was taken, so it is {final.name}"
        return Recovered(path, final, written, expected, said)
    except ScanInUseError as error:
        return Recovered(path, None, 0, 0, str(error), running=True)
    except LysStorageError as error:
        return Recovered(path, None, 0, 0, str(error))


def _export_of(path: Path) -> Path | None:
    """The export that the scan file is already: a crash came between the link of its final name and the unlink.

    It must not be written to any more: a file under a final name is never bad.
    """
    if path.stat().st_nlink < 2:
        return None
    return next((name for name in path.parent.glob("*.npz") if os.path.samefile(name, path)), None)


def _finish_publishing(path: Path) -> Recovered | None:
    """Where the scan file is its export already, what is left of publishing it."""
    final = _export_of(path)
    file = File.open(path, writable=True)
    try:
        if final is None or not file.try_lock():
            return None
        sync_folder(path.parent)
        remove_file(path)
    finally:
        file.close()
    return replace(_clear_away(path, dry_run=False), path=final)


def _clear_away(path: Path, dry_run: bool) -> Recovered:
    """The scan file has its final name already, and what was beside it was left by a crash just then."""
    journal = journal_path(path)
    if journal.exists() and not any(path.parent.glob("*.npz")):
        return Recovered(
            path, None, 0, 0, f"{journal.name} has lost its scan file, and no export is here: left as it is"
        )
    if not dry_run:
        sync_folder(path.parent)  # the run that gave it its name may not have come to that
        remove_file(redo_path(path))
        remove_file(journal)
    return Recovered(path, None, 0, 0, "was exported before; what was left beside it is removed", settled=True)


def _remove_if_nothing_in_it(path: Path) -> Recovered | None:
    """A scan file of no bytes was left between the claim of its name and its first byte: no frame can have come."""
    file = File.open(path, writable=True)
    try:
        if file.size or not file.try_lock() or not file.is_at_path():
            return None
        remove_file(journal_path(path))  # first: a journal without its scan file would stay for ever
        remove_file(path)
    finally:
        file.close()
    return Recovered(path, None, 0, 0, "was only just begun, and held nothing: removed", settled=True)


def look_at(path: Path) -> Recovered:
    """What recover would find in a scan in progress; changes nothing. Raises BadFileError where it is not sound."""
    file = File.open(path, writable=True)
    try:
        running = not file.try_lock()
    finally:
        file.close()
    journal = Journal.open(journal_path(path), writable=False)
    try:
        expected = journal.description.frames
        written = sum(
            int(np.count_nonzero(journal.mark_array[at : at + _STEP] >= WRITTEN)) for at in range(0, expected, _STEP)
        )
    finally:
        journal.close()
    said = "a living process is writing it" if running else "would be exported"
    return Recovered(path, None, written, expected, f"{said}, {written} of {expected} frames", running)
