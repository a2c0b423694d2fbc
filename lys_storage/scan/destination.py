"""Checks the path that `create` is given, and the names of all files of the scan. Makes nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from ..disk import check_name, check_name_length, check_replaceable
from ..errors import ScanShapeError, StorageOSError
from ..format import EXPORT_SUFFIX, export_name, longest_name, numbered_name

_MOST_NUMBER = 999_999
"""A name is accepted only if numbers up to this one fit."""


def as_export_path(path: Any) -> Path:
    """The export that `path` names: the suffix is added if it is missing. Raises if `path` cannot name a file."""
    try:
        text = os.path.expanduser(os.fsdecode(path))
    except TypeError:
        raise ScanShapeError(f"{path!r} is not a path: give the name of the file, such as 'run/data_0.npz'") from None
    final = Path(text)
    is_folder = text.endswith((os.sep, os.altsep or os.sep)) or final.name in ("", "..")
    if is_folder or (final.suffix != EXPORT_SUFFIX and os.path.isdir(text)):
        raise StorageOSError(errno.EISDIR, "is a folder: name a file in it, such as data_0.npz", text)
    return final if final.suffix == EXPORT_SUFFIX else final.with_name(export_name(final.name))


def check_names(folder: Path, stem: str, *, numbered: bool, replaces: bool) -> None:
    """Raise StorageOSError if the system does not accept `stem` with the suffixes of all files of a scan."""
    final = numbered_name(stem, _MOST_NUMBER) if numbered else export_name(stem)
    whole = folder / final
    if "\0" in str(whole):
        raise StorageOSError(
            errno.EINVAL, "the name holds a NUL, which no file name can have: leave it out", str(whole)
        )
    if whole.name != final:
        raise StorageOSError(
            errno.EINVAL, f"{stem!r} is not the name of a file: a folder goes in front of it", str(whole)
        )
    try:
        os.fsencode(whole)
    except UnicodeEncodeError as error:
        text = f"the name cannot be encoded by this system: {error}; choose another one"
        raise StorageOSError(errno.EILSEQ, text, ascii(str(whole))) from error
    check_name(whole)
    check_name_length(whole, longest_name(final, unique=replaces and not numbered), stem)
    if not numbered and os.path.isdir(whole):
        raise StorageOSError(errno.EISDIR, "is a folder, and no file can take its name: choose another one", str(whole))
    if replaces and not numbered:
        check_replaceable(whole)
