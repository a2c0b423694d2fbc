"""Warns a program that ends, or drops a scan, without close(): where the scan is, how to continue it. Never closes one."""

from __future__ import annotations

import atexit
import logging
import weakref
from typing import TYPE_CHECKING

from ..format import recover_command, resume_call

if TYPE_CHECKING:
    from .scan import Scan

log = logging.getLogger("lys_storage")

_scans: weakref.WeakSet[Scan] = weakref.WeakSet()


def warn_at_exit(scan: Scan) -> None:
    """Log a warning when the interpreter exits, unless `scan` is over, or has been dropped, by then."""
    _scans.add(scan)


def kept_in_progress(scan: Scan) -> str:
    """Where the frames of `scan` are, and what continues or exports it."""
    return (
        f"The scan is kept in progress: {scan.frames_written} of {scan.frames_expected} frames. "
        f"{resume_call(scan.path)} continues it; {recover_command(scan.part_path.parent)} exports it."
    )


def unclosed(scan: Scan) -> str:
    return f"a scan was not closed. {kept_in_progress(scan)} Use it in a with block, or call close()."


@atexit.register
def _warn_of_open_scans() -> None:
    for scan in list(_scans):
        if not scan._lifecycle.is_over:
            log.warning("%s", unclosed(scan))
