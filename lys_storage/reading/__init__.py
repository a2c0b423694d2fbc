"""Reads exports, and scans in progress. Never changes a file."""

from __future__ import annotations

from .elements import is_compressed, is_fortran, iterate_checked, iterate_stored, read_stored
from .headers import Header, read_header
from .labelled import LabelledArray
from .missing import MissingFrames, missing_frames
from .scan_in_progress import ScanInProgress
from .scan_wave import ScanWave, read_part
from .wave import StoredWave, open_wave
from .waves import StoredWaves, open_waves
from .zip_check import check_members

__all__ = [
    "Header",
    "LabelledArray",
    "MissingFrames",
    "ScanInProgress",
    "ScanWave",
    "StoredWave",
    "StoredWaves",
    "check_members",
    "is_compressed",
    "is_fortran",
    "iterate_checked",
    "iterate_stored",
    "missing_frames",
    "open_wave",
    "open_waves",
    "read_header",
    "read_part",
    "read_stored",
]
