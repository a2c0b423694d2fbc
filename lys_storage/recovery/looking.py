"""Tells what a file is, and its state. Never changes a file, and never reads the data.

Files are opened for reading only. A shared lock of a scan is tried, to learn whether a process writes it, and is released
at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..disk import SYSTEM, File, Lock, probe_lock
from ..errors import BadFileError, LysStorageError, UnsafeFileError
from ..format import (
    Axes,
    Description,
    decode_axes,
    decode_note,
    is_export,
    is_scan_file,
    is_sidecar,
    journal_path,
)
from ..journal import Journal
from ..reading import open_wave
from .find import Found, Kind, find_scan_file, is_gone, sidecars_of
from .leftovers import is_named_as_claimed, judge_leftovers, may_be_just_begun
from .recognition import (
    DAMAGED,
    FINALIZED,
    FOREIGN,
    INTERRUPTED,
    LEFTOVER,
    NOT_READABLE,
    RUNNING,
    UNKNOWN,
    ForeignFileError,
    describe,
    ensure_is_scan,
    is_foreign_npz,
    is_ours,
    state_of,
)
from .takeover import check_sound, export_of, no_locks, writer_of

_STATES = {Lock.BUSY: RUNNING, Lock.TAKEN: INTERRUPTED, Lock.UNSUPPORTED: UNKNOWN}


@dataclass(frozen=True)
class Entry:
    """One file, or the leftovers of a scan whose scan file is gone.

    `size_bytes`: the length of the file; `allocated_bytes`: its space on the disk, None if the system does not report it.
    `changed`: seconds since the epoch. `message`: what is wrong, or unknown. `problem`: whether something is wrong. Files in
    a folder that are foreign, or that this user may not read, are no problem.
    """

    path: Path
    state: str
    shape: tuple[int, ...] | None
    dtype: str
    frames_written: int | None
    frames_expected: int | None
    size_bytes: int
    allocated_bytes: int | None
    changed: float
    message: str = ""
    problem: bool = False


@dataclass(frozen=True)
class ScanLook:
    """The present state of a scan in progress. `description`: None if it has none yet."""

    state: str
    description: Description | None
    frames_written: int
    message: str = ""
    is_trusted: bool = True


def find_named(path: Path) -> Found | None:
    """What the file `path` is, by its name, which may also be the final name of a scan. None: no such file."""
    if path.is_dir():
        return None
    if is_sidecar(path.name) or is_gone(path):
        path = find_scan_file(path)
        if is_gone(path):
            return Found(path, Kind.LEFTOVERS) if sidecars_of(path) else None
    return Found(path, Kind.SCAN if is_scan_file(path.name) else Kind.EXPORT)


def look_at(found: Found, *, named: bool = False) -> Entry | None:
    """The state of what was found; None if it was removed meanwhile. An error of the file becomes its `message`.

    `named`: the user named this file, so that it is a problem if it may not be read.
    """
    path = found.path
    if found.kind is Kind.FOLDER:
        message = f"{path}: this user may not read the folder"
        return Entry(path, NOT_READABLE, None, "", None, None, 0, None, 0.0, message, problem=named)
    at = path
    if found.kind is Kind.LEFTOVERS:
        at = next(iter(sidecars_of(path)), path)
    try:
        stat = at.stat()
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            return None  # it was just published or removed
        size, changed, allocated = 0, 0.0, None
    else:
        size, changed = stat.st_size, stat.st_mtime
        allocated = SYSTEM.allocated_bytes(stat)
    try:
        look = {Kind.SCAN: _scan, Kind.EXPORT: _export, Kind.LEFTOVERS: _leftovers}[found.kind]
        state, shape, dtype, written, expected, message, problem = look(path, named)
    except (LysStorageError, OSError) as error:
        if is_gone(at):
            return None
        state, message = state_of(error), describe(error)
        shape, dtype, written, expected = None, "", None, None
        problem = state == DAMAGED or (named and state == NOT_READABLE)
    return Entry(at, state, shape, dtype, written, expected, size, allocated, changed, message, problem)


_Facts = tuple[str, tuple[int, ...] | None, str, int | None, int | None, str, bool]


def _export(path: Path, named: bool) -> _Facts:
    try:
        with open_wave(path) as wave:
            state, info = FINALIZED if is_ours(wave) else FOREIGN, wave.info
            message = "" if state == FINALIZED else "a .npz that neither lys_storage nor lys has written"
            damage = wave.note_error if state == FINALIZED else None
            if damage is not None:
                state, message = FINALIZED if isinstance(damage, UnsafeFileError) else DAMAGED, str(damage)
            return state, wave.shape, str(wave.dtype), *_counts(info), message, state == DAMAGED
    except UnsafeFileError as error:
        return FINALIZED, None, "", None, None, str(error), False
    except BadFileError as error:
        if not is_export(path.name):
            message = f"{path} is neither an export (.npz) nor a scan in progress (.npz.part)"
            return FOREIGN, None, "", None, None, message, named
        if is_foreign_npz(path):
            raise ForeignFileError(f"{error}; neither lys_storage nor lys has written it") from error
        raise


def _counts(info: dict[str, Any]) -> tuple[int, int] | tuple[None, None]:
    """The frames written and expected, if `info` has both as whole numbers: a foreign file can hold anything."""
    written, expected = info.get("frames_written"), info.get("frames_expected")
    if type(written) is int and type(expected) is int and written >= 0 and expected >= 0:
        return written, expected
    return None, None


def _scan(path: Path, named: bool) -> _Facts:
    look = look_at_scan(path)
    if look.description is None:
        return look.state, None, "", look.frames_written, None, look.message, False
    d = look.description
    return look.state, d.shape, str(d.dtype), look.frames_written, d.frames, look.message, False


def _leftovers(path: Path, named: bool) -> _Facts:
    found = judge_leftovers(path)
    message = f"{found.message}; lys-storage recover removes it" if found.superfluous else found.message
    return LEFTOVER if found.superfluous else DAMAGED, None, "", None, None, message, not found.superfluous


def look_at_scan(path: Path) -> ScanLook:
    """The present state of a scan in progress. Raises as open_store if it is damaged, ForeignFileError if it is not a scan."""
    file = File.open(path, writable=False)
    try:
        state = scan_state(path)
        if file.size == 0 and (may_be_just_begun(path) or (state == RUNNING and is_named_as_claimed(path))):
            words = {RUNNING: "was just created, and has no frames yet", UNKNOWN: no_locks(path)}
            return ScanLook(
                state,
                None,
                0,
                words.get(
                    state,
                    "holds nothing: its process ended when it had just created it; lys-storage recover removes it",
                ),
            )
        if file.size == 0 and not journal_path(path).exists():
            raise ForeignFileError(
                f"{path} is empty and has no journal: there is nothing to recover; delete it if no program writes it"
            )
        ensure_is_scan(path)
        journal = Journal.open(journal_path(path), writable=False)
        try:
            check_sound(file if state != RUNNING else None, journal)
            written, is_trusted = journal.states.count_written(), journal.vouches_for(file)
        finally:
            journal.close()
        final = export_of(path) if state != RUNNING else None
        message = no_locks(path) if state == UNKNOWN else ""
        if final is not None:
            message = f"is a second name of the finished {final.name}; lys-storage recover removes it"
        return ScanLook(state, journal.description, written, message, is_trusted)
    finally:
        file.close()


@dataclass(frozen=True)
class ScanDetails:
    """What the journal of a scan in progress holds. `note`: if it cannot be read, a text that tells why."""

    description: Description
    writer: str
    axes: Axes
    note: dict[Any, Any] | str


def details_of(path: Path) -> ScanDetails:
    """What the journal of the scan file `path` holds. Raises BadFileError if it is damaged."""
    journal = Journal.open(journal_path(path), writable=False)
    try:
        axes, note = journal.read_metadata()
        description = journal.description
    finally:
        journal.close()
    try:
        return ScanDetails(description, writer_of(path), decode_axes(axes, False), decode_note(note, False))
    except UnsafeFileError as error:
        return ScanDetails(description, writer_of(path), [], f"axes or note are not plain data: {error}")


def scan_state(path: Path) -> str:
    """RUNNING, INTERRUPTED, or UNKNOWN: whether a process writes the scan file `path`. Reads neither it nor its journal."""
    return _STATES[probe_lock(path)]
