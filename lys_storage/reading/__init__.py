"""Reads exports. Never changes a file."""

from __future__ import annotations

from .elements import is_compressed, is_fortran, iterate_checked, iterate_stored, read_stored
from .headers import Header, read_header
from .missing import MissingFrames, missing_frames
from .wave import StoredWave, open_wave
from .waves import StoredWaves, open_waves
from .zip_check import check_members

__all__ = [
    "Header",
    "MissingFrames",
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
    "read_stored",
]
