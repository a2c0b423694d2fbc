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
    Numbers,
    Span,
    States,
)
from .journal import Journal
from .layout import MAGIC as JOURNAL_MAGIC
from .layout import VERSION as JOURNAL_VERSION
from .layout import was_never_durable
from .reader import Flags, JournalReader, is_readable
from .redo_log import MAGIC as REDO_MAGIC
from .redo_log import Chunk, RedoLog, RedoRecord, begins_with_record_of, read_records
from .redo_reader import RedoMark, RedoReader

__all__ = [
    "ABSENT",
    "BLOCK_CHECKSUMMED",
    "CHECKSUMMED",
    "CHECKSUMMING",
    "JOURNAL_MAGIC",
    "JOURNAL_VERSION",
    "REDO_MAGIC",
    "REWRITING",
    "TABLE_STEP",
    "WRITING",
    "WRITTEN",
    "Chunk",
    "Flags",
    "FrameStates",
    "Journal",
    "JournalReader",
    "Numbers",
    "RedoLog",
    "RedoMark",
    "RedoReader",
    "RedoRecord",
    "Span",
    "States",
    "begins_with_record_of",
    "frames_crc",
    "is_readable",
    "read_records",
    "was_never_durable",
]
