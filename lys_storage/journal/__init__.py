"""The journal beside a scan file, and its redo log: what the scan is, and the state of each frame."""

from __future__ import annotations

from .frame_crc import frames_crc
from .frame_state import (
    ABSENT,
    BLOCK_CHECKSUMMED,
    CHECKSUMMED,
    CHECKSUMMING,
    REWRITING,
    TABLE_STEP,
    WRITING,
    WRITTEN,
    FrameStates,
    Span,
    States,
)
from .journal import Journal
from .layout import VERSION as JOURNAL_VERSION
from .redo_log import Chunk, RedoLog, RedoRecord, read_records

__all__ = [
    "ABSENT",
    "BLOCK_CHECKSUMMED",
    "CHECKSUMMED",
    "CHECKSUMMING",
    "JOURNAL_VERSION",
    "REWRITING",
    "TABLE_STEP",
    "WRITING",
    "WRITTEN",
    "Chunk",
    "FrameStates",
    "Journal",
    "RedoLog",
    "RedoRecord",
    "Span",
    "States",
    "frames_crc",
    "read_records",
]
