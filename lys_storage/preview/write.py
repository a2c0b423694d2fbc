"""Writes a picture in one step: a reader, or an interrupt, never finds half of it."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from ..disk import File, publish_new, remove_file, replace_file
from ..errors import NameTakenError


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raise NameTakenError if there is a file that may not be replaced."""
    if os.path.lexists(path) and not overwrite:
        raise NameTakenError(
            errno.EEXIST, "exists already: give --overwrite to replace it, or another name", os.fspath(path)
        )


def write_png(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write `data` to a file beside `path`, and rename it. Raises NameTakenError if `path` may not be replaced."""
    check_target(path, overwrite=overwrite)
    beside = path.with_name(f".{secrets.token_hex(8)}.png.tmp")
    try:
        file = File.create(beside)
        try:
            file.write_at(data, 0)
        finally:
            file.close()
        (replace_file if overwrite else publish_new)(beside, path)
    finally:
        remove_file(beside)
