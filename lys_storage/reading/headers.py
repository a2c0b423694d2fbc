"""What an export is, from its headers alone: the directory of the archive, acquisition.json and the .npy header.

Never reads the array or the axes, and never unpickles anything unless the note is asked for.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UnsafeFileError
from ..format import INFO_MEMBER
from .array_file import find_array
from .metadata import read_note
from .no_export import naming_the_file, open_export
from .stream import open_stream
from .wave import check_header
from .zip_check import check_member_size


@dataclass(frozen=True)
class Header:
    """`info`: the content of acquisition.json, {} without one. `members`: the names in the archive, without `.npy`.

    `note`: None if it was not asked for, or cannot be read; `note_error` then says why.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    info: dict[str, Any]
    members: frozenset[str]
    size_bytes: int
    note: dict[Any, Any] | None = None
    note_error: str = ""


def read_header(path: Path, *, note: bool = False) -> Header:
    """Read the headers of the export at `path`, and its note if that is asked for. Raises as open_wave."""
    file = open_export(path)
    try:
        with naming_the_file(path, file), open_stream(file) as whole, zipfile.ZipFile(whole) as archive:
            stored = find_array(archive, file)
            names = archive.namelist()
            info: Any = {}
            if INFO_MEMBER in names:
                info = json.loads(archive.read(check_member_size(archive.getinfo(INFO_MEMBER))))
            info = info if isinstance(info, dict) else {}
            check_header(file, stored, info)
            found, error = read_note(archive, path, info, False) if note else (None, None)
            fault = "" if error is None or isinstance(error, UnsafeFileError) else str(error)
            members = frozenset(name.removesuffix(".npy") for name in names)
            return Header(stored.shape, stored.dtype, info, members, file.size, found, fault)
    finally:
        file.close()
