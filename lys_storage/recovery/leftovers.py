"""What a crash leaves of a scan that is finished, or was only just begun: is it superfluous, and its removal.

Never removes a journal unless an export that opens has the same `scan_id` and every frame that came, or nothing was in it
yet: a power cut can leave the journal of a scan that was saved before its first flush, without a sector of it. Never removes
a redo file unless an export that opens has the same `scan_id`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..disk import LOCK_NAME, File, read_pieces, remove_file, sync_folder
from ..errors import BadFileError
from ..format import EXPORT_SUFFIX, PART_SUFFIX, crc32, is_export, journal_path, redo_path
from ..journal import JOURNAL_MAGIC, REDO_MAGIC, Journal, begins_with_record_of, was_never_durable
from .recognition import ForeignFileError, exports_beside, has_every_frame, looks_unfinished, opened_scan_id
from .takeover import export_of, lock_or_raise

_HEAD_BYTES = 64
_NUMBERED_NAME = re.compile(rf".+_[0-9]+{re.escape(EXPORT_SUFFIX)}{re.escape(PART_SUFFIX)}", re.DOTALL)
_SCAN_NAME = re.compile(rf"(.+?)(?:\.[0-9a-f]{{8}})?{re.escape(PART_SUFFIX)}", re.DOTALL)


@dataclass(frozen=True)
class Leftovers:
    """`superfluous`: `export` has all that they were for, or nothing is in them. `message`: what they are, and what to do."""

    superfluous: bool
    export: Path | None
    message: str


def judge_leftovers(path: Path) -> Leftovers:
    """What the sidecars of `path`, a scan file that is gone, or is an export by now, are worth. Changes nothing.

    Raises BadFileError where they cannot be read, ForeignFileError where they are not of lys_storage.
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
    file = File.open(redo, writable=False)
    try:
        if file.size == 0:
            return Leftovers(True, None, f"{redo.name} is left of a scan, and holds nothing")
        _ensure_is_ours(redo, file, REDO_MAGIC)
        for export in exports_beside(path, _final_of(path)):
            scan_id = opened_scan_id(export)
            if scan_id is not None and begins_with_record_of(file, crc32(scan_id.encode())):
                return _superfluous(export)
        return _lost(path, redo, None)
    finally:
        file.close()


def _is_void(journal: Path) -> bool:
    file = File.open(journal, writable=False)
    try:
        return was_never_durable(file)
    finally:
        file.close()


def _judge_void(path: Path, journal: Path) -> Leftovers:
    """Of a journal that was never durable. One that has something in it goes only where the export of its name is."""
    name = _final_of(path)
    others = {one.name for one in path.parent.iterdir() if one.name.startswith(name)} - {name, journal.name}
    is_exported = name != "" and opened_scan_id(path.with_name(name)) is not None
    is_gone = is_exported or (not os.path.lexists(path.with_name(name or path.name)) and _is_zeros(journal))
    if others or not is_gone:
        return _lost(path, journal, None)
    return Leftovers(True, None, "was never filled: nothing was promised of it; what is left of it")


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
    return Leftovers(True, export, f"was exported before, as {export.name}; what was left beside it")


def _lost(path: Path, sidecar: Path, unfinished: Path | None, incomplete: Path | None = None) -> Leftovers:
    what = "no export of its scan is here" if incomplete is None else f"{incomplete.name} has not all frames that came"
    message = f"{sidecar} has lost its scan file, and {what}: left as it is; "
    if unfinished is not None:
        message += f"{unfinished.name} was never finished: if it is the scan file, rename it to {path.name}"
    else:
        message += f"move the scan file back as {path.name}, or remove this if its export is elsewhere"
    return Leftovers(False, None, message)


def _ensure_is_ours(path: Path, file: File, magic: bytes) -> None:
    """Raise ForeignFileError where a file is of ours by the end of its name only."""
    is_named_as_ours = _final_of(path) != "" and not path.name.startswith("._")
    if not is_named_as_ours and file.read_at(len(magic), 0) != magic:
        raise ForeignFileError(f"{path} is not of lys_storage")


def _final_of(path: Path) -> str:
    """The name of the export that a scan file or its sidecar is of, by its name; "" where that is of another form."""
    found = _SCAN_NAME.match(path.name)
    return found[1] if found and is_export(found[1]) else ""


def remove_leftovers(path: Path) -> None:
    """Remove the sidecars of `path`, which have been found superfluous."""
    sync_folder(path.parent)  # the process may have died before it made the final name durable
    remove_file(redo_path(path))
    remove_file(journal_path(path))


def finish_publishing(path: Path, force: bool) -> Path | None:
    """Finish an export that was killed between the link of its final name and the unlink of the scan file; else None."""
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
                    f"{path} is {final.name} already, and what lies beside it is not of that scan, or tells of more frames"
                )
        sync_folder(path.parent)
        remove_file(path)
    finally:
        try:
            file.close()
        finally:
            file.close()  # again: the lock must not stay where a second interrupt came before it
    remove_leftovers(path)
    return final


def is_named_as_claimed(path: Path) -> bool:
    return _final_of(path) != ""


def may_be_just_begun(path: Path) -> bool:
    """Whether an empty scan file can be one whose process died between the claim of its name and its first byte.

    Its name is one that a claim makes, and its journal tells of no frame, or was never filled. Without a journal it can be
    another's as well: a browser makes an empty one for each download. One with a number, beside the lock of those who claim
    numbers, is ours.
    """
    journal = journal_path(path)
    if not is_named_as_claimed(path):
        return False
    if not journal.exists():
        return _NUMBERED_NAME.fullmatch(path.name) is not None and path.with_name(LOCK_NAME).exists()
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
    """Remove an empty scan file that has only just been begun. False where it is none."""
    file = File.open(path, writable=True)
    try:
        if file.size or not may_be_just_begun(path):
            return False
        lock_or_raise(file, force)
        if file.size or not file.owns_path():
            return False
        remove_file(journal_path(path))  # first: a journal without a scan file is never removed where no export is
        remove_file(path)
    finally:
        try:
            file.close()
        finally:
            file.close()  # again: the lock must not stay where a second interrupt came before it
    return True
