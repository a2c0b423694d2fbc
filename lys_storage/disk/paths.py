"""Paths as users give them."""

from __future__ import annotations

import os
from pathlib import Path

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def user_path(path: AnyPath) -> Path:
    """`path` as a Path, with a leading `~` or `~user` replaced by that home folder. TypeError where it is no path."""
    return Path(os.path.expanduser(os.fsdecode(path)))
