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

from ..errors import BadFileError
from ..format import INFO_MEMBER, decode_note_with_texts
from .array_file import find_array
from .no_export import naming_the_file, open_export
from .stream import open_stream
from .wave import check_header
from .zip_check import check_member_size, find_member


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
            found, fault = _read_note(archive) if note else (None, "")
            members = frozenset(name.removesuffix(".npy") for name in names)
            return Header(stored.shape, stored.dtype, info, members, file.size, found, fault)
    finally:
        file.close()


def _read_note(archive: zipfile.ZipFile) -> tuple[dict[Any, Any] | None, str]:
    member = find_member(archive, "note")
    if member is None:
        return None, ""
    try:
        return decode_note_with_texts(archive.read(check_member_size(member)))[0], ""
    except (BadFileError, zipfile.BadZipFile, OSError, EOFError) as error:
        return None, f"its note cannot be read: {error}"
