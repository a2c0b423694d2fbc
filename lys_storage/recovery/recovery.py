"""Exporting what interrupted scans have, one after another; each can be killed and run again."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..callbacks import Progress
from ..disk import File, remove_file, sync_folder
from ..errors import LysStorageError, ScanInUseError
from ..format import EXPORT_SUFFIX, journal_path, redo_path
from ..journal import Journal
from ..scan import Scan
from .find import Kind, find_scan_file, walk
from .takeover import export_of, open_store

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


def find_interrupted(folder: Path) -> list[str]:
    """The scan files right in `folder` that no living process writes; reads, and changes nothing."""
    found = []
    for scan in walk(folder, kinds=(Kind.SCAN,), recursive=False):
        try:
            if not inspect(scan.path).running:
                found.append(str(scan.path))
        except LysStorageError as error:
            log.info("%s: %s", scan.path, error)
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
    for path in _interrupted(Path(folder)):
        result = _recover_one(path, dry_run, verify, trim, progress)
        results.append(result)
        if done is not None:
            done(result)
    return results


def _interrupted(path: Path) -> list[Path]:
    """The scan files below `path`, or the one that it names, and those that are gone and have left something behind."""
    if not path.is_dir():
        return [find_scan_file(path)]
    return [found.path for found in walk(path, kinds=(Kind.SCAN, Kind.LEFTOVERS))]


def _recover_one(path: Path, dry_run: bool, verify: bool, trim: bool, progress: Progress | None) -> Recovered:
    try:
        if not path.exists():
            return _remove_leftovers(path, dry_run)
        if dry_run:
            return inspect(path)
        exported = _finish_publishing(path)
        if exported is not None:
            return exported
        empty = _remove_if_nothing_in_it(path)
        if empty is not None:
            return empty
        scan = Scan(open_store(path, verify=verify, progress=progress))
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


def _finish_publishing(path: Path) -> Recovered | None:
    """Where the scan file is its export already, what is left of publishing it."""
    final = export_of(path)
    file = File.open(path, writable=True)
    try:
        if final is None or not file.try_lock():
            return None
        sync_folder(path.parent)
        remove_file(path)
    finally:
        file.close()
    return replace(_remove_leftovers(path, dry_run=False), path=final)


def _remove_leftovers(path: Path, dry_run: bool) -> Recovered:
    """The scan file has its final name already, and what was beside it was left by a crash just then."""
    journal = journal_path(path)
    if journal.exists() and not any(path.parent.glob(f"*{EXPORT_SUFFIX}")):
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
        if file.size or not file.try_lock() or not file.owns_path():
            return None
        remove_file(journal_path(path))  # first: a journal without its scan file would stay for ever
        remove_file(path)
    finally:
        file.close()
    return Recovered(path, None, 0, 0, "was only just begun, and held nothing: removed", settled=True)


def inspect(path: Path) -> Recovered:
    """What recover would find in a scan in progress; changes nothing. Raises BadFileError where it is not sound."""
    file = File.open(path, writable=True)
    try:
        running = not file.try_lock()
    finally:
        file.close()
    journal = Journal.open(journal_path(path), writable=False)
    try:
        expected = journal.description.frames
        written = journal.states.count_written()
    finally:
        journal.close()
    said = "a living process is writing it" if running else "would be exported"
    return Recovered(path, None, written, expected, f"{said}, {written} of {expected} frames", running)
