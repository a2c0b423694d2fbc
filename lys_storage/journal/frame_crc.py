"""CRC-32 of frames in the scan file."""

from __future__ import annotations

from ..disk import File, FileCutError, range_crc32
from .journal import Journal


def frames_crc(file: File, journal: Journal, first: int, count: int) -> int | None:
    """CRC-32 of the bytes of `count` frames from number `first`; None if the file ends before."""
    description = journal.description
    offset = description.array_offset + first * description.frame_bytes
    try:
        return range_crc32(file, offset, count * description.frame_bytes)
    except FileCutError:
        return None
