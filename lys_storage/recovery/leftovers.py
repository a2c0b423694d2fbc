"""Judges and removes the files that a crash left of a finished scan, or of one that was only just created.

A journal is removed only if an export that opens has the same `scan_id` and all frames of the journal, or if the journal was
never durable: a power cut can leave a void journal of a scan that was saved before its first flush. A redo log is removed
only if an export that opens has the same `scan_id`, or if it is empty.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..disk import LOCK_NAME, File, Lock, LockFile, read_pieces, remove_file, sync_folder
from ..errors import BadFileError
from ..format import EXPORT_SUFFIX, PART_SUFFIX, crc32, is_export, journal_path, lock_path, redo_path
from ..journal import JOURNAL_MAGIC, REDO_MAGIC, Journal, begins_with_record_of, was_never_durable
from .recognition import ForeignFileError, exports_beside, has_every_frame, looks_unfinished, opened_scan_id
from .takeover import export_of, lock_or_raise

_HEAD_BYTES = 64
_NUMBERED_NAME = re.compile(rf".+_[0-9]+{re.escape(EXPORT_SUFFIX)}{re.escape(PART_SUFFIX)}", re.DOTALL)
_SCAN_NAME = re.compile(rf"(.+?)(?:\.[0-9a-f]{{8}})?{re.escape(PART_SUFFIX)}", re.DOTALL)


@dataclass(frozen=True)
class Leftovers:
    """`superfluous`: the scan is finished as `export`, or they hold nothing. `message`: what they are, and what to do."""

    superfluous: bool
    export: Path | None
    message: str


def judge_leftovers(path: Path) -> Leftovers:
    """Find out whether the sidecars of `path`, a scan file that is missing or published, are superfluous. Changes nothing.

    Raises BadFileError if they cannot be read, ForeignFileError if lys_storage did not write them.
    """
    journal, redo = journal_path(path), redo_path(path)
    if journal.exists():
        try:
            return _judge(path, journal)
        except ForeignFileError:
            raise
        except BadFileError:
            if not _is_void(journal):
                raise
        return _judge_void(path, journal)
    if not redo.exists() and lock_path(path).exists():
        return _judge_lock_file(lock_path(path))
    file = File.open(redo, writable=False)
    try:
        if file.size == 0:
            return Leftovers(True, None, f"{redo.name} is an empty redo log, left by a crash")
        _ensure_is_ours(redo, file, REDO_MAGIC)
        for export in exports_beside(path, _final_of(path)):
            scan_id = opened_scan_id(export)
            if scan_id is not None and begins_with_record_of(file, crc32(scan_id.encode())):
                return _superfluous(export)
        return _lost(path, redo, None)
    finally:
        file.close()


def _judge_lock_file(lock: Path) -> Leftovers:
    if lock.stat().st_size:
        raise ForeignFileError(f"{lock} was not written by lys_storage")
    return Leftovers(True, None, f"{lock.name} is a lock file, left by a crash")


def _is_void(journal: Path) -> bool:
    file = File.open(journal, writable=False)
    try:
        return was_never_durable(file)
    finally:
        file.close()


def _judge_void(path: Path, journal: Path) -> Leftovers:
    """Judge a journal that was never durable. If it holds bytes, it is superfluous only if the export of its name opens.

    A redo log can be beside it, if no flush has succeeded before the export: it is of no use without its journal.
    """
    name = _final_of(path)
    others = {one.name for one in path.parent.iterdir() if one.name.startswith(name)} - {name, journal.name}
    is_exported = name != "" and opened_scan_id(path.with_name(name)) is not None
    if is_exported:
        others.discard(redo_path(path).name)
    is_gone = is_exported or (not os.path.lexists(path.with_name(name or path.name)) and _is_zeros(journal))
    if others or not is_gone:
        return _lost(path, journal, None)
    return Leftovers(True, None, "a journal that was never synced, left by a crash")


def _is_zeros(path: Path) -> bool:
    file = File.open(path, writable=False)
    try:
        return not any(any(piece) for piece in read_pieces(file, 0, file.size))
    finally:
        file.close()


def _judge(path: Path, sidecar: Path) -> Leftovers:
    file = File.open(sidecar, writable=False)
    try:
        _ensure_is_ours(sidecar, file, JOURNAL_MAGIC)
    finally:
        file.close()
    unfinished = incomplete = None
    journal = Journal.open(sidecar, writable=False)
    try:
        for export in exports_beside(path, journal.description.final):
            found = opened_scan_id(export)
            if found == journal.description.scan_id:
                if has_every_frame(export, journal):
                    return _superfluous(export)
                incomplete = incomplete or export
            elif found is None and unfinished is None and looks_unfinished(export):
                unfinished = export
    finally:
        journal.close()
    return _lost(path, sidecar, unfinished, incomplete)


def _superfluous(export: Path) -> Leftovers:
    return Leftovers(True, export, f"left by a crash beside the finished {export.name}")


def _lost(path: Path, sidecar: Path, unfinished: Path | None, incomplete: Path | None = None) -> Leftovers:
    what = "no export of its scan is here" if incomplete is None else f"{incomplete.name} does not have all its frames"
    message = f"{sidecar}: its scan file {path.name} is missing, and {what}; "
    if unfinished is not None:
        message += f"{unfinished.name} is incomplete: if it is the scan file, rename it to {path.name}"
    else:
        message += "move the scan file back, or delete this file if its export is elsewhere"
    return Leftovers(False, None, message)


def _ensure_is_ours(path: Path, file: File, magic: bytes) -> None:
    """Raise ForeignFileError if neither the whole name nor the first bytes of a file are ours."""
    is_named_as_ours = _final_of(path) != "" and not path.name.startswith("._")
    if not is_named_as_ours and file.read_at(len(magic), 0) != magic:
        raise ForeignFileError(f"{path} was not written by lys_storage")


def _final_of(path: Path) -> str:
    """The name of the export of `path`, a scan file or a sidecar; "" if its name has another form."""
    found = _SCAN_NAME.match(path.name)
    return found[1] if found and is_export(found[1]) else ""


def remove_leftovers(path: Path) -> bool:
    """Remove the sidecars of `path`, which judge_leftovers found superfluous. False if they are in use: since then a process has
    begun a scan of this name, or removes them itself."""
    sync_folder(path.parent)  # the process may have died before it made the final name durable
    lock = LockFile()
    try:
        if path.is_file() or lock.take(path, -1, shared=False) is Lock.BUSY or path.is_file():
            return False
        remove_file(redo_path(path))
        remove_file(journal_path(path))
        lock.remove()
        return True
    finally:
        try:
            lock.close()
        finally:
            lock.close()  # again: a second interrupt may have prevented the first, and the lock would stay


def finish_publishing(path: Path, force: bool) -> Path | None:
    """Finish an export that was killed between the link of its final name and the unlink of the scan file. None: it was not."""
    final = export_of(path)
    if final is None:
        return None
    file = File.open(path, writable=True)
    try:
        lock_or_raise(file, force)
        if journal_path(path).exists() or redo_path(path).exists():
            found = judge_leftovers(path)
            if not found.superfluous:
                raise BadFileError(
                    f"{path} is a second name of the finished {final.name}, but its journal or redo log is of another scan, "
                    "or has more frames: move these two away, and run it again"
                )
        sync_folder(path.parent)
        remove_file(path)
        file.lock_file.remove()
    finally:
        try:
            file.close()
        finally:
            file.close()  # again: a second interrupt may have prevented the first, and the lock would stay
    remove_leftovers(path)
    return final


def is_named_as_claimed(path: Path) -> bool:
    return _final_of(path) != ""


def may_be_just_begun(path: Path) -> bool:
    """Whether the process of an empty scan file may have died between the claim of its name and its first byte.

    The name must be one that a claim makes. The journal must have no frames, or be void. Without a journal the file may be
    foreign: a browser makes an empty `.part` for each download. It is ours if its own lock file is there, or if it has a number
    and the lock file of the folder is there.
    """
    journal = journal_path(path)
    if not is_named_as_claimed(path):
        return False
    if not journal.exists():
        is_numbered = _NUMBERED_NAME.fullmatch(path.name) is not None
        return lock_path(path).exists() or (is_numbered and path.with_name(LOCK_NAME).exists())
    if journal.stat().st_size < _HEAD_BYTES or _is_void(journal):
        return True
    try:
        opened = Journal.open(journal, writable=False)
    except BadFileError:
        return False
    try:
        return not opened.states.any_data()
    finally:
        opened.close()


def remove_empty(path: Path, force: bool) -> bool:
    """Remove an empty scan file that was only just created. False: it is not one."""
    file = File.open(path, writable=True)
    try:
        if file.size or not may_be_just_begun(path):
            return False
        lock_or_raise(file, force)
        if file.size or not file.owns_path():
            return False
        remove_file(journal_path(path))  # first: a journal without scan file and export would stay
        remove_file(path)
        file.lock_file.remove()
    finally:
        try:
            file.close()
        finally:
            file.close()  # again: a second interrupt may have prevented the first, and the lock would stay
    return True
