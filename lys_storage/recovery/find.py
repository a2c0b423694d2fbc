"""Finds the files of scans in folders by their names. Every command that reads a folder uses this walk.

Never opens or changes a file, and never tells whether one is valid.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Container, Iterator
from dataclasses import dataclass
from enum import Enum
from operator import itemgetter
from pathlib import Path

from ..errors import BadFileError, os_error
from ..format import (
    PART_SUFFIX,
    is_export,
    is_scan_file,
    is_sidecar,
    journal_path,
    lock_path,
    part_path,
    redo_path,
    scan_file_name,
)


class Kind(Enum):
    EXPORT = "export"
    SCAN = "scan in progress"
    LEFTOVERS = "leftovers of a scan in progress whose scan file is gone"
    FOLDER = "a folder that this user may not read"


@dataclass(frozen=True)
class Found:
    """A result of walk. The path of leftovers is that of the missing scan file."""

    path: Path
    kind: Kind


def walk(folder: Path, *, kinds: Container[Kind], recursive: bool = True) -> Iterator[Found]:
    """The files of scans in `folder` that are of one of `kinds`, sorted by path; with `recursive` also those below it.

    All names are listed first. A file that is removed meanwhile is skipped. Links to folders are not followed. A folder
    that does not exist gives nothing. A folder that this user may not read is itself a result.
    """
    if not folder.is_dir():
        return
    for path, sidecars in sorted(_list(folder, kinds, recursive), key=itemgetter(0)):
        if sidecars is None:
            kind = Kind.FOLDER
        elif _is_file(path):
            kind = Kind.EXPORT if is_export(path.name) else Kind.SCAN
        elif any(_is_file(path.with_name(name)) for name in sidecars):
            kind = Kind.LEFTOVERS
        else:
            continue
        if kind in kinds:
            yield Found(path, kind)


def _list(folder: Path, kinds: Container[Kind], recursive: bool) -> Iterator[tuple[Path, list[str] | None]]:
    """The paths that are of one of `kinds` by their names, each with the names of its sidecars.

    A folder that may not be read has None instead of names.
    """
    closed: list[Path] = []

    def note_error(error: OSError) -> None:
        """Raise, unless the folder was removed meanwhile, or this user may not read it."""
        if isinstance(error, PermissionError):
            closed.append(Path(error.filename))
        elif not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise os_error("list the folder", error.filename, error) from error

    for at, folders, names in os.walk(folder, onerror=note_error):
        found: dict[str, list[str]] = {}
        for name in names:
            if (Kind.EXPORT in kinds and is_export(name)) or (Kind.SCAN in kinds and is_scan_file(name)):
                found.setdefault(name, [])
            elif Kind.LEFTOVERS in kinds and is_sidecar(name):
                found.setdefault(scan_file_name(name), []).append(name)
        parent = Path(at)
        for name, sidecars in found.items():
            yield parent / name, sidecars
        if not recursive:
            folders.clear()
    for path in closed:
        yield path, None


def _is_file(path: Path) -> bool:
    """Whether a regular file is at `path`. If that cannot be told it counts as one: to open it raises the error."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
    except ValueError:  # not a valid name on this system
        return False


def is_gone(path: Path) -> bool:
    """Whether nothing is at `path`. False if this user may not look."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR)
    except ValueError:  # not a valid name on this system
        return True
    return False


def sidecars_of(part: Path) -> list[Path]:
    """The sidecars of a scan file that are there: journal, redo log, lock file."""
    return [path for path in (journal_path(part), redo_path(part), lock_path(part)) if path.exists()]


def resolve_link(part: Path) -> Path:
    """The scan file that `part` names, with links resolved: its journal and its export are beside the target.

    Raises BadFileError if its journal is a link: it belongs to another scan file, and would be changed.
    """
    target = Path(os.path.realpath(part)) if os.path.islink(part) and os.path.exists(part) else part
    if os.path.islink(journal_path(target)) and os.path.exists(target):
        raise BadFileError(
            f"{journal_path(target)} is a link, but {target.name} is not: put the journal itself there, or link both files"
        )
    return target


def find_scan_file(path: Path) -> Path:
    """The scan file of `path`, which may be the name of an export, a scan file, or a sidecar. Links are resolved."""
    if is_sidecar(path.name):
        return resolve_link(path.with_name(scan_file_name(path.name)))
    if is_scan_file(path.name):
        return resolve_link(path)
    candidates = [part_path(path), *sorted(path.parent.glob(f"{glob.escape(path.name)}.*{PART_SUFFIX}"))]
    found = [c for c in candidates if c.exists()]
    if len(found) > 1:
        raise BadFileError(
            f"{path} has {len(found)} scans in progress, expected one: name one of {', '.join(c.name for c in found)}"
        )
    return resolve_link(found[0] if found else candidates[0])
