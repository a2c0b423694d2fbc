"""A scan in progress on disk: scan file and journal, kept consistent."""

from __future__ import annotations

from .checksummer import Checksummer
from .frame_table import FrameTable
from .hotpath import COMPILED, NOT_STORED, STORED, STORED_WAKE, path_of_frames
from .scan_store import ScanStore
from .spans import join
from .write_behind import WriteBehind

__all__ = [
    "COMPILED",
    "NOT_STORED",
    "STORED",
    "STORED_WAKE",
    "Checksummer",
    "FrameTable",
    "ScanStore",
    "WriteBehind",
    "join",
    "path_of_frames",
]
