"""Whether a disk or a share does what this package builds on, tried out with files in a folder of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import _fs
from ._errors import os_error

_SPEED_BYTES = 64 << 20
_OTHER_PROCESS = "import sys; from pathlib import Path; from lys_storage.core import _fs; " + (
    "print(_fs.File.open(Path(sys.argv[1]), writable=True).try_lock())"
)


@dataclass(frozen=True)
class Finding:
    """One thing that was tried: whether it holds, what was seen, and what it means where it does not."""

    what: str
    holds: bool
    seen: str
    else_: str


def check_disk(folder: Path) -> Iterator[Finding]:
    """Try everything in a new folder below `folder`, which is removed again. Raises StorageOSError where none can be made."""
    _fs.make_folder(folder)
    try:
        work = tempfile.TemporaryDirectory(prefix=".lys_storage_check_", dir=folder)
    except OSError as error:
        raise os_error("make a folder", folder, error) from error
    with work:
        for check in _CHECKS:
            tuple[tuple[Callable[[Path], tuple[bool, str]], str, str], ...] = (
                (
                    _creates_exclusively,
                    "of 8 threads that claim numbers at once, no two get the same",
                    "never let two processes write one folder",
                ),
                (_locks, "a writer's lock keeps another process out", "recover only when no scan is running"),
                (
                    _claims_space,
                    "space is claimed",
                    "a disk that fills up during a scan is an exception in the middle of it",
                ),
                (
                    _publishes_without_replacing,
                    "a file gets its final name in one step that cannot replace another",
                    "a file of that name could be lost",
                ),
                (
                    _maps_are_coherent,
                    "a map shows what is written to the file",
                    "a live view of a scan can show old frames",
                ),
                (_syncs, "files and folders are synced", "nothing is promised after a power cut"),
                (_writes, "writing, with a sync", "see above"),
            )


"""What is tried; what it says where it holds; and what follows where it does not."""
