"""Where a scan goes: the path that `create` is given, and names that all of its files can have. Makes nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from ..disk import check_name_length
from ..errors import ScanShapeError, StorageOSError
from ..format import EXPORT_SUFFIX, export_name, longest_name, numbered_name

_MOST_NUMBER = 999_999
"""Numbers up to this one fit into a name that is not refused."""


def as_export_path(path: Any) -> Path:
    """The export that `path` names: the suffix is added where it is missing. Raises where it can name no file."""
    try:
        text = os.path.expanduser(os.fsdecode(path))
    except TypeError:
        raise ScanShapeError(f"{path!r} is no path: give the name of the file, such as 'run/data_0.npz'") from None
    final = Path(text)
    is_folder = text.endswith((os.sep, os.altsep or os.sep)) or final.name in ("", "..")
    if is_folder or (final.suffix != EXPORT_SUFFIX and os.path.isdir(text)):
        raise StorageOSError(errno.EISDIR, "is a folder: name a file in it, such as data_0.npz", text)
    return final if final.suffix == EXPORT_SUFFIX else final.with_name(export_name(final.name))


def check_names(folder: Path, stem: str, *, numbered: bool, replaces: bool) -> None:
    """Raise StorageOSError where the system takes no file `stem`, with any of the suffixes that files of a scan have."""
    final = numbered_name(stem, _MOST_NUMBER) if numbered else export_name(stem)
    whole = folder / final
    if "\0" in str(whole):
        raise StorageOSError(errno.EINVAL, "a name holds a NUL, which no file can have: leave it out", str(whole))
    if whole.name != final:
        raise StorageOSError(errno.EINVAL, f"{stem!r} is no name of a file: a folder goes in front of it", str(whole))
    try:
        os.fsencode(whole)
    except UnicodeEncodeError as error:
        text = f"the name cannot be written by this system: {error}"
        raise StorageOSError(errno.EILSEQ, text, ascii(str(whole))) from error
    check_name_length(whole, longest_name(final, unique=replaces and not numbered), stem)
    if not numbered and os.path.isdir(whole):
        raise StorageOSError(errno.EISDIR, "is a folder, and no file can take its name: choose another one", str(whole))
