"""Recovers interrupted scans: exports each with the frames that it has.

Every step can be killed and run again. Never replaces a file, and never touches a scan that a living process writes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..callbacks import Progress
from ..disk import user_path
from ..errors import BadFileError, LysStorageError, ScanInUseError
from ..format import journal_path
from ..scan import check_incomplete, export_recovered
from .find import Found, Kind, find_scan_file, is_gone, resolve_link, sidecars_of, walk
from .leftovers import finish_publishing, judge_leftovers, remove_empty, remove_leftovers
from .looking import Entry, ScanLook, find_named, look_at, look_at_scan
from .recognition import (
    DAMAGED,
    FINALIZED,
    INTERRUPTED,
    LEFTOVER,
    NOT_READABLE,
    REMOVED,
    RUNNING,
    UNKNOWN,
    describe,
    state_of,
)
from .takeover import resume_scan

log = logging.getLogger("lys_storage")


@dataclass(frozen=True)
class Recovered:
    """The result for one scan in progress. `part`: its scan file; `path`: its export or None; `message`: the result in words.

    `state`: its present state. `failed`: it is damaged, or could not be exported. `running`: a living process writes it.
    `cleaned_up`: there was nothing to export, and its leftovers were removed.
    """

    part: Path
    path: Path | None
    frames_written: int
    frames_expected: int
    message: str
    state: str = FINALIZED
    failed: bool = False

    @property
    def running(self) -> bool:
        return self.state == RUNNING

    @property
    def cleaned_up(self) -> bool:
        return self.state == REMOVED


@dataclass(frozen=True)
class _Wanted:
    """The options of `recover`."""

    dry_run: bool
    verify: bool
    incomplete: str
    keep_doubtful: bool
    force: bool
    on_progress: Progress | None


def find_interrupted(folder: Path) -> list[str]:
    """The scan files in `folder`, but not below it, that no living process writes. Changes nothing."""
    found = []
    for scan in walk(folder, kinds=(Kind.SCAN,), recursive=False):
        try:
            if look_at_scan(scan.path).state == INTERRUPTED:
                found.append(str(scan.path))
        except (LysStorageError, OSError) as error:
            log.info("%s: %s", scan.path, error)
    return found


def recover(
    folder: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    verify: bool = False,
    incomplete: str = "fill",
    keep_doubtful: bool = False,
    force: bool = False,
    on_progress: Progress | None = None,
    on_result: Callable[[Recovered], None] | None = None,
) -> list[Recovered]:
    """Export every interrupted scan below `folder`, or the one that `folder` names. Missing frames hold the fill value.

    `verify`: compare every frame with its checksum. Without it, this is done only if the machine may have gone down since the
    scan was written. `incomplete`: as in create. `keep_doubtful`: where frames are compared, also keep doubtful frames, which
    were written too late to have a checksum; `acquisition.json` in the export lists them. `force`: also export scans on a file
    system without locks, where it is unknown whether a living process writes them. `on_progress(done, total)`: bytes.
    `on_result(result)` is called after each scan.

    Scans that a living process writes are left alone. No file is replaced: if a name is taken, the export becomes
    `<name>.recovered_N.npz`. A scan that cannot be recovered is left unchanged: `message` tells why, and no exception is
    raised. The call can be killed at any time, and repeated.
    """
    check_incomplete(incomplete)
    root, wanted = user_path(folder), _Wanted(dry_run, verify, incomplete, keep_doubtful, force, on_progress)
    results = []
    if root.is_dir():
        kinds = (Kind.SCAN, Kind.LEFTOVERS, Kind.FOLDER)
        todo = (_recover_one(found, wanted, named=found.path == root) for found in walk(root, kinds=kinds))
    else:
        todo = (_recover_named(path, wanted) for path in (root,))
    for result in todo:
        results.append(result)
        if on_result is not None:
            on_result(result)
    return results


def _recover_named(path: Path, wanted: _Wanted) -> Recovered:
    """Recover one scan. `path`: its scan file, the name of its export, or a sidecar."""
    try:
        part = find_scan_file(path)
    except BadFileError as error:
        return _failed(path, str(error), DAMAGED)
    if not is_gone(part):
        return _recover_one(Found(part, Kind.SCAN), wanted, named=True)
    if sidecars_of(part):
        return _recover_one(Found(part, Kind.LEFTOVERS), wanted, named=True)
    found = find_named(path)
    entry = None if found is None else look_at(found, named=True)
    if entry is None:
        return _failed(path, "no folder, export or scan in progress has this name", DAMAGED)
    if entry.state == FINALIZED:
        return Recovered(
            path, path, entry.frames_written or 0, entry.frames_expected or 0, "finished already, nothing to do"
        )
    return _of_entry(entry)


def _recover_one(found: Found, wanted: _Wanted, *, named: bool = False) -> Recovered:
    path = found.path
    if found.kind is Kind.FOLDER:
        entry = look_at(found, named=named)
        assert entry is not None
        return _of_entry(entry)
    is_readable = False
    try:
        path = resolve_link(path)
        if found.kind is Kind.LEFTOVERS or is_gone(path):
            return _recover_leftovers(path, wanted)
        look = look_at_scan(path)
        is_readable = True
        if look.state == RUNNING or wanted.dry_run or (look.state == UNKNOWN and not wanted.force):
            return _preview(path, look, wanted.force)
        return _export(path, wanted, look.frames_written)
    except ScanInUseError as error:
        return Recovered(path, None, 0, 0, str(error), RUNNING)
    except UnicodeEncodeError as error:
        name, encoding = error.object, error.encoding
        message = f"the name {name!r} cannot be encoded in {encoding}, the encoding of this system: set LC_ALL=C.UTF-8"
        return _failed(path, message, INTERRUPTED)
    except (LysStorageError, OSError) as error:
        if is_gone(path) and is_gone(journal_path(path)):
            return Recovered(path, None, 0, 0, f"scan {path} was just finished by another process", RUNNING)
        state = state_of(error)
        if is_readable and isinstance(error, OSError):
            state = INTERRUPTED  # it can be read, but not written
        failed = is_readable or state == DAMAGED or (named and state == NOT_READABLE)
        return Recovered(path, None, 0, 0, describe(error), state, failed)


def _export(path: Path, wanted: _Wanted, had_come: int) -> Recovered:
    exported = finish_publishing(path, wanted.force)
    if exported is not None:
        message = "finished already; the files that a crash had left beside it were removed"
        return Recovered(path, exported, 0, 0, message, REMOVED)
    if remove_empty(path, wanted.force):
        return Recovered(
            path, None, 0, 0, "removed: its process ended when it had just created it, and it held nothing", REMOVED
        )
    options: dict[str, Any] = {"force": wanted.force, "on_progress": wanted.on_progress}
    scan = resume_scan(path, verify=wanted.verify, keep_doubtful=wanted.keep_doubtful, is_over=True, **options)
    try:
        written = scan.frames_written
        final = export_recovered(scan, wanted.incomplete, wanted.on_progress)
    except BaseException:
        try:
            scan.suspend()
        finally:
            scan.suspend()  # again: a second interrupt may have ended the first, and the lock would stay
        raise
    as_given = path.with_name(final.name)
    final = as_given if as_given.exists() else final  # its folder was renamed meanwhile
    expected = scan.report.frames_expected if scan.report else 0
    message = f"exported with {written} of {expected} frames"
    if had_come > written:
        message += f"; {had_come - written} more were written, but not verified by a checksum: they are missing"
    if scan.report and scan.report.renumbered:
        message += f"; its name was taken, so the export is {final.name}"
    return Recovered(path, final, written, expected, message)


def _recover_leftovers(path: Path, wanted: _Wanted) -> Recovered:
    found = judge_leftovers(path)
    if not found.superfluous:
        return _failed(path, found.message, DAMAGED)
    if not os.access(path.parent, os.W_OK):
        message = f"{found.message}; cannot be removed: this user may not write {path.parent}"
        return _failed(path, message, LEFTOVER)
    if wanted.dry_run:
        return Recovered(path, None, 0, 0, f"{found.message}; would be removed", LEFTOVER)
    if not remove_leftovers(path):
        return Recovered(path, None, 0, 0, "left alone: a living process begins or ends a scan of this name", RUNNING)
    return Recovered(path, None, 0, 0, f"{found.message}; removed", REMOVED)


def _preview(path: Path, look: ScanLook, force: bool) -> Recovered:
    """What `recover` would do with a scan that it may not change, or was told not to change."""
    written, expected = look.frames_written, look.description.frames if look.description else 0
    if look.state == RUNNING:
        message = f"left alone: a living process is writing it, {written} of {expected} frames so far"
        return Recovered(path, None, written, expected, message, RUNNING)
    if look.state == UNKNOWN and not force:
        return Recovered(path, None, written, expected, look.message, UNKNOWN, failed=True)
    counts = f"{written} of {expected} frames"
    if not look.is_trusted:
        counts = (
            f"up to {counts}: each is compared with its checksum first, because the machine was restarted or the files "
        )
        counts += "were copied; --keep-doubtful also keeps frames without a checksum"
    message = look.message if look.message and look.state != UNKNOWN else f"would be exported, {counts}"
    refused = next(
        (at for at in (path, journal_path(path), path.parent) if at.exists() and not os.access(at, os.W_OK)), None
    )
    if refused is not None:
        message = f"cannot be exported: this user may not write {refused}"
    return Recovered(path, None, written, expected, message, look.state, failed=refused is not None)


def _of_entry(entry: Entry) -> Recovered:
    return Recovered(entry.path, None, 0, 0, entry.message, entry.state, entry.problem)


def _failed(path: Path, message: str, state: str) -> Recovered:
    return Recovered(path, None, 0, 0, message, state, failed=True)


def inspect(path: Path) -> Recovered:
    """What `recover` would do with a scan in progress. Changes nothing. Raises BadFileError if it is damaged."""
    return _preview(path, look_at_scan(path), force=False)
