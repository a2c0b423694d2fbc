"""Names of the files of a scan, and their suffixes, which are defined only here.

Pure functions of names. Never touches a disk.

    data_3.npz                      an export
    data_3.npz.part                 a scan file: the scan in progress that becomes the export
    data.npz.1f2e3d4c.part          a scan file that will replace data.npz, kept apart by an id
    data_3.npz.part.journal         its journal, a sidecar
    data_3.npz.part.redo            its redo log, a sidecar
    .data_3.npz.part.lock           its lock file, a sidecar, hidden
    data_3.npz.part.journal.new     a replacement, until it is renamed to the name without the suffix
"""

from __future__ import annotations

import re
from pathlib import Path

EXPORT_SUFFIX = ".npz"
PART_SUFFIX = ".part"
JOURNAL_SUFFIX = ".journal"
REDO_SUFFIX = ".redo"
LOCK_SUFFIX = ".lock"
REPLACEMENT_SUFFIX = ".new"


def is_export(name: str) -> bool:
    """Whether `name` is that of an export."""
    return name.endswith(EXPORT_SUFFIX)


def is_file_name(name: str) -> bool:
    """Whether `name` can be that of a file in a folder: no separator and no NUL. Any other character is valid."""
    return Path(name).name == name and name not in ("", "..") and "\0" not in name


def is_scan_file(name: str) -> bool:
    """Whether `name` is that of a scan file."""
    return name.endswith(PART_SUFFIX)


def is_journal(name: str) -> bool:
    """Whether `name` is that of the journal of a scan file."""
    return name.endswith(PART_SUFFIX + JOURNAL_SUFFIX)


def is_sidecar(name: str) -> bool:
    """Whether `name` is that of a journal, a redo log or a lock file."""
    return name.endswith((PART_SUFFIX + JOURNAL_SUFFIX, PART_SUFFIX + REDO_SUFFIX)) or _is_lock_file(name)


def _is_lock_file(name: str) -> bool:
    return name.startswith(".") and name.endswith(PART_SUFFIX + LOCK_SUFFIX)


def scan_file_name(sidecar: str) -> str:
    """The name of the scan file whose sidecar has the name `sidecar`."""
    if _is_lock_file(sidecar):
        return sidecar.removeprefix(".").removesuffix(LOCK_SUFFIX)
    return sidecar.removesuffix(JOURNAL_SUFFIX).removesuffix(REDO_SUFFIX)


def export_name(stem: str) -> str:
    return stem + EXPORT_SUFFIX


def export_stem(name: str) -> str:
    """`name` without the suffix of an export; unchanged if it has none."""
    return name.removesuffix(EXPORT_SUFFIX)


def numbered_name(stem: str, number: int) -> str:
    return export_name(f"{stem}_{number}")


def numbered_names(stem: str) -> re.Pattern[str]:
    """Matches each name that takes a number of `stem`: export, scan file or journal. Group 1 is the number."""
    export, part, journal = map(re.escape, (EXPORT_SUFFIX, PART_SUFFIX, JOURNAL_SUFFIX))
    return re.compile(rf"{re.escape(stem)}_(0|[1-9][0-9]*){export}(?:(?:\.[0-9a-f]{{8}})?{part}(?:{journal})?)?\Z")


def part_path(final: Path, unique: str = "") -> Path:
    """The scan file of the export `final`: `data_3.npz.part`, or with a unique id `data.npz.1f2e3d4c.part`."""
    middle = f".{unique}" if unique else ""
    return final.with_name(f"{final.name}{middle}{PART_SUFFIX}")


def journal_path(part: Path) -> Path:
    return part.with_name(part.name + JOURNAL_SUFFIX)


def redo_path(part: Path) -> Path:
    return part.with_name(part.name + REDO_SUFFIX)


def lock_path(part: Path) -> Path:
    """The lock file of a scan file. It is hidden: users need not know of it."""
    return part.with_name(f".{part.name}{LOCK_SUFFIX}")


def replacement_path(path: Path) -> Path:
    """Where a new version of `path` is written before it is renamed to `path`."""
    return path.with_name(path.name + REPLACEMENT_SUFFIX)


def longest_name(final: str, *, unique: bool) -> str:
    """The longest file name that is needed while the export `final` is created. `unique`: its scan file has an id."""
    return replacement_path(journal_path(part_path(Path(final), "0" * 8 if unique else ""))).name
