"""Paths as users give them."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import os_error

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def user_path(path: AnyPath) -> Path:
    """`path` as a Path, with a leading `~` or `~user` replaced by that home folder. TypeError if it is not a path."""
    return Path(os.path.expanduser(os.fsdecode(path)))


def absolute(path: Path) -> Path:
    """`path` as an absolute path. Raises StorageOSError if it is relative and the working directory was removed."""
    try:
        return Path(os.path.abspath(path))
    except OSError as error:
        raise os_error("find the working directory", path, error, "go to another one, or give a full path") from error
