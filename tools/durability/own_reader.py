"""Checks a recovered folder with lys_storage itself.

The oracle reads exports with numpy. These checks use the package's own reader and verifier, and look for leftovers of
the recovery.
"""

from __future__ import annotations

from pathlib import Path

import lys_storage
from tools.durability.exports import Export
from tools.durability.files import read_files


def left_behind(folder: Path) -> list[str]:
    """The files of a scan in progress that recovery should have removed, and the problems that `verify` reports.

    An empty scan file without a journal stays: it may be another program's.
    """
    files = {name: data for name, data in read_files(folder).items() if data is not None and not name.endswith(".npz")}
    left = [name for name, data in files.items() if data or not name.endswith(".part") or f"{name}.journal" in files]
    faults = [f"left behind: {', '.join(left)}"] if left else []
    return faults + [f"verify: {problem}" for problem in lys_storage.verify(folder)]


def disagreements(exports: list[Export]) -> list[str]:
    """The differences between `open_wave` and numpy."""
    faults = []
    for export in exports:
        try:
            with lys_storage.open_wave(export.path) as wave:
                same_data = wave.data.dtype == export.data.dtype and wave.data.shape == export.data.shape
                if not same_data or wave.data.tobytes() != export.data.tobytes():
                    faults.append(f"{export.path.name}: open_wave and numpy give different data")
                if wave.note != export.note or wave.info != export.info:
                    faults.append(f"{export.path.name}: open_wave and numpy give different notes or descriptions")
        except lys_storage.LysStorageError as error:
            faults.append(f"{export.path.name}: open_wave: {error}")
    return faults
