"""What a path seems to be, before it is opened. Never raises."""

from __future__ import annotations

import os
import zipfile
from typing import Any

from ..format import EXPORT_SUFFIX


def member_names(path: Any) -> list[str]:
    """The names in the directory of a ZIP archive; [] if that cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception:  # zipfile can raise any exception for a damaged archive
        return []


def seems_an_export(path: Any) -> bool:
    """Whether `path`, any object, is the path of a .npz with an array `data`."""
    try:
        name = os.fsdecode(path)
    except TypeError:
        return False
    return name.endswith(EXPORT_SUFFIX) and not {"data", "data.npy"}.isdisjoint(member_names(name))
