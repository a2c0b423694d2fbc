"""Tells which program wrote a file, and to which scan an export belongs. Never changes a file.

The name of a file proves nothing: browsers name downloads `.part`, numpy writes `.npz` of any content, and macOS puts a
`._x.npz` beside each `x.npz`.
"""

from __future__ import annotations

import errno
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..disk import File
from ..errors import BadFileError, LysStorageError
from ..format import (
    EXPORT_SUFFIX,
    INFO_FORMAT,
    INFO_MEMBER,
    MISSING_MEMBER,
    begins_as_scan_file,
    check_info,
    is_export,
    journal_path,
    local_member_name,
)
from ..journal import JOURNAL_MAGIC, Journal
from ..reading import StoredWave, open_wave

FINALIZED, FOREIGN, RUNNING, INTERRUPTED = "finalized", "foreign", "running", "interrupted"
UNKNOWN, LEFTOVER, REMOVED, NOT_READABLE, DAMAGED = "unknown", "leftover", "removed", "not readable", "damaged"
"""The states of a file. UNKNOWN: a scan on a file system without locks, which may be running or interrupted."""

_LYS_MEMBERS = {"data", "axes", "note"}
_MAC_PREFIX = "._"
_FIRST_BYTES = 64


class ForeignFileError(BadFileError):
    """Neither lys_storage nor lys has written the file, whatever its name is. Nothing is wrong with it."""


def state_of(error: LysStorageError | OSError) -> str:
    """The state of a file that raised `error` when it was opened."""
    if isinstance(error, ForeignFileError):
        return FOREIGN
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM):
        return NOT_READABLE
    return DAMAGED


def describe(error: LysStorageError | OSError) -> str:
    """The text of `error`. The path of an OSError comes first, without quotes."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def with_path(path: Path, text: str) -> str:
    """`text` with `path` in front, unless it contains that already, as given or absolute."""
    spellings = [str(path)]
    with suppress(OSError):  # the working directory is gone
        spellings.append(os.path.abspath(path))
    names = "|".join(map(re.escape, spellings))
    names_it = re.search(rf"(?:^|\s)(?:{names})(?!\w)", text)
    return text if names_it else f"{path}: {text}"


# -- scan files --------------------------------------------------------------------------------------------------------


def ensure_is_scan(part: Path) -> None:
    """Raise ForeignFileError if `part` is foreign: it has no journal, and does not begin as a scan file."""
    if begins_as_scan_file(_first_bytes(part)):
        return
    journal = journal_path(part)
    if not journal.exists():
        raise ForeignFileError(f"{part} is not a scan of lys_storage: it has no journal, and does not begin as one")
    if part.name.startswith(_MAC_PREFIX) and not _first_bytes(journal).startswith(JOURNAL_MAGIC):
        raise ForeignFileError(f"{part} is not a scan of lys_storage: macOS keeps attributes of another file in it")


def scan_id_of(part: Path) -> str:
    """The `scan_id` in the journal of `part`. Raises as Journal.open."""
    journal = Journal.open(journal_path(part), writable=False)
    try:
        return journal.description.scan_id
    finally:
        journal.close()


def _first_bytes(path: Path) -> bytes:
    file = File.open(path, writable=False)
    try:
        return file.read_at(_FIRST_BYTES, 0)
    finally:
        file.close()


# -- exports -----------------------------------------------------------------------------------------------------------


def is_ours(wave: StoredWave) -> bool:
    """Whether lys_storage or lys has written an export that opens."""
    return wave.info.get("format") == INFO_FORMAT or _stems(_members_of(wave.path)[0]) >= _LYS_MEMBERS


def is_foreign_npz(path: Path) -> bool:
    """Whether a .npz that does not open as an export is foreign. False if that cannot be told.

    It is ours if its first bytes or the names in its directory are. Either may be damaged: if they contradict each other,
    one name of ours is enough.
    """
    begin = _first_bytes(path)
    names, is_sound = _members_of(path)
    if begins_as_scan_file(begin) or INFO_MEMBER in names:
        return False
    ours = _stems(names) & _LYS_MEMBERS
    if is_sound:
        return len(ours) < 2
    first = local_member_name(begin)
    is_mac = path.name.startswith(_MAC_PREFIX)
    return is_mac or (not ours and bool(first or names) and _stems([first]).isdisjoint(_LYS_MEMBERS))


def _members_of(path: Path) -> tuple[list[str], bool]:
    """The names in the directory of an archive, and whether the members agree with it."""
    names: list[str] = []
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            for info in archive.infolist():
                archive.open(info).close()  # raises if its two headers have different names
            return names, not any(info.comment for info in archive.infolist())
    except Exception:  # zipfile can raise any exception for a damaged archive
        return names, False


def _stems(names: list[str]) -> set[str]:
    return {name.removesuffix(".npy") for name in names}


def opened_scan_id(path: Path) -> str | None:
    """The `scan_id` of an export of ours that opens with a valid structure; else None."""
    try:
        with open_wave(path) as wave:
            found = wave.info.get("scan_id") if wave.info.get("format") == INFO_FORMAT else None
            return found if isinstance(found, str) else None
    except LysStorageError:
        return None


def has_every_frame(export: Path, journal: Journal) -> bool:
    """Whether an export of the scan of `journal` has every frame that is data in the journal. False if that is unknown.

    An export of an early copy of the scan has fewer frames.
    """
    states, ndim = journal.states, journal.description.grid_ndim
    last = states.last_written()
    if last is None:
        return True
    try:
        with open_wave(export) as wave:
            info, shape = wave.info, wave.shape
        if any(check_info(shape, info)) or len(info["grid_shape"]) != ndim or last >= info["frames_expected"]:
            return False
        if not info["missing_complete"]:
            with np.load(export) as members:
                missing = members[MISSING_MEMBER.removesuffix(".npy")]
            absent = np.frombuffer(states.missing_bits(info["frames_expected"]), np.uint8)
            return missing.shape == absent.shape and not (missing & ~absent).any()
        return all(states.count_missing(first, stop) == stop - first for first, stop in info["missing"])
    except Exception:  # zipfile and numpy can raise any exception for a damaged archive
        return False


def exports_beside(part: Path, first: str = "") -> Iterator[Path]:
    """The files beside `part` that have names of exports, the one named `first` before all others."""
    names = sorted(path.name for path in part.parent.glob(f"*{EXPORT_SUFFIX}") if path.is_file())
    for name in sorted(names, key=lambda name: (name != first, name)):
        yield part.with_name(name)


def looks_unfinished(path: Path) -> bool:
    """Whether a file with the name of an export is an unfinished scan file: it begins as one, and has no directory."""
    try:
        return is_export(path.name) and begins_as_scan_file(_first_bytes(path)) and not _members_of(path)[0]
    except LysStorageError:
        return False
