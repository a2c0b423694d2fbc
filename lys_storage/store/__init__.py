"""A scan in progress on disk: scan file and journal, kept in step."""

from __future__ import annotations

from .checksummer import Checksummer
from .frame_table import join
from .hotpath import NOT_STORED, STORED, STORED_WAKE, Span
from .scan_store import ScanStore

__all__ = ["NOT_STORED", "STORED", "STORED_WAKE", "Checksummer", "ScanStore", "Span", "join"]
