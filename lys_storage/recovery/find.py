"""Finding scans in folders: exports, scans in progress, and what they left behind. Reads only."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path

from ..errors import BadFileError
from ..format import PART_SUFFIX, is_export, is_journal, is_scan_file, is_sidecar, part_path, scan_file_name


def files_below(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for entry in sorted(path.rglob("*")):
        if (is_export(entry.name) or is_scan_file(entry.name)) and entry.is_file():
            yield entry


def find_scan_file(path: Path) -> Path:
    """The scan file of `path`, which may be the final name, the scan file, or the journal."""
    if is_journal(path.name):
        return path.with_name(scan_file_name(path.name))
    if is_scan_file(path.name):
        return path
    candidates = [part_path(path), *sorted(path.parent.glob(f"{glob.escape(path.name)}.*{PART_SUFFIX}"))]
    found = [c for c in candidates if c.exists()]
    if len(found) > 1:
        raise BadFileError(f"{path} has {len(found)} scans in progress: name one of {', '.join(c.name for c in found)}")
    return found[0] if found else candidates[0]


def interrupted(folder: Path) -> Iterator[Path]:
    """The scan files in `folder` (or the one that is named), and journals whose scan file is gone."""
    if not folder.is_dir():
        yield find_scan_file(folder)
        return
    found = set()
    for entry in folder.rglob(f"*{PART_SUFFIX}*"):
        name = scan_file_name(entry.name) if is_sidecar(entry.name) else entry.name
        if is_scan_file(name) and entry.is_file():
            found.add(entry.with_name(name))
    yield from sorted(found)
