"""Names of the files of a scan: the export, the scan file, the journal, the redo file. Pure; nothing is looked up on disk."""

from __future__ import annotations

from pathlib import Path

REDO_SUFFIX = ".redo"


def redo_path(part: Path) -> Path:
    return part.with_name(part.name + REDO_SUFFIX)


EXPORT_SUFFIX = ".npz"
PART_SUFFIX = ".part"
JOURNAL_SUFFIX = ".journal"


def part_path(final: Path, unique: str = "") -> Path:
    """The scan in progress of `final`: `data_3.npz.part`, or with a unique id `data.npz.1f2e3d4c.part`."""
    middle = f".{unique}" if unique else ""
    return final.with_name(f"{final.name}{middle}{PART_SUFFIX}")


def journal_path(part: Path) -> Path:
    return part.with_name(part.name + JOURNAL_SUFFIX)


def numbered_name(stem: str, number: int) -> str:
    return f"{stem}_{number}.npz"
