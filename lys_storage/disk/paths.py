"""Paths as users give them."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import os_error

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def user_path(path: AnyPath) -> Path:
    """`path` as a Path, with a leading `~` or `~user` replaced by that home folder. TypeError where it is no path."""
    return Path(os.path.expanduser(os.fsdecode(path)))


def absolute(path: Path) -> Path:
    """Raises StorageOSError where `path` is in a working directory that is gone."""
    try:
        return Path(os.path.abspath(path))
    except OSError as error:
        raise os_error("find the working directory", path, error, "go to another one, or give a full path") from error
