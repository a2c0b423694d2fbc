"""Finding the files of scans in folders: one walk, which every command that looks into a folder uses.

Goes by names alone. Never opens a file, never changes one, and never tells whether one is sound.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Container, Iterator
from dataclasses import dataclass
from enum import Enum
from operator import itemgetter
from pathlib import Path

from ..errors import BadFileError, os_error
from ..format import PART_SUFFIX, is_export, is_scan_file, is_sidecar, part_path, scan_file_name


class Kind(Enum):
    EXPORT = "export"
    SCAN = "scan in progress"
    LEFTOVERS = "leftovers of a scan in progress whose scan file is gone"
    FOLDER = "a folder that this user may not read"


@dataclass(frozen=True)
class Found:
    """What a walk has found at `path`. The path of leftovers is that of the scan file, which is not there."""

    path: Path
    kind: Kind


def walk(folder: Path, *, kinds: Container[Kind], recursive: bool = True) -> Iterator[Found]:
    """The files of scans in `folder` that are of one of `kinds`, sorted by path; with `recursive` also those below it.

    All names are listed at the beginning. Whether a file is still there is checked when it is its turn: one that has gone
    meanwhile is skipped. Links to folders are not followed. Nothing is found in a folder that does not exist; one that this
    user may not read is found itself.
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
    """The paths that are of one of `kinds` by their names, each with the names of the sidecars that lie beside it.

    None instead of these: a folder that may not be read.
    """
    closed: list[Path] = []

    def note_error(error: OSError) -> None:
        """Raise, except where a folder has gone meanwhile, or this user may not read it."""
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
    """Whether a file is at `path`. One that cannot be looked at counts as one: whoever opens it says what is wrong."""
    try:
        return path.is_file()
    except OSError:
        return True


def find_scan_file(path: Path) -> Path:
    """The scan file of `path`, which may be the name of an export, a scan file, or a sidecar."""
    if is_sidecar(path.name):
        return path.with_name(scan_file_name(path.name))
    if is_scan_file(path.name):
        return path
    candidates = [part_path(path), *sorted(path.parent.glob(f"{glob.escape(path.name)}.*{PART_SUFFIX}"))]
    found = [c for c in candidates if c.exists()]
    if len(found) > 1:
        raise BadFileError(f"{path} has {len(found)} scans in progress: name one of {', '.join(c.name for c in found)}")
    return found[0] if found else candidates[0]
