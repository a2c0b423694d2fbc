"""Recovery of interrupted scans: each is exported with the frames that it has.

Every step can be killed and run again. Never replaces a file, and never touches a scan that a living process writes.
"""

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
from .find import Kind, find_scan_file, walk
from .takeover import export_of, resume_scan

log = logging.getLogger("lys_storage")
_STEP = 1 << 12


@dataclass(frozen=True)
class Recovered:
    """The result for one scan in progress: `part` is its scan file, `path` its export or None, `said` a message.

    `running`: a living process writes it. `settled`: there was nothing to export, and what was left of it is removed.
    """

    part: Path
    path: Path | None
    frames_written: int
    frames_expected: int
    said: str
    running: bool = False
    settled: bool = False


def find_interrupted(folder: Path) -> list[str]:
    """The scan files in `folder`, but not below it, that no living process writes. Changes nothing."""
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
    keep_doubtful: bool = False,
    progress: Progress | None = None,
    done: Callable[[Recovered], None] | None = None,
) -> list[Recovered]:
    """Export every interrupted scan below `folder`, or the one that `folder` names. Missing frames hold the fill value.

    `verify`: check every frame against its checksum. Without it, that is done where the machine went down after the
    scan was written, or may have. `trim`: cut each export to the part of the grid that has frames. `keep_doubtful`: where
    that is done, keep also the frames that came in the last moment before, and have no checksum to be compared with; the
    export's `acquisition.json` lists them. `done(result)` is called after each scan.

    Scans that a living process writes are left alone. No file is replaced: where a name is taken, the export becomes
    `<name>.recovered_N.npz`. A scan that cannot be recovered stays as it is: `said` tells why, and no exception
    is raised for it. It can be killed at any time, and run again.
    """
    results = []
    for path in _interrupted(Path(folder)):
        result = _recover_one(path, dry_run, verify, trim, keep_doubtful, progress)
        results.append(result)
        if done is not None:
            done(result)
    return results


def _interrupted(path: Path) -> list[Path]:
    """The scan files below `path`, also those that are gone and have left sidecars behind; or the one that `path` names."""
    if not path.is_dir():
        return [find_scan_file(path)]
    return [found.path for found in walk(path, kinds=(Kind.SCAN, Kind.LEFTOVERS))]


def _recover_one(
    path: Path, dry_run: bool, verify: bool, trim: bool, keep_doubtful: bool, progress: Progress | None
) -> Recovered:
    try:
        if not path.exists():
            return _remove_leftovers(path, dry_run)
        if dry_run:
            return inspect(path)
        exported = _finish_publishing(path)
        if exported is not None:
            return exported
        empty = _remove_empty(path)
        if empty is not None:
            return empty
        scan = resume_scan(path, verify=verify, keep_doubtful=keep_doubtful, is_over=True, progress=progress)
        try:
            written = scan.frames_written
            final = scan.close(progress, trim=trim, recovering=True)
        except BaseException:
            try:
                scan.suspend()
            finally:
                scan.suspend()  # again: the lock must not stay where a second interrupt came before its end
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
    """Finish an export that was killed between the link of its final name and the unlink of the scan file; else None."""
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
    """Remove the sidecars of a scan file that was published: a crash came after its rename and before their removal."""
    journal = journal_path(path)
    if journal.exists() and not any(path.parent.glob(f"*{EXPORT_SUFFIX}")):
        return Recovered(
            path, None, 0, 0, f"{journal.name} has lost its scan file, and no export is here: left as it is"
        )
    if not dry_run:
        sync_folder(path.parent)  # the process may have died before it made the final name durable
        remove_file(redo_path(path))
        remove_file(journal)
    return Recovered(path, None, 0, 0, "was exported before; what was left beside it is removed", settled=True)


def _remove_empty(path: Path) -> Recovered | None:
    """Remove an empty scan file: its process died between the claim of its name and its first byte. Else None."""
    file = File.open(path, writable=True)
    try:
        if file.size or not file.try_lock() or not file.owns_path():
            return None
        remove_file(journal_path(path))  # first: a journal without a scan file is never removed where no export is
        remove_file(path)
    finally:
        file.close()
    return Recovered(path, None, 0, 0, "was only just begun, and held nothing: removed", settled=True)


def inspect(path: Path) -> Recovered:
    """What `recover` would say of a scan in progress. Changes nothing. Raises BadFileError where it is damaged."""
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
