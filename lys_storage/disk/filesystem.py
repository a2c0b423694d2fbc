"""What identifies a state of an open file, and the boot in which it is valid.

The identity of a file (File.identity) is unique within one boot: a copy, a restored file, and the file after a new mount have
others. Each system has its own sources: see systems/.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import os_error
from .systems import SYSTEM, Place


def boot_id() -> str:
    """The id of this boot of the machine; empty if the system has none (then every byte is verified by its checksum)."""
    return SYSTEM.read_boot_id()


def place_of(path: Path) -> Place:
    """File.place() of the file that has this path now. Raises OSError."""
    return SYSTEM.place_of(path)


def version(fd: int, path: str | os.PathLike[str]) -> tuple[int, int]:
    """Size and time of the last change (ns) of an open file: they differ after a process has written to it."""
    try:
        found = os.fstat(fd)
    except OSError as error:
        raise os_error("stat", path, error) from error
    return found.st_size, found.st_mtime_ns
